"""The way of a flow over the map: hops to a line along the drawn cables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from chimera import graph
from chimera.model.result import Map, Migration, PathReport
from chimera.report.geometry import Box, Layout, Point

SPACING = 5.0  # pixels between the lines of one flow at different moments


def guests_of(drawn: Map, paths: Sequence[PathReport], migrations: Sequence[Migration] = ()) -> dict[str, list[str]]:
    """VMs that each hypervisor received, by migrations and by what the paths saw."""
    hypervisors = {n.name for n in drawn.nodes if n.kind == "hypervisor"}
    parent = {n.name: n.parent for n in drawn.nodes if n.parent}
    seen = [(m.destination, m.vm) for m in migrations if not m.aborted]
    for path in paths:
        for a, b in pairwise(path.hops):
            seen += [(a, b)] if a in hypervisors and b in parent else []
            seen += [(b, a)] if b in hypervisors and a in parent else []
    guests: dict[str, list[str]] = {}
    for hypervisor, vm in dict.fromkeys(seen):
        if hypervisor in hypervisors and parent.get(vm) != hypervisor:
            guests.setdefault(hypervisor, []).append(vm)
    return guests


def trace(path: PathReport, layout: Layout, drawn: Map, shift: float = 0.0) -> list[Point]:
    """The corners of ``path`` on the map, moved by ``shift`` pixels; empty where less than two hops have a place."""
    hops = _complete(path, drawn)
    places = [_place(hops, index, layout) for index in range(len(hops))]
    if sum(place is not None for place in places) < 2:
        return []
    hypervisors = {n.name for n in drawn.nodes if n.kind == "hypervisor"}
    cables = _by_ends(layout)
    points: list[Point] = []
    for index, (name, place) in enumerate(zip(hops, places, strict=True)):
        if place is None:
            continue
        if index in (0, len(hops) - 1) or name in hypervisors:
            points.append(_anchor(place, name in hypervisors))
        if index + 1 < len(hops):
            points += cables.get((name, hops[index + 1]), ())
    return [(x + shift, y + shift) for x, y in _without_repeats(points)]


def _complete(path: PathReport, drawn: Map) -> list[str]:
    """The hops with both ends, and with the shortest way between two that no cable joins: nobody captured there."""
    ends = [*([path.from_] if path.hops[:1] != [path.from_] else []), *path.hops]
    ends += [path.to] if ends[-1] != path.to else []
    movable = {n.name: n.parent for n in drawn.nodes if n.parent}
    near = graph.neighbours([*((link.a, link.b) for link in drawn.links), *movable.items()])
    hypervisors = {n.name for n in drawn.nodes if n.kind == "hypervisor"}
    whole = ends[:1]
    for before, after in pairwise(ends):
        moved = {before, after} & movable.keys() and {before, after} & hypervisors
        whole += [after] if moved else graph.shortest_path(before, after, graph.hops(near)) or [after]
    return whole


def _place(hops: Sequence[str], index: int, layout: Layout) -> Box | None:
    """Where a hop stands; a VM stands at the hypervisor next to it on the path, wherever it started."""
    for neighbour in hops[max(index - 1, 0) : index + 2]:
        if (hops[index], neighbour) in layout.guests:
            return layout.guests[hops[index], neighbour]
    return layout.nodes.get(hops[index])


def _anchor(place: Box, hypervisor: bool) -> Point:
    """Inside a hypervisor a path runs through its title line, not across the VMs."""
    return (place.centre[0], place.y + 13) if hypervisor else place.centre


def _by_ends(layout: Layout) -> Mapping[tuple[str, str], tuple[Point, ...]]:
    found: dict[tuple[str, str], tuple[Point, ...]] = {}
    for cable in layout.cables:
        for ends, points in (
            ((cable.link.a, cable.link.b), cable.points),
            ((cable.link.b, cable.link.a), cable.points[::-1]),
        ):
            a = layout.nodes[ends[0]].centre
            forward = _distance(points[0], a) <= _distance(points[-1], a)
            found.setdefault(ends, points if forward else points[::-1])
    return found


def _distance(a: Point, b: Point) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def _without_repeats(points: Sequence[Point]) -> list[Point]:
    return [p for index, p in enumerate(points) if index == 0 or p != points[index - 1]]
