"""Equal ways through the core, the places where a loop can be made, and how a node is told to make one."""

from __future__ import annotations

import pytest
from underlays import owners, shipped, topology

from chimera.model.errors import InputError
from chimera.model.topology import Topology
from chimera.model.underlay import FabricKind, Forwarding, Underlay
from chimera.underlay.identity import link_macs
from chimera.underlay.plan import plan
from chimera.underlay.ways import check_core, core_pair, equal_ways, wrong_hop, wrong_route

DUAL, CLOS, RACK = shipped("dual-dc"), shipped("leaf-spine"), shipped("rack")
ROUTED = Forwarding.ROUTED
THREE_TIERS = topology("""
name: tiers
switches:
  core: {role: core}
  spine[1-2]: {role: spine, uplink: core}
  leaf[1-2]: {role: leaf}
links:
  - {between: [leaf1, spine1]}
  - {between: [leaf1, spine2]}
  - {between: [leaf2, spine1]}
  - {between: [leaf2, spine2]}
hypervisors: {hv1: {uplink: leaf1}, hv2: {uplink: leaf2}, hv3: {uplink: core}}
vms: {vm1: {hypervisor: hv1}}
""")


def fabric(built: Topology, kind: FabricKind | None) -> Underlay:
    return plan(built, ROUTED, fabric=kind)


# -- equal ways --------------------------------------------------------------------------------


def test_leaves_have_a_way_over_each_spine_and_share_all_but_the_spine() -> None:
    ways = equal_ways(CLOS, "hv1", "hv8")
    assert (ways.count, ways.shared) == (2, {"hv1", "leaf1", "leaf4", "hv8"})
    assert ways.name(["hv1", "leaf1", "spine2", "leaf4", "hv8"]) == "spine2"
    assert equal_ways(CLOS, "hv1", "hv2").count == 1


def test_a_single_way_is_called_by_all_that_is_between_its_ends() -> None:
    ways = equal_ways(DUAL, "hv1", "hv3")
    assert ways.count == 1 and "r3" not in ways.shared and "hv2" not in ways.shared
    assert ways.name(["hv3", "leaf2", "r2", "r1", "leaf1", "hv1"]) == "leaf1 – r1 – r2 – leaf2"


def test_a_detour_is_called_by_what_it_passes_beyond_the_shared_nodes() -> None:
    ways = equal_ways(CLOS, "hv1", "hv8")
    assert ways.name(["hv1", "leaf1", "spine1", "leaf2", "spine2", "leaf4", "hv8"]) == "spine1 – spine2 – leaf2"


def test_ways_over_a_tier_that_only_one_end_crosses() -> None:
    ways = equal_ways(THREE_TIERS, "hv1", "hv3")
    assert (ways.count, ways.shared) == (2, {"hv1", "leaf1", "core", "hv3"})


# -- where a loop is made ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, *FabricKind])
def test_across_the_wan_the_loop_is_between_the_routers(kind: FabricKind | None) -> None:
    pair = core_pair(DUAL, fabric(DUAL, kind), "hv3", "hv1")
    assert (pair.at, pair.via, pair.link.name) == ("r1", "r2", "wan")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (None, ("leaf1", "spine1")),
        (FabricKind.FABRICPATH, ("leaf1", "spine1")),
        (FabricKind.TRILL, ("spine1", "spine2")),
    ],
)
def test_in_a_fabric_every_way_meets_the_loop(kind: FabricKind | None, expected: tuple[str, str]) -> None:
    pair = core_pair(CLOS, fabric(CLOS, kind), "hv8", "hv1")
    assert (pair.at, pair.via) == expected
    assert expected[0] in (pair.link.a.node, pair.link.b.node)


def test_a_bridged_core_and_a_core_of_one_are_refused() -> None:
    check_core(DUAL, fabric(DUAL, None))
    with pytest.raises(InputError, match="bridges have no hop count"):
        check_core(DUAL, plan(DUAL, Forwarding.BRIDGED))
    with pytest.raises(InputError, match="topology rack has none\n    fix: choose another"):
        check_core(RACK, fabric(RACK, None))
    with pytest.raises(InputError, match="the way from hv1 to hv2 has no two neighbours"):
        core_pair(RACK, fabric(RACK, None), "hv1", "hv2")


# -- how it is made ----------------------------------------------------------------------------


def test_a_wrong_route_is_more_specific_than_any_right_one() -> None:
    underlay = fabric(DUAL, None)
    route = wrong_route(DUAL, underlay, "r1", "hv1", "r2")
    assert (route.node, route.prefix) == ("r1", f"{underlay.vtep['hv1']}/32")
    assert [owners(underlay)[hop.via] for hop in route.next_hops] == ["r2"]
    with pytest.raises(InputError, match="r1 and leaf2 are no neighbours"):
        wrong_route(DUAL, underlay, "r1", "hv1", "leaf2")


def test_a_wrong_hop_goes_to_the_neighbour_even_behind_a_bridge() -> None:
    trill, path = fabric(CLOS, FabricKind.TRILL).fabric, fabric(CLOS, FabricKind.FABRICPATH).fabric
    assert trill and path
    hop = wrong_hop(CLOS, trill, "spine1", "spine2")
    macs = {mac: port.node for port, mac in link_macs(CLOS).items()}
    assert macs[hop.mac] == "spine2" and hop.interface in trill.nodes["spine1"].ports
    assert wrong_hop(CLOS, path, "leaf1", "spine1").mac == ""
    with pytest.raises(InputError, match="spine1 and leaf1 are no neighbours in the fabric"):
        wrong_hop(CLOS, trill, "spine1", "leaf1")
