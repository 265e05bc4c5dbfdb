"""Where everything of a topology stands on the map, in pixels of the drawing's own scale.

Sites are boxes in a row. Inside a site the tiers stand above each other: routers, core, spines, leaves; and below
them the hosts, grouped under the switch they hang from: a few side by side, many stacked along a trunk. Inter-site
links run above the sites, each on a level of its own, so that their labels never meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chimera.model.result import Map
from chimera.report.cables import lay_cables
from chimera.report.geometry import LEVEL, Layout
from chimera.report.site_layout import SiteLayout

SITE_GAP = 48.0
MARGIN = 12.0


def lay_out(
    drawn: Map, guests: Mapping[str, Sequence[str]] | None = None, keep: frozenset[str] = frozenset()
) -> Layout:
    """Place ``drawn``.

    ``guests`` are the VMs that each hypervisor received later. VMs in ``keep`` are shown even where a hypervisor has
    too many for its box.
    """
    layout = Layout()
    levels = _wan_levels(drawn)
    top = MARGIN + LEVEL * (max(levels.values(), default=-1) + 1)
    x = MARGIN
    for site in site_names(drawn):
        box = SiteLayout(drawn, site, guests or {}, keep, layout).place(x, top)
        layout.sites[site] = box
        x = box.x + box.width + SITE_GAP
    layout.width = max(x - SITE_GAP + MARGIN, 60)
    layout.height = max((b.y + b.height for b in layout.sites.values()), default=top) + MARGIN
    lay_cables(drawn, layout, levels)
    return layout


def site_names(drawn: Map) -> list[str]:
    """Sites in file order, then those that only nodes name (a result may have been edited)."""
    return list(dict.fromkeys([*drawn.sites, *(n.site for n in drawn.nodes if not n.parent)]))


def _wan_levels(drawn: Map) -> dict[str, int]:
    """A level for each inter-site link, short ones lowest, such that links on one level do not touch."""
    order = {name: index for index, name in enumerate(site_names(drawn))}
    site = {n.name: order[n.site] for n in drawn.nodes if n.site in order}
    spans = {
        k.name: sorted((site[k.a], site[k.b])) for k in drawn.links if k.inter_site and k.a in site and k.b in site
    }
    levels: dict[str, int] = {}
    for name, (low, high) in sorted(spans.items(), key=lambda item: item[1][1] - item[1][0]):
        taken = {levels[other] for other in levels if spans[other][0] < high and low < spans[other][1]}
        levels[name] = next(n for n in range(len(spans)) if n not in taken)
    return levels
