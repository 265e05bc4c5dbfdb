"""What a run leaves behind when its scenario does not go on to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import report_samples as samples

from chimera import session
from chimera.events import Stream
from chimera.model.errors import MigrationAborted
from chimera.model.events import (
    Checked,
    ControlMessage,
    ControlMessages,
    InterfaceLocated,
    LinkChanged,
    MigrationStarted,
    NodeChanged,
    ServiceChanged,
    event_from_json,
)
from chimera.model.result import ControlMark, Expectation, Mark, Result
from chimera.model.samples import LineTimes
from chimera.model.service import AGENTS, THE_LAB, State
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
    controller = SimpleNamespace(settle=lambda: None)
    lab = SimpleNamespace(instruments=instruments, lab=None, network=network, controller=controller)
    monkeypatch.setattr(session, "WORK", tmp_path)

    def bring_up(experiment: Any, stream: Stream) -> Any:
        lab.stream = stream
        return lab

    monkeypatch.setattr(session, "bring_up", bring_up)
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


# -- what a report takes from the stream ---------------------------------------------------------


def test_the_time_axis_has_what_was_done_since_the_lab_was_up_and_what_broke() -> None:
    told = [
        ServiceChanged(THE_LAB, AGENTS, State.STARTED, t=5.0),  # while it came up
        LinkChanged("wan", "cut", t=12.5),
        NodeChanged("hv2", "stopped", t=12.25),
        InterfaceLocated("web1", "hv3", t=13.0),
        MigrationStarted(1, "web1", "hv1", "hv3", t=12.0),
        ServiceChanged(THE_LAB, AGENTS, State.FAILED, "signal 9", t=14.0),
    ]
    assert session._marks(told, 10.0) == [
        Mark(2.25, "hv2 stopped"), Mark(2.5, "link wan cut"), Mark(4.0, "controller failed: signal 9"),
    ]  # fmt: skip


def test_control_messages_near_migrations_are_marks_in_the_order_of_time() -> None:
    log = ControlLog()
    log.counts.update({"FLOW_MOD": 30})
    late, early = ControlMessage(12.0, "FLOW_MOD", "hv1", 96), ControlMessage(11.0, "PORT_STATUS", "hv3", 80)
    told = [ControlMessages({"hv1": {"FLOW_MOD": 1}}, 96, (late,)), ControlMessages({}, 0, (early,))]
    lab: Any = SimpleNamespace(controller=SimpleNamespace(log=log))
    found = session._control(lab, 10.0, told)
    assert found.messages == {"FLOW_MOD": 30}, "all that were counted"
    assert found.marks == [ControlMark(1.0, "PORT_STATUS", "hv3", 80), ControlMark(2.0, "FLOW_MOD", "hv1", 96)]
