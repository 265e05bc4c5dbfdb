"""Plans the underlay: addresses and routes of every node, from a topology and a way of forwarding.

Pure: no kernel, no clock. The same function plans again without the links that are down, so that
cutting a link reroutes as a converged routing protocol would.

Routed: every link is a point-to-point /31 (RFC 3021), routes are shortest paths by hop count with
equal-cost multipath. Bridged: data centres share one stretched layer 2 with one subnet; branches
(sites with clients and nothing that hosts VMs) stay routed, behind the routers that border on them.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from chimera import graph
from chimera.model.errors import InputError
from chimera.model.topology import Capability, Endpoint, Link, Port, Topology
from chimera.model.underlay import Address, FabricKind, Forwarding, NextHop, Route, Underlay
from chimera.underlay.fabric import plan_fabric
from chimera.underlay.identity import link_macs, stub_sites, vtep_mac

LINKS = ipaddress.ip_network("172.16.0.0/14")  # a /31 for each routed link
FLAT = ipaddress.ip_network("172.20.0.0/16")  # the one subnet of a bridged underlay
CLIENTS = ipaddress.ip_network("198.18.0.0/15")  # clients' links: RFC 2544, nobody's tenant subnet
MANAGEMENT = ipaddress.ip_network("100.64.0.0/16")  # out of band: controller and switches
FABRIC = ipaddress.ip_network("172.21.0.0/16"), ipaddress.ip_network("172.22.0.0/16")  # model.underlay's addresses
RESERVED = (LINKS, FLAT, *FABRIC, CLIENTS, MANAGEMENT)


@dataclass(frozen=True, slots=True)
class _Edge:
    """A neighbour as a routing table sees it."""

    to: str
    via: str
    interface: str
    cost: int


@dataclass
class Planner:
    """Works out one underlay; the only mutable thing here, and gone when :func:`plan` returns."""

    topology: Topology
    forwarding: Forwarding
    down: frozenset[str] = frozenset()
    addresses: dict[Port, str] = field(default_factory=dict)  # address with prefix length
    edges: dict[str, list[_Edge]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self._stubs = stub_sites(self.topology)
        for index, link in enumerate(self.topology.links):
            if not self.is_bridged(link):
                self._address_link(index, link)
        if self.forwarding is Forwarding.BRIDGED:
            self._address_flat()

    # -- layer 2 -----------------------------------------------------------------------------

    def is_bridged(self, link: Link) -> bool:
        """True where the link is part of the stretched layer 2."""
        if self.forwarding is Forwarding.ROUTED:
            return self._segment_host(link) is not None
        if self._to_client(link):
            return False
        return not any(self.topology.site_of(p.node) in self._stubs for p in link.ends())

    def _segment_host(self, link: Link) -> str | None:
        """The bare-metal host on this link that belongs to a segment rather than to the underlay."""
        for port in link.ends():
            item = self.topology.by_name[port.node]
            if isinstance(item, Endpoint) and item.joined_by_cable:
                return item.name
        return None

    def _to_client(self, link: Link) -> bool:
        return any(self.topology.can(port.node, Capability.ENTER_BY_IP) for port in link.ends())

    # -- addresses ---------------------------------------------------------------------------

    def _address_link(self, index: int, link: Link) -> None:
        network = CLIENTS if self._to_client(link) else LINKS
        low = network.network_address + 2 * index
        addressed = [(self._layer3(link.a), low), (self._layer3(link.b), low + 1)]
        for port, address in addressed:
            self.addresses[port] = f"{address}/31"
        if link.name in self.down:
            return
        (a, a_address), (b, b_address) = addressed
        self.edges[a.node].append(_Edge(b.node, str(b_address), a.interface, 2))
        self.edges[b.node].append(_Edge(a.node, str(a_address), b.interface, 2))

    def _layer3(self, port: Port) -> Port:
        """The interface that holds the address of a link end."""
        if self.topology.can(port.node, Capability.SPEAK_OPENFLOW):
            return Port(port.node, "br-phy")
        return port

    def _address_flat(self) -> None:
        """Give every member of the stretched layer 2 an address in its one subnet."""
        members = [n.name for n in self.topology.openflow_switches] + self._borders() + self._flat_hosts()
        for index, name in enumerate(members, start=1):
            self.addresses[Port(name, self._flat_interface(name))] = f"{FLAT.network_address + index}/16"
        for name in members:
            for other in members:
                if name != other and self._transit(name) | self._transit(other):
                    near = self.topology.site_of(name) == self.topology.site_of(other)
                    self.edges[name].append(self._flat_edge(name, other, 2 if near else 3))

    def _borders(self) -> list[str]:
        """Bridging nodes that also have a routed link."""
        return [
            node.name
            for node in self.topology.nodes_that(Capability.BRIDGE)
            if node.site not in self._stubs and not all(map(self.is_bridged, self.topology.links_of(node.name)))
        ]

    def _flat_hosts(self) -> list[str]:
        return [e.name for e in self.topology.endpoints if e.can(Capability.JOIN_BY_CABLE) and not e.segment]

    def _flat_interface(self, name: str) -> str:
        return "eth0" if isinstance(self.topology.by_name[name], Endpoint) else "br-phy"

    def _flat_edge(self, name: str, other: str, cost: int) -> _Edge:
        via = self.addresses[Port(other, self._flat_interface(other))].split("/")[0]
        return _Edge(other, via, self._flat_interface(name), cost)

    def _transit(self, name: str) -> bool:
        return self.topology.can(name, Capability.FORWARD_IP)

    # -- routes ------------------------------------------------------------------------------

    def routes_towards(self, prefix: str, target: str) -> Iterator[Route]:
        """A route to ``prefix`` on every transit node, along shortest paths to node ``target``."""
        distance = self._distances(target)
        for node in self.topology.nodes_that(Capability.FORWARD_IP):
            best = distance.get(node.name)
            if best is None or node.name == target:
                continue
            hops = tuple(
                NextHop(e.via, e.interface)
                for e in self.edges[node.name]
                if distance.get(e.to, best) + e.cost == best and self._usable(e.to, target)
            )
            if hops:
                yield Route(node.name, prefix, hops)

    def _usable(self, name: str, target: str) -> bool:
        """May packets to ``target`` pass through this node?"""
        if name == target:
            return True
        item = self.topology.by_name[name]
        return self._transit(name) and (item.site not in self._stubs or item.site == self.topology.site_of(target))

    def _distances(self, target: str) -> dict[str, int]:
        """Cost from every node to ``target``."""
        return graph.distances(target, lambda name: self._before.get(name, ()) if self._usable(name, target) else ())

    @cached_property
    def _before(self) -> dict[str, list[tuple[str, int]]]:
        """The edges reversed: who hands packets to a node, and at what cost."""
        found: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for name, edges in self.edges.items():
            for edge in edges:
                found[edge.to].append((name, edge.cost))
        return found

    def link_routes(self) -> Iterator[Route]:
        """Routes to every subnet of the underlay that is not directly connected."""
        targets: dict[str, list[str]] = defaultdict(list)
        connected: set[tuple[str, str]] = set()
        for port, address in self.addresses.items():
            prefix = str(ipaddress.ip_interface(address).network)
            targets[prefix].append(port.node)
            connected.add((port.node, prefix))
        for prefix, nodes in targets.items():
            best: dict[str, Route] = {}
            for node in sorted(nodes, key=lambda n: not self._transit(n)):
                for route in self.routes_towards(prefix, node):
                    if (route.node, prefix) not in connected:
                        best.setdefault(route.node, route)
            yield from best.values()

    def default_routes(self) -> Iterator[Route]:
        """Everything that is no router sends what it does not know to its nearest router."""
        for name in (name for name in self.topology.by_name if not self._transit(name)):
            edges = [e for e in self.edges.get(name, ()) if self._transit(e.to)]
            if edges:
                nearest = min(edges, key=lambda e: (e.cost, e.via))
                yield Route(name, "default", (NextHop(nearest.via, nearest.interface),))


def plan(
    topology: Topology,
    forwarding: Forwarding,
    *,
    segments_at: str | None = None,
    fabric: FabricKind | None = None,
    down: Iterable[str] = (),
) -> Underlay:
    """The underlay of ``topology``.

    Args:
        segments_at: the node that routes for external segments (the central gateway), or None where
            hosts are advertised one by one.
        fabric: the layer 2 by identifiers that is wanted beside IP, or None.
        down: names of links that are cut.

    Raises:
        InputError: an external segment's subnet collides with the underlay's own ranges, or the fabric has more
            members than identifiers.
    """
    _check_reserved(topology)
    cut = frozenset(down)
    planner = Planner(topology, forwarding, cut)
    routes = [*planner.link_routes(), *planner.default_routes()]
    if segments_at:
        for segment in topology.segments:
            if segment.external:
                routes += planner.routes_towards(segment.subnet, segments_at)
    bare = {p: a.split("/")[0] for p, a in planner.addresses.items()}
    return Underlay(
        forwarding=forwarding,
        mtu=topology.underlay_mtu,
        addresses=tuple(Address(p.node, p.interface, a) for p, a in planner.addresses.items()),
        routes=tuple(routes),
        vtep={n.name: bare[Port(n.name, "br-phy")] for n in topology.vteps},
        vtep_mac={n.name: vtep_mac(topology, n.name) for n in topology.vteps},
        client_address={c.name: bare[Port(c.name, "eth0")] for c in topology.clients},
        fabric=plan_fabric(topology, fabric, cut) if fabric else None,
        foreign_vtep={
            e.name: bare[Port(e.name, "eth0")] for e in topology.endpoints if e.can(Capability.TERMINATE_TUNNELS)
        },
    )


def host_routes(
    topology: Topology, forwarding: Forwarding, prefix: str, target: str, down: Iterable[str] = ()
) -> tuple[Route, ...]:
    """Routes of every transit node to one host behind hypervisor ``target``."""
    return tuple(Planner(topology, forwarding, frozenset(down)).routes_towards(prefix, target))


def bridged_links(topology: Topology, forwarding: Forwarding) -> frozenset[str]:
    """Names of the links that are part of a layer 2."""
    planner = Planner(topology, forwarding)
    return frozenset(link.name for link in topology.links if planner.is_bridged(link))


def neighbours(topology: Topology, underlay: Underlay, name: str) -> dict[str, str]:
    """Address to MAC of what a VTEP's tunnel packets are sent to: its next hop, or every VTEP of its layer 2."""
    if underlay.forwarding is Forwarding.BRIDGED:
        return {address: underlay.vtep_mac[n] for n, address in underlay.vtep.items() if n != name}
    macs = link_macs(topology)
    addresses = {(a.node, a.interface): a.address.split("/")[0] for a in underlay.addresses}
    found = {}
    for link in topology.links_of(name):
        peer = link.b if link.a.node == name else link.a
        if (peer.node, peer.interface) in addresses:
            found[addresses[peer.node, peer.interface]] = macs[peer]
    return found


def _check_reserved(topology: Topology) -> None:
    for segment in topology.segments:
        if not (segment.external and segment.subnet):
            continue
        subnet = ipaddress.ip_network(segment.subnet)
        for taken in RESERVED:
            if subnet.overlaps(taken):
                raise InputError(
                    f"segment {segment.tenant}/{segment.name}: its subnet {subnet} overlaps {taken}, which the "
                    f"underlay uses itself; an external segment needs another subnet"
                )
