"""The stream of events: its order and bounds, readers at a pace of their own, and the events' texts and JSON."""

from __future__ import annotations

import json
import threading
import time
from itertools import islice
from pathlib import Path

import pytest

from chimera.events import Follower, Journal, Stream, shown
from chimera.model import events as e
from chimera.model.codec import to_json
from chimera.model.service import AGENTS, THE_LAB, State
from chimera.model.topology import Impairment

WEB1 = (1, "web1")
BUSY = Impairment(bandwidth_mbps=1000, delay_ms=40)
# one of every kind (some in several states), with its text
TEXTS = [
    (e.LabUp("rack", "vxlan", {"gateway": "central"}, 1.234, "0.2"), "up in 1.23 s"),
    (e.NodeChanged("hv1", "stopped"), "hv1 stopped"),
    (e.LinkChanged("wan", "cut"), "link wan cut"),
    (
        e.LinkChanged("wan", "changed", Impairment(delay_ms=40, loss_percent=0.5), Impairment()),
        "link wan changed: forward 40 ms, 0.5 % loss; backward not impaired",
    ),
    (e.LinkChanged("wan", "changed", BUSY, BUSY), "link wan changed: 40 ms, 1000 Mbit/s"),
    (e.NodeChanged("hv1", "started", "ovsdb-server"), "ovsdb-server of hv1 started"),
    (e.ServiceChanged(THE_LAB, AGENTS, State.ENDED, "stopped"), "controller stopped"),
    (e.ServiceChanged("hv1", "ovs-vswitchd", State.FAILED, "signal 9"), "ovs-vswitchd of hv1 failed: signal 9"),
    (e.ServiceChanged("hv2", "probe", State.FAILED, "signal 9", transient=True), "probe of hv2 failed: signal 9"),
    (e.ServiceChanged("hv2", "probe", State.ENDED, "done", transient=True), "probe of hv2 ended: done"),
    (e.ServiceChanged("hv3", "ovs-vswitchd", State.ENDED, "stopped"), "ovs-vswitchd of hv3 stopped"),
    (e.AgentChanged("hv1", "running"), "agent of hv1 is running"),
    (e.AgentChanged("hv1", "waiting", "no address"), "agent of hv1 is waiting: no address"),
    (e.AgentChanged("hv1", "stopped"), "agent of hv1 has ended"),
    (e.AgentChanged("hv1", "failed", "KeyError: 7"), "agent of hv1 failed: KeyError: 7"),
    (e.AgentNoted("hv1", "found", "hv2"), "agent of hv1: found hv2"),
    (
        e.AgentsCounted({"hv1": {"malformed": 2, "from a stranger": 1}, "hv2": {"malformed": 3}}),
        "counted by agents: hv1 malformed 2, from a stranger 1; hv2 malformed 3",
    ),
    (e.Misrouted("s1", "hv2", "s2"), "s1 sends what is for hv2 to s2"),
    (e.Repaired(), "the core is repaired"),
    (e.MigrationStarted(*WEB1, "hv1", "hv3"), "migrating web1: hv1 → hv3"),
    (
        e.MigrationPhase(*WEB1, "stun", 10.0, True, "0.31 MB left", t=10.0125),
        "web1: stunned, last pages sent, 12.5 ms, 0.31 MB left",
    ),
    (e.MigrationPhase(*WEB1, "precopy 2", 10.0, False, t=11.0), "web1: precopy 2 failed, 1000.0 ms"),
    (e.PrecopyRound(*WEB1, 2, 8.04, 0.13, 495.3), "web1: round 2, 8.0 MB at 495 Mbit/s"),
    (e.MigrationEnded(*WEB1, "hv3"), "web1 runs at hv3"),
    (e.MigrationEnded(*WEB1, "hv1", "no route"), "migration of web1 aborted: no route; it stays at hv1"),
    (e.InterfaceLocated("web1", "hv3"), "the control plane has web1 at hv3"),
    (e.InterfaceLocated("web1", ""), "the control plane has web1 at no node"),
    (
        e.ControlMessages({"hv1": {"FLOW_MOD": 2, "BARRIER": 1}, "hv2": {"FLOW_MOD": 3}}, 480),
        "control messages of 2 switches: BARRIER 1, FLOW_MOD 5; 480 bytes",
    ),
    (
        e.ControlMessages({}, 0, (e.ControlMessage(9.5, "FLOW_MOD", "hv1", 96),)),
        "control messages near a migration: 1",
    ),
    (e.Refused("hv1", "OpenFlow error type 4"), "hv1 refused: OpenFlow error type 4"),
    (e.RouteChanged("10.1.0.11/32", "hv1", "advertised"), "route 10.1.0.11/32 advertised to hv1"),
    (e.Checked("no probe twice", False, "3"), "does not hold: no probe twice (3)"),
    (e.Counters("hv1", {"flows": 31, "macs": 0}), "hv1: flows 31"),
    (e.CaptureStarted("The capture of wan", ("wan",)), "The capture of wan began (1 link)"),
    (e.CaptureEnded("The capture of wan", 31, 2), "The capture of wan ended: 31 frames, 2 dropped"),
    (e.CaptureEnded("The capture of wan", failed="no memory"), "The capture of wan failed: no memory"),
    (e.Progress("making 7 nodes"), "making 7 nodes"),
    (e.Noted("a remark"), "note: a remark"),
    (e.Warned("web1", "not announced"), "warning: not announced"),
    (e.Dropped(7), "7 earlier events are not kept any more"),
]  # fmt: skip


