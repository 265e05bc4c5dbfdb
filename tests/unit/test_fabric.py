"""The fabric as planned: who is in it, by which ways unicast goes, and that a tree brings a frame everywhere once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from underlays import shipped, topology

from chimera.model.errors import InputError
from chimera.model.topology import Kind, Link, Node, Port, Site, Topology
from chimera.model.underlay import Fabric, FabricKind, Forwarding
from chimera.underlay.fabric import plan_fabric
from chimera.underlay.identity import link_macs
from chimera.underlay.plan import plan

TRILL, FABRICPATH = FabricKind.TRILL, FabricKind.FABRICPATH
DUAL, CLOS, RACK = shipped("dual-dc"), shipped("leaf-spine"), shipped("rack")
ISLAND = topology("""
name: island
switches: {leaf: {role: leaf}}
hypervisors: {"hv[1-3]": {uplink: leaf}}
vms: {vm1: {hypervisor: hv1}}
""")
PAIR_OF_LEAVES = topology("""
name: pair
switches: {leaf1: {role: leaf}, leaf2: {role: leaf, uplink: leaf1}}
hypervisors: {hv1: {uplink: leaf1}, hv2: {uplink: leaf2}}
vms: {vm1: {hypervisor: hv1}}
""")


# -- frames in a fabric ------------------------------------------------------------------------


@dataclass
class Wires:
    """The cables of a topology that are up, as frames see them."""

    built: Topology
    fabric: Fabric
    down: frozenset[str] = frozenset()
    far: dict[tuple[str, str], Port] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for link in self.built.links:
            if link.name not in self.down:
                for near, far in ((link.a, link.b), (link.b, link.a)):
                    self.far[near.node, near.interface] = far

    def hear(self, node: str, interface: str) -> Iterator[Port]:
        """The ports at which RBridges hear what is sent to everybody from here; plain bridges flood it."""
        port = self.far[node, interface]
        if self.fabric.nodes[port.node].identifier:
            yield port
            return
        for other in self.fabric.nodes[port.node].ports:
            if other != port.interface and (port.node, other) in self.far:
                yield from self.hear(port.node, other)

    def carry(self, node: str, interface: str, mac: str) -> Port | None:
        """The port at which the RBridge with that address hears a frame sent from here."""
        port = self.far[node, interface]
        bridge = self.fabric.nodes[port.node]
        if not bridge.identifier:
            return self.carry(port.node, bridge.stations[mac], mac)
        return port if self.fabric.kind is FABRICPATH or bridge.ports[port.interface] == mac else None


@dataclass
class Flooded:
    """What became of one multi-destination frame: which edges took it, and what each RBridge did."""

    taken: Counter[str] = field(default_factory=Counter)
    forwarded: Counter[str] = field(default_factory=Counter)
    hops: int = 0


def flood(wires: Wires, ingress: str, tree: int) -> Flooded:
    """Send a frame on a tree and follow every copy, as RFC 6325 section 4.5 has it."""
    nodes, outcome = wires.fabric.nodes, Flooded()
    identifier = nodes[ingress].identifier
    under_way = [(ingress, interface, 1) for interface in nodes[ingress].trees.get(tree, ())]
    while under_way:
        node, interface, hop = under_way.pop()
        outcome.hops = max(outcome.hops, hop)
        assert hop < 64, "the hop count ran out"
        for port in wires.hear(node, interface):
            here = nodes[port.node]
            if port.interface not in here.trees.get(tree, ()):
                continue  # heard on a LAN where it is not on the tree
            assert here.reverse_path.get(tree, {}).get(identifier) == port.interface, f"{port}: a wrong path"
            if here.edge:
                outcome.taken[port.node] += 1
                continue
            outcome.forwarded[port.node] += 1
            under_way += [(port.node, on, hop + 1) for on in here.trees.get(tree, ()) if on != port.interface]
    return outcome


def ways(wires: Wires, start: str, target: str) -> list[list[str]]:
    """Every way a unicast frame may take, by RBridge."""
    nodes, ended, under_way = wires.fabric.nodes, [], [[start]]
    while under_way:
        way = under_way.pop()
        if way[-1] == target:
            ended.append(way)
            continue
        assert len(way) == 1 or not nodes[way[-1]].edge, f"through an edge: {way}"
        for hop in nodes[way[-1]].unicast[nodes[target].identifier]:
            port = wires.carry(way[-1], hop.interface, hop.mac)
            assert port and port.node not in way, f"loop or wrong address: {way}"
            under_way.append([*way, port.node])
    return ended


def together(wires: Wires) -> dict[str, set[str]]:
    """For each edge the others it can exchange frames with, found without the planner's tables."""
    found = {}
    for edge in edges(wires.fabric):
        reached, new = {edge}, [edge]
        while new:
            name = new.pop()
            near = {far.node for (node, _), far in wires.far.items() if node == name and far.node in wires.fabric.nodes}
            new += [n for n in near - reached if not wires.fabric.nodes[n].edge]
            reached |= near
        found[edge] = {n for n in reached if wires.fabric.nodes[n].edge} - {edge}
    return found


