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

from chimera.events import Stream
from chimera.model.errors import SessionError
from chimera.model.events import ControlMessage, ControlMessages
from chimera.model.record import MigrationRecord
from chimera.model.service import AGENTS, THE_LAB, State
from chimera.net import control_log, controller
from chimera.net.control_log import ControlLog
from chimera.net.controller import Controller
from chimera.net.service import Service
from chimera.net.services import Supervisor
from tests.waiting import until


def messages(*times: float) -> list[ControlMessage]:
    return [ControlMessage(t, "FLOW_MOD", "hv1", 100) for t in times]


def moved(started: float, ended: float) -> MigrationRecord:
    return MigrationRecord("web1", "hv1", "hv3", started, ended)


def logging(records: list[MigrationRecord]) -> tuple[ControlLog, Stream]:
    """A log, and where it tells."""
    stream = Stream()
    return ControlLog(migrations=records, tell=stream.tell), stream


def told(stream: Stream) -> list[ControlMessages]:
    return [event for event in stream.read() if isinstance(event, ControlMessages)]


def near(stream: Stream) -> list[float]:
    """When the single messages were that were told."""
    return [message.t for event in told(stream) for message in event.near]


def test_a_day_of_messages_leaves_counters_and_the_last_seconds() -> None:
    log, stream = logging([])
    for second in range(86_400):
        log.add(messages(second))
    log.settle()
    assert log.counts == {"FLOW_MOD": 86_400} and log.bytes == 8_640_000
    assert near(stream) == [] and len(log._recent) < 10


def test_messages_are_told_in_batches_by_switch_and_type() -> None:
    log, stream = logging([])
    log.add(
        [*messages(1.0, 1.01), ControlMessage(1.02, "BARRIER", "hv2", 8), ControlMessage(1.03, "BARRIER", "hv1", 8)]
    )
    log.add([])
    (event,) = told(stream)
    assert event.counts == {"hv1": {"FLOW_MOD": 2, "BARRIER": 1}, "hv2": {"BARRIER": 1}} and event.bytes == 216


def test_single_messages_are_told_where_they_are_near_a_migration() -> None:
    """Also those of a second before it, and while it was not known when it would end."""
    records: list[MigrationRecord] = []
    log, stream = logging(records)
    log.add(messages(98.5, 99.5, 100.0))
    assert near(stream) == []
    records.append(moved(100.2, 0.0))
    for t in range(101, 120):
        log.add(messages(t))
        assert near(stream) == [99.5, 100.0, *range(101, t + 1)], "at once, each once"
    records[0].ended = 119.5
    for t in range(120, 140):
        log.add(messages(t))
    assert near(stream) == [99.5, 100.0, *range(101, 121)]


def test_what_was_before_a_migration_without_messages_is_told_in_the_end() -> None:
    records: list[MigrationRecord] = []
    log, stream = logging(records)
    log.add(messages(99.5))
    records.append(moved(100.0, 101.0))
    log.settle()
    log.settle()
    assert near(stream) == [99.5] and [event.counts for event in told(stream)] == [{"hv1": {"FLOW_MOD": 1}}, {}]


def test_an_event_has_so_many_messages_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_log, "_AT_ONCE", 5)
    log, stream = logging([moved(0.0, 100.0)])
    log.add(messages(*range(12)))
    assert [len(event.near) for event in told(stream)] == [5, 5, 2] and near(stream) == [*range(12)]
    assert sum(sum(event.counts["hv1"].values()) for event in told(stream) if event.counts) == 12


# -- the stream they come from -----------------------------------------------------------------

