"""TRILL (RFC 6325) with an RBridge on every hypervisor, and RBridges as core switches.

The ingress RBridge names the egress RBridge by its nickname (section 3.7); core RBridges pass frames on by it, over
equal-cost paths, until the hop count ends. The inner frame has the segment's VLAN tag, always (section 4.1.2).
Broadcast and multicast are one frame on a distribution tree (section 4.5). Who is where is the central controller's
knowledge: no egress is unknown, and nothing floods for the lack of it. OpenFlow names a nickname by an address that is
on no link (:func:`~chimera.model.underlay.edge_address`); the translator at the uplink spells the frame.
"""

from __future__ import annotations

from chimera.model.control import Inventory
from chimera.model.underlay import FabricKind, Translator
from chimera.overlay import tunnels
from chimera.overlay.agent import Agents
from chimera.overlay.base import Options, Overlay

TRILL_BYTES, TAG_BYTES = 6, 4  # RFC 6325 sections 3 (without its EtherType) and 4.1.2


def _agents(inventory: Inventory) -> Agents:
    return tunnels.agents(inventory, tunnels.FabricEdges(inventory))


def _translator(options: Options) -> Translator:
    return Translator("trill")


def _added_bytes(options: Options) -> int:
    return tunnels.growth(TRILL_BYTES, TAG_BYTES)


OVERLAY = Overlay(
    name="trill",
    summary="TRILL with RBridges on hypervisors and core switches: nicknames, hop counts, trees (RFC 6325)",
    forwarding=tunnels.routed,
    agents=_agents,
    ports=tunnels.tunnel_port,
    options=(tunnels.GATEWAY,),
    gateway_holders=tunnels.gateway_holders,
    translator=_translator,
    fabric=FabricKind.TRILL,
    added_bytes=_added_bytes,
)
