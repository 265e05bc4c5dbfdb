"""The timeline of a migration: phases, control messages and probes on one time axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from chimera.model.result import Control, Mark, Migration, Phase, Vantage
from chimera.report.figures import decimal, ms, relation
from chimera.report.lanes import (
    Clock,
    Window,
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
MOST_TICKS = 1500  # probes of a lane that are drawn one by one


def timelines(migration: Migration, control: Control, marks: Sequence[Mark]) -> list[Markup]:
    """The whole migration, and where the VM was frozen the stretch around the stun again, enlarged."""
    whole, detail = whole_window(migration), stun_window(migration)
    label = f"Timeline of the migration of {migration.vm}"
    overview = _timeline(migration, control, marks, whole, whole, f"{label}, all of it", "overview")
    if detail is None:
        return [overview]
    return [overview, _timeline(migration, control, marks, detail, whole, f"{label}, around the stun", "zoomable")]


def _timeline(
    migration: Migration, control: Control, marks: Sequence[Mark], window: Window, whole: Window, label: str, class_: str
) -> Markup:
    clock = clock_of(migration)
    lanes = [
        _phase_lane(migration.phases, clock),
        _mark_lane(marks, clock, whole),
        _control_lane(control, clock, window, whole),
        *(_probe_lane(v, clock, window) for v in migration.vantage_points),
    ]
    return chart(lanes, window, label, class_=class_, whole=whole)


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


def _mark_lane(marks: Sequence[Mark], clock: Clock, whole: Window) -> Markup | None:
    """What the scenario did meanwhile, one line each, so that words never meet."""
    inside = [m for m in marks if whole.holds(clock(m.t_s))]
    if not inside:
        return None
    flags = [
        tag(
            "div",
            tag("span", mark.text),
            class_="flag flip" if clock(mark.t_s) > whole.start + whole.span / 2 else "flag",
            style=f"--a:{number(clock(mark.t_s))};top:{18 * row}px",
            title=f"{mark.text} at {ms(clock(mark.t_s))}",
        )
        for row, mark in enumerate(inside)
    ]
    return lane("scenario", "what else happened", tag("div", flags, class_="flags", style=f"height:{18 * len(flags)}px"))


def _control_lane(control: Control, clock: Clock, window: Window, whole: Window) -> Markup | None:
    near = [m for m in control.marks if whole.holds(clock(m.t_s))]
    if not near:
        return None
    kinds = Counter(m.type for m in near)
    shown = [kind for kind, _ in kinds.most_common(CONTROL_TYPES)]
    height = CONTROL_ROW * (len(shown) + (len(kinds) > len(shown)))
    strokes_ = [
        tag("path", class_=f"control c{row}", d=_control_row(row, (clock(m.t_s) for m in near if m.type == kind)))
        for row, kind in enumerate(shown)
    ]
    names = [_row_name(row, f"{kind} × {kinds[kind]}") for row, kind in enumerate(shown)]
    if len(kinds) > len(shown):
        others = [clock(m.t_s) for m in near if m.type not in shown]
        strokes_.append(tag("path", class_="control", d=_control_row(len(shown), others)))
        names.append(_row_name(len(shown), f"others × {len(others)}"))
    drawing = plot(strokes_, window, height, f"{len(near)} control messages around the migration")
    return lane("control messages", "a stroke each, at the moment it was seen", [drawing, names])


def _control_row(row: int, times: Iterable[float]) -> str:
    return strokes(times, row * CONTROL_ROW + 2, (row + 1) * CONTROL_ROW - 2)


def _row_name(row: int, text: str) -> Markup:
    return tag("span", text, class_="row-name", style=f"top:{number(row * CONTROL_ROW)}px")


def _probe_lane(vantage: Vantage, clock: Clock, window: Window) -> Markup:
    silent = f"silent for {ms(vantage.outage_ms)}"
    about = f"{relation(vantage)} · {silent} · lost {decimal(vantage.probes_lost)} of {decimal(vantage.probes_sent)}"
    gap = shade(clock(vantage.gap_start_s), clock(vantage.gap_end_s), PROBE_LANE, "gap", silent)
    words = f"Probes from {vantage.name}: {about}"
    return lane(vantage.name, about, plot([gap, _probes(vantage, clock, window)], window, PROBE_LANE, words), "probes")


def _probes(vantage: Vantage, clock: Clock, window: Window) -> list[Markup]:
    """A tick for each probe where there is room, else a bar for each unbroken stretch; lost ones stand lower."""
    if vantage.series is None:
        return []
    probes = points(vantage.series, clock)
    inside = [p for p in probes if window.holds(p[0])]
    each = inside if len(inside) <= MOST_TICKS else []
    rest = [p for p in probes if not (each and window.holds(p[0]))]
    answered = strokes((t for t, rtt in each if rtt is not None), 3, 15)
    lost = strokes((t for t, rtt in each if rtt is None), 11, PROBE_LANE - 2)
    bars = runs(rest, vantage.interval_ms)
    return [
        tag("path", class_="answered bar", d=_bars((b for b in bars if b[2]), 3, 15)),
        tag("path", class_="lost bar", d=_bars((b for b in bars if not b[2]), 11, PROBE_LANE - 2)),
        tag("path", class_="answered", d=answered),
        tag("path", class_="lost", d=lost),
    ]


def _bars(stretches: Iterable[tuple[float, float, bool]], top: float, bottom: float) -> str:
    return "".join(
        f"M{number(start)} {number(top)}H{number(end)}V{number(bottom)}H{number(start)}Z" for start, end, _ in stretches
    )