Watched = tuple[Controller, Stream]


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Watched]:
    """A controller process that said these bytes and was killed, as its watcher leaves it."""
    monkeypatch.setattr(controller, "API", str(tmp_path / "controller.sock"))

    def watch(said: bytes, on_route: Callable[[str, str, str], None] = lambda *_: None) -> Watched:
        stream = Stream()
        found = Controller(inventory=None, on_route=on_route, tell=stream.tell)  # type: ignore[arg-type]
        process: Any = SimpleNamespace(running=False)
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(str(tmp_path / "controller.sock"))
            channel.sendall(said)
            channel.shutdown(socket.SHUT_WR)
            thread = threading.Thread(target=found._watch, args=(process,))
            thread.start()
            thread.join(20)
        return found, stream

    return watch


SYNCED = json.dumps({"event": "synced", "switches": ["hv1"], "located": 1}).encode() + b"\n"


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("cut", range(1, len(SYNCED), 7))
def test_a_controller_killed_in_mid_line_does_not_end_its_watcher(watched: Callable[..., Watched], cut: int) -> None:
    found, _ = watched(SYNCED + SYNCED[:cut])
    assert found._last["synced"]["switches"] == ["hv1"] and found._synced == 1


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_route_that_cannot_be_set_is_told_and_what_follows_is_heard(watched: Callable[..., Watched]) -> None:
    def refuse(verb: str, prefix: str, switch: str) -> None:
        raise SessionError(f"no way to {prefix}")

    advertise = json.dumps({"event": "advertise", "prefix": "10.1.0.11/32", "switch": "hv1"}).encode() + b"\n"
    found, stream = watched(advertise + SYNCED, refuse)
    (warning,) = stream.read()
    assert warning.text == "warning: advertise 10.1.0.11/32: no way to 10.1.0.11/32"
    assert list(found.errors) == ["advertise 10.1.0.11/32: no way to 10.1.0.11/32"] and found._synced == 1


def test_what_a_controller_reports_is_told(watched: Callable[..., Watched]) -> None:
    said = [
        {"event": "located", "interface": "web1", "switch": "hv1"},
        {"event": "advertise", "prefix": "10.1.0.11/32", "switch": "hv1"},
        {"event": "control", "messages": [{"t": 7.0, "type": "FLOW_MOD", "node": "hv1", "bytes": 96}]},
        {"event": "error", "node": "hv1", "text": "OpenFlow error type 4"},
        {"event": "withdraw", "prefix": "10.1.0.11/32"},
    ]
    _, stream = watched(b"".join(json.dumps(line).encode() + b"\n" for line in said))
    assert [event.text for event in stream.read()] == [
        "the control plane has web1 at hv1",
        "route 10.1.0.11/32 advertised to hv1",
        "control messages of hv1: FLOW_MOD 1; 96 bytes",
        "hv1 refused: OpenFlow error type 4",
        "route 10.1.0.11/32 withdrawn",
    ]


def test_the_process_is_ready_when_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "API", str(tmp_path / "controller.sock"))
    states: list[State] = []
    services = Supervisor(lambda process: states.append(process.state), tmp_path / "logs")
    found = Controller(inventory=None, services=services)  # type: ignore[arg-type]
    found._process = services.launch(Service(THE_LAB, AGENTS, ("sleep", "600")))
    assert states == ["started"] and found.running
    found._take_report({"event": "listening"})
    assert states == ["started", "ready"]
    found.stop()
    assert states == ["started", "ready", "ended"]
    found._take_report({"event": "listening"})  # its last word, which was under way


class Restarted(Controller):
    """A controller whose process is the test's to play."""

    def begin(self) -> socket.socket:
        """Start it, and be the process."""
        self.start()
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(controller.API)
        return channel


@pytest.fixture
def restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Restarted:
    monkeypatch.setattr(controller, "API", str(tmp_path / "controller.sock"))
    monkeypatch.setattr(controller, "FOLDER", tmp_path)
    monkeypatch.setattr(controller, "to_json", lambda inventory: b"{}")
    monkeypatch.setattr(controller, "replace", lambda inventory, **changes: inventory)
    inventory: Any = SimpleNamespace(openflow_address="127.0.0.1", openflow_port=0)
    services: Any = SimpleNamespace(
        launch=lambda service, pass_fds: SimpleNamespace(running=True, said=lambda lines: ""),
        stop=lambda process, kill: setattr(process, "running", False),
    )
    monkeypatch.setattr(Restarted, "_port", 0)
    return Restarted(inventory=inventory, services=services)


