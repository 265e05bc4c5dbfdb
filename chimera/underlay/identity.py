"""Who is who in the underlay: the MACs that nodes and link ends get, and which sites are branches."""

from __future__ import annotations

from chimera.model.topology import Capability, Port, Topology

_TIERS = {"core": 0, "spine": 1, "router": 2}  # by role or else kind; all others are below


def stub_sites(topology: Topology) -> frozenset[str]:
    """Branches: sites with clients and nothing that hosts VMs; no other site's traffic passes through them."""
    hosting = {n.site for n in topology.vteps}
    return frozenset(c.site for c in topology.clients if c.site not in hosting)


def vtep_mac(topology: Topology, name: str) -> str:
    """MAC of a hypervisor's or gateway's ``br-phy``; locally administered, from the node's index."""
    node = topology.node(name)
    kind = 0x02 if node.can(Capability.RUN_VMS) else 0x03
    return f"02:{kind:02x}:00:00:{node.index >> 8:02x}:{node.index & 255:02x}"


def switch_mac(topology: Topology, name: str) -> str:
    """MAC of a physical switch, and so its rank as the root of a tree: cores and spines come first."""
    node = topology.node(name)
    tier = _TIERS.get(node.role or node.kind, 3)
    return f"02:04:{tier:02x}:00:{node.index >> 8:02x}:{node.index & 255:02x}"


def link_macs(topology: Topology) -> dict[Port, str]:
    """MAC of every link end; a hypervisor's uplink has another than its ``br-phy``."""
    macs = {}
    for index, link in enumerate(topology.links, start=1):
        for side, port in zip((0x0A, 0x0B), link.ends(), strict=True):
            macs[port] = f"02:01:{index >> 8:02x}:{index & 255:02x}:00:{side:02x}"
    return macs
