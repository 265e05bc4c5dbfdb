"""What the tests of the underlay share: the topologies that come with the lab, and packets that follow routes."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import cache

from chimera import share
from chimera.load import load_topology, parse_topology
from chimera.model.topology import Topology
from chimera.model.underlay import Route, Underlay


@cache
def shipped(name: str) -> Topology:
    """A topology of ``topologies/``."""
    return load_topology(name, [share.folder("topologies")])


@cache
def topology(text: str) -> Topology:
    """A topology written in the test."""
    return parse_topology(text, "test.yaml")


def owners(underlay: Underlay) -> dict[str, str]:
    """Address (no prefix length) to the node that has it."""
    return {a.address.partition("/")[0]: a.node for a in underlay.addresses}


def route_of(routes: Sequence[Route], node: str, prefix: str) -> Route | None:
    """The route of a node to exactly that prefix."""
    found = [r for r in routes if r.node == node and r.prefix == prefix]
    assert len(found) <= 1, f"{node} has two routes to {prefix}"
    return found[0] if found else None


def next_nodes(underlay: Underlay, node: str, address: str) -> set[str]:
    """The nodes that ``node`` may hand a packet for ``address`` to: longest prefix first; itself where it arrived."""
    wanted = ipaddress.ip_address(address)
    own = [ipaddress.ip_interface(a.address) for a in underlay.addresses if a.node == node]
    owner = owners(underlay)
    if any(i.ip == wanted for i in own):
        return {node}
    if any(wanted in i.network for i in own):
        return {owner[address]}
    fitting = [r for r in underlay.routes if r.node == node and wanted in _network(r.prefix)]
    best = max(fitting, key=lambda r: _network(r.prefix).prefixlen, default=None)
    return {owner[hop.via] for hop in best.next_hops} if best else set()


def _network(prefix: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network("0.0.0.0/0" if prefix == "default" else prefix)


def journeys(underlay: Underlay, start: str, address: str) -> list[list[str]]:
    """Every way a packet may take, by node; one that ends elsewhere than at its owner was lost there."""
    ended, under_way = [], [[start]]
    while under_way:
        path = under_way.pop()
        onward = next_nodes(underlay, path[-1], address)
        if not onward or onward == {path[-1]}:
            ended.append(path)
        for node in onward - {path[-1]}:
            assert node not in path, f"loop: {' '.join([*path, node])}"
            under_way.append([*path, node])
    return ended