def test_what_a_process_said_last_is_not_about_the_next_one(restarted: Restarted) -> None:
    """It is still being read when the next one is started."""
    reading, read_on = threading.Event(), threading.Event()

    def on_route(*_: str) -> None:
        reading.set()
        read_on.wait(20)

    restarted.on_route = on_route
    advertise = {"event": "advertise", "prefix": "10.1.0.11/32", "switch": "hv1"}
    with restarted.begin() as first:
        first.sendall(json.dumps(advertise).encode() + b"\n" + SYNCED)
    assert reading.wait(20)
    restarted.stop()
    threading.Timer(0.2, read_on.set).start()
    with restarted.begin() as second:
        assert restarted._synced == 1 and "synced" not in restarted._last
        until(lambda: restarted._stream)
        restarted.tell_agent("stop", "hv1")
        assert json.loads(second.recv(4096)) == {"command": "stop", "node": "hv1"}


def test_a_process_that_died_before_it_had_connected_leaves_the_next_one_to_be_heard(restarted: Restarted) -> None:
    restarted.start()
    before = restarted._watching
    restarted.stop()
    with restarted.begin() as channel:
        assert before and not before.is_alive()
        channel.sendall(SYNCED)
        until(lambda: restarted._synced)


def test_a_process_that_has_just_died_can_be_told_nothing(restarted: Restarted) -> None:
    with pytest.raises(SessionError, match=r"^the agents' process is not running$"):
        restarted.tell_agent("start", "hv1")
    restarted._stream, process = socket.socketpair()
    process.close()
    with restarted._stream, pytest.raises(SessionError, match=r"^the agents' process is not running$"):
        restarted.tell_agent("start", "hv1")


def test_what_agents_do_is_told_and_floods_are_counted_together(
    watched: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "_COUNTED_S", 60.0)
    said = [
        {"event": "agent", "node": "hv1", "state": "running"},
        {"event": "noted", "node": "hv1", "what": "found", "detail": "hv2"},
        *[{"event": "counted", "node": "hv1", "what": "malformed", "times": 2}] * 500,
        {"event": "counted", "node": "hv2", "what": "from a stranger", "times": 1},
        {"event": "agent", "node": "hv1", "state": "failed", "text": "KeyError: 7"},
        {"event": "agent", "node": "hv1", "state": "running"},
    ]
    found, stream = watched(b"".join(json.dumps(line).encode() + b"\n" for line in said))
    found.settle()
    found.settle()
    assert [event.text for event in stream.read()] == [
        "agent of hv1 is running",
        "agent of hv1: found hv2",
        "agent of hv1 failed: KeyError: 7",
        "agent of hv1 is running",
        "counted by agents: hv1 malformed 1000; hv2 from a stranger 1",
    ]
    known = found.agents_of("hv1")
    assert known.states == {"hv1": "running"} and known.counters == {"hv1: malformed": 1000}
    assert [(note.what, note.detail, note.cursor) for note in known.notes] == [("found", "hv2", 2)]
    assert found.agents_of("hv2").counters == {"hv2: from a stranger": 1} and not found.agents_of("hv2").notes
    assert list(found.errors) == ["the agent of hv1 failed and begins again: KeyError: 7"]


def test_what_agents_count_is_told_by_and_by(watched: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "_COUNTED_S", 0.01)
    line = {"event": "counted", "node": "hv1", "what": "malformed", "times": 1}
    _, stream = watched(json.dumps(line).encode() + b"\n")
    assert stream.read(0, 20)[0].text == "counted by agents: hv1 malformed 1"
