"""Rules that the lab and the controllers share: port numbers, names and identifiers on ``br-int``.

=============== ===========================================
OpenFlow port    what
=============== ===========================================
1 …              VMs, ``Endpoint.port``
50001 …          gateway legs, in the order of the segments
60001            tunnel port
60002            patch to ``br-phy``
=============== ===========================================
"""

from __future__ import annotations

import uuid

from chimera.model.ports import (
    INTEGRATION,
    LISP_TUNNEL,
    PHYSICAL,
    TO_INTEGRATION,
    TO_PHYSICAL,
    VXLAN_TUNNEL,
    PortSpec,
    leg_name,
)
from chimera.model.topology import Endpoint, Node, Segment, Topology

LEG_BASE = 50000
TUNNEL = 60001
PATCH = 60002
VXLAN_UDP_PORT = 4789  # RFC 7348 section 5
LISP_UDP_PORT = 4341  # RFC 9300 section 5.1
OTV_UDP_PORT = 8472  # draft-hasmit-otv-04

_VM_NAMESPACE = uuid.UUID("6f7c8d0e-5f0a-5b6e-9d1c-0c5a3f1e2b47")


def datapath_id(node: Node) -> int:
    """The OpenFlow datapath identifier of a node's ``br-int``."""
    return node.number


def leg_id(holder: str, segment: Segment) -> str:
    """The ``iface-id`` of a gateway leg."""
    return f"{holder}/{segment.tenant}/{segment.name}"


def routed_segments(topology: Topology) -> tuple[Segment, ...]:
    """Segments with a default gateway, in file order."""
    return tuple(s for s in topology.segments if s.gateway or s.gateway6)


def vm_port(endpoint: Endpoint, tag: int = 0) -> PortSpec:
    """A VM's port, with the identifiers that Open vSwitch's integration guide asks for."""
    external = (
        ("iface-id", endpoint.name),
        ("attached-mac", endpoint.mac),
        ("vm-id", str(uuid.uuid5(_VM_NAMESPACE, endpoint.name))),
    )
    return PortSpec(endpoint.name, ofport=endpoint.port, tag=tag, external_ids=external)


def leg_port(topology: Topology, holder: str, segment: Segment, tag: int = 0) -> PortSpec:
    """The internal port ``g<VNI>`` of a segment's gateway on ``holder``."""
    external = (("iface-id", leg_id(holder, segment)), ("attached-mac", segment.gateway_mac))
    number = LEG_BASE + 1 + topology.segments.index(segment)
    return PortSpec(
        leg_name(segment.vni),
        type="internal",
        ofport=number,
        tag=tag,
        external_ids=external,
        mac=segment.gateway_mac,
    )


def vxlan_port(local_ip: str, udp_port: int = VXLAN_UDP_PORT) -> PortSpec:
    """One tunnel port for all peers: flows choose the remote VTEP and the VNI."""
    options = (
        ("remote_ip", "flow"),
        ("local_ip", local_ip),
        ("key", "flow"),
        ("dst_port", str(udp_port)),
    )
    return PortSpec(VXLAN_TUNNEL, type="vxlan", options=options, ofport=TUNNEL)


def lisp_port(local_ip: str) -> PortSpec:
    """One tunnel port for all ETRs: VXLAN's with its generic extension and IP inside is LISP's (RFC 9305).

    Open vSwitch gives what arrives an Ethernet header of zeros. The inner DSCP is copied (RFC 9300 section 5.3).
    """
    options = (
        ("remote_ip", "flow"),
        ("local_ip", local_ip),
        ("key", "flow"),
        ("dst_port", str(LISP_UDP_PORT)),
        ("exts", "gpe"),
        ("packet_type", "legacy_l3"),
        ("tos", "inherit"),
    )
    return PortSpec(LISP_TUNNEL, type="vxlan", options=options, ofport=TUNNEL)


def patch_ports() -> tuple[PortSpec, PortSpec]:
    """The pair of patch ports that joins ``br-int`` to ``br-phy``."""
    return (
        PortSpec(TO_PHYSICAL, INTEGRATION, "patch", (("peer", TO_INTEGRATION),), ofport=PATCH),
        PortSpec(TO_INTEGRATION, PHYSICAL, "patch", (("peer", TO_PHYSICAL),)),
    )
