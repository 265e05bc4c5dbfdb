"""How often probes are sent: every millisecond, but for a machine that could carry nothing else then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from underlays import shipped

from chimera.measure import instruments
from chimera.measure.instruments import BEAT_US, INTERVAL_US, Instruments
from chimera.model.underlay import Forwarding
from chimera.underlay.plan import plan


def made(monkeypatch: pytest.MonkeyPatch, *slow: float) -> Instruments:
    """Instruments on a machine whose speed is measured as ``slow``, one after the other."""
    measured: Iterator[float] = iter(slow)
    monkeypatch.setattr(instruments, "slowness", lambda clock: next(measured))
    dual = shipped("dual-dc")
    return Instruments(dual, plan(dual, Forwarding.ROUTED), Path("/nonexistent"), dict)


def test_a_busy_moment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = made(monkeypatch, 9.0, 1.1, 6.0)
    assert (usual._paced(INTERVAL_US), usual._paced(BEAT_US)) == (1000, 500)
    assert not usual.losses


def test_processor_time_counts_and_not_how_long_a_busy_machine_takes_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = made(monkeypatch)
    monkeypatch.setattr(instruments, "slowness", lambda clock: 9.0 if clock is time.monotonic else 1.0)
    assert usual._paced(INTERVAL_US) == 1000


def test_a_slow_machine_is_left_room_and_the_result_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    emulated = made(monkeypatch, 20.0, 20.0, 20.0)
    assert (emulated._paced(INTERVAL_US), emulated._paced(BEAT_US)) == (10_000, 5_000)
    assert emulated.losses == ["The machine is 20 times slower than usual: probes are sent every 10.0 ms."]
