"""Forwarding state per node, counted where it is held: Open vSwitch's tables and the kernel's."""

from __future__ import annotations

import re

from chimera.model.errors import SessionError
from chimera.model.ports import INTEGRATION, PHYSICAL
from chimera.model.result import NodeState
from chimera.model.topology import Capability
from chimera.net import netns
from chimera.net.network import Network

_TO_A_TUNNEL = re.compile(r"tun_dst|NXM_NX_TUN_IPV4_DST|->tun_id.*output:60001")
_UNICAST = re.compile(r"dl_dst=[0-9a-f][02468ace]:|nw_dst=[\d.]+[, ]|ipv6_dst=[\da-f:]+[, ]")


def states(network: Network, of: str = "") -> dict[str, NodeState]:
    """What every switch, router, hypervisor and gateway holds, or only the one called ``of``.

    Left out is what is off, and whose Open vSwitch has ended and cannot be asked. ``flows`` are OpenFlow entries
    of ``br-int``, ``mappings`` those of them that send one MAC to one tunnel endpoint, ``macs`` entries of learning
    bridges, ``routes`` IPv4 routes of the kernel beyond its own addresses, ``fabric`` entries of a fabric's
    tables in the kernel.
    """
    names = [node.name for node in network.topology.nodes if node.name not in network.stopped and of in ("", node.name)]
    return {name: held for name in names if (held := _state(network, name))}


def _state(network: Network, name: str) -> NodeState | None:
    try:
        return _count(network, name)
    except SessionError:
        return None


def _count(network: Network, name: str) -> NodeState:
    routes = len(netns.run("", ["ip", "-n", name, "-4", "route"]).splitlines())
    fabric = network.fabric_entries(name)
    switch = network.switches.get(name)
    if switch is None:
        return NodeState(routes=routes, fabric=fabric)
    macs = _learned(switch.appctl("fdb/show", PHYSICAL))
    if not network.topology.can(name, Capability.SPEAK_OPENFLOW):
        return NodeState(macs=macs, routes=routes, fabric=fabric)
    macs += _learned(switch.appctl("fdb/show", INTEGRATION))
    flows = [line for line in switch.ofctl("dump-flows", INTEGRATION).splitlines() if "actions=" in line]
    mappings = sum(bool(_UNICAST.search(f) and _TO_A_TUNNEL.search(f)) for f in flows)
    return NodeState(flows=len(flows), macs=macs, mappings=mappings, routes=routes, fabric=fabric)


def _learned(table: str) -> int:
    """Entries of ``fdb/show``: the heading and the bridge's own address are none."""
    return sum("LOCAL" not in line and line.split()[:1] not in ([], ["port"]) for line in table.splitlines())
