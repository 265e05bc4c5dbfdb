"""Probe recordings to outages: what one vantage point noticed of one migration.

An outage is the longest silence *as the vantage point sees it*: the time between the arrivals of two consecutive
answers (kernel stamps). The probes' own interval is not subtracted, so a stream without any disturbance
has an "outage" of about one interval.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from struct import error as StructError

from chimera.model.result import Series, Vantage
from chimera.model.samples import Gap, ProbeRecord, ProbeStream, Window
from chimera.wire.probe import RECORD_ANSWER, RECORD_SENT, RECORDING_HEADER, RECORDING_MAGIC, RECORDING_RECORD

SETTLE_S = 0.3  # an answer may take this long: a younger probe without one is not yet lost
STEADY_S = 0.5  # a stream without a silence for this long is steady again
STEADY_INTERVALS = 20  # a silence is longer than this many intervals …
STEADY_SILENCE_S = 0.05  # … and than this
DETAIL_S = 0.5  # full resolution this far around the edges of the gap
SERIES_POINTS = 3000


# -- reading -------------------------------------------------------------------------------


def read_stream(path: Path, *, vantage: str, target: str, relation: str) -> ProbeStream:
    """The recording of ``probe send`` as a stream.

    Probes without an answer that were sent less than 0.3 s before the recording was written are left out: their
    answers may still be on the way.

    Raises:
        ValueError: where the file is not such a recording.
    """
    data = path.read_bytes()
    try:
        magic, flow, interval_us, _, ended_ns, _ = RECORDING_HEADER.unpack_from(data)
    except StructError:
        magic = b""
    body = memoryview(data)[RECORDING_HEADER.size :]
    if magic != RECORDING_MAGIC or len(body) % RECORDING_RECORD.size:
        raise ValueError(f"{path}: not a recording of probes")
    records = tuple(_records(body, ended_ns / 1e9 - SETTLE_S))
    return ProbeStream(flow, vantage, target, relation, interval_us / 1000, records)


def _records(body: memoryview, settled: float) -> Iterator[ProbeRecord]:
    sent: dict[int, float] = {}
    answers: dict[int, list[float]] = {}
    for sequence, kind, _, time_ns, _ in RECORDING_RECORD.iter_unpack(body):
        if kind == RECORD_SENT:
            sent[sequence] = time_ns / 1e9
        elif kind == RECORD_ANSWER:
            answers.setdefault(sequence, []).append(time_ns / 1e9)
    for sequence, when in sorted(sent.items()):
        came = answers.get(sequence, ())
        if came or when <= settled:
            yield ProbeRecord(sequence, when, tuple(came))


# -- the gap -------------------------------------------------------------------------------


def _arrivals(stream: ProbeStream) -> list[float]:
    return sorted(answer for record in stream.records for answer in record.answers)


def _end(stream: ProbeStream, arrivals: Sequence[float]) -> float:
    """When the stream is over: its last sending or its last answer, whichever is later."""
    return max(stream.records[-1].sent, arrivals[-1] if arrivals else 0.0)


def steady_after(stream: ProbeStream, moment: float) -> float:
    """The first time from ``moment`` on at which answers come without a silence for half a second.

    The end of the stream where that never happens.
    """
    return _steady_after(stream, _arrivals(stream), moment)


def _steady_after(stream: ProbeStream, arrivals: Sequence[float], moment: float) -> float:
    silence = max(STEADY_SILENCE_S, STEADY_INTERVALS * stream.interval_ms / 1000)
    later = arrivals[bisect_left(arrivals, moment) :]
    since = later[0] if later else 0.0
    for previous, arrival in pairwise(later):
        if arrival - previous > silence:
            since = arrival
        if arrival - since >= STEADY_S:
            return since
    return _end(stream, arrivals)


def _silences(stream: ProbeStream, arrivals: Sequence[float], window: Window) -> Iterator[Gap]:
    """Every silence that touches the window, the last one open where the stream ends in it."""
    first = max(bisect_left(arrivals, window.start) - 1, 0)
    last = bisect_right(arrivals, window.end)
    if first == 0 and arrivals and arrivals[0] >= window.start:
        yield Gap(min(stream.records[0].sent, arrivals[0]), arrivals[0])
    for previous, arrival in pairwise(arrivals[first : last + 1]):
        yield Gap(previous, arrival)
    if last == len(arrivals):
        yield Gap(arrivals[-1] if arrivals else stream.records[0].sent, _end(stream, arrivals), open=True)


def outage(stream: ProbeStream, window: Window) -> Gap:
    """The longest silence that touches the window, which is extended until the stream is steady again.

    Where no answer came after it the gap is ``open`` and ends with the stream.

    Raises:
        ValueError: where no probe was sent.
    """
    if not stream.records:
        raise ValueError(f"{stream.vantage} sent no probe to {stream.target}")
    arrivals = _arrivals(stream)
    extended = Window(window.start, max(window.end, _steady_after(stream, arrivals, window.end)))
    return max(_silences(stream, arrivals, extended), key=lambda gap: gap.end - gap.start)


def prober_stall_ms(stream: ProbeStream, gap: Gap) -> float:
    """The longest time within a gap in which the prober itself sent nothing (its process was not run).

    About one interval when all is well; where it is near the gap's length the machine was busy, not the network broken.
    """
    times = [gap.start, *(r.sent for r in stream.records if gap.start < r.sent < gap.end), gap.end]
    return max(b - a for a, b in pairwise(times)) * 1000


# -- counts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counts:
    """Probes sent in a window, those never answered, and those answered more than once."""

    probes_sent: int
    probes_lost: int
    probes_duplicated: int


def count(stream: ProbeStream, window: Window) -> Counts:
    """Counts the probes that were sent in the window."""
    inside = [r for r in stream.records if window.start <= r.sent <= window.end]
    lost = sum(not r.answers for r in inside)
    return Counts(len(inside), lost, sum(len(r.answers) > 1 for r in inside))


def rtt_ms(stream: ProbeStream, window: Window) -> float | None:
    """The median round trip of the probes sent in the window; ``None`` where none was answered."""
    trips = sorted(r.answers[0] - r.sent for r in stream.records if r.answers and window.start <= r.sent <= window.end)
    return round(trips[len(trips) // 2] * 1000, 4) if trips else None


# -- a vantage point -----------------------------------------------------------------------


def _trip(record: ProbeRecord) -> float:
    return record.answers[0] - record.sent if record.answers else float("inf")


def _thin(records: Sequence[ProbeRecord], budget: int) -> Iterator[ProbeRecord]:
    """At most ``budget`` records: of each bucket its first, and its worst, so that no spike gets lost."""
    if len(records) <= budget:
        yield from records
        return
    size = -(-len(records) // max(budget // 2, 1))
    for at in range(0, len(records), size):
        bucket = records[at : at + size]
        chosen = {bucket[0].sequence: bucket[0]}
        worst = max(bucket, key=_trip)
        chosen[worst.sequence] = worst
        yield from chosen.values()


def series(stream: ProbeStream, gap: Gap, window: Window, origin: float) -> Series:
    """The probes of a window for plotting: all of them near the gap's edges, fewer elsewhere.

    ``origin`` is the start of the run, seconds since the epoch.
    """
    near: list[ProbeRecord] = []
    far: list[ProbeRecord] = []
    for record in stream.records:
        if window.start <= record.sent <= window.end:
            edge = min(abs(record.sent - gap.start), abs(record.sent - gap.end))
            (near if edge <= DETAIL_S else far).append(record)
    kept = [*_thin(near, SERIES_POINTS * 2 // 3), *_thin(far, SERIES_POINTS // 3)]
    kept.sort(key=lambda r: r.sequence)
    return Series(
        [round(r.sent - origin, 5) for r in kept],
        [round(_trip(r) * 1000, 3) if r.answers else None for r in kept],
    )


def vantage(
    stream: ProbeStream,
    window: Window,
    *,
    stun_ms: float,
    origin: float,
    misdelivered: int | None = None,
    around_s: float = 2.0,
) -> Vantage:
    """What a vantage point noticed of the migration that took place in ``window``.

    ``stun_ms`` is the migration's own figure, ``origin`` the start of the run (seconds since the epoch),
    ``misdelivered`` what the listeners counted for this stream, ``around_s`` how much of the stream before and
    after belongs into the plot. Counts are of probes sent from the window's start until the stream is steady again.

    Raises:
        ValueError: where no probe was sent.
    """
    gap = outage(stream, window)
    end = max(window.end, gap.end, steady_after(stream, window.end))
    counts = count(stream, Window(min(window.start, gap.start), end))
    plotted = Window(min(window.start, gap.start) - around_s, end + around_s)
    return Vantage(
        name=stream.vantage,
        relation=stream.relation,
        stun_ms=round(stun_ms, 3),
        outage_ms=round(gap.ms, 3),
        network_outage_ms=round(max(0.0, gap.ms - stun_ms), 3),
        probes_sent=counts.probes_sent,
        probes_lost=counts.probes_lost,
        probes_duplicated=counts.probes_duplicated,
        misdelivered=misdelivered,
        interval_ms=stream.interval_ms,
        gap_start_s=round(gap.start - origin, 6),
        gap_end_s=round(gap.end - origin, 6),
        series=series(stream, gap, plotted, origin),
    )
