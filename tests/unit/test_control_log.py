"""Control messages: all are counted, and what is kept of them is bounded however long a lab stays up."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chimera.model.errors import SessionError
from chimera.model.record import MigrationRecord
from chimera.net import control_log, controller
from chimera.net.control_log import ControlLog, Message
from chimera.net.controller import Controller


def messages(*times: float) -> list[Message]:
    return [Message(t, "FLOW_MOD", "hv1", 100) for t in times]


def moved(started: float, ended: float) -> MigrationRecord:
    return MigrationRecord("web1", "hv1", "hv3", started, ended)


def test_a_day_of_messages_leaves_counters_and_the_last_seconds() -> None:
    log = ControlLog()
    for second in range(86_400):
        log.add(messages(second))
    assert log.counts == {"FLOW_MOD": 86_400} and log.bytes == 8_640_000
    assert log.near() == [] and len(log._recent) + len(log._marks) < 10


def test_what_is_near_a_migration_is_kept() -> None:
    """Also what came a second before it, and while it was not known when it would end."""
    records: list[MigrationRecord] = []
    log = ControlLog(migrations=records)
    log.add(messages(98.5, 99.5, 100.0))
    records.append(moved(100.2, 0.0))
    for t in range(101, 120):
        log.add(messages(t))
    records[0].ended = 110.5
    for t in range(120, 140):
        log.add(messages(t))
    assert [m.t for m in log.near()] == [99.5, 100.0, *range(101, 112)]


def test_more_marks_than_are_kept_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_log, "_MARKS", 5)
    log = ControlLog(migrations=[moved(0.0, 100.0)])
    for t in range(50):
        log.add(messages(t))
    assert log.forgotten > 30 and len(log.near()) < 10 and log.counts.total() == 50


# -- the stream they come from -----------------------------------------------------------------


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Controller]:
    """A controller process that said these bytes and was killed, as its watcher leaves it."""
    monkeypatch.setattr(controller, "API", str(tmp_path / "controller.sock"))

    def watch(said: bytes, on_route: Callable[[str, str, str], None] = lambda *_: None) -> Controller:
        found = Controller(inventory=None, on_route=on_route)  # type: ignore[arg-type]
        process: Any = SimpleNamespace(running=False)
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(str(tmp_path / "controller.sock"))
            channel.sendall(said)
            channel.shutdown(socket.SHUT_WR)
            thread = threading.Thread(target=found._watch, args=(process,))
            thread.start()
            thread.join(20)
        return found

    return watch


SYNCED = json.dumps({"event": "synced", "switches": ["hv1"], "located": 1}).encode() + b"\n"


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("cut", range(1, len(SYNCED), 7))
def test_a_controller_killed_in_mid_line_does_not_end_its_watcher(watched: Callable[..., Controller], cut: int) -> None:
    found = watched(SYNCED + SYNCED[:cut])
    assert found._last["synced"]["switches"] == ["hv1"] and found._synced == 1


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_route_that_cannot_be_set_is_told_and_what_follows_is_heard(watched: Callable[..., Controller]) -> None:
    def refuse(verb: str, prefix: str, switch: str) -> None:
        raise SessionError(f"no way to {prefix}")

    advertise = json.dumps({"event": "advertise", "prefix": "10.1.0.11/32", "switch": "hv1"}).encode() + b"\n"
    found = watched(advertise + SYNCED, refuse)
    assert list(found.errors) == ["advertise 10.1.0.11/32: no way to 10.1.0.11/32"] and found._synced == 1