def edges(fabric: Fabric) -> list[str]:
    return [name for name, node in fabric.nodes.items() if node.edge]


def check_fabric(built: Topology, kind: FabricKind, down: Iterable[str] = ()) -> Fabric:
    """Everything that must hold in any fabric."""
    fabric = plan_fabric(built, kind, frozenset(down))
    wires = Wires(built, fabric, frozenset(down))
    for ingress, others in together(wires).items():
        for tree in fabric.trees:
            outcome = flood(wires, ingress, tree)
            assert outcome.taken == Counter(others), f"from {ingress} on {tree:#x}"
            assert set(outcome.forwarded.values()) <= {1}, f"from {ingress} on {tree:#x}: {outcome.forwarded}"
            assert outcome.hops <= 2 * len(fabric.nodes)
        for target in others:
            lengths = {len(way) for way in ways(wires, ingress, target)}
            assert len(lengths) == 1
        unreachable = {fabric.identifier(e) for e in edges(fabric) if e not in others}
        assert not unreachable & fabric.nodes[ingress].unicast.keys()
    return fabric


# -- what comes with the lab -------------------------------------------------------------------


@pytest.mark.parametrize("kind", FabricKind)
@pytest.mark.parametrize("built", [RACK, DUAL, CLOS, ISLAND, PAIR_OF_LEAVES], ids=lambda t: t.name)
def test_every_frame_arrives_everywhere_once(built: Topology, kind: FabricKind) -> None:
    check_fabric(built, kind)


@pytest.mark.parametrize("kind", FabricKind)
@pytest.mark.parametrize("built", [DUAL, CLOS], ids=lambda t: t.name)
def test_and_whichever_link_is_cut(built: Topology, kind: FabricKind) -> None:
    whole = plan_fabric(built, kind)
    for link in built.links:
        fabric = check_fabric(built, kind, [link.name])
        assert fabric.trees == whole.trees
        assert {n: x.identifier for n, x in fabric.nodes.items()} == {n: x.identifier for n, x in whole.nodes.items()}


def bridges(fabric: Fabric) -> set[str]:
    return {name for name, node in fabric.nodes.items() if not node.identifier}


