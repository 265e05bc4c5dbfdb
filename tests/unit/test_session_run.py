"""What a run leaves behind when its scenario does not go on to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import report_samples as samples

from chimera import session
from chimera.model.errors import MigrationAborted
from chimera.model.events import Checked, event_from_json
from chimera.model.result import Expectation, Result
from chimera.model.samples import LineTimes
from chimera.net.control_log import ControlLog

WHY = "migration of web1 to hv3 aborted: nothing moved for 3 s; it runs at hv1"


class Instruments:
    """Recorders that say only whether they were read."""

    finished = False

    def start(self, *, record_all: bool) -> None:
        pass

    def finish(self) -> None:
        self.finished = True


def play(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Callable[[Any], None], check: Callable[[Any, Any], None]
) -> tuple[Result, Instruments]:
    """A run of a scenario on nothing, whose result is a sample's."""
    instruments = Instruments()
    network = SimpleNamespace(line_times=lambda: LineTimes(0, 0, 0.0))
    controller = SimpleNamespace(log=ControlLog())
    lab = SimpleNamespace(instruments=instruments, lab=None, network=network, controller=controller)
    monkeypatch.setattr(session, "WORK", tmp_path)
    monkeypatch.setattr(session, "bring_up", lambda experiment, stream: lab)
    monkeypatch.setattr(session, "report", lambda made, run_s, told: samples.aborted())
    experiment: Any = SimpleNamespace(script=SimpleNamespace(load=lambda: None, run=run, check=check), expectations={})
    result, _ = session.run(experiment, progress=lambda text: None)
    return result, instruments


def give_up(lab: object) -> None:
    raise MigrationAborted(WHY)


def test_a_migration_that_is_given_up_is_a_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def check(result: Result, expect: Any) -> None:
        expect("completed", not result.migrations[0].aborted)

    result, instruments = play(monkeypatch, tmp_path, give_up, check)
    assert instruments.finished and not result.passed
    assert result.expectations == [
        Expectation("the scenario went on to its end", False, WHY),
        Expectation("completed", False, ""),
    ]
    written = [event_from_json(line) for line in (tmp_path / "events.jsonl").read_bytes().splitlines()]
    checks = [(event.name, event.passed) for event in written if isinstance(event, Checked)]
    assert checks == [("the scenario went on to its end", False), ("completed", False)]


def test_what_is_expected_of_a_whole_run_fails_on_half_of_one_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def check(result: Result, expect: Any) -> None:
        expect("back again", result.migrations[7].destination == "hv1")

    result, _ = play(monkeypatch, tmp_path, give_up, check)
    assert [e.passed for e in result.expectations] == [False, False]
    assert result.expectations[1].detail == "IndexError: list index out of range"


def test_a_whole_run_is_checked_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result, _ = play(monkeypatch, tmp_path, lambda lab: None, lambda result, expect: expect("fine", True))
    assert result.expectations == [Expectation("fine", True, "")]
    with pytest.raises(IndexError):
        play(monkeypatch, tmp_path, lambda lab: None, lambda result, expect: result.migrations[7])
