"""Overlay Transport Virtualization (draft-hasmit-otv-04), with the hypervisors as edge devices.

What is OTV about it: layer 2 is extended by routes to MACs, not by flooding. An edge device sends a frame for a MAC to
the one edge device that announced it; a unicast frame for a MAC that nobody announced never enters the overlay,
address questions are answered at the edge from what is known, and multicast goes in a copy to each edge device with
members, as it must where the transport has no multicast. What OTV's own control plane does, IS-IS adjacencies between
edge devices and the election of an authoritative one for each VLAN of a site, is the central controller's knowledge
here: every hypervisor is the one edge device of its VMs.

``wire=udp`` is the draft's header: VXLAN's bits on port 8472, with overlay ID 0 and the segment's VNI as instance ID.
``wire=gre`` is what shipped first: Ethernet over MPLS over GRE without a control word (RFC 4023), 42 bytes.
"""

from __future__ import annotations

from chimera.model.control import Inventory
from chimera.model.ports import PortSpec
from chimera.model.underlay import Translator
from chimera.overlay import mpls, ports, tunnels
from chimera.overlay.agent import Agents
from chimera.overlay.base import Option, Options, Overlay
from chimera.overlay.tunnels import VniTunnels

OTV_BYTES = 8  # flags, overlay ID, instance ID: as long as VXLAN's


def _shipped_first(options: Options) -> bool:
    return options["wire"] == "gre"


def _agents(inventory: Inventory) -> Agents:
    labelled = _shipped_first(inventory.options)
    return tunnels.agents(inventory, mpls.Labelled(inventory) if labelled else VniTunnels(inventory.underlay))


def _ports(inventory: Inventory, switch: str) -> tuple[PortSpec, ...]:
    if _shipped_first(inventory.options):
        return tunnels.tunnel_port(inventory, switch)
    return (ports.vxlan_port(inventory.underlay.vtep[switch], ports.OTV_UDP_PORT),)


def _translator(options: Options) -> Translator | None:
    return Translator("mpls", mpls.VARIANT["gre"]) if _shipped_first(options) else None


def _added_bytes(options: Options) -> int:
    if _shipped_first(options):
        return tunnels.growth(tunnels.IPV4_BYTES, mpls.GRE_BYTES, mpls.LABEL_BYTES)
    return tunnels.growth(tunnels.IPV4_BYTES, tunnels.UDP_BYTES, OTV_BYTES)


OVERLAY = Overlay(
    name="otv",
    summary="OTV with hypervisors as edge devices: routes to MACs, no unknown unicast (draft-hasmit-otv-04)",
    forwarding=tunnels.routed,
    agents=_agents,
    ports=_ports,
    options=(
        Option("wire", ("udp", "gre"), "udp", "the draft's UDP header on port 8472, or Ethernet over MPLS over GRE"),
        tunnels.GATEWAY,
    ),
    gateway_holders=tunnels.gateway_holders,
    translator=_translator,
    added_bytes=_added_bytes,
)
