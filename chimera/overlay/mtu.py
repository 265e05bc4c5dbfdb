"""Whether VMs' packets fit into the underlay with an overlay's headers around them, and what follows where not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chimera.model.result import Mtu
from chimera.model.topology import Topology
from chimera.model.underlay import Forwarding
from chimera.overlay.base import Options, Overlay, check_options
from chimera.overlay.pmtu import IPV6_MINIMUM_MTU
from chimera.underlay.mtu import smallest_link


@dataclass(frozen=True, slots=True)
class Need:
    """What an overlay, with its default options, adds to a VM's packet, and the underlay MTU it so needs, in bytes.

    ``headers`` are those of a frame on the links; ``translated``: eBPF makes them, for Open vSwitch does not.
    """

    overlay: str
    headers: str
    translated: bool
    added_bytes: int
    underlay_mtu: int


def needs(overlays: Iterable[Overlay], vm_mtu: int = 1500) -> list[Need]:
    """The needs of overlays for VMs' packets of that size."""
    found = []
    for overlay in overlays:
        wire = overlay.wire(check_options(overlay, {}))
        added = wire.added_bytes
        found.append(Need(overlay.name, wire.headers, wire.translator is not None, added, vm_mtu + added))
    return found


def mtu_of(topology: Topology, overlay: Overlay, options: Options) -> Mtu:
    """The figures of a lab, in bytes of IP packets, and their consequence in words."""
    underlay, vm = smallest_link(topology), topology.vm_mtu
    added = overlay.added_bytes(options)
    largest = min(vm, underlay - added)
    if largest == vm:
        text = (
            f"underlay MTU {underlay}: VMs' packets of {vm} bytes fit with {added} bytes of {overlay.name} around them"
        )
    else:
        text = f"underlay MTU {underlay}: VMs' packets of more than {largest} bytes do not fit into {overlay.name}; "
        text += _remedy(overlay, options, largest)
    return Mtu(underlay, vm, added, largest, text)


def fits(mtu: Mtu) -> bool:
    """Whether the underlay carries every packet of the VMs."""
    return mtu.largest_vm_packet == mtu.vm


def packet_limit(mtu: Mtu, overlay: Overlay, options: Options) -> int:
    """What switches are to hold VMs' packets against (``Inventory.packet_limit``), 0 where they do not."""
    tells = overlay.forwarding(options) is not Forwarding.BRIDGED
    return mtu.largest_vm_packet if tells and not fits(mtu) else 0


def _remedy(overlay: Overlay, options: Options, largest: int) -> str:
    if overlay.forwarding(options) is Forwarding.BRIDGED:
        return "bridges drop them, and nobody tells the VMs"
    text = "VMs are told (path MTU messages), TCP sends smaller ones, multicast of that size stays on its hypervisor"
    if largest < IPV6_MINIMUM_MTU:
        text += f"; IPv6 never sends less than {IPV6_MINIMUM_MTU} bytes and loses those above {largest}"
    return text
