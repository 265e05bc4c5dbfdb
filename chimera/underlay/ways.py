"""Ways through the core: how many equal ones there are between two nodes, and where a loop can be made on them.

Pure. A graph has hypervisors, gateways, and the switches and routers of data centres; nothing passes through a
hypervisor. Every cable counts the same, as for the routes (:mod:`chimera.underlay.plan`) and the fabric
(:mod:`chimera.underlay.fabric`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chimera import graph
from chimera.model.errors import InputError
from chimera.model.topology import Capability, Link, Topology
from chimera.model.underlay import Fabric, Forwarding, Hop, NextHop, Route, Underlay
from chimera.underlay.identity import stub_sites

Graph = dict[str, dict[str, Link]]  # node -> neighbour -> the first cable towards it


@dataclass(frozen=True)
class Ways:
    """The shortest ways between two nodes: how many, which nodes all of them pass, how far nodes are from the start."""

    count: int
    shared: frozenset[str]
    distance: dict[str, int]

    def name(self, visited: Iterable[str]) -> str:
        """What to call a way: the nodes that tell it from the others, in order; all between the ends where none do."""
        inner = sorted(visited, key=lambda node: (self.distance.get(node, len(self.distance)), node))
        return " – ".join([node for node in inner if node not in self.shared] or inner[1:-1])


@dataclass(frozen=True)
class CorePair:
    """Two nodes of the core that hand each other frames over ``link``."""

    at: str
    via: str
    link: Link


def adjacencies(topology: Topology, fabric: Fabric | None = None) -> Graph:
    """Who hands packets to whom; in a fabric, RBridges around a plain bridge hand them to each other."""
    stubs = stub_sites(topology)
    members = [n.name for n in topology.nodes if not n.can(Capability.FORWARD_IP) or n.site not in stubs]
    found: Graph = {name: {} for name in members}
    for link in topology.links:
        if {link.a.node, link.b.node} <= found.keys():
            found[link.a.node].setdefault(link.b.node, link)
            found[link.b.node].setdefault(link.a.node, link)
    bridges = [name for name, node in fabric.nodes.items() if not node.identifier] if fabric else []
    for bridge in bridges:
        around = found.pop(bridge)
        for name, link in around.items():
            del found[name][bridge]
            for other in around:
                if other != name:
                    found[name].setdefault(other, link)
    return found


def distances(topology: Topology, found: Graph, origin: str) -> dict[str, int]:
    """Hops from ``origin`` to each node that is reached."""
    return graph.distances(origin, _steps(topology, found, origin))


def _steps(topology: Topology, found: Graph, origin: str) -> graph.Steps[str]:
    """Every cable costs one, and nothing passes through what stands at the edge."""
    return graph.hops(found, lambda name: name == origin or topology.can(name, Capability.FORWARD_IP))


def equal_ways(topology: Topology, source: str, target: str) -> Ways:
    """The shortest ways between two nodes by the cables there are, whatever forwards; parallel cables are one way."""
    found = adjacencies(topology)
    there, back = distances(topology, found, source), distances(topology, found, target)
    forth_ways = graph.count_shortest(source, _steps(topology, found, source))
    back_ways = graph.count_shortest(target, _steps(topology, found, target))
    total = forth_ways.get(target, 0)
    on_the_way = [n for n in there if n in back and there[n] + back[n] == there.get(target)]
    return Ways(total, frozenset(n for n in on_the_way if forth_ways[n] * back_ways[n] == total), there)


# -- loops ---------------------------------------------------------------------------------------


def check_core(topology: Topology, underlay: Underlay) -> None:
    """Refuse a core in which frames cannot be made to circle until their hop count ends them.

    Raises:
        InputError: it bridges, or no two nodes of it are neighbours.
    """
    if underlay.forwarding is Forwarding.BRIDGED:
        raise InputError(
            "bridges have no hop count: a frame in a loop would circle forever, so they have a spanning tree instead\n"
            "    fix: choose an overlay whose core routes, such as --overlay vxlan"
        )
    if not list(_pairs(topology, adjacencies(topology, underlay.fabric))):
        raise InputError(
            f"a loop needs two neighbours in the core, and topology {topology.name} has none\n"
            f"    fix: choose another, such as --topology dual-dc"
        )


def _pairs(topology: Topology, found: Graph) -> Iterator[CorePair]:
    """All neighbours in the core, each way round."""
    core = [name for name in found if topology.can(name, Capability.FORWARD_IP)]
    for at in core:
        yield from (CorePair(at, via, link) for via, link in found[at].items() if via in core)


def core_pair(topology: Topology, underlay: Underlay, source: str, target: str) -> CorePair:
    """Two neighbours in the core on the way from ``source`` to ``target``: across the WAN, or else nearest the target.

    Where the way has no two (it goes over one spine), the second is a neighbour of the first.

    Raises:
        InputError: there are no two.
    """
    found = adjacencies(topology, underlay.fabric)
    there, back = distances(topology, found, source), distances(topology, found, target)
    between = {link.name for link in topology.inter_site_links()}
    pairs = [pair for pair in _pairs(topology, found) if {pair.at, pair.via} <= there.keys() & back.keys()]

    def suits(pair: CorePair) -> tuple[bool, bool, int, int]:
        """Less is better: on the way, across the WAN, near the target."""
        on_the_way = there[pair.via] + 1 + back[pair.at] == there[target]
        off = there[pair.at] + back[pair.at]
        return not on_the_way, pair.link.name not in between, off, back[pair.at]

    if not pairs:
        raise InputError(f"the way from {source} to {target} has no two neighbours in the core")
    return min(pairs, key=suits)


def wrong_route(topology: Topology, underlay: Underlay, at: str, target: str, towards: str) -> Route:
    """The route by which ``at`` sends packets for the hypervisor ``target`` to its neighbour ``towards``.

    Raises:
        InputError: the two are no neighbours.
    """
    link = adjacencies(topology).get(at, {}).get(towards)
    if link is None:
        raise InputError(f"{at} and {towards} are no neighbours in the core")
    near, far = (link.a, link.b) if link.a.node == at else (link.b, link.a)
    addresses = {(a.node, a.interface): a.address.partition("/")[0] for a in underlay.addresses}
    hop = NextHop(addresses[far.node, far.interface], near.interface)
    return Route(at, f"{underlay.vtep[target]}/32", (hop,))


def wrong_hop(topology: Topology, fabric: Fabric, at: str, towards: str) -> Hop:
    """The way by which ``at`` would hand frames of a fabric to its neighbour ``towards``.

    Raises:
        InputError: the two are no neighbours.
    """
    if towards not in adjacencies(topology, fabric).get(at, {}):
        raise InputError(f"{at} and {towards} are no neighbours in the fabric")
    return fabric.nodes[at].unicast[fabric.identifier(towards)][0]
