"""The map as SVG: the network, and on it the ways that flows took."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import resources
from itertools import pairwise
from math import dist

from chimera.model.result import Map, MapNode, Migration, PathReport
from chimera.report.geometry import Box, Cable, Layout, Point, text_width
from chimera.report.layout import lay_out
from chimera.report.markup import Markup, number, tag
from chimera.report.traces import SPACING, guests_of, trace

MOMENT_STYLES = 6  # colours and dashes of paths that style sheets define
_BADGE = 7.5  # radius of a moment's number on its line


def stylesheet(*names: str) -> str:
    """The package's style sheets, one after the other."""
    return "\n".join(resources.files(__package__).joinpath(name).read_text("utf-8") for name in names)


def _resolved_style() -> str:
    """The map's style with the light colours written out: drawing programs know no CSS variables."""
    light = stylesheet("colors.css").partition("@media")[0]
    colours = dict(re.findall(r"--(\w[\w-]*): (#\w+);", light))
    return re.sub(r"var\(--([\w-]+)\)", lambda found: colours[found[1]], stylesheet("map.css"))


def render_map(drawn: Map, highlight: Sequence[PathReport] = (), title: str = "Topology") -> str:
    """``drawn`` as one SVG file that needs nothing else; ``highlight`` are the ways of one flow to show on it."""
    layout = lay_out(drawn, guests_of(drawn, highlight), _named(highlight))
    style = tag("style", Markup(_resolved_style()))
    paper = tag("rect", class_="paper", width="100%", height="100%")
    return _svg(layout, title, [style, paper, _draw(drawn, layout, [highlight])], standalone=True) + "\n"


def map_figure(
    drawn: Map, flows: Sequence[Sequence[PathReport]], migrations: Sequence[Migration] = ()
) -> tuple[Markup, float]:
    """The map inside the page and its width in pixels; the page's tabs show its layers ``flow-0`` …."""
    paths = [path for flow in flows for path in flow]
    layout = lay_out(drawn, guests_of(drawn, paths, migrations), _named(paths))
    return _svg(layout, "Map of the topology", [_draw(drawn, layout, flows)]), layout.width


def _named(paths: Sequence[PathReport]) -> frozenset[str]:
    return frozenset(name for path in paths for name in path.hops)


def _svg(layout: Layout, title: str, body: Sequence[Markup], standalone: bool = False) -> Markup:
    width, height = number(layout.width), number(layout.height)
    return tag(
        "svg",
        tag("title", title),
        body,
        xmlns="http://www.w3.org/2000/svg" if standalone else None,
        class_="map",
        role="img",
        aria_label=title,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
    )


def _draw(drawn: Map, layout: Layout, flows: Sequence[Sequence[PathReport]]) -> Markup:
    """Everything, back to front: the lines of paths run over hypervisors, and under names and what is inside."""
    placed = [n for n in drawn.nodes if n.name in layout.nodes]
    by_name = {n.name: n for n in placed}
    labels = [*_labels(placed, layout)]
    ways = [_Ways(flow, index, layout, drawn, labels) for index, flow in enumerate(flows)]
    return tag(
        "g",
        [_site(name, box, layout.fabric.get(name, "")) for name, box in layout.sites.items()],
        [_cable(cable) for cable in layout.cables],
        [_node(n, layout.nodes[n.name]) for n in placed if n.kind == "hypervisor"],
        [way.lines() for way in ways],
        [_node(n, layout.nodes[n.name]) for n in placed if n.kind != "hypervisor" and not n.parent],
        [_name(n, layout.nodes[n.name]) for n in placed if not n.parent],
        [_chip(n, layout.nodes[n.name]) for n in placed if n.parent],
        [_chip(by_name[vm], box, host) for (vm, host), box in layout.guests.items() if vm in by_name],
        [_more(layout, host, names) for host, names in layout.hidden.items()],
        [_label(cable) for cable in layout.cables if cable.label_at],
        [way.badges() for way in ways],
    )


def _rect(box: Box, radius: float, class_: str) -> Markup:
    return tag("rect", class_=class_, x=box.x, y=box.y, width=box.width, height=box.height, rx=radius)


def _text(at: Point, text: str, class_: str = "") -> Markup:
    return tag("text", text, class_=class_ or None, x=at[0], y=at[1])


def _site(name: str, box: Box, common: str) -> Markup:
    title = tag("title", f"site {name}" + (f"; every link inside: {common}" if common else ""))
    shown = f"{name} · links {common}" if common else name
    return tag("g", title, _rect(box, 10, "site"), _text((box.x + 14, box.y + box.height - 10), shown, "site-name"))


def _line(points: Sequence[Point]) -> str:
    return " ".join(f"{number(x)},{number(y)}" for x, y in points)


def _cable(cable: Cable) -> Markup:
    link = cable.link
    title = tag("title", f"link {link.name}: {link.a} – {link.b}" + (f", {link.label}" if link.label else ""))
    class_ = "cable wan" if link.inter_site else "cable"
    return tag("g", title, tag("polyline", class_=class_, points=_line(cable.points)))


def _label(cable: Cable) -> Markup:
    at = cable.label_at or (0.0, 0.0)
    return _text(at, cable.link.label, "cable-label wan-label" if cable.link.inter_site else "cable-label")


