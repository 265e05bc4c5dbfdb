"""One site of the map: hosts first, for they decide the width, then the tiers above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chimera.model.result import Map, MapNode
from chimera.report.geometry import (
    CHIP_GAP,
    CHIP_HEIGHT,
    NODE_HEIGHT,
    PAD,
    Box,
    Layout,
    text_width,
)

HOST_GAP = 14.0
GROUP_GAP = 26.0
TIER_GAP = 46.0
TRUNK = 16.0
SITE_PAD = 18.0
SITE_TITLE = 22.0
SHOWN_VMS = 12

_TIERS = {"router": 0, "core": 1, "spine": 2, "leaf": 3, "switch": 3}


@dataclass(frozen=True)
class _Host:
    """A host before it has a place: what stands in it, and its size."""

    node: MapNode
    chips: tuple[tuple[str, bool], ...]  # (VM, guest)
    columns: int
    hidden: tuple[str, ...]

    @property
    def chip_width(self) -> float:
        """One width for all of its chips."""
        names = [text_width(name) for name, _ in self.chips]
        return max([34.0, *(n + 12 for n in names), text_width("+99 more") + 4 if self.hidden else 0.0])

    @property
    def width(self) -> float:
        """Pixels."""
        inside = self.columns * self.chip_width + (self.columns - 1) * CHIP_GAP
        return max(inside, text_width(self.node.name)) + 2 * PAD

    @property
    def height(self) -> float:
        """Pixels."""
        slots = len(self.chips) + bool(self.hidden)
        rows = -(-slots // self.columns)
        return NODE_HEIGHT + rows * (CHIP_HEIGHT + CHIP_GAP) + (2 if rows else 0)


class SiteLayout:
    """Places one site: hosts first, for they decide the width, then the tiers above them."""

    def __init__(
        self, drawn: Map, site: str, guests: Mapping[str, Sequence[str]], keep: frozenset[str], layout: Layout
    ) -> None:
        self.layout = layout
        self.site = site
        self.links = drawn.links
        self.vms: dict[str, list[str]] = {}
        for node in drawn.nodes:
            if node.parent:
                self.vms.setdefault(node.parent, []).append(node.name)
        self.guests, self.keep = guests, keep
        here = [n for n in drawn.nodes if n.site == site and not n.parent]
        self.fabric = [n for n in here if n.kind in ("switch", "router")]
        self.hosts = [self._host(n) for n in here if n.kind not in ("switch", "router")]

    def _host(self, node: MapNode) -> _Host:
        own = self.vms.get(node.name, [])
        visiting = [vm for vm in self.guests.get(node.name, ()) if vm not in own]
        room = max(SHOWN_VMS - len(visiting), len([vm for vm in own if vm in self.keep]))
        wanted = sorted(own, key=lambda vm: vm not in self.keep)[:room] if len(own) > room else own
        shown = [vm for vm in own if vm in wanted]
        chips = [(vm, False) for vm in shown] + [(vm, True) for vm in visiting]
        hidden = tuple(vm for vm in own if vm not in wanted)
        slots = len(chips) + bool(hidden)
        return _Host(node, tuple(chips), 1 if slots < 2 else 2 if slots <= 6 else 3, hidden)

    def place(self, x: float, y: float) -> Box:
        """Put the site's upper left corner at (x, y)."""
        tiers = self._tiers()
        groups = self._groups(tiers)
        widths = [self._group_size(hosts)[0] for _, hosts in groups]
        inside = max(
            [
                sum(widths) + GROUP_GAP * (len(widths) - 1),
                *(sum(self._node_width(n) + 18 for n in tier) - 18 for tier in tiers),
                text_width(self.site) + 8,
                72.0,
            ]
        )
        bottom = y + SITE_PAD + len(tiers) * (NODE_HEIGHT + TIER_GAP)
        cursor = x + SITE_PAD + (inside - sum(widths) - GROUP_GAP * (len(widths) - 1)) / 2
        lowest = bottom - (TIER_GAP if not groups else 0)
        for (_, hosts), width in zip(groups, widths, strict=True):
            lowest = max(lowest, self._place_group(hosts, cursor, bottom))
            cursor += width + GROUP_GAP
        self._place_tiers(tiers, dict(groups), x + SITE_PAD, inside, y + SITE_PAD)
        return Box(x, y, inside + 2 * SITE_PAD, lowest + 12 + SITE_TITLE - y)

    def _tiers(self) -> list[list[MapNode]]:
        ranked: dict[int, list[MapNode]] = {}
        for node in self.fabric:
            ranked.setdefault(_TIERS.get(node.role or node.kind, _TIERS.get(node.kind, 3)), []).append(node)
        return [ranked[rank] for rank in sorted(ranked)]

    def _groups(self, tiers: list[list[MapNode]]) -> list[tuple[str, list[_Host]]]:
        """Hosts by the switch they hang from, in the order the switches are drawn, upper tiers last."""
        order = [n.name for tier in reversed(tiers) for n in tier]
        grouped: dict[str, list[_Host]] = {name: [] for name in order}
        for host in self.hosts:
            name = host.node.name
            above = {k.b if k.a == name else k.a for k in self.links if name in (k.a, k.b)}
            parent = next((n for n in order if n in above), "")
            grouped.setdefault(parent, []).append(host)
        return [(name, hosts) for name, hosts in grouped.items() if hosts]

    def _stacked(self, hosts: list[_Host]) -> int:
        """Hosts in one column of a stack; 1 where they stand side by side."""
        crowded = len(self.hosts) > 8 or len(hosts) > 5
        return 1 if not crowded or len(hosts) < 2 else min(len(hosts), max(5, round(len(hosts) ** 0.5)))

    def _columns(self, hosts: list[_Host]) -> list[list[_Host]]:
        depth = self._stacked(hosts)
        return [hosts[i : i + depth] for i in range(0, len(hosts), depth)]

    def _group_size(self, hosts: list[_Host]) -> tuple[float, float]:
        columns = self._columns(hosts)
        trunk = TRUNK if self._stacked(hosts) > 1 else 0.0
        widths = [max(h.width for h in column) + trunk for column in columns]
        heights = [sum(h.height + HOST_GAP for h in column) - HOST_GAP for column in columns]
        return sum(widths) + HOST_GAP * (len(columns) - 1), max(heights)

    def _place_group(self, hosts: list[_Host], x: float, y: float) -> float:
        """Place the columns of a group; the lowest edge."""
        trunk = TRUNK if self._stacked(hosts) > 1 else 0.0
        lowest = y
        for column in self._columns(hosts):
            cursor, width = y, max(h.width for h in column)
            for host in column:
                self._place_host(host, x + trunk, cursor, width if trunk else host.width)
                if trunk:
                    self.layout.trunks[host.node.name] = x + TRUNK / 2 - 2
                cursor += host.height + HOST_GAP
            lowest = max(lowest, cursor - HOST_GAP)
            x += width + trunk + HOST_GAP
        return lowest

    def _place_host(self, host: _Host, x: float, y: float, width: float) -> None:
        name = host.node.name
        self.layout.nodes[name] = Box(x, y, width, host.height)
        left = x + (width - host.columns * host.chip_width - (host.columns - 1) * CHIP_GAP) / 2
        for index, (vm, guest) in enumerate(host.chips):
            row, column = divmod(index, host.columns)
            chip = Box(
                left + column * (host.chip_width + CHIP_GAP),
                y + NODE_HEIGHT + row * (CHIP_HEIGHT + CHIP_GAP),
                host.chip_width,
                CHIP_HEIGHT,
            )
            if guest:
                self.layout.guests[vm, name] = chip
            else:
                self.layout.nodes[vm] = chip
        if host.hidden:
            self.layout.hidden[name] = list(host.hidden)

    @staticmethod
    def _node_width(node: MapNode) -> float:
        return max(text_width(node.name) + 2 * PAD, 54.0)

    def _place_tiers(
        self, tiers: list[list[MapNode]], groups: dict[str, list[_Host]], x: float, inside: float, y: float
    ) -> None:
        """Place the tiers, each switch above its hosts where all of a tier have some, else evenly spread."""
        for tier in tiers:
            centres = [self._centre_of(groups.get(node.name, [])) for node in tier]
            above_hosts = all(c is not None for c in centres) and tier is tiers[-1]
            for index, node in enumerate(tier):
                width = self._node_width(node)
                even = x + inside * (index + 0.5) / len(tier)
                centre = centres[index] if above_hosts else even
                self.layout.nodes[node.name] = Box((centre or even) - width / 2, y, width, NODE_HEIGHT)
            y += NODE_HEIGHT + TIER_GAP

    def _centre_of(self, hosts: list[_Host]) -> float | None:
        if not hosts:
            return None
        boxes = [self.layout.nodes[h.node.name] for h in hosts]
        left = min(b.x for b in boxes) - (TRUNK if self._stacked(hosts) > 1 else 0)
        return (left + max(b.x + b.width for b in boxes)) / 2
