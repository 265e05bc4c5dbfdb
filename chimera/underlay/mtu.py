"""What fits through the underlay."""

from __future__ import annotations

from chimera.model.topology import Topology


def smallest_link(topology: Topology) -> int:
    """The smallest MTU, in bytes, that a VM's packet in its headers may meet; no overlay runs over links to clients."""
    clients = {client.name for client in topology.clients}
    carrying = (k for k in topology.links if not {k.a.node, k.b.node} & clients)
    return min([topology.underlay_mtu, *(k.mtu for k in carrying if k.mtu)])