def say(stream: Stream, *texts: str) -> None:
    for text in texts:
        stream.say(text)


def said(events: list[e.Event]) -> list[str]:
    return [event.text for event in events]


# -- events ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("event", "text"), TEXTS, ids=lambda value: type(value).__name__)
def test_an_event_for_people_and_as_json(event: e.Event, text: str) -> None:
    told = Stream(clock=lambda: 12.5).tell(event)
    assert told.text == text
    line = json.dumps(json.loads(to_json(told))).encode()
    assert e.event_from_json(line) == told
    assert json.loads(line)["kind"] == e._kind(type(event).__name__)


def test_the_samples_are_of_every_kind() -> None:
    assert {type(event) for event, _ in TEXTS} == set(e.KINDS)
    kinds = [kind for kind in vars(e).values() if isinstance(kind, type) and issubclass(kind, e.Event)]
    assert set(kinds) - {e.Event, e.MigrationEvent} == set(e.KINDS), "every one can be read"


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b'{"kind": "ufo"}', b'{"kind": "node-changed", "node": 7}', b"\xff"]
)
def test_what_is_no_event(line: bytes) -> None:
    with pytest.raises(ValueError):
        e.event_from_json(line)


def test_what_is_progress_and_what_is_on_the_time_axis() -> None:
    """A service of a node that just runs is neither."""
    marked = {event.text for event, _ in TEXTS if e.is_turning_point(event)}
    assert marked == {
        "hv1 stopped", "link wan cut", "link wan changed: forward 40 ms, 0.5 % loss; backward not impaired",
        "link wan changed: 40 ms, 1000 Mbit/s", "controller stopped", "ovs-vswitchd of hv1 failed: signal 9",
        "ovsdb-server of hv1 started", "agent of hv1 failed: KeyError: 7",
        "s1 sends what is for hv2 to s2", "the core is repaired", "hv1 refused: OpenFlow error type 4",
    }  # fmt: skip
    shown_too = {event.text for event, _ in TEXTS if e.is_progress(event)} - marked
    assert shown_too == {
        "up in 1.23 s", "migrating web1: hv1 → hv3", "web1: round 2, 8.0 MB at 495 Mbit/s", "web1 runs at hv3",
        "migration of web1 aborted: no route; it stays at hv1", "making 7 nodes", "warning: not announced",
        "probe of hv2 failed: signal 9",
    }  # fmt: skip
    quiet = e.ServiceChanged("hv1", "ovs-vswitchd", State.STARTED)
    assert not e.is_turning_point(quiet) and not e.is_progress(quiet)


# -- the stream --------------------------------------------------------------------------------


