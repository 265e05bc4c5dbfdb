"""What a control plane costs as its network grows, drawn: each figure against the number of hypervisors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from chimera.model.simulated import Cost
from chimera.report.figures import decimal
from chimera.report.html import document
from chimera.report.markup import Markup, number, tag
from chimera.report.tables import table

_WIDTH, _HEIGHT = 420.0, 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 24.0, 14.0, 40.0  # margins
_STYLE = """
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr));gap:1.5rem;margin:1.5rem 0}
.plots figure{margin:0}.plots figcaption{font-weight:600}.plots svg{width:100%;height:auto}
.plots text{font-size:12px;fill:currentColor}.plots .grid{stroke:currentColor;stroke-opacity:.15;fill:none}
.plots .line{stroke:var(--accent,#1f5fbf);stroke-width:2;fill:none}.plots .dot{fill:var(--accent,#1f5fbf)}
"""


class Figure(NamedTuple):
    """One figure of a simulation: its heading, its unit, and its value; None where it was not measured."""

    heading: str
    unit: str
    of: Callable[[Cost], float | None]


FIGURES = (
    Figure("Messages until all is up", "", lambda cost: sum(cost.up_messages.values())),
    Figure("Their bytes", "MB", lambda cost: cost.up_bytes / 1e6),
    Figure("Messages of one move", "", lambda cost: _each(cost, sum(cost.move_messages.values()))),
    Figure("Their bytes", "kB", lambda cost: _each(cost, cost.move_bytes / 1e3)),
    Figure("Entries of the median switch", "", lambda cost: cost.entries_median),
    Figure("Convergence after a move, median", "ms", lambda cost: cost.convergence_median_ms),
)


def _each(cost: Cost, total: float) -> float | None:
    return total / len(cost.convergence_ms) if cost.convergence_ms else None


def cells(cost: Cost) -> list[str]:
    """One simulation's figures as text: size, then :data:`FIGURES`, the slowest moves, and how long it took."""
    size = [str(cost.size.hypervisors), str(cost.size.vms), str(cost.size.moves)]
    values = [decimal(figure.of(cost)) for figure in FIGURES]
    return [*size, *values, decimal(cost.convergence_p99_ms), decimal(cost.seconds)]


HEADINGS = (
    "hypervisors",
    "VMs",
    "moves",
    "messages until all is up",
    "  MB",
    "messages of one move",
    "  kB",
    "entries of the median switch",
    "convergence after a move, median ms",
    "  99th percentile ms",
    "simulated in s",
)  # fmt: skip


def render(costs: Sequence[Cost]) -> str:
    """A page of plots with the figures below; it needs no network and has no script."""
    first = costs[0]
    title = f"The control plane of {first.overlay}, simulated"
    lead = (
        f"{first.size.vms_per_segment} VMs a segment, spread at random over the hypervisors; seed {first.seed}. "
        "Messages and times are those of the model: an agent's own work takes no time, and bytes are OpenFlow's and "
        "datagrams' own."
    )
    plots = [tag("figure", tag("figcaption", _heading(figure)), _plot(costs, figure)) for figure in FIGURES]
    figures = tag("div", table("The same in figures", HEADINGS, map(cells, costs)), class_="scroll", tabindex=0)
    main = tag("main", tag("h1", title), tag("p", lead), tag("div", plots, class_="plots"), figures)
    return document(f"{title} · Chimera Lab", [tag("style", Markup(_STYLE)), main])


def _heading(figure: Figure) -> str:
    return f"{figure.heading} ({figure.unit})" if figure.unit else figure.heading


def _plot(costs: Sequence[Cost], figure: Figure) -> Markup:
    """Both axes are logarithmic: what grows with a power of the size is a straight line."""
    found = [(float(cost.size.hypervisors), value) for cost in costs if (value := figure.of(cost))]
    words = f"{_heading(figure)} against hypervisors: " + ", ".join(f"{x:g}: {decimal(y)}" for x, y in found)
    if not found:
        return tag("p", "not measured")
    x_low, x_high = _powers([x for x, _ in found])
    y_low, y_high = _powers([y for _, y in found])

    def across(x: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (math.log10(x) - x_low) / (x_high - x_low)

    def down(y: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (math.log10(y) - y_low) / (y_high - y_low)

    grid, labels = [], []
    for power in range(x_low, x_high + 1):
        x = across(10.0**power)
        grid.append(f"M{number(x)} {_TOP}V{_HEIGHT - _BOTTOM}")
        labels.append(tag("text", f"{10.0**power:g}", x=x, y=_HEIGHT - _BOTTOM + 16, text_anchor="middle"))
    for power in range(y_low, y_high + 1):
        y = down(10.0**power)
        grid.append(f"M{_LEFT} {number(y)}H{_WIDTH - _RIGHT}")
        labels.append(tag("text", f"{10.0**power:g}", x=_LEFT - 6, y=y + 4, text_anchor="end"))
    labels.append(tag("text", "hypervisors", x=(_LEFT + _WIDTH) / 2, y=_HEIGHT - 6, text_anchor="middle"))
    points = [(across(x), down(y)) for x, y in found]
    line = "".join(f"{'L' if n else 'M'}{number(x)} {number(y)}" for n, (x, y) in enumerate(points))
    return tag(
        "svg", tag("title", words), tag("path", class_="grid", d="".join(grid)), labels,
        tag("path", class_="line", d=line), [tag("circle", class_="dot", cx=x, cy=y, r=4) for x, y in points],
        role="img", aria_label=words, viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
    )  # fmt: skip


def _powers(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around the values."""
    low, high = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
    return low, max(high, low + 1)