@pytest.mark.parametrize(
    ("built", "plain"),
    [
        (RACK, set()),
        (DUAL, {"leaf1", "leaf2"}),
        (CLOS, {"leaf1", "leaf2", "leaf3", "leaf4"}),
        (ISLAND, {"leaf"}),
        (PAIR_OF_LEAVES, set()),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_leaves_between_rbridges_are_plain_bridges_with_trill_and_only_there(built: Topology, plain: set[str]) -> None:
    assert bridges(plan_fabric(built, TRILL)) == plain
    assert bridges(plan_fabric(built, FABRICPATH)) == set()


def test_branches_and_clients_are_no_part_of_it() -> None:
    fabric = plan_fabric(DUAL, TRILL)
    assert set(fabric.nodes) == {"hv1", "hv2", "hv3", "hv4", "gw1", "leaf1", "leaf2", "r1", "r2"}
    macs = link_macs(DUAL)
    peers = {p.node: {q.node for k in DUAL.links_of(p.node) for q in k.ends()} for k in DUAL.links for p in k.ends()}
    assert "r3" in peers["r1"] and len(fabric.nodes["r1"].ports) == len(peers["r1"]) - 2  # itself and r3
    assert all(macs[Port(n, i)] == mac for n, node in fabric.nodes.items() for i, mac in node.ports.items())


def test_nicknames_tell_kind_and_index_and_switch_ids_count_edges_first() -> None:
    trill, path = plan_fabric(DUAL, TRILL), plan_fabric(DUAL, FABRICPATH)
    assert {n: trill.identifier(n) for n in ("hv1", "hv4", "gw1", "r2", "leaf1")} == {
        "hv1": 0x1001, "hv4": 0x1004, "gw1": 0x2001, "r2": 0x4002, "leaf1": 0,
    }  # fmt: skip
    assert plan_fabric(CLOS, TRILL).identifier("spine2") == 0x3002
    assert [path.identifier(n) for n in ("hv1", "hv4", "gw1")] == [1, 4, 5]
    assert sorted(node.identifier for node in path.nodes.values()) == list(range(1, 10))


def test_hypervisors_choose_among_spines_where_leaves_are_bridges() -> None:
    fabric = plan_fabric(CLOS, TRILL)
    there = fabric.nodes["hv1"].unicast[fabric.identifier("hv8")]
    spine_macs = {mac for spine in ("spine1", "spine2") for mac in fabric.nodes[spine].ports.values()}
    assert len(there) == 2 and {hop.mac for hop in there} < spine_macs
    assert len({hop.interface for hop in there}) == 1
    (neighbour,) = fabric.nodes["hv1"].unicast[fabric.identifier("hv2")]
    assert neighbour.mac in fabric.nodes["hv2"].ports.values()


def test_leaves_choose_among_spines_where_they_route() -> None:
    fabric = plan_fabric(CLOS, FABRICPATH)
    assert len(fabric.nodes["hv1"].unicast[fabric.identifier("hv8")]) == 1
    assert len(fabric.nodes["leaf1"].unicast[fabric.identifier("hv8")]) == 2
    assert not any(hop.mac for node in fabric.nodes.values() for hops in node.unicast.values() for hop in hops)


def test_trees_are_rooted_in_the_core_and_use_both_spines() -> None:
    fabric = plan_fabric(CLOS, TRILL)
    assert fabric.trees == (fabric.identifier("spine1"), fabric.identifier("spine2"))
    assert plan_fabric(CLOS, FABRICPATH).trees == (1, 2)
    wires = Wires(CLOS, fabric)
    for root in ("spine1", "spine2"):
        assert set(flood(wires, "hv1", fabric.identifier(root)).forwarded) >= {root}


def test_a_tree_leads_nowhere_that_another_branch_of_it_leads() -> None:
    fabric = plan_fabric(CLOS, FABRICPATH)
    to_spine2 = {
        near.node: near.interface
        for k in CLOS.links
        for near, far in ((k.a, k.b), (k.b, k.a))
        if far.node == "spine2" and near.interface in fabric.nodes[near.node].trees[1]
    }
    assert len(to_spine2) == 1


def test_one_switch_makes_one_tree_and_none_makes_an_edge_its_root() -> None:
    assert plan_fabric(RACK, TRILL).trees == (0x3001,)
    assert plan_fabric(RACK, FABRICPATH).trees == (1,)
    assert plan_fabric(ISLAND, TRILL).trees == (0x1001,)


def test_an_rbridge_that_is_not_on_the_tree_of_a_lan_expects_the_frame_elsewhere() -> None:
    fabric = plan_fabric(CLOS, TRILL)
    tree, spine2 = fabric.identifier("spine1"), fabric.nodes["spine2"]
    (uplink,) = spine2.trees[tree]
    assert len(spine2.ports) == 4
    assert set(spine2.reverse_path[tree].values()) == {uplink}


def test_a_plan_holds_a_fabric_where_one_is_wanted() -> None:
    assert plan(DUAL, Forwarding.ROUTED).fabric is None
    assert plan(DUAL, Forwarding.ROUTED, fabric=TRILL, down=["wan"]).fabric == plan_fabric(DUAL, TRILL, {"wan"})


def test_both_sides_of_a_cut_wan_keep_flooding_within_themselves() -> None:
    fabric = check_fabric(DUAL, TRILL, ["wan"])
    outcome = flood(Wires(DUAL, fabric, frozenset(["wan"])), "hv3", fabric.trees[0])
    assert outcome.taken == {"hv4": 1}


def test_a_hypervisor_that_is_cut_off_has_no_ways_and_no_trees() -> None:
    (cable,) = DUAL.links_of("hv1")
    fabric = check_fabric(DUAL, TRILL, [cable.name])
    assert fabric.nodes["hv1"].entries == 0
    assert fabric.nodes["hv1"].ports
    (mac,) = fabric.nodes["hv1"].ports.values()
    assert mac in plan_fabric(DUAL, TRILL).nodes["leaf1"].stations
    assert mac not in fabric.nodes["leaf1"].stations


def _many(count: int) -> Topology:
    nodes = [Node("s", Kind.SWITCH, "dc", 1)] + [Node(f"h{n}", Kind.HYPERVISOR, "dc", n) for n in range(1, count + 1)]
    return Topology("many", "", (Site("dc"),), tuple(nodes), (), (), ())


def test_identifiers_that_run_out_are_refused() -> None:
    assert plan_fabric(_many(4093), FABRICPATH).identifier("s") == 4094
    with pytest.raises(InputError, match=r"4094 switch IDs .* topology many has 4095"):
        plan_fabric(_many(4094), FABRICPATH)
    with pytest.raises(InputError, match=r"h4096 is hypervisor number 4096: there are 4095 nicknames"):
        plan_fabric(_many(4096), TRILL)


# -- any fabric --------------------------------------------------------------------------------


@st.composite
def fabrics(draw: st.DrawFn) -> tuple[Topology, frozenset[str]]:
    """A connected graph of leaves, spines, switches and routers with loops, parallel cables and edges, and cuts."""
    count = draw(st.integers(1, 7))
    kinds = draw(st.lists(st.sampled_from(["leaf", "leaf", "spine", "core", "router", ""]), min_size=count, max_size=9))
    core = [f"n{i}" for i in range(count)]
    pairs = [(core[draw(st.integers(0, i - 1))], core[i]) for i in range(1, count)]
    extra = draw(st.lists(st.tuples(st.sampled_from(core), st.sampled_from(core)), max_size=8))
    pairs += [pair for pair in extra if pair[0] != pair[1]]
    hosts = [f"h{i}" for i in range(draw(st.integers(1, 5)))]
    pairs += [(host, draw(st.sampled_from(core))) for host in hosts]
    links = tuple(Link(f"l{n}", Port(a, f"e{n}"), Port(b, f"e{n}")) for n, (a, b) in enumerate(pairs, start=1))
    seen: dict[Kind, int] = defaultdict(int)
    nodes = []
    for name, role in [*zip(core, kinds, strict=False), *((host, "hv") for host in hosts)]:
        kind = {"hv": Kind.HYPERVISOR, "router": Kind.ROUTER}.get(role, Kind.SWITCH)
        seen[kind] += 1
        nodes.append(Node(name, kind, "dc", seen[kind], role if role in ("leaf", "spine", "core") else ""))
    built = Topology("any", "", (Site("dc"),), tuple(nodes), (), (), links)
    return built, frozenset(draw(st.sets(st.sampled_from([k.name for k in links]), max_size=4)))


@settings(max_examples=150, deadline=None)
@given(fabrics(), st.sampled_from(FabricKind))
def test_in_any_fabric_every_frame_arrives_everywhere_once(
    case: tuple[Topology, frozenset[str]], kind: FabricKind
) -> None:
    built, down = case
    check_fabric(built, kind, down)
