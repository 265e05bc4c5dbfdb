"""Ethernet over MPLS from hypervisor to hypervisor: in UDP (RFC 7510), in GRE or in IP alone (RFC 4023).

Labels are locally significant (RFC 3031 section 3.1): the receiving switch hands one out per segment, the sender puts
it on, and two receivers give one segment different labels. One label is the whole stack: IP is the tunnel. The payload
is a VM's frame, behind a pseudowire control word (RFC 4448 section 4.6) where the option says so: without one, a router
on the way that looks below the label for flows may take a MAC that begins with 4 or 6 for an IP header.
"""

from __future__ import annotations

from chimera.model.control import Inventory
from chimera.model.errors import InputError
from chimera.model.flow import Action, Flow
from chimera.model.topology import Segment, Topology
from chimera.model.underlay import Translator
from chimera.overlay import pipeline, tunnels
from chimera.overlay.agent import Agents
from chimera.overlay.base import Option, Options, Overlay
from chimera.overlay.tunnels import ARRIVED, FROM_TUNNEL, Encapsulation

LABEL_BYTES, CONTROL_WORD_BYTES, GRE_BYTES = 4, 4, 4  # RFC 3032 section 2.1, RFC 4448 section 4.6, RFC 2784 section 2.1
CARRIER_BYTES = {"udp": tunnels.UDP_BYTES, "gre": GRE_BYTES, "ip": 0}  # between IP and the label
VARIANT = {"udp": 0, "gre": 1, "ip": 2}  # of the translator
WITH_CONTROL_WORD = 16  # added to the variant

_LARGEST_LABEL = (1 << 20) - 1
_BLOCK = 1000  # labels of one receiver: 1001 … are the first one's, 2001 … the second one's; 0-15 are reserved


def label(topology: Topology, switch: str, segment: Segment) -> int:
    """The label that ``switch`` hands out for a segment: frames that arrive with it are the segment's.

    It follows from the topology alone, so a controller that returns hands out the same.

    Raises:
        InputError: where 20 bits are too few for the topology.
    """
    receivers = [node.name for node in topology.vteps]
    block = max(_BLOCK, len(topology.segments) + 1)
    found = (receivers.index(switch) + 1) * block + topology.segments.index(segment) + 1
    if found > _LARGEST_LABEL:
        raise InputError(
            f"overlay mpls: no labels left for {switch}, which has 20 bits for {len(topology.segments)} segments\n"
            f"    found: {len(receivers)} hypervisors and gateways, with {block} labels each\n"
            "    fix: use fewer segments, or an overlay with a 24-bit identifier (vxlan)"
        )
    return found


class Labelled(Encapsulation):
    """The receiver's label is on the wire, IP leads to the receiver."""

    def __init__(self, inventory: Inventory) -> None:
        topology = inventory.topology
        self._underlay = inventory.underlay
        self._label = {(n.name, s.vni): label(topology, n.name, s) for n in topology.vteps for s in topology.segments}

    def towards(self, segment: Segment, receiver: str) -> tuple[Action, ...]:
        """To the receiver's address, with the receiver's label."""
        return pipeline.renamed(self._label[receiver, segment.vni], self._underlay.vtep[receiver])

    def arrivals(self, switch: str) -> tuple[Flow, ...]:
        """Under whatever label."""
        return pipeline.from_tunnel(self._underlay.known_to(switch), ARRIVED)

    def arriving(self, segment: Segment, switch: str) -> tuple[Flow, ...]:
        """A label of the switch's own stands for the segment; others are nobody's and dropped."""
        return (pipeline.identified(ARRIVED, self._label[switch, segment.vni], segment.vni, FROM_TUNNEL),)


def _agents(inventory: Inventory) -> Agents:
    return tunnels.agents(inventory, Labelled(inventory))


def _has_control_word(options: Options) -> bool:
    return options["control_word"] == "on"


def _translator(options: Options) -> Translator:
    return Translator("mpls", VARIANT[options["wire"]] + WITH_CONTROL_WORD * _has_control_word(options))


def _added_bytes(options: Options) -> int:
    control_word = CONTROL_WORD_BYTES * _has_control_word(options)
    return tunnels.growth(tunnels.IPV4_BYTES, CARRIER_BYTES[options["wire"]], LABEL_BYTES, control_word)


OVERLAY = Overlay(
    name="mpls",
    summary="Ethernet over MPLS between hypervisors, in UDP (RFC 7510), GRE or IP (RFC 4023), labels of the receiver",
    forwarding=tunnels.routed,
    agents=_agents,
    ports=tunnels.tunnel_port,
    options=(
        Option("wire", ("udp", "gre", "ip"), "udp", "what carries the label: UDP (with entropy), GRE, or IP alone"),
        Option("control_word", ("on", "off"), "on", "pseudowire control word behind the label (RFC 4448)"),
        tunnels.GATEWAY,
    ),
    gateway_holders=tunnels.gateway_holders,
    translator=_translator,
    added_bytes=_added_bytes,
)
