"""The time axis that every lane of a migration's charts shares.

Time is milliseconds from the freeze (from the migration's start where nothing was frozen). A lane's drawing is an
SVG whose viewBox *is* the window in milliseconds, stretched to whatever width the page has; words are HTML on top of
it, so that they are never stretched. The script zooms by changing the window, nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chimera.model.result import Migration, Series
from chimera.report.markup import Child, Markup, number, tag

TICKS = 6

Probe = tuple[float, float | None]  # when it was sent, its round trip: milliseconds both; None where it was lost


@dataclass(frozen=True)
class Detail:
    """How much of a run the charts draw, so that the page stays small however long the run was.

    ``buckets`` of a plot outside its focus, ``ticks`` drawn one by one in a lane, ``strokes`` told apart in a row.
    """

    buckets: int
    ticks: int
    strokes: int


DETAILS = (Detail(500, 1500, 3000), Detail(120, 300, 500), Detail(30, 40, 80))


@dataclass(frozen=True)
class Window:
    """A stretch of the time axis, milliseconds; never empty."""

    start: float
    end: float

    @property
    def span(self) -> float:
        """Length in milliseconds."""
        return max(self.end - self.start, 0.1)

    def holds(self, t: float) -> bool:
        """Whether ``t`` is inside."""
        return self.start <= t <= self.end

    def padded(self, share: float) -> Window:
        """The window with ``share`` of its length more on either side."""
        return Window(self.start - self.span * share, self.end + self.span * share)


@dataclass(frozen=True)
class Clock:
    """Seconds of the run to milliseconds of the axis."""

    origin_s: float

    def __call__(self, t_s: float) -> float:
        """Milliseconds from the origin."""
        return (t_s - self.origin_s) * 1000


def freeze_of(migration: Migration) -> float | None:
    """When the VM was frozen, seconds of the run; ``None`` where it never was."""
    return next((p.start_s for p in migration.phases if p.name == "stun"), None)


def clock_of(migration: Migration) -> Clock:
    """The axis of a migration."""
    freeze = freeze_of(migration)
    return Clock(migration.started_s if freeze is None else freeze)


def whole_window(migration: Migration) -> Window:
    """All that was recorded of a migration."""
    clock = clock_of(migration)
    times = [clock(migration.started_s)]
    for phase in migration.phases:
        times += [clock(phase.start_s), clock(phase.end_s)]
    for vantage in migration.vantage_points:
        times += [clock(vantage.gap_start_s), clock(vantage.gap_end_s)]
        if vantage.series and vantage.series.sent_s:
            times += [clock(vantage.series.sent_s[0]), clock(vantage.series.sent_s[-1])]
    return Window(min(times), max(times)).padded(0.01)


def stun_window(migration: Migration) -> Window | None:
    """The stun and the silence around it, with room to either side; ``None`` where nothing was frozen."""
    if freeze_of(migration) is None:
        return None
    clock = clock_of(migration)
    stun = [p for p in migration.phases if p.name == "stun"]
    times = [t for p in stun for t in (clock(p.start_s), clock(p.end_s))]
    times += [t for v in migration.vantage_points for t in (clock(v.gap_start_s), clock(v.gap_end_s))]
    return Window(min(times), max(times)).padded(0.4)


def ticks(window: Window, wanted: int = TICKS) -> list[float]:
    """Round times inside the window, about ``wanted`` of them, none so near an edge that its label would be cut."""
    rough = window.span / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((m * power for m in (1, 2, 5) if m * power >= rough), 10 * power)
    inner = window.padded(-0.04)
    first = math.ceil(inner.start / step)
    return [n * step for n in range(first, math.floor(inner.end / step) + 1)]


def tick_label(t: float, step: float) -> str:
    """A time on the axis, with its unit and sign."""
    if t == 0:
        return "0"
    value, name = (t / 1000, "s") if step >= 100 else (t, "ms")
    return f"{'+' if value > 0 else '−'}{abs(value):.6g} {name}"


def chart(lanes: Iterable[Markup | None], window: Window, label: str, *, class_: str = "", whole: Window) -> Markup:
    """Lanes above one axis; ``whole`` is how far the script lets a reader zoom out."""
    at = ticks(window)
    step = at[1] - at[0] if len(at) > 1 else window.span
    axis = [tag("span", tick_label(t, step), class_="tick", style=f"--t:{number(t)}") for t in at]
    return tag(
        "div",
        tag("div", axis, class_="axis", aria_hidden="true"),
        lanes,
        class_=f"chart {class_}".strip(),
        role="group",
        aria_label=label,
        style=f"--x0:{number(window.start)};--span:{number(window.span)}",
        data_start=window.start,
        data_end=window.end,
        data_first=whole.start,
        data_last=whole.end,
    )


def lane(name: str, about: Child, body: Child, class_: str = "") -> Markup:
    """One lane: a line of words, then its drawing."""
    head = tag("div", tag("b", name), " ", tag("span", about, class_="soft"), class_="lane-head")
    return tag("div", head, tag("div", body, class_="lane-body"), class_=f"lane {class_}".strip())


def plot(body: Child, window: Window, height: float, label: str, **data: str | float) -> Markup:
    """A drawing ``height`` pixels high whose x axis is time in milliseconds."""
    return tag(
        "svg",
        tag("title", label),
        body,
        class_="plot",
        role="img",
        aria_label=label,
        viewBox=f"{number(window.start)} 0 {number(window.span)} {number(height)}",
        preserveAspectRatio="none",
        style=f"height:{number(height)}px",
        **data,
    )


def strokes(times: Iterable[float], top: float, bottom: float) -> str:
    """Path data of a vertical stroke at each of ``times``."""
    return "".join(f"M{number(t)} {number(top)}V{number(bottom)}" for t in times)


def apart(times: Iterable[float], span: float, strokes_: int) -> list[float]:
    """``times`` without those that would be drawn over each other where ``span`` shows ``strokes_`` strokes."""
    width = span / strokes_
    return list({math.floor(t / width): t for t in times}.values())


def shade(start: float, end: float, height: float, class_: str, words: str) -> Markup:
    """A shaded stretch of a lane."""
    width = max(end - start, 0)
    return tag("rect", tag("title", words), class_=class_, x=start, y=0, width=width, height=height)


def points(series: Series, clock: Clock) -> list[Probe]:
    """(time, round trip) of each probe, milliseconds both."""
    return [(clock(t), rtt) for t, rtt in zip(series.sent_s, series.rtt_ms, strict=False)]


def thin(probes: Sequence[Probe], focus: Window | None, buckets: int) -> list[Probe]:
    """Fewer probes that look the same: all inside ``focus``; outside, the lowest, highest and lost of each bucket."""
    if len(probes) <= 2 * buckets:
        return list(probes)
    width = max((probes[-1][0] - probes[0][0]) / buckets, 1e-9)
    kept: list[Probe] = []
    bucket: list[Probe] = []
    key: float | None = None
    for probe in probes:
        inside = focus is not None and focus.holds(probe[0])
        current = None if inside else math.floor(probe[0] / width)
        if inside or current != key:
            kept += _extremes(bucket)
            bucket = []
        key = current
        if inside:
            kept.append(probe)
        else:
            bucket.append(probe)
    return kept + _extremes(bucket)


def _extremes(bucket: Sequence[Probe]) -> list[Probe]:
    answered = [p for p in bucket if p[1] is not None]
    ends = {min(answered, key=_round_trip), max(answered, key=_round_trip)} if answered else set()
    lost = [p for p in bucket if p[1] is None]
    return sorted({*ends, *lost[:1], *lost[-1:]}, key=lambda p: p[0])


def _round_trip(probe: Probe) -> float:
    return probe[1] or 0.0


def runs(probes: Sequence[Probe], interval_ms: float) -> list[tuple[float, float, bool]]:
    """Unbroken stretches of answered or lost probes: (start, end, answered).

    A pause of the prober is neither answered nor lost: it ends a stretch. A series may hold only some of the probes, so
    that what is a pause follows from how densely it is filled.
    """
    density = (probes[-1][0] - probes[0][0]) / len(probes) if probes else 0.0
    pause = max(5 * interval_ms, 8 * density)
    found: list[tuple[float, float, bool]] = []
    for t, rtt in probes:
        answered = rtt is not None
        if found and found[-1][2] == answered and t - found[-1][1] <= pause:
            found[-1] = (found[-1][0], t + interval_ms, answered)
        else:
            found.append((t, t + interval_ms, answered))
    return found
