"""The underlay as planned: addresses, shortest paths, what a cut link changes, and what must never pass where."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from underlays import journeys, next_nodes, owners, route_of, shipped, topology

from chimera.model.errors import InputError
from chimera.model.topology import Kind, Link, Node, Port, Site, Topology
from chimera.model.underlay import Forwarding, Route, Underlay
from chimera.underlay.identity import link_macs, stub_sites, switch_mac
from chimera.underlay.plan import CLIENTS, FLAT, LINKS, bridged_links, host_routes, neighbours, plan

ROUTED, BRIDGED = Forwarding.ROUTED, Forwarding.BRIDGED
DUAL = shipped("dual-dc")
FABRIC = shipped("leaf-spine")


def routed(down: Iterable[str] = (), segments_at: str | None = "gw1") -> Underlay:
    return plan(DUAL, ROUTED, segments_at=segments_at, down=down)


def link_between(a: str, b: str) -> str:
    (name,) = (k.name for k in DUAL.links if {k.a.node, k.b.node} == {a, b})
    return name


def hops(underlay: Underlay, node: str, prefix: str) -> set[str]:
    """The neighbours a route leads to."""
    route = route_of(underlay.routes, node, prefix)
    return {owners(underlay)[h.via] for h in route.next_hops} if route else set()


# -- routed ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rack", "dual-dc", "leaf-spine"])
def test_every_link_is_a_31_of_its_own_and_no_address_is_given_twice(name: str) -> None:
    underlay = plan(shipped(name), ROUTED)
    interfaces = [ipaddress.ip_interface(a.address) for a in underlay.addresses]
    assert {i.network.prefixlen for i in interfaces} == {31}
    assert len({i.ip for i in interfaces}) == len(interfaces) == 2 * len(shipped(name).links)
    assert set(Counter(i.network for i in interfaces).values()) == {2}


def test_both_ends_of_a_link_are_in_the_same_31_and_clients_in_a_range_of_their_own() -> None:
    at = {(a.node, a.interface): ipaddress.ip_interface(a.address) for a in routed().addresses}
    for link in DUAL.links:
        ends = [at.get((p.node, p.interface)) or at[p.node, "br-phy"] for p in link.ends()]
        assert ends[0].network == ends[1].network
        to_client = "laptop" in (link.a.node, link.b.node)
        assert ends[0].ip in (CLIENTS if to_client else LINKS)
    assert routed().client_address == {"laptop": str(at["laptop", "eth0"].ip)}


def test_a_tunnel_address_is_on_br_phy_and_everything_without_routes_has_a_default() -> None:
    underlay = routed()
    for name in ("hv1", "hv2", "hv3", "hv4", "gw1"):
        assert owners(underlay)[underlay.vtep[name]] == name
        route = route_of(underlay.routes, name, "default")
        assert route is not None and [h.interface for h in route.next_hops] == ["br-phy"]
    assert hops(underlay, "hv1", "default") == {"leaf1"}
    assert hops(underlay, "laptop", "default") == {"r3"}


def test_the_way_between_data_centres_is_the_wan_and_never_the_branch() -> None:
    underlay = routed()
    there = journeys(underlay, "hv1", underlay.vtep["hv3"])
    assert there == [["hv1", "leaf1", "r1", "r2", "leaf2", "hv3"]]
    assert stub_sites(DUAL) == {"branch"}


def test_a_client_reaches_both_data_centres_directly() -> None:
    underlay = routed()
    assert journeys(underlay, "laptop", underlay.vtep["hv3"]) == [["laptop", "r3", "r2", "leaf2", "hv3"]]
    assert journeys(underlay, "laptop", underlay.vtep["hv1"]) == [["laptop", "r3", "r1", "leaf1", "hv1"]]


@pytest.mark.parametrize("target", ["hv3", "hv8"])
def test_a_leaf_has_one_way_over_each_spine(target: str) -> None:
    underlay = plan(FABRIC, ROUTED)
    ways = journeys(underlay, "hv1", underlay.vtep[target])
    assert {way[2] for way in ways} == {"spine1", "spine2"}
    assert {len(way) for way in ways} == {5}  # hv, leaf, spine, leaf, hv


def test_spines_do_not_pass_packets_on_to_each_other() -> None:
    underlay = plan(FABRIC, ROUTED)
    for node in FABRIC.hypervisors:
        assert len(journeys(underlay, "spine1", underlay.vtep[node.name])) == 1


def test_a_rack_needs_no_routes_but_defaults() -> None:
    underlay = plan(shipped("rack"), ROUTED)
    assert {r.prefix for r in underlay.routes} == {"default"}
    assert journeys(underlay, "hv1", underlay.vtep["hv2"]) == [["hv1", "tor", "hv2"]]


def test_external_segments_are_routed_to_the_gateway_and_others_nowhere() -> None:
    underlay = routed()
    external = [s for s in DUAL.segments if s.external]
    assert {r.prefix for r in underlay.routes} >= {s.subnet for s in external}
    assert hops(underlay, "leaf1", "10.1.0.0/24") == {"gw1"}
    assert hops(underlay, "r2", "10.1.0.0/24") == {"r1"}
    assert hops(underlay, "r3", "10.1.0.0/24") == {"r1"}
    assert not any(r.prefix == "10.1.0.0/24" for r in routed(segments_at=None).routes)


def test_a_host_is_advertised_to_every_router_and_by_its_own_leaf_last() -> None:
    routes = host_routes(DUAL, ROUTED, "10.1.0.11/32", "hv3")
    assert {r.node for r in routes} == {"r1", "r2", "r3", "leaf1", "leaf2"}
    assert {r.prefix for r in routes} == {"10.1.0.11/32"}
    last = route_of(routes, "leaf2", "10.1.0.11/32")
    assert last is not None and owners(routed())[last.next_hops[0].via] == "hv3"


def test_the_next_hop_of_tunnel_packets_is_the_leaf_with_the_mac_of_its_port() -> None:
    underlay = routed()
    (found,) = neighbours(DUAL, underlay, "hv1").items()
    (link,) = DUAL.links_of("hv1")
    port = link.a if link.a.node == "leaf1" else link.b
    assert owners(underlay)[found[0]] == "leaf1"
    assert found[1] == link_macs(DUAL)[port]


# -- links that are down -----------------------------------------------------------------------


def test_without_the_wan_the_branch_does_not_stand_in_for_it() -> None:
    underlay = routed(down=["wan"])
    assert journeys(underlay, "hv1", underlay.vtep["hv3"])[0][-1] != "hv3"
    assert {r.node for r in host_routes(DUAL, ROUTED, "10.1.0.11/32", "hv3", down=["wan"])} == {"r2", "r3", "leaf2"}
    assert journeys(underlay, "laptop", underlay.vtep["hv3"])[0][-1] == "hv3"  # its own line to dc2 is whole


def test_a_client_takes_the_way_round_when_its_line_is_cut() -> None:
    underlay = routed(down=[link_between("r2", "r3")])
    assert journeys(underlay, "laptop", underlay.vtep["hv3"]) == [["laptop", "r3", "r1", "r2", "leaf2", "hv3"]]
    assert journeys(underlay, "hv3", underlay.client_address["laptop"])[0][-1] == "laptop"


def test_a_fabric_loses_one_of_its_two_ways() -> None:
    (cut,) = (k.name for k in FABRIC.links if {k.a.node, k.b.node} == {"leaf1", "spine1"})
    underlay = plan(FABRIC, ROUTED, down=[cut])
    ways = journeys(underlay, "hv1", underlay.vtep["hv8"])
    assert [way[2] for way in ways] == ["spine2"]
    back = journeys(underlay, "hv8", underlay.vtep["hv1"])
    assert [way[2] for way in back] == ["spine2"]


def test_a_hypervisor_cut_off_has_no_route_and_keeps_its_address() -> None:
    underlay = routed(down=[link_between("hv1", "leaf1")])
    assert route_of(underlay.routes, "hv1", "default") is None
    assert underlay.vtep["hv1"] == routed().vtep["hv1"]
    assert host_routes(DUAL, ROUTED, "10.1.0.11/32", "hv1", down=[link_between("hv1", "leaf1")]) == ()


def test_a_plan_depends_on_nothing_but_its_arguments() -> None:
    assert routed() == routed()
    assert routed(down=["wan"]).addresses == routed().addresses  # nobody is renumbered by a cut


# -- bridged -----------------------------------------------------------------------------------


def test_bridged_data_centres_are_one_subnet_behind_their_routers() -> None:
    underlay = plan(DUAL, BRIDGED, segments_at="gw1")
    flat = {a.node for a in underlay.addresses if ipaddress.ip_interface(a.address).ip in FLAT}
    assert flat == {"hv1", "hv2", "hv3", "hv4", "gw1", "r1", "r2"}
    assert {a.address.split("/")[1] for a in underlay.addresses if a.interface == "br-phy"} == {"16"}
    assert next_nodes(underlay, "hv1", underlay.vtep["hv3"]) == {"hv3"}


def test_only_the_branch_stays_routed() -> None:
    every = {k.name for k in DUAL.links}
    branch = {link_between("r1", "r3"), link_between("r2", "r3"), link_between("r3", "laptop")}
    assert bridged_links(DUAL, BRIDGED) == every - branch
    assert bridged_links(DUAL, ROUTED) == frozenset()


def test_bridged_hosts_leave_by_the_router_of_their_own_site() -> None:
    underlay = plan(DUAL, BRIDGED, segments_at="gw1")
    assert hops(underlay, "hv1", "default") == {"r1"}
    assert hops(underlay, "hv3", "default") == {"r2"}
    assert hops(underlay, "r3", "10.1.0.0/24") == {"r1"}
    assert journeys(underlay, "hv3", underlay.client_address["laptop"]) == [["hv3", "r2", "r3", "laptop"]]


def test_bridged_tunnel_neighbours_are_all_others() -> None:
    underlay = plan(DUAL, BRIDGED)
    found = neighbours(DUAL, underlay, "hv1")
    assert found == {underlay.vtep[n]: underlay.vtep_mac[n] for n in ("hv2", "hv3", "hv4", "gw1")}


def test_a_fabric_without_routers_is_one_layer_2_and_spines_are_its_roots() -> None:
    underlay = plan(FABRIC, BRIDGED)
    assert bridged_links(FABRIC, BRIDGED) == {k.name for k in FABRIC.links}
    assert not underlay.routes
    spines = [switch_mac(FABRIC, n.name) for n in FABRIC.nodes if n.role == "spine"]
    leaves = [switch_mac(FABRIC, n.name) for n in FABRIC.nodes if n.role == "leaf"]
    assert max(spines) < min(leaves)


# -- refusals ----------------------------------------------------------------------------------

RESERVED = """
name: taken
switches: {{tor: }}
hypervisors: {{hv1: {{uplink: tor}}}}
gateways: {{gw: {{uplink: tor}}}}
tenants: {{t: {{segments: {{web: {{subnet: {subnet}, gateway: auto, external: {external}}}}}}}}}
vms: {{vm1: {{hypervisor: hv1, segment: web}}}}
"""


@pytest.mark.parametrize("subnet", ["172.16.0.0/24", "172.20.5.0/24", "198.18.0.0/24", "100.64.0.0/24"])
def test_an_external_segment_may_not_use_the_underlays_own_ranges(subnet: str) -> None:
    with pytest.raises(InputError, match=rf"t/web: its subnet {subnet} overlaps .* needs another subnet"):
        plan(topology(RESERVED.format(subnet=subnet, external="true")), ROUTED)


def test_a_segment_that_stays_inside_its_tunnels_may() -> None:
    assert plan(topology(RESERVED.format(subnet="172.16.0.0/24", external="false")), ROUTED).vtep


# -- any fabric --------------------------------------------------------------------------------


@st.composite
def fabrics(draw: st.DrawFn) -> tuple[Topology, frozenset[str]]:
    """A connected graph of routers with a hypervisor at each of two of them, and links that are down."""
    count = draw(st.integers(2, 6))
    routers = [f"r{n}" for n in range(count)]
    pairs = [(routers[draw(st.integers(0, n - 1))], routers[n]) for n in range(1, count)]
    extra = draw(st.lists(st.tuples(st.sampled_from(routers), st.sampled_from(routers)), max_size=5))
    pairs += [pair for pair in extra if pair[0] != pair[1]]
    hosts = [("hv0", draw(st.sampled_from(routers))), ("hv1", draw(st.sampled_from(routers)))]
    links = tuple(
        Link(f"l{n}", Port(a, f"e{n}"), Port(b, f"e{n}")) for n, (a, b) in enumerate([*pairs, *hosts], start=1)
    )
    nodes = [Node(name, Kind.ROUTER, "dc", n) for n, name in enumerate(routers, start=1)]
    nodes += [Node(name, Kind.HYPERVISOR, "dc", n) for n, (name, _) in enumerate(hosts, start=1)]
    built = Topology("any", "", (Site("dc"),), tuple(nodes), (), (), links)
    down = draw(st.sets(st.sampled_from([k.name for k in links]), max_size=3))
    return built, frozenset(down)


def _connected(built: Topology, down: frozenset[str], a: str, b: str) -> bool:
    reached, new = {a}, {a}
    while new:
        cables = (k.ends() for k in built.links if k.name not in down)
        near = {q.node for p, r in cables for q, o in ((p, r), (r, p)) if o.node in new}
        new = near - reached
        reached |= new
        new = {n for n in new if n.startswith("r")}  # a hypervisor passes nothing on
    return b in reached


@settings(max_examples=40, deadline=None)
@given(fabrics())
def test_in_any_fabric_every_way_ends_at_the_target_without_a_loop(case: tuple[Topology, frozenset[str]]) -> None:
    built, down = case
    underlay = plan(built, ROUTED, down=down)
    for start in (n.name for n in built.nodes):
        for target in ("hv0", "hv1"):
            routes = host_routes(built, ROUTED, "10.9.9.9/32", target, down=down)
            if start.startswith("r"):
                _follow(underlay, routes, start, target, _connected(built, down, start, target))


def _follow(underlay: Underlay, routes: tuple[Route, ...], start: str, target: str, reachable: bool) -> None:
    owner, by_node = owners(underlay), {r.node: r for r in routes}
    assert (start in by_node) == reachable
    ways = [[start]] if reachable else []
    while ways:
        way = ways.pop()
        for onward in (owner[h.via] for h in by_node[way[-1]].next_hops):
            assert onward not in way, f"loop: {way} {onward}"
            if onward != target:
                ways.append([*way, onward])
