"""Links on the map: their corners, and labels only where there is room for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from chimera.model.result import Map, MapLink
from chimera.report.geometry import LEVEL, Box, Cable, Layout, Point, text_width

LABEL_HEIGHT = 14.0


def lay_cables(drawn: Map, layout: Layout, levels: Mapping[str, int]) -> None:
    """Lay every link whose ends have a place; ``levels`` are those of the inter-site links."""
    attached: dict[str, list[MapLink]] = {}
    for link in drawn.links:
        if link.name in levels:
            attached.setdefault(link.a, []).append(link)
            attached.setdefault(link.b, []).append(link)
    sites = {node.name: node.site for node in drawn.nodes}
    layout.fabric = _common_labels(drawn, sites)
    taken = list(layout.nodes.values())
    for link in drawn.links:
        if link.a not in layout.nodes or link.b not in layout.nodes:
            continue
        if link.name in levels:
            layout.cables.append(_wan_cable(link, layout, attached, levels[link.name]))
        else:
            points = _site_points(link, layout)
            wanted = link.label and link.label != layout.fabric.get(sites.get(link.a, ""))
            layout.cables.append(Cable(link, points, _room_for(link.label, points, taken) if wanted else None))


def _common_labels(drawn: Map, sites: Mapping[str, str]) -> dict[str, str]:
    """Sites whose own links (three or more) are all alike: said once, in the site's title."""
    labels: dict[str, list[str]] = {}
    for link in drawn.links:
        if not link.inter_site and link.a in sites:
            labels.setdefault(sites[link.a], []).append(link.label)
    return {site: found[0] for site, found in labels.items() if len(found) > 2 and len(set(found)) == 1 and found[0]}


def _wan_cable(link: MapLink, layout: Layout, attached: Mapping[str, list[MapLink]], level: int) -> Cable:
    """Up from one end, along the link's own level, down to the other end; ends share a node's upper edge."""

    def foot(end: str) -> Point:
        box = layout.nodes[end]
        ends = sorted(attached[end], key=lambda k: layout.nodes[k.b if k.a == end else k.a].x)
        return box.x + box.width * (ends.index(link) + 1) / (len(ends) + 1), box.y

    (ax, ay), (bx, by) = foot(link.a), foot(link.b)
    y = min(box.y for box in layout.sites.values()) - 10 - LEVEL * level
    return Cable(link, ((ax, ay), (ax, y), (bx, y), (bx, by)), ((ax + bx) / 2, y - 10) if link.label else None)


def _site_points(link: MapLink, layout: Layout) -> tuple[Point, ...]:
    """Straight down a tier, along the trunk of a stack, or around where both ends stand level."""
    ends = sorted(((layout.nodes[end], end) for end in (link.a, link.b)), key=lambda item: item[0].y)
    (upper, _), (lower, name) = ends
    if upper.y == lower.y:
        y = upper.y + max(upper.height, lower.height) + 12
        return upper.bottom, (upper.bottom[0], y), (lower.bottom[0], y), lower.bottom
    if name in layout.trunks:
        x, bus = layout.trunks[name], upper.bottom[1] + 20
        return upper.bottom, (upper.bottom[0], bus), (x, bus), (x, lower.left[1]), lower.left
    return upper.bottom, lower.top


def _room_for(label: str, points: tuple[Point, ...], taken: list[Box]) -> Point | None:
    """A spot on the cable where the label covers nothing; it is taken from then on."""
    width = text_width(label) * 0.9
    for x, y in _spots(points):
        box = Box(x - width / 2 - 2, y - LABEL_HEIGHT / 2 - 1, width + 4, LABEL_HEIGHT + 2)
        if not any(_overlap(box, other) for other in taken):
            taken.append(box)
            return x, y + 4
    return None


def _spots(points: tuple[Point, ...]) -> Iterator[Point]:
    for (ax, ay), (bx, by) in pairwise(points):
        for share in (0.5, 0.35, 0.65, 0.25, 0.75):
            yield ax + (bx - ax) * share, ay + (by - ay) * share


def _overlap(a: Box, b: Box) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height