def test_events_are_numbered_and_have_a_time() -> None:
    stream = Stream(clock=lambda: 7.0)
    first, second = stream.tell(e.Progress("a")), stream.tell(e.Progress("b", t=3.0))
    assert (first.cursor, first.t) == (1, 7.0)
    assert (second.cursor, second.t) == (2, 3.0), "whoever knows better when it happened says so"
    assert stream.read() == [first, second] and stream.read(1) == [second] and stream.read(2) == stream.read(9) == []


def test_what_is_kept_is_bounded_and_what_is_not_is_said() -> None:
    stream = Stream(size=3, clock=lambda: 7.0)
    say(stream, *"abcdefg")
    assert said(stream.read()) == ["4 earlier events are not kept any more", "e", "f", "g"]
    assert stream.cursor == 7
    missed = stream.read(2)[0]
    assert isinstance(missed, e.Dropped) and (missed.count, missed.cursor) == (2, 4)
    assert said(stream.read(4)) == ["e", "f", "g"] == said(stream.read(missed.cursor)), (
        "from there on nothing is missed"
    )
    assert said(stream.read(5)) == ["f", "g"]


def test_where_to_begin_for_a_time() -> None:
    stream = Stream(size=3)
    for t in (1.0, 2.0, 3.0, 4.0):
        stream.tell(e.Progress("x", t=t))
    assert [stream.before(t) for t in (0.5, 2.0, 2.5, 4.0, 4.5)] == [1, 1, 2, 3, 4]


def test_many_tell_at_once_and_every_reader_has_all_in_one_order() -> None:
    stream, found = Stream(), [[], []]  # type: ignore[var-annotated]
    readers = [threading.Thread(target=lambda into=into: into.extend(islice(stream.follow(), 2000))) for into in found]
    writers = [
        threading.Thread(target=lambda name=name: [stream.say(f"{name}{n}") for n in range(500)]) for name in "abcd"
    ]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join(20)
    for thread in readers:
        thread.join(20)
    assert [event.cursor for event in found[0]] == [*range(1, 2001)] and found[0] == found[1]
    for name in "abcd":
        assert [text for text in said(found[0]) if text[0] == name] == [f"{name}{n}" for n in range(500)]


def test_a_slow_reader_holds_nobody_up_and_learns_what_it_missed() -> None:
    stream, go, read = Stream(size=10), threading.Event(), []  # type: ignore[var-annotated]

    def act(event: e.Event) -> None:
        read.append(event)
        go.wait(20)

    with Follower(stream, act):
        stream.say("first")
        begin = time.monotonic()
        for n in range(1000):
            stream.say(str(n))
        assert time.monotonic() - begin < 5 and len(read) <= 1
        go.set()
    assert read[-1].text == "999", "the block ends when it has caught up"
    missed = [event for event in read if isinstance(event, e.Dropped)]
    assert missed and sum(event.count for event in missed) + len(read) - len(missed) == 1001


def test_a_reader_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chimera.events._PATIENCE_S", 0.05)
    stream, never = Stream(), threading.Event()
    with Follower(stream, lambda event: never.wait(20)) as follower:
        stream.say("a")
        assert not follower.catch_up()
    never.set()


def test_a_terminal_that_is_gone_ends_its_reader_and_not_the_lab() -> None:
    def broken(text: str) -> None:
        raise BrokenPipeError

    stream = Stream()
    with shown(stream, broken):
        say(stream, "a", "b")


def test_progress_is_shown_in_order_and_whole_when_the_block_ends() -> None:
    stream, lines = Stream(), []  # type: ignore[var-annotated]
    with shown(stream, lines.append):
        stream.say("building")
        stream.tell(e.InterfaceLocated("web1", "hv1"))
        stream.tell(e.LinkChanged("wan", "cut"))
    stream.say("later")
    assert lines == ["building", "link wan cut"]


def test_a_journal_has_every_event(tmp_path: Path) -> None:
    stream = Stream(size=5)
    path = tmp_path / "events.jsonl"
    with Journal(stream, path) as journal:
        say(stream, "a", "b")
        assert said(journal.read()) == ["a", "b"]
        say(stream, "c")
    assert [e.event_from_json(line).text for line in path.read_bytes().splitlines()] == ["a", "b", "c"]
