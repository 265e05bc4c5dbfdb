"""Plans a fabric: what each of its nodes forwards TRILL or FabricPath frames by.

Pure: no kernel, no clock; planned again without the links that are down, it is what a link state protocol would
have converged to. Identifiers of nodes and trees never depend on what is down.

RBridges hear each other on *LANs*: a cable between two of them, or, with TRILL, all cables of a leaf that is a plain
bridge between them (RFC 6325 lets bridged LANs stand between RBridges). A distribution tree
has RBridges and LANs as its vertices, as IS-IS has pseudonodes: so one RBridge only forwards onto a LAN, all others
there hear it, and those that are on the tree elsewhere expect the frame elsewhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from chimera import graph
from chimera.model.errors import InputError
from chimera.model.topology import NUMBERS, Capability, Link, Node, Port, Topology
from chimera.model.underlay import Fabric, FabricKind, FabricNode, Hop
from chimera.underlay.identity import link_macs, stub_sites, switch_mac

SWITCH_IDS = 4094  # 12 bits, without 0 and all ones
_TREES = 2
_T = TypeVar("_T")
_Vertex = str | int  # an RBridge by name, a LAN by rank


@dataclass(frozen=True, slots=True)
class _Station:
    """A port of an RBridge on a LAN."""

    node: str
    interface: str
    mac: str


@dataclass(frozen=True, slots=True)
class _Lan:
    """Where RBridges are adjacent; ``rank`` orders those between the same RBridges."""

    rank: int
    stations: tuple[_Station, ...]


@dataclass(frozen=True)
class _Tree:
    """A distribution tree in one part of the fabric, from its root down.

    ``above`` is the LAN that leads to the root, with the RBridge's own port on it; ``heads`` the port from which a
    LAN, by rank, is served; ``reached`` are all RBridges on the tree.
    """

    root: str
    reached: Collection[str]
    above: dict[str, tuple[_Lan, _Station]]
    heads: dict[int, _Station]


def plan_fabric(topology: Topology, kind: FabricKind, down: Collection[str] = ()) -> Fabric:
    """The fabric of ``topology``: all hypervisors, gateways, switches and routers outside branches.

    Trees are rooted at the two highest RBridges in the core (one where there is one, the first edge where there is
    none). A part of the fabric that is cut off from a root grows the tree from its own best RBridge, under the same
    identifier.

    Args:
        down: names of links that are cut.

    Raises:
        InputError: there are more members than identifiers.
    """
    return _Planner(topology, kind, frozenset(down)).fabric()


@dataclass
class _Planner:
    """Works out one fabric."""

    topology: Topology
    kind: FabricKind
    down: frozenset[str]

    # -- who is there ------------------------------------------------------------------------

    @cached_property
    def members(self) -> dict[str, Node]:
        """Edges first."""
        stubs = stub_sites(self.topology)
        transit = [n for n in self.topology.nodes_that(Capability.ROUTE_FRAMES) if n.site not in stubs]
        return {n.name: n for n in (*self.topology.vteps, *transit)}

    @cached_property
    def links(self) -> list[Link]:
        """Cables between members, those that are cut too."""
        return [k for k in self.topology.links if all(port.node in self.members for port in k.ends())]

    @cached_property
    def bridges(self) -> frozenset[str]:
        """Leaves that are plain bridges: those that no other leaf is cabled to, so RBridges are all around them."""
        if self.kind is not FabricKind.TRILL:
            return frozenset()
        leaves = {name for name, node in self.members.items() if node.role == "leaf"}
        cabled = {port.node for k in self.links if {k.a.node, k.b.node} <= leaves for port in k.ends()}
        return frozenset(leaves - cabled)

    @cached_property
    def identifiers(self) -> dict[str, int]:
        """Nicknames or switch IDs of the RBridges."""
        rbridges = [node for name, node in self.members.items() if name not in self.bridges]
        if self.kind is FabricKind.TRILL:
            return {node.name: _nickname(node) for node in rbridges}
        if len(rbridges) > SWITCH_IDS:
            raise InputError(
                f"FabricPath has {SWITCH_IDS} switch IDs (12 bits), and topology {self.topology.name} has "
                f"{len(rbridges)} hypervisors, gateways, switches and routers\n"
                f"    fix: a smaller topology, or --overlay trill"
            )
        return {node.name: number for number, node in enumerate(rbridges, start=1)}

    @cached_property
    def edges(self) -> list[str]:
        """Names of hypervisors and gateways: frames end there."""
        return [n.name for n in self.topology.vteps]

    @cached_property
    def candidates(self) -> list[str]:
        """RBridges by how well they suit as a root: the core from its top, then edges."""
        transit = [name for name in self.identifiers if name not in self.edges]
        return sorted(transit, key=lambda name: switch_mac(self.topology, name)) + self.edges

    @cached_property
    def roots(self) -> dict[int, str]:
        """The wanted root of each tree."""
        transit = len(self.candidates) - len(self.edges)
        wanted = self.candidates[: min(_TREES, max(transit, 1))]
        if self.kind is FabricKind.TRILL:
            return {self.identifiers[root]: root for root in wanted}
        return dict(enumerate(wanted, start=1))

    # -- LANs --------------------------------------------------------------------------------

    @cached_property
    def macs(self) -> dict[Port, str]:
        return link_macs(self.topology)

    @cached_property
    def lans(self) -> list[_Lan]:
        """Every LAN that two RBridges or more are on."""
        found: dict[str, list[Port]] = defaultdict(list)
        for link in self.links:
            if link.name not in self.down:
                bridge = next((port.node for port in link.ends() if port.node in self.bridges), None)
                name = f"bridge {bridge}" if bridge else f"cable {link.name}"
                found[name] += [port for port in link.ends() if port.node != bridge]
        stations = (tuple(_Station(p.node, p.interface, self.macs[p]) for p in ports) for ports in found.values())
        return [_Lan(rank, on_it) for rank, on_it in enumerate(stations)]

    def distances(self, origin: str) -> dict[str, int]:
        """Hops from each RBridge to ``origin``; never through an edge, because a hypervisor has one cable."""
        found: dict[_Vertex, int] = graph.distances(origin, self._steps.__getitem__)
        return {vertex: cost for vertex, cost in found.items() if isinstance(vertex, str)}

    @cached_property
    def _steps(self) -> dict[_Vertex, list[tuple[_Vertex, int]]]:
        """The vertices next to each: a hop is onto a LAN, and off it costs nothing."""
        onto: dict[_Vertex, list[tuple[_Vertex, int]]] = {name: [] for name in self.identifiers}
        off: dict[_Vertex, list[tuple[_Vertex, int]]] = {}
        for lan in self.lans:
            nodes = dict.fromkeys(s.node for s in lan.stations)
            off[lan.rank] = [(name, 0) for name in nodes]
            for name in nodes:
                onto[name].append((lan.rank, 1))
        return onto | off

    def _nearest(self, lan: _Lan, distance: dict[str, int]) -> tuple[int, list[_Station]]:
        """The ports on a LAN of those RBridges from which the distance is least, and that distance."""
        least = min((distance[s.node] for s in lan.stations if s.node in distance), default=-1)
        return least, [s for s in lan.stations if distance.get(s.node) == least]

    # -- unicast -----------------------------------------------------------------------------

    def ways_to(self, target: str) -> dict[str, list[Hop]]:
        """All shortest ways to ``target``, from each RBridge."""
        distance = self.distances(target)
        ways: dict[str, list[Hop]] = defaultdict(list)
        for lan in self.lans:
            least, nearest = self._nearest(lan, distance)
            for station in lan.stations:
                if nearest and distance.get(station.node) == least + 1:
                    ways[station.node] += [Hop(station.interface, self._outer(onward)) for onward in nearest]
        return ways

    def _outer(self, station: _Station) -> str:
        """The address a frame to that port carries outside; FabricPath's names the edge, whatever the next hop."""
        return station.mac if self.kind is FabricKind.TRILL else ""

    # -- trees -------------------------------------------------------------------------------

    def grow(self, root: str, number: int, taken: Collection[str]) -> _Tree:
        """The tree of that number from ``root``, over all RBridges that are reached and not ``taken``.

        Of several parents, ordered by identifier, tree number j takes the one numbered j modulo their count (RFC 6325
        section 4.5.1), so that two trees differ where they can.
        """
        distance = {name: d for name, d in self.distances(root).items() if name not in taken}
        heads: dict[int, _Station] = {}
        parents: dict[str, list[tuple[_Lan, _Station]]] = defaultdict(list)
        for lan in self.lans:
            least, nearest = self._nearest(lan, distance)
            ports = {s.node: s for s in reversed(nearest)}  # the first port of each
            if ports:
                heads[lan.rank] = ports[_choose(sorted(ports, key=self.identifiers.__getitem__), number)]
            for station in reversed(lan.stations):
                if ports and distance.get(station.node) == least + 1:
                    parents[station.node].append((lan, station))
        above = {name: _choose(self._ordered(found, heads), number) for name, found in parents.items()}
        used = {lan.rank for lan, _ in above.values()}
        return _Tree(root, distance, above, {rank: head for rank, head in heads.items() if rank in used})

    def _ordered(self, parents: list[tuple[_Lan, _Station]], heads: dict[int, _Station]) -> list[tuple[_Lan, _Station]]:
        found = {lan.rank: (lan, station) for lan, station in parents}
        return [found[rank] for rank in sorted(found, key=lambda r: (self.identifiers[heads[r].node], r))]

    def forest(self, root: str, number: int) -> Iterator[_Tree]:
        """The tree from ``root``, and one for each part of the fabric that it does not reach."""
        taken: set[str] = set()
        for name in (root, *self.candidates):
            if name not in taken:
                tree = self.grow(name, number, taken)
                taken.update(tree.reached)
                yield tree

    def reverse_paths(self, tree: _Tree) -> Iterator[tuple[str, str, str]]:
        """RBridge, ingress, and the interface at which its frames arrive there (RFC 6325 section 4.5.2)."""
        for ingress in self.edges:
            if ingress not in tree.reached:
                continue
            expected = {name: station.interface for name, (_, station) in tree.above.items()}
            name = ingress
            while name in tree.above:  # whoever is above it hears it from below
                head = tree.heads[tree.above[name][0].rank]
                name = head.node
                expected[name] = head.interface
            expected.pop(ingress, None)
            yield from ((name, ingress, interface) for name, interface in expected.items())

    # -- all together ------------------------------------------------------------------------

    def fabric(self) -> Fabric:
        """Every node with its tables."""
        nodes = {name: self._rbridge(name) for name in self.identifiers}
        plain = {name: FabricNode(0, self._ports(name), stations=self._stations(name)) for name in sorted(self.bridges)}
        nodes |= plain
        for target, identifier in self.identifiers.items():
            for name, hops in self.ways_to(target).items():
                nodes[name].unicast[identifier] = tuple(hops)
        for number, (identifier, root) in enumerate(self.roots.items(), start=1):
            for tree in self.forest(root, number):
                self._enter(tree, identifier, nodes)
        return Fabric(self.kind, nodes, tuple(self.roots))

    def _enter(self, tree: _Tree, identifier: int, nodes: dict[str, FabricNode]) -> None:
        """Write a tree into the tables of the nodes it reaches."""
        interfaces: dict[str, list[str]] = defaultdict(list)
        for name, (_, station) in tree.above.items():
            interfaces[name].append(station.interface)
        for head in tree.heads.values():
            interfaces[head.node].append(head.interface)
        for name, on_tree in interfaces.items():
            nodes[name].trees[identifier] = tuple(on_tree)
        for name, ingress, interface in self.reverse_paths(tree):
            nodes[name].reverse_path.setdefault(identifier, {})[self.identifiers[ingress]] = interface

    def _rbridge(self, name: str) -> FabricNode:
        return FabricNode(self.identifiers[name], self._ports(name), edge=name in self.edges)

    def _ports(self, name: str) -> dict[str, str]:
        return {p.interface: self.macs[p] for k in self.links for p in k.ends() if p.node == name}

    def _stations(self, bridge: str) -> dict[str, str]:
        """MACs of the RBridges around a plain bridge, and where they are."""
        cables = (k for k in self.links if k.name not in self.down and bridge in (k.a.node, k.b.node))
        return {self.macs[far]: near.interface for near, far in (_from(k, bridge) for k in cables)}


def _from(link: Link, node: str) -> tuple[Port, Port]:
    """The ends of a cable, the node's own first."""
    return (link.a, link.b) if link.a.node == node else (link.b, link.a)


def _choose(ordered: Sequence[_T], number: int) -> _T:
    return ordered[number % len(ordered)]


def _nickname(node: Node) -> int:
    """RFC 6325 section 3.7: 0x0001 to 0xFFBF are free to choose."""
    if node.index > NUMBERS:
        raise InputError(f"{node.name} is {node.kind} number {node.index}: there are {NUMBERS} nicknames for each kind")
    return node.number
