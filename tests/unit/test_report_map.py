"""The map: nothing overlaps, every name is there, and paths follow the cables."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

import pytest
import report_samples as samples

from chimera.model.result import Map, MapLink, MapNode, PathReport
from chimera.model.topology import Endpoint, Impairment, Kind, Link, Node, Port, Segment, Site, Topology
from chimera.report.geometry import Box, Layout
from chimera.report.layout import lay_out
from chimera.report.maps import map_of
from chimera.report.topology_map import render_map
from chimera.report.traces import guests_of, trace

SVG = "{http://www.w3.org/2000/svg}"


def many_sites() -> Map:
    """Six sites, each a router with two hypervisors, all routers joined to all."""
    names = [f"s{n}" for n in range(6)]
    nodes = [MapNode(f"r-{site}", "router", site) for site in names]
    nodes += [MapNode(f"hv{n}-{site}", "hypervisor", site) for site in names for n in (1, 2)]
    links = [MapLink(f"{a}{b}", f"r-{a}", f"r-{b}", "7 ms", inter_site=True) for a, b in combinations(names, 2)]
    links += [MapLink(f"{n.name}-up", n.name, f"r-{n.site}") for n in nodes if n.kind == "hypervisor"]
    return Map(names, nodes, links)


MAPS = {
    "dual-dc": samples.dual_dc_map(),
    "leaf-spine": samples.fabric_map(8, 4),
    "forty hypervisors": samples.fabric_map(40, 10, 8),
    "one switch": samples.fabric_map(40, 3, 1, 1),
    "many VMs": samples.fabric_map(2, 60, 1, 1),
    "many sites": many_sites(),
}


def overlap(a: Box, b: Box) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height


def inside(a: Box, b: Box) -> bool:
    return b.x <= a.x and a.x + a.width <= b.x + b.width and b.y <= a.y and a.y + a.height <= b.y + b.height


@pytest.mark.parametrize("name", MAPS)
def test_nothing_overlaps_and_everything_is_inside(name: str) -> None:
    drawn = MAPS[name]
    layout = lay_out(drawn)
    paper = Box(0, 0, layout.width, layout.height)
    nodes = [n for n in drawn.nodes if not n.parent]
    assert not [
        (a.name, b.name) for a, b in combinations(nodes, 2) if overlap(layout.nodes[a.name], layout.nodes[b.name])
    ]
    assert all(inside(layout.nodes[n.name], layout.sites[n.site]) for n in nodes)
    assert all(inside(site, paper) for site in layout.sites.values())
    assert all(0 <= x <= layout.width and 0 <= y <= layout.height for c in layout.cables for x, y in c.points)
    vms = [n for n in drawn.nodes if n.parent and n.name in layout.nodes]
    assert all(inside(layout.nodes[vm.name], layout.nodes[vm.parent]) for vm in vms)
    assert not any(overlap(layout.nodes[a.name], layout.nodes[b.name]) for a, b in combinations(vms, 2))


@pytest.mark.parametrize("name", MAPS)
def test_every_link_is_drawn_and_names_every_node(name: str) -> None:
    drawn = MAPS[name]
    root = ElementTree.fromstring(render_map(drawn))
    words = {t.text for t in root.iter(f"{SVG}text")}
    assert {n.name for n in drawn.nodes if not n.parent} <= words
    assert len(lay_out(drawn).cables) == len(drawn.links)


def test_inter_site_links_that_overlap_have_levels_of_their_own() -> None:
    layout = lay_out(many_sites())
    spans = [(sorted((c.points[1][0], c.points[2][0])), c.points[1][1]) for c in layout.cables if c.link.inter_site]
    for (a, y), (b, z) in combinations(spans, 2):
        assert y != z or a[1] <= b[0] or b[1] <= a[0]


def test_vms_without_room_are_counted_and_those_asked_for_are_kept() -> None:
    drawn = samples.fabric_map(1, 30, 1, 1)
    layout = lay_out(drawn, keep=frozenset({"vm29"}))
    assert "vm29" in layout.nodes
    assert len(layout.hidden["hv1"]) == 18
    assert "+ 18 more" in render_map(drawn)


def test_labels_that_are_all_alike_are_said_once() -> None:
    drawn = samples.fabric_map(8, 4)
    layout = lay_out(drawn)
    assert layout.fabric == {"dc": "10 Gbit/s"}
    assert not any(c.label_at for c in layout.cables)


def test_labels_cover_nothing() -> None:
    base = samples.fabric_map(8, 1)
    links = [MapLink(k.name, k.a, k.b, f"{i} ms of delay") for i, k in enumerate(base.links)]
    layout = lay_out(Map(base.sites, base.nodes, links))
    labels = [Box(c.label_at[0] - 45, c.label_at[1] - 11, 90, 14) for c in layout.cables if c.label_at]
    assert len(labels) > 4
    assert not any(overlap(a, b) for a, b in combinations(labels, 2))
    assert not any(overlap(label, node) for label in labels for node in layout.nodes.values())


def way(hops: list[str], layout: Layout, drawn: Map) -> list[tuple[float, float]]:
    return trace(PathReport(hops[0], hops[-1], "before", 1.0, 0.0, hops), layout, drawn)


def test_a_path_follows_the_cables() -> None:
    drawn = samples.dual_dc_map()
    layout = lay_out(drawn)
    points = way(["peer", "hv3", "leaf2", "r2", "r1", "leaf1", "hv1", "web"], layout, drawn)
    wan = next(c for c in layout.cables if c.link.name == "r1-r2")
    assert points[0] == layout.nodes["peer"].centre
    assert points[-1] == layout.nodes["web"].centre
    at = points.index(wan.points[-1])
    assert points[at : at + 4] == list(wan.points[::-1])


def test_hops_that_nobody_captured_are_bridged_the_shortest_way() -> None:
    drawn = samples.dual_dc_map()
    layout = lay_out(drawn)
    whole = way(["peer", "hv3", "leaf2", "r2", "r1", "leaf1", "hv1", "web"], layout, drawn)
    seen = PathReport("peer", "web", "before", 1.0, 2.0, ["r2", "r1"])
    assert trace(seen, layout, drawn) == whole


def test_a_moved_vm_stands_at_its_new_hypervisor() -> None:
    drawn = samples.dual_dc_map()
    guests = guests_of(drawn, samples.paths(), [samples.migration(1, 2.2, "hv1", "hv4")])
    assert guests == {"hv4": ["web"]}
    layout = lay_out(drawn, guests)
    assert inside(layout.guests["web", "hv4"], layout.nodes["hv4"])
    assert way(["peer", "hv3", "leaf2", "hv4", "web"], layout, drawn)[-1] == layout.guests["web", "hv4"].centre


def test_names_that_are_markup_stay_text() -> None:
    nasty = '"><script>alert(1)</script>\x07'
    drawn = Map(
        [nasty], [MapNode(nasty, nasty, nasty), MapNode("b", "switch", nasty)], [MapLink(nasty, nasty, "b", nasty)]
    )
    root = ElementTree.fromstring(render_map(drawn, title=nasty))
    assert not list(root.iter(f"{SVG}script")) + list(root.iter("script"))


def test_a_drawing_by_itself_has_no_variables_left() -> None:
    assert "var(" not in render_map(samples.dual_dc_map(), samples.paths()[:1])


@pytest.mark.parametrize(
    "broken",
    [
        Map(),
        Map(["a"], [], [MapLink("k", "x", "y", inter_site=True)]),
        Map([], [MapNode("vm", "vm", "a", parent="gone")], []),
        Map(["a"], [MapNode("x", "switch", "a")], [MapLink("k", "x", "x", inter_site=True)]),
    ],
)
def test_edited_results_are_drawn_as_far_as_they_go(broken: Map) -> None:
    ElementTree.fromstring(render_map(broken, [PathReport("vm", "x", "before", None, None, ["vm", "nowhere"])]))


def test_a_topology_becomes_a_map() -> None:
    slow = Impairment(bandwidth_mbps=1000, delay_ms=10, jitter_ms=0.5)
    topology = Topology(
        "two", "", (Site("a"), Site("b")),
        (Node("hv1", Kind.HYPERVISOR, "a", 1), Node("r1", Kind.ROUTER, "a", 1), Node("r2", Kind.ROUTER, "b", 2)),
        (Endpoint("web", Kind.VM, "a", 1, "hv1", "blue/front"), Endpoint("pc", Kind.CLIENT, "b", 1)),
        (Segment("front", "blue", 10, 10, "10.0.0.0/24"),),
        (
            Link("up", Port("hv1", "e0"), Port("r1", "e0")),
            Link("wan", Port("r1", "e1"), Port("r2", "e1"), slow, Impairment(bandwidth_mbps=100, loss_percent=1)),
            Link("pc", Port("pc", "e0"), Port("r2", "e2"), slow, slow),
        ),
    )  # fmt: skip
    drawn = map_of(topology)
    assert MapNode("web", "vm", "a", "", "hv1", "blue", "front") in drawn.nodes
    assert [(k.label, k.inter_site) for k in drawn.links] == [
        ("", False),
        ("→ 10 ± 0.5 ms · 1 Gbit/s / ← 100 Mbit/s · 1 % loss", True),
        ("10 ± 0.5 ms · 1 Gbit/s", False),
    ]
