"""The heartbeat inside a VM: what is a stun, what a machine that was busy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chimera.measure.heartbeat import beating, read_heartbeat, stall_ms, stun
from chimera.model.samples import Gap, Heartbeat, Window

FROZEN = Window(10.0, 10.08)  # from the order to freeze to the order to resume
STUN = Gap(10.002, 10.0795)
BEATS = Heartbeat("vm1", 0.5, 5.0, 15.0, (Gap(6.0, 6.3), Gap(9.9, 9.99), STUN, Gap(10.0795, 10.084), Gap(12.0, 12.9)))


def test_a_recording_reads_as_a_heartbeat(tmp_path: Path) -> None:
    path = tmp_path / "beats"
    path.write_text(json.dumps({
        "interval_us": 500, "started_ns": 5 * 10**9, "ended_ns": 15 * 10**9, "pause_count": 1,
        "pauses": [[10**10, 10**10 + 5 * 10**7]],
    }))  # fmt: skip
    assert read_heartbeat(path, "vm1") == Heartbeat("vm1", 0.5, 5.0, 15.0, (Gap(10.0, 10.05),))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pauses": [1]}', '{"pauses": [[1]], "interval_us": 1}'])
def test_any_text_reads_as_a_heartbeat_or_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "beats"
    path.write_text(text)
    with pytest.raises(ValueError):
        read_heartbeat(path, "vm1")


def test_the_stun_is_the_longest_pause_around_the_freezing() -> None:
    assert stun(BEATS, FROZEN) == STUN
    assert stun(BEATS, Window(7.0, 7.1)) is None


def test_pauses_outside_the_stun_are_the_machines() -> None:
    assert stall_ms(BEATS, Window(9.8, 11.0), STUN) == pytest.approx(90)
    assert stall_ms(BEATS, Window(9.995, 11.0), STUN) == pytest.approx(4.5)
    assert stall_ms(BEATS, Window(7.0, 8.0), None) == 0.5, "an interval: it ran"


def test_only_what_was_recorded_all_the_time_speaks_for_a_time() -> None:
    others = [Heartbeat("vm2", 0.5, 0.0, 99.0, ()), Heartbeat("vm1", 0.5, 10.01, 15.0, ()), BEATS]
    assert beating(others, "vm1", FROZEN) is BEATS
    assert beating(others, "vm1", Window(4.9, 10.0)) is None
    assert beating(others, "vm3", FROZEN) is None