_OPEN = {"switch", "router", "client"}  # drawn on the paper's own ground
_KINDS = {"switch", "router", "hypervisor", "gateway", "client", "bare-metal"}


def _node(node: MapNode, box: Box) -> Markup:
    kind = node.kind if node.kind in _KINDS else "other"
    radius = {"router": 13.0, "client": 13.0}.get(kind, 5.0)
    title = tag("title", f"{node.role or node.kind} {node.name}" + (f" at {node.site}" if node.site else ""))
    return tag("g", title, _rect(box, radius, f"node {kind}"))


def _name(node: MapNode, box: Box) -> Markup:
    return _text((box.centre[0], box.y + 17), node.name, "node-name open" if node.kind in _OPEN else "node-name")


def _chip(node: MapNode, box: Box, guest_of: str = "") -> Markup:
    where = f"moved to {guest_of}" if guest_of else f"started at {node.parent}"
    segment = f", segment {node.tenant}/{node.segment}" if node.segment else ""
    name = _text((box.centre[0], box.y + 14), node.name, "vm-name")
    return tag(
        "g", tag("title", f"VM {node.name}, {where}{segment}"), _rect(box, 4, f"vm{' guest' * bool(guest_of)}"), name
    )


def _more(layout: Layout, host: str, names: Sequence[str]) -> Markup:
    box = layout.nodes[host]
    at = (box.centre[0], box.y + box.height - 12)
    return tag("g", tag("title", ", ".join(names)), _text(at, f"+ {len(names)} more", "vm-name"))


def _labels(placed: Sequence[MapNode], layout: Layout) -> Iterator[Box]:
    """Where words stand, so that no badge is put over them."""
    for node in placed:
        box = layout.nodes[node.name]
        title = node.kind == "hypervisor"  # its VMs have boxes of their own; a line may be marked between them
        width = text_width(node.name)
        yield Box(box.centre[0] - width / 2, box.y, width, 22) if title else box
    yield from layout.guests.values()
    for cable in layout.cables:
        if cable.label_at:
            width = text_width(cable.link.label)
            yield Box(cable.label_at[0] - width / 2, cable.label_at[1] - 12, width, 16)


class _Ways:
    """The ways of one flow, one line a moment, side by side and numbered; no number covers one of ``labels``."""

    def __init__(
        self, paths: Sequence[PathReport], index: int, layout: Layout, drawn: Map, labels: Sequence[Box]
    ) -> None:
        self._labels = labels
        self.class_ = f"layer flow-{index}"
        middle = (len(paths) - 1) / 2
        traced = [(p, trace(p, layout, drawn, (i - middle) * SPACING)) for i, p in enumerate(paths)]
        self.ways = [(i, p, points) for i, (p, points) in enumerate(traced) if points]

    def lines(self) -> Markup:
        """The lines themselves."""
        return tag("g", [self._line(*way) for way in self.ways], class_=self.class_)

    def badges(self) -> Markup:
        """The moments' numbers, each beside the start of its line's longest stretch."""
        taken: list[Point] = []
        for index, _, points in self.ways:
            taken.append(_free_place(points, index, self._labels, taken))
        drawn = [self._badge(index, at) for (index, _, _), at in zip(self.ways, taken, strict=True)]
        return tag("g", drawn, class_=self.class_)

    @staticmethod
    def _line(index: int, path: PathReport, points: Sequence[Point]) -> Markup:
        return tag(
            "g",
            tag("title", f"{path.from_} to {path.to}, {path.when}: {' → '.join(path.hops)}"),
            tag("polyline", class_="halo", points=_line(points)),
            tag("polyline", class_="trace", points=_line(points)),
            class_=f"m{index % MOMENT_STYLES}",
        )

    @staticmethod
    def _badge(index: int, at: Point) -> Markup:
        circle = tag("circle", class_="badge", cx=at[0], cy=at[1], r=_BADGE)
        text = _text((at[0], at[1] + 3.5), str(index + 1), "badge-text")
        return tag("g", circle, text, class_=f"m{index % MOMENT_STYLES}")


def _free_place(points: Sequence[Point], index: int, labels: Sequence[Box], taken: Sequence[Point]) -> Point:
    """A place on a line, or where words fill all of it beside it, for its number: along the longest stretch first."""
    stretches = sorted(pairwise(points), key=lambda ends: -dist(*ends))
    candidates = [
        _along(ends, step, aside) for aside in (0.0, 15.0, -15.0, 30.0, -30.0) for ends in stretches
        for step in range(16 + 19 * index, max(int(dist(*ends)) - 8, 17 + 19 * index), 6)
    ]  # fmt: skip
    free = (at for at in candidates if not any(_covers(at, box) for box in labels))
    return next((at for at in free if all(dist(at, other) > 2 * _BADGE for other in taken)), candidates[0])


def _along(ends: tuple[Point, Point], step: float, aside: float) -> Point:
    """The point ``step`` pixels along a stretch and ``aside`` from it."""
    (ax, ay), (bx, by) = ends
    length = max(dist(*ends), 1.0)
    dx, dy = (bx - ax) / length, (by - ay) / length
    step = min(step, 0.9 * length)
    return ax + dx * step - dy * aside, ay + dy * step + dx * aside


def _covers(at: Point, box: Box) -> bool:
    return (
        box.x - _BADGE < at[0] < box.x + box.width + _BADGE and box.y - _BADGE < at[1] < box.y + box.height + _BADGE
    )
