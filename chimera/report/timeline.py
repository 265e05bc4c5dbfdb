"""The timeline of a migration: phases, control messages and probes on one time axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chimera.model.result import Control, Mark, Migration, Phase, Vantage
from chimera.report.figures import decimal, ms, relation
from chimera.report.lanes import (
    Clock,
    Detail,
    Probe,
    Window,
    apart,
    chart,
    clock_of,
    lane,
    plot,
    points,
    runs,
    shade,
    strokes,
    stun_window,
    whole_window,
)
from chimera.report.markup import Markup, number, tag

PROBE_LANE = 26.0
CONTROL_ROW = 15.0
CONTROL_TYPES = 6
ANSWERED, LOST = (3.0, 15.0), (11.0, PROBE_LANE - 2)  # upper and lower end of a probe's tick


def timelines(migration: Migration, control: Control, marks: Sequence[Mark], level: Detail) -> list[Markup]:
    """The whole migration, and where the VM was frozen the stretch around the stun again, enlarged."""
    whole, detail = whole_window(migration), stun_window(migration)
    label = f"Timeline of the migration of {migration.vm}"
    lanes = _Lanes(migration, control, marks, whole, level)
    overview = chart(
        lanes.all(whole), whole, f"{label}, all of it", class_="overview" if detail else "zoomable", whole=whole
    )
    if detail is None:
        return [overview]
    zoomed = chart(lanes.all(detail), detail, f"{label}, around the stun", class_="zoomable", whole=whole)
    return [overview, zoomed]


@dataclass(frozen=True)
class _Lanes:
    """The lanes of one migration, for whichever window."""

    migration: Migration
    control: Control
    marks: Sequence[Mark]
    whole: Window
    level: Detail

    def all(self, window: Window) -> list[Markup | None]:
        """Every lane there is something to say in."""
        clock = clock_of(self.migration)
        return [
            _phase_lane(self.migration.phases, clock),
            _mark_lane(self.marks, clock, window),
            _control_lane(self.control, clock, window, self.whole, self.level),
            *(_probe_lane(v, clock, window, self.level) for v in self.migration.vantage_points),
        ]


def _phase_lane(phases: Sequence[Phase], clock: Clock) -> Markup | None:
    if not phases:
        return None
    rows = _rows(phases)
    boxes = [_phase(phase, row, clock) for phase, row in zip(phases, rows, strict=True)]
    body = tag("div", boxes, class_="phases", style=f"height:{22 * (max(rows) + 1)}px")
    return lane("phases", "of the migration", body)


def _rows(phases: Sequence[Phase]) -> list[int]:
    """A row for each phase such that those that run at the same time stand below each other."""
    ends: list[float] = []
    rows = []
    for phase in phases:
        row = next((i for i, end in enumerate(ends) if end <= phase.start_s + 1e-6), len(ends))
        ends[row : row + 1] = [phase.end_s]
        rows.append(row)
    return rows


def _phase(phase: Phase, row: int, clock: Clock) -> Markup:
    start, end = clock(phase.start_s), clock(phase.end_s)
    words = f"{phase.name}: {ms(end - start)}" + (f", {phase.detail}" if phase.detail else "")
    kind = phase.name.split(" ")[0]
    known = kind if kind in ("reserve", "precopy", "stun", "move", "resume", "announce") else "other"
    return tag(
        "div",
        tag("span", phase.name),
        class_=f"phase {known}",
        style=f"--a:{number(start)};--b:{number(max(end, start))};top:{22 * row}px",
        title=words,
        data_words=words,
    )


def _mark_lane(marks: Sequence[Mark], clock: Clock, window: Window) -> Markup | None:
    """What the scenario did meanwhile, one line each, so that words never meet."""
    inside = [m for m in marks if window.holds(clock(m.t_s))]
    if not inside:
        return None
    flags = [
        tag(
            "div",
            tag("span", mark.text),
            class_="flag flip" if clock(mark.t_s) > window.start + window.span / 2 else "flag",
            style=f"--a:{number(clock(mark.t_s))};top:{18 * row}px",
            title=f"{mark.text} at {ms(clock(mark.t_s))}",
        )
        for row, mark in enumerate(inside)
    ]
    return lane(
        "scenario", "what else happened", tag("div", flags, class_="flags", style=f"height:{18 * len(flags)}px")
    )


def _control_lane(control: Control, clock: Clock, window: Window, whole: Window, level: Detail) -> Markup | None:
    times: dict[str, list[float]] = {}
    for mark in control.marks:
        if whole.holds(clock(mark.t_s)):
            times.setdefault(mark.type, []).append(clock(mark.t_s))
    if not times:
        return None
    rows = sorted(times.items(), key=lambda item: -len(item[1]))
    if len(rows) > CONTROL_TYPES:
        rows = [*rows[:CONTROL_TYPES], ("others", sorted(t for _, rest in rows[CONTROL_TYPES:] for t in rest))]
    drawn = [
        tag("path", class_=f"control c{row}", d=_control_row(row, apart(found, window.span, level.strokes)))
        for row, (_, found) in enumerate(rows)
    ]
    names = [_row_name(row, f"{kind} × {len(found)}") for row, (kind, found) in enumerate(rows)]
    words = f"{sum(map(len, times.values()))} control messages around the migration"
    drawing = plot(drawn, window, CONTROL_ROW * len(rows), words)
    return lane("control messages", "a stroke each, at the moment it was seen", [drawing, names])


def _control_row(row: int, times: Iterable[float]) -> str:
    return strokes(times, row * CONTROL_ROW + 2, (row + 1) * CONTROL_ROW - 2)


def _row_name(row: int, text: str) -> Markup:
    return tag("span", text, class_="row-name", style=f"top:{number(row * CONTROL_ROW)}px")


def _probe_lane(vantage: Vantage, clock: Clock, window: Window, level: Detail) -> Markup:
    silent = f"silent for {ms(vantage.outage_ms)}"
    about = f"{relation(vantage)} · {silent} · lost {decimal(vantage.probes_lost)} of {decimal(vantage.probes_sent)}"
    gap = shade(clock(vantage.gap_start_s), clock(vantage.gap_end_s), PROBE_LANE, "gap", silent)
    words = f"Probes from {vantage.name}: {about}"
    return lane(
        vantage.name, about, plot([gap, _probes(vantage, clock, window, level)], window, PROBE_LANE, words), "probes"
    )


def _probes(vantage: Vantage, clock: Clock, window: Window, level: Detail) -> list[Markup]:
    """A tick for each probe where there is room, else a bar for each unbroken stretch; lost ones stand lower."""
    if vantage.series is None:
        return []
    probes = points(vantage.series, clock)
    inside = [p for p in probes if window.holds(p[0])]
    each = inside if len(inside) <= level.ticks else []
    rest = [p for p in probes if not (each and window.holds(p[0]))]
    answered = tag("path", class_="answered", d=strokes((t for t, rtt in each if rtt is not None), *ANSWERED))
    lost = tag("path", class_="lost", d=strokes((t for t, rtt in each if rtt is None), *LOST))
    return [answered, lost, *_far_probes(rest, vantage.interval_ms, level)]


def _far_probes(probes: Sequence[Probe], interval_ms: float, level: Detail) -> list[Markup]:
    bars = runs(probes, interval_ms)
    if len(bars) > 4 * level.buckets:  # losses all over the place: bars would be slivers
        first, last = probes[0][0], probes[-1][0]
        times = apart((t for t, rtt in probes if rtt is None), last - first, level.buckets)
        answered, lost = _bars([(first, last, True)], *ANSWERED), strokes(times, *LOST)
    else:
        answered, lost = (
            _bars((b for b in bars if b[2] is kind), *at) for kind, at in ((True, ANSWERED), (False, LOST))
        )
    return [tag("path", class_="answered bar", d=answered), tag("path", class_="lost bar", d=lost)]


def _bars(stretches: Iterable[tuple[float, float, bool]], top: float, bottom: float) -> str:
    return "".join(
        f"M{number(start)} {number(top)}H{number(end)}V{number(bottom)}H{number(start)}Z" for start, end, _ in stretches
    )
