"""Outages from probe records: streams whose truth is known because they are made here."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.measure.probes import (
    count,
    outage,
    prober_stall_ms,
    read_stream,
    rtt_ms,
    steady_after,
    unobserved_ms,
    vantage,
)
from chimera.model.samples import Gap, Heartbeat, ProbeRecord, ProbeStream, Window
from chimera.wire.probe import RECORDING_HEADER, RECORDING_MAGIC, RECORDING_RECORD

RTT = 0.020
START = 1_700_000_000.0


def stream(seconds: float = 5.0, lost: Window | None = None, interval: float = 0.001) -> ProbeStream:
    """Probes from START on, answered after RTT but for those sent in ``lost`` (relative to START)."""
    records = []
    for sequence in range(int(seconds / interval)):
        sent = sequence * interval
        answered = not (lost and lost.start <= sent < lost.end)
        records.append(ProbeRecord(sequence, START + sent, (START + sent + RTT,) if answered else ()))
    return ProbeStream(7, "vm9", "vm1", "remote", interval * 1000, records)


def moved(stun: Gap, before: float, after: float, *, held: float = 0.0, seconds: float = 5.0) -> ProbeStream:
    """Probes every millisecond to a VM that is ``before`` seconds away, is stunned, and is ``after`` seconds away then.

    What reaches it while it is stunned is answered at its end. For ``held`` seconds after the stun the network keeps
    answers back.
    """
    records = []
    for sequence in range(int(seconds * 1000)):
        sent = START + sequence / 1000
        given = sent + (before if sent + before < stun.start else after)
        if stun.start <= given < stun.end:
            given = stun.end
        back = before if given < stun.start else after
        arrived = max(given + back, stun.end + held) if given >= stun.end else given + back
        records.append(ProbeRecord(sequence, sent, (arrived,), (given,)))
    return ProbeStream(7, "vm9", "vm1", "remote", 1.0, records)


def heart(*pauses: Gap) -> Heartbeat:
    """One that beats every half millisecond all the time, except in these pauses (in seconds since START)."""
    return Heartbeat("vm1", 0.5, START - 1, START + 9, tuple(Gap(START + p.start, START + p.end) for p in pauses))


def window(start: float, end: float) -> Window:
    return Window(START + start, START + end)


def test_the_outage_is_the_time_between_two_answers() -> None:
    gap = outage(stream(lost=Window(2.0, 2.3)), window(1.9, 2.2))
    assert gap.ms == pytest.approx(301, abs=0.01)
    assert gap.start == pytest.approx(START + 1.999 + RTT)
    assert not gap.open


def test_an_undisturbed_stream_has_an_outage_of_one_interval() -> None:
    assert outage(stream(), window(1, 2)).ms == pytest.approx(1.0, abs=0.01)


def test_an_outage_elsewhere_is_not_this_migrations() -> None:
    assert outage(stream(lost=Window(4.0, 4.2)), window(1, 2)).ms < 2


def test_an_outage_that_outlasts_the_window_counts_whole() -> None:
    assert outage(stream(lost=Window(2.0, 3.5)), window(1.9, 2.1)).ms == pytest.approx(1501, abs=0.01)


def test_an_outage_that_begins_again_before_the_stream_is_steady_belongs_to_it() -> None:
    base = stream(lost=Window(2.0, 2.1))
    flapping = [ProbeRecord(r.sequence, r.sent, () if 2300 <= r.sequence < 2700 else r.answers) for r in base.records]
    gap = outage(ProbeStream(7, "vm9", "vm1", "remote", 1.0, flapping), window(1.9, 2.15))
    assert gap.ms == pytest.approx(401, abs=0.01)


def test_without_an_answer_afterwards_the_gap_is_open_and_lasts_to_the_end() -> None:
    gap = outage(stream(lost=Window(2.0, 9.0)), window(1.9, 2.1))
    assert gap.open
    assert gap.end == pytest.approx(START + 4.999)


def test_without_any_answer_the_gap_is_the_whole_stream() -> None:
    gap = outage(stream(lost=Window(-1.0, 9.0)), window(1.9, 2.1))
    assert (gap.start, gap.open) == (START, True)


def test_a_stream_without_probes_has_no_outage_to_tell() -> None:
    with pytest.raises(ValueError, match="vm9 sent no probe to vm1"):
        outage(stream(seconds=0), window(1, 2))


def test_steadiness_returns_with_the_first_answer_after_the_silence() -> None:
    assert steady_after(stream(lost=Window(2.0, 2.5)), START + 2.1) == pytest.approx(START + 2.5 + RTT)


def test_a_prober_that_slept_is_told_from_a_network_that_was_down() -> None:
    whole = stream()
    slept = [r for r in whole.records if not 2.0 < r.sent - START < 2.2]
    sleeper = ProbeStream(7, "vm9", "vm1", "remote", 1.0, slept)
    gap = outage(sleeper, window(1.9, 2.3))
    assert prober_stall_ms(sleeper, window(1.9, 2.3)) == pytest.approx(200, abs=0.01)
    assert unobserved_ms(sleeper, gap, None, None) == pytest.approx(180, abs=1), "what it sent before is still answered"
    down = stream(lost=Window(2.0, 2.2))
    assert prober_stall_ms(down, window(1.9, 2.3)) < 2
    assert unobserved_ms(down, outage(down, window(1.9, 2.3)), None, None) == 0


def test_lost_and_duplicated_probes_are_counted_where_they_were_sent() -> None:
    base = stream(lost=Window(2.0, 2.1))
    twice = [ProbeRecord(r.sequence, r.sent, r.answers * (2 if r.sequence == 1950 else 1)) for r in base.records]
    counts = count(ProbeStream(7, "vm9", "vm1", "remote", 1.0, twice), window(1.8995, 2.1995))
    assert (counts.probes_sent, counts.probes_lost, counts.probes_duplicated) == (300, 100, 1)


def test_the_round_trip_is_the_median_of_the_window() -> None:
    assert rtt_ms(stream(), window(1, 2)) == pytest.approx(20, abs=0.01)
    assert rtt_ms(stream(lost=Window(0, 9)), window(1, 2)) is None


def test_a_vantage_point_tells_the_network_from_the_stun() -> None:
    frozen = Gap(START + 2.02, START + 2.30)
    seen = vantage(
        stream(lost=Window(2.0, 2.3)), window(1.9, 2.35), stun_ms=280, stunned=frozen, heartbeat=heart(),
        origin=START, misdelivered=2,
    )  # fmt: skip
    assert seen.outage_ms == pytest.approx(301, abs=0.01)
    assert seen.network_outage_ms == pytest.approx(21, abs=0.01)
    assert (seen.probes_lost, seen.misdelivered, seen.relation) == (300, 2, "remote")
    assert seen.gap_end_s == pytest.approx(2.3 + RTT, abs=1e-5)
    assert seen.resolution_ms == 1.5 and not seen.impossible


def test_a_silence_shorter_than_the_stun_is_said_with_its_sign_and_cannot_be() -> None:
    """What the heartbeat says and what the probes say contradict each other."""
    seen = vantage(stream(), window(1, 2), stun_ms=50, stunned=Gap(START + 1.5, START + 1.55), heartbeat=heart(),
                   origin=START)  # fmt: skip
    assert seen.network_outage_ms == pytest.approx(-49, abs=0.01)
    assert seen.impossible
    assert not replace(seen, network_outage_ms=-1.5).impossible, "that is what the two intervals allow"


def test_without_a_heartbeat_nobody_knows_what_the_network_added() -> None:
    seen = vantage(stream(lost=Window(2.0, 2.3)), window(1.9, 2.35), stun_ms=None, origin=START)
    assert (seen.stun_ms, seen.network_outage_ms, seen.resolution_ms) == (None, None, None)
    assert not seen.impossible


STUN = Gap(START + 2.0, START + 2.05)


@pytest.mark.parametrize(("before", "after"), [(0.010, 0.0002), (0.0002, 0.010), (0.020, 0.0001), (0.01, 0.01)])
def test_a_vm_that_moves_nearer_or_farther_is_silent_for_its_stun(before: float, after: float) -> None:
    gap = outage(moved(STUN, before, after), Window(STUN.start - 0.05, STUN.end + 0.1), STUN)
    assert -0.001 <= gap.ms - STUN.ms <= 1.001, "an answer that is on its way for longer is no longer silence"


def test_answers_that_the_network_holds_back_are_its_silence() -> None:
    gap = outage(moved(STUN, 0.01, 0.0002, held=0.3), Window(STUN.start - 0.05, STUN.end + 0.1), STUN)
    assert gap.ms - STUN.ms == pytest.approx(300, abs=1.1)


def test_who_was_not_run_did_not_observe() -> None:
    """A silence from 2.0 to 2.3, the stun from 2.1 to 2.15: the prober slept before it, the responder after it."""
    slept = [r for r in stream(lost=Window(1.98, 2.28)).records if not 2.03 < r.sent - START < 2.12]
    sleeper = ProbeStream(7, "vm9", "vm1", "remote", 1.0, slept)
    stunned = Gap(START + 2.1, START + 2.15)
    beats = heart(Gap(2.1, 2.15), Gap(2.2, 2.22), Gap(2.21, 2.23), Gap(3.0, 3.5))
    gap = Gap(START + 2.0, START + 2.3)
    assert unobserved_ms(sleeper, gap, beats, stunned) == pytest.approx(70 + 30, abs=1.1)
    seen = vantage(sleeper, window(1.95, 2.4), stun_ms=50, stunned=stunned, heartbeat=beats, origin=START)
    assert seen.machine_stall_ms == pytest.approx(90, abs=1.1)
    assert seen.unobserved_ms == pytest.approx(100, abs=1.1)


def test_the_plot_is_complete_at_the_gap_and_bounded_elsewhere() -> None:
    seen = vantage(stream(60, lost=Window(30.0, 30.3)), window(29, 31), stun_ms=0, origin=START, around_s=25)
    assert seen.series
    sent = seen.series.sent_s
    assert len(sent) <= 3010
    assert sum(29.7 <= t <= 30.0 for t in sent) >= 300
    assert seen.series.rtt_ms.count(None) == 300
    assert sent == sorted(sent)


def recording(path: Path, records: list[tuple[int, int, int, int, int]], ended: float) -> Path:
    header = RECORDING_HEADER.pack(RECORDING_MAGIC, 7, 500, 0, int(ended * 1e9), 0)
    path.write_bytes(header + b"".join(RECORDING_RECORD.pack(*r) for r in records))
    return path


def test_a_recording_reads_as_a_stream(tmp_path: Path) -> None:
    entries = [(0, 0, 0, 10**18, 0), (1, 0, 101, 10**18 + 500_000, 0), (2, 0, 0, 10**18 + 1_000_000, 0)]
    entries += [(0, 1, 0, 10**18 + 20_000_000, 5), (0, 1, 0, 10**18 + 21_000_000, 5)]
    read = read_stream(recording(tmp_path / "p", entries, 1e9 + 1), vantage="a", target="b", relation="client")
    assert (read.flow, read.interval_ms, read.relation) == (7, 0.5, "client")
    assert [len(r.answers) for r in read.records] == [2, 0, 0]
    assert read.records[0].given == (5e-9, 5e-9)
    assert read.records[0].answers[0] - read.records[0].sent == pytest.approx(0.02, abs=1e-6)


def test_a_probe_whose_answer_may_still_come_is_not_lost(tmp_path: Path) -> None:
    path = recording(tmp_path / "p", [(0, 0, 0, 10**18, 0), (1, 0, 0, 10**18 + 900_000_000, 0)], 1e9 + 1)
    assert len(read_stream(path, vantage="a", target="b", relation="client").records) == 1


@settings(deadline=None)  # a busy machine is no defect
@given(st.binary(max_size=200) | st.binary(max_size=120).map(lambda b: RECORDING_MAGIC + b))
def test_any_bytes_read_as_a_stream_or_are_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(data)
    try:
        read_stream(path, vantage="a", target="b", relation="client")
    except ValueError as error:
        assert "not a recording" in str(error)


def test_the_tables_agree_with_probe_h() -> None:
    assert RECORDING_HEADER.size == struct.calcsize("<8s2I3Q") == 40
    assert RECORDING_RECORD.size == 24
