"""What an overlay is to the lab: a descriptor with its options, ports and control plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chimera.model.control import Inventory
from chimera.model.errors import InputError, did_you_mean
from chimera.model.ports import PortSpec
from chimera.model.topology import Endpoint, Segment, Topology
from chimera.model.underlay import FabricKind, Forwarding, Translator
from chimera.overlay import ports
from chimera.overlay.agent import CONTROLLER, Agent, Agents

Options = Mapping[str, str]


@dataclass(frozen=True)
class Option:
    """A setting of an overlay (``--set name=value``)."""

    name: str
    allowed: tuple[str, ...]
    default: str
    doc: str


def central(controller: Callable[[], Agent]) -> Agents:
    """A control plane of one agent that is at no node of the topology: the controller of all switches."""
    return {CONTROLLER: controller}


def central_gateway(topology: Topology, options: Options) -> tuple[str, ...]:
    """The first gateway node, or none where the topology has no gateway."""
    return tuple(node.name for node in topology.gateways[:1])


def _no_conflict(options: Options) -> None:
    """Every combination of options goes."""


def _programmed(options: Options) -> bool:
    return False


def _untagged(segment: Segment) -> int:
    return 0


def _no_translator(options: Options) -> Translator | None:
    return None


def _nothing_added(options: Options) -> int:
    return 0


@dataclass(frozen=True)
class Overlay:
    """One way to carry the tenants' frames, as the lab sees it.

    ``agents`` gives its control plane, by node. ``forwarding`` says how it wants the physical network,
    ``gateway_holders`` which nodes carry the legs of the default gateways. ``ports`` gives a switch's ports beyond
    those of VMs and gateway legs, ``tag`` the VLAN of a segment's access ports (0: none).
    ``conflict`` raises :class:`InputError` for options that do not go together. ``translator`` names the eBPF
    program that translates frames where Open vSwitch lacks the format, ``fabric`` the layer 2 that is to be planned on
    the underlay. ``added_bytes`` is by how much a VM's IP packet grows to become the underlay's (frame overhead without
    what both have, an outer Ethernet header): what the underlay's MTU must have room for. ``programs_vms``: a switch
    needs flows for a VM before the VM can be reached there. ``learns`` says whether switches learn from the frames they
    forward who is where.
    """

    name: str
    summary: str
    forwarding: Callable[[Options], Forwarding]
    agents: Callable[[Inventory], Agents]
    ports: Callable[[Inventory, str], tuple[PortSpec, ...]]
    options: tuple[Option, ...] = ()
    gateway_holders: Callable[[Topology, Options], tuple[str, ...]] = central_gateway
    tag: Callable[[Segment], int] = _untagged
    conflict: Callable[[Options], None] = _no_conflict
    translator: Callable[[Options], Translator | None] = _no_translator
    fabric: FabricKind | None = None
    added_bytes: Callable[[Options], int] = _nothing_added
    programs_vms: bool = True
    learns: Callable[[Options], bool] = _programmed

    def vm_port(self, inventory: Inventory, switch: str, endpoint: Endpoint) -> PortSpec:
        """The port a VM gets on ``br-int`` of any hypervisor."""
        return ports.vm_port(endpoint, self.tag(inventory.topology.segment_of(endpoint)))

    def leg_port(self, inventory: Inventory, switch: str, segment: Segment) -> PortSpec:
        """The internal port through which ``switch`` is a segment's default gateway."""
        return ports.leg_port(inventory.topology, switch, segment, self.tag(segment))

    def legs(self, inventory: Inventory, switch: str) -> tuple[PortSpec, ...]:
        """All gateway legs of a node; none where it is no gateway."""
        if switch not in self.gateway_holders(inventory.topology, inventory.options):
            return ()
        return tuple(self.leg_port(inventory, switch, s) for s in ports.routed_segments(inventory.topology))


def check_options(overlay: Overlay, given: Options) -> dict[str, str]:
    """The overlay's options, defaults filled in.

    Raises:
        InputError: an unknown option, a value that is not allowed, or options that do not go together.
    """
    known = {option.name: option for option in overlay.options}
    for name, value in given.items():
        if name not in known:
            raise InputError(_refusal(f"overlay {overlay.name} has no option '{name}'", name, known))
        if value not in known[name].allowed:
            text = f"overlay {overlay.name}: {name}: '{value}' is not a valid value"
            raise InputError(_refusal(text, value, known[name].allowed))
    options = {name: given.get(name, option.default) for name, option in known.items()}
    overlay.conflict(options)
    return options


def _refusal(text: str, word: str, allowed: Mapping[str, Any] | tuple[str, ...]) -> str:
    lines = [text, f"    allowed: {', '.join(allowed) or 'none'}"]
    hint = did_you_mean(word, allowed)
    return "\n".join([*lines, f"    fix: {hint}"] if hint else lines)
