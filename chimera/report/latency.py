"""Round trips over time, one plot a vantage point, on the time axis of the timeline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from chimera.model.result import Migration, Vantage
from chimera.report.figures import decimal, ms, relation
from chimera.report.lanes import (
    Clock,
    Detail,
    Probe,
    Window,
    chart,
    clock_of,
    lane,
    plot,
    points,
    shade,
    strokes,
    stun_window,
    thin,
    whole_window,
)
from chimera.report.markup import Markup, number, tag

HEIGHT = 96.0
TOP, BOTTOM = 8.0, 80.0  # where the highest and the lowest value stand; below are the lost probes
WIDE_RANGE = 15.0  # highest to lowest from which the axis is logarithmic


@dataclass(frozen=True)
class Vertical:
    """The round-trip axis: milliseconds to pixels from the top."""

    low: float
    high: float
    logarithmic: bool

    def __call__(self, value: float) -> float:
        """Pixels from the top."""
        share = (self._scaled(value) - self._scaled(self.low)) / (self._scaled(self.high) - self._scaled(self.low))
        return BOTTOM - (BOTTOM - TOP) * min(max(share, 0.0), 1.0)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-6)) if self.logarithmic else value

    def ticks(self) -> list[float]:
        """Values to write at the axis: powers of ten, or about four round steps."""
        if self.logarithmic:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            return [10.0**p for p in powers]
        step = _round_step(self.high / 3)
        return [n * step for n in range(math.floor(self.high / step) + 1)]


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next((m * power for m in (1, 2, 5) if m * power >= rough), 10 * power)


def vertical(values: Sequence[float]) -> Vertical:
    """An axis that holds all of ``values``; logarithmic where they span more than :data:`WIDE_RANGE` to one."""
    high = max([v for v in values if v > 0], default=1.0)
    low = min([v for v in values if v > 0], default=high)
    if high / low > WIDE_RANGE:
        return Vertical(10.0 ** math.floor(math.log10(low)), high * 1.15, True)
    return Vertical(0.0, high * 1.15, False)


def latency_chart(migration: Migration, level: Detail) -> Markup | None:
    """The plots of all vantage points that recorded a series; ``None`` where none did."""
    seen = [v for v in migration.vantage_points if v.series and v.series.sent_s]
    if not seen:
        return None
    clock, window, focus = clock_of(migration), whole_window(migration), stun_window(migration)
    lanes = [_lane(v, clock, window, focus, level) for v in seen]
    return chart(lanes, window, f"Round trips around the migration of {migration.vm}", class_="zoomable", whole=window)


def _lane(vantage: Vantage, clock: Clock, window: Window, focus: Window | None, level: Detail) -> Markup:
    assert vantage.series is not None
    probes = points(vantage.series, clock)
    answered = [rtt for _, rtt in probes if rtt is not None]
    axis, left, across = vertical(answered), number(window.start), number(window.span)
    crowded = focus is not None and sum(focus.holds(t) for t, _ in probes) > level.ticks
    kept = thin(probes, None if crowded else focus, level.buckets)
    start, end = clock(vantage.gap_start_s), clock(vantage.gap_end_s)
    about = f"{relation(vantage)} · round trip {_before_after(probes, start, end)}"
    body = [
        shade(start, end, HEIGHT, "gap", f"silent for {ms(vantage.outage_ms)}"),
        tag("path", class_="grid", d="".join(f"M{left} {number(axis(v))}h{across}" for v in axis.ticks())),
        tag("path", class_="rtt", d=_curve(kept, axis)),
        tag("path", class_="lost", d=strokes((t for t, rtt in kept if rtt is None), BOTTOM + 4, HEIGHT - 2)),
    ]  # fmt: skip
    drawing = plot(
        body, window, HEIGHT, f"Round trips from {vantage.name}: {about}",
        data_low=axis.low, data_high=axis.high, data_log="1" if axis.logarithmic else "0", data_name=vantage.name,
    )  # fmt: skip
    marks = [
        tag("span", ms(v) if v else "0", class_="value", style=f"top:{number(axis(v))}px", aria_hidden="true")
        for v in axis.ticks()
    ]
    return lane(vantage.name, about + (" · logarithmic axis" if axis.logarithmic else ""), [drawing, marks], "latency")


def _before_after(probes: Sequence[Probe], start: float, end: float) -> str:
    """Medians of the round trips sent before and after the silence."""
    before = [rtt for t, rtt in probes if rtt is not None and t <= start]
    after = [rtt for t, rtt in probes if rtt is not None and t >= end]
    return " → ".join(ms(median(side)) if side else decimal(None) for side in (before, after))


def _curve(probes: Sequence[Probe], axis: Vertical) -> str:
    """Path data; broken where a probe was lost."""
    parts, pen_down = [], False
    for t, rtt in probes:
        if rtt is None:
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{number(t)} {axis(rtt):.1f}")
        pen_down = True
    return "".join(parts)
