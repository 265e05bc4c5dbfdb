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
    PHYSICAL,
    TO_INTEGRATION,
    TO_PHYSICAL,
    TUNNEL_PORT,
    PortSpec,
    leg_name,
)
from chimera.model.topology import Endpoint, Node, Segment, Topology

LEG_BASE = 50000
TUNNEL = 60001
PATCH = 60002

_VM_NAMESPACE = uuid.UUID("6f7c8d0e-5f0a-5b6e-9d1c-0c5a3f1e2b47")


def datapath_id(node: Node) -> int:
    """The OpenFlow datapath identifier of a node's ``br-int``."""
    return node.number


def leg_id(holder: str, segment: Segment) -> str:
    """The ``iface-id`` of a gateway leg."""
    return f"{holder}/{segment.tenant}/{segment.name}"


def tenant_number(topology: Topology, tenant: str) -> int:
    """A tenant's number on the wire, where a format names tenants: from 1, in the order of the file's segments."""
    return 1 + list(dict.fromkeys(s.tenant for s in topology.segments)).index(tenant)


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


def tunnel_port(local_ip: str, kind: str, udp_port: int, **options: str) -> PortSpec:
    """One tunnel port for all peers: flows choose the remote endpoint and the identifier (``tun_id``).

    ``kind`` is Open vSwitch's interface type; ``options`` are its own, beside those that all have
    (``ovs-vswitchd.conf.db(5)``, "Tunnel Options").
    """
    common = (("remote_ip", "flow"), ("local_ip", local_ip), ("key", "flow"), ("dst_port", str(udp_port)))
    return PortSpec(TUNNEL_PORT, type=kind, options=(*common, *options.items()), ofport=TUNNEL)


def patch_ports() -> tuple[PortSpec, PortSpec]:
    """The pair of patch ports that joins ``br-int`` to ``br-phy``."""
    return (
        PortSpec(TO_PHYSICAL, INTEGRATION, "patch", (("peer", TO_INTEGRATION),), ofport=PATCH),
        PortSpec(TO_INTEGRATION, PHYSICAL, "patch", (("peer", TO_PHYSICAL),)),
    )
