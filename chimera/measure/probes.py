"""Probe recordings to outages: what one vantage point noticed of one migration.

An outage is the longest silence *as the vantage point hears it*: the time between two consecutive answers (kernel
stamps). The probes' own interval is not subtracted, so a stream without any disturbance has an "outage" of about one
interval.

A VM that moves is heard over another distance afterwards, which is no silence: 10 ms nearer, and its first answer comes
10 ms earlier. So the silence around a stun is measured where the VM is (:func:`_heard`): it begins when the VM gave the
last answer that was heard, and ends when the first one after the stun arrives, less the least time that the way back
takes from then on. All clocks are one: every node runs on the same kernel.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from struct import error as StructError

from chimera.measure.heartbeat import stall_ms
from chimera.model.result import Series, Vantage
from chimera.model.samples import Gap, Heartbeat, ProbeRecord, ProbeStream, Window
from chimera.wire.probe import RECORD_ANSWER, RECORD_SENT, RECORDING_HEADER, RECORDING_MAGIC, RECORDING_RECORD

SETTLE_S = 0.3  # an answer may take this long: a younger probe without one is not yet lost
STEADY_S = 0.5  # a stream without a silence for this long is steady again
STEADY_INTERVALS = 20  # a silence is longer than this many intervals …
STEADY_SILENCE_S = 0.05  # … and than this
DISTANCE_S = 1.0  # the way back from a VM's new place is as long as the shortest within this time
PAUSE_INTERVALS = 2  # a prober that sent nothing for longer than this was not run
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
    answers: dict[int, list[tuple[float, float]]] = {}  # arrived, given
    for sequence, kind, _, time_ns, given_ns in RECORDING_RECORD.iter_unpack(body):
        if kind == RECORD_SENT:
            sent[sequence] = time_ns / 1e9
        elif kind == RECORD_ANSWER:
            answers.setdefault(sequence, []).append((time_ns / 1e9, given_ns / 1e9))
    for sequence, when in sorted(sent.items()):
        came = answers.get(sequence, ())
        if came or when <= settled:
            yield ProbeRecord(sequence, when, tuple(a for a, _ in came), tuple(g for _, g in came))


# -- the gap -------------------------------------------------------------------------------


def _arrivals(stream: ProbeStream) -> list[float]:
    return sorted(answer for record in stream.records for answer in record.answers)


def _heard(stream: ProbeStream, stunned: Gap | None) -> list[float]:
    """When each answer was heard, in order; around a stun without what the distance to the VM changed by."""
    if stunned is None:
        return _arrivals(stream)
    middle = (stunned.start + stunned.end) / 2
    before: list[float] = []
    after: list[tuple[float, float]] = []
    for record in stream.records:
        for arrived, given in zip(record.answers, record.given or record.answers, strict=True):
            if given < middle:
                before.append(given)
            else:
                after.append((given, arrived))
    if not after:
        return sorted(before)
    soon = max(min(after)[0], stunned.end) + DISTANCE_S
    way_back = min(arrived - given for given, arrived in after if given <= soon)
    return sorted([*before, *(arrived - way_back for _, arrived in after)])


def _end(stream: ProbeStream, heard: Sequence[float]) -> float:
    """When the stream is over: its last sending or its last answer, whichever is later."""
    return max(stream.records[-1].sent, heard[-1] if heard else 0.0)


def steady_after(stream: ProbeStream, moment: float) -> float:
    """The first time from ``moment`` on at which answers come without a silence for half a second.

    The end of the stream where that never happens.
    """
    return _steady_after(stream, _arrivals(stream), moment)


def _steady_after(stream: ProbeStream, heard: Sequence[float], moment: float) -> float:
    silence = max(STEADY_SILENCE_S, STEADY_INTERVALS * stream.interval_ms / 1000)
    later = heard[bisect_left(heard, moment) :]
    since = later[0] if later else 0.0
    for previous, answer in pairwise(later):
        if answer - previous > silence:
            since = answer
        if answer - since >= STEADY_S:
            return since
    return _end(stream, heard)


def _silences(stream: ProbeStream, heard: Sequence[float], window: Window) -> Iterator[Gap]:
    """Every silence that touches the window, the last one open where the stream ends in it."""
    first = max(bisect_left(heard, window.start) - 1, 0)
    last = bisect_right(heard, window.end)
    if first == 0 and heard and heard[0] >= window.start:
        yield Gap(min(stream.records[0].sent, heard[0]), heard[0])
    for previous, answer in pairwise(heard[first : last + 1]):
        yield Gap(previous, answer)
    if last == len(heard):
        yield Gap(heard[-1] if heard else stream.records[0].sent, _end(stream, heard), open=True)


def outage(stream: ProbeStream, window: Window, stunned: Gap | None = None) -> Gap:
    """The longest silence that touches the window, which is extended until the stream is steady again.

    ``stunned`` is the stun in the window, where there was one. Where no answer came after the silence it is ``open``
    and ends with the stream.

    Raises:
        ValueError: where no probe was sent.
    """
    if not stream.records:
        raise ValueError(f"{stream.vantage} sent no probe to {stream.target}")
    heard = _heard(stream, stunned)
    extended = Window(window.start, max(window.end, _steady_after(stream, heard, window.end)))
    return max(_silences(stream, heard, extended), key=lambda gap: gap.end - gap.start)


# -- the machine's part --------------------------------------------------------------------


def _sendings(stream: ProbeStream, window: Window) -> Iterator[Gap]:
    """The times between two probes, of all that touch the window; to the end of a stream that ends in it."""
    times = [record.sent for record in stream.records]
    first, last = bisect_left(times, window.start), bisect_right(times, window.end)
    return (Gap(a, b) for a, b in pairwise(times[max(first - 1, 0) : last + 1]))


def prober_stall_ms(stream: ProbeStream, window: Window) -> float:
    """The longest time between two probes in the window: longer than the interval where the prober was not run."""
    return max((pause.ms for pause in _sendings(stream, window)), default=stream.interval_ms)


def unobserved_ms(stream: ProbeStream, gap: Gap, heartbeat: Heartbeat | None, stunned: Gap | None) -> float:
    """How long in a silence, but for the stun, the machine ran the prober not, or not who answers.

    What happened to the network meanwhile nobody can tell.
    """
    longest = PAUSE_INTERVALS * stream.interval_ms
    asleep = [pause for pause in _sendings(stream, Window(gap.start, gap.end)) if pause.ms > longest]
    asleep += [pause for pause in heartbeat.pauses if pause != stunned] if heartbeat else []
    within = [(max(p.start, gap.start), min(p.end, gap.end)) for p in asleep]
    if stunned is None:
        return _covered(within) * 1000
    before = [(start, min(end, stunned.start)) for start, end in within]
    after = [(max(start, stunned.end), end) for start, end in within]
    return (_covered(before) + _covered(after)) * 1000


def _covered(stretches: Iterable[tuple[float, float]]) -> float:
    """How much time stretches cover together; those that end before they begin cover none."""
    covered, until = 0.0, 0.0
    for start, end in sorted(stretches):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered


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
    stun_ms: float | None,
    stunned: Gap | None = None,
    heartbeat: Heartbeat | None = None,
    origin: float,
    misdelivered: int | None = None,
    around_s: float = 2.0,
) -> Vantage:
    """What a vantage point noticed of the migration that took place in ``window``.

    ``stun_ms`` is the migration's own figure, None where it was not measured; ``stunned`` is when that was, and
    ``heartbeat`` what measured it. ``origin`` is the start of the run (seconds since the epoch), ``misdelivered`` what
    the listeners counted for this stream, ``around_s`` how much of the stream before and after belongs into the plot.
    Counts are of probes sent from the window's start until the stream is steady again.

    Raises:
        ValueError: where no probe was sent.
    """
    gap = outage(stream, window, stunned)
    end = max(window.end, gap.end, steady_after(stream, window.end))
    whole = Window(min(window.start, gap.start), end)
    counts = count(stream, whole)
    stalls = [prober_stall_ms(stream, whole)]
    stalls += [stall_ms(heartbeat, whole, stunned)] if heartbeat else []
    silent_ms = round(gap.ms, 3)
    return Vantage(
        name=stream.vantage,
        relation=stream.relation,
        stun_ms=None if stun_ms is None else round(stun_ms, 3),
        outage_ms=silent_ms,
        network_outage_ms=None if stun_ms is None else round(silent_ms - round(stun_ms, 3), 3),
        probes_sent=counts.probes_sent,
        probes_lost=counts.probes_lost,
        probes_duplicated=counts.probes_duplicated,
        misdelivered=misdelivered,
        interval_ms=stream.interval_ms,
        gap_start_s=round(gap.start - origin, 6),
        gap_end_s=round(gap.end - origin, 6),
        series=series(stream, gap, Window(whole.start - around_s, end + around_s), origin),
        resolution_ms=round(stream.interval_ms + heartbeat.interval_ms, 3) if heartbeat else None,
        machine_stall_ms=round(max(stalls), 3),
        unobserved_ms=round(unobserved_ms(stream, gap, heartbeat, stunned), 3),
    )
