"""The verbs of a lab that stays up, without the lab: who hears of what, and what cannot be asked."""

from __future__ import annotations

import json
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chimera.api import Gone, read_request
from chimera.events import Stream
from chimera.hold import Verbs
from chimera.model.errors import DeadlineError, InputError, SessionError
from chimera.model.events import CaptureEnded, Event, Progress
from chimera.model.record import MigrationRecord
from chimera.model.topology import Impairment
from chimera.model.verbs import VERSION, CaptureStop, Changes, Events, Migrate, Told
from chimera.net.rundir import RunDir
from chimera.scenario.migration import Migrator, Settings


class Slow(Migrator):
    """Migrations that go on until as many are under way as the test wants."""

    together = threading.Barrier(2)

    def check(self, vm_name: str, destination: str) -> Any:
        return SimpleNamespace(name=vm_name)

    def _run(self, vm: Any, record: MigrationRecord, settings: Settings) -> Any:
        self.together.wait(20)
        self._say(f"{vm.name} moves")
        self.together.wait(20)

    def _settle(self, sender: Any, record: MigrationRecord, vm: Any, announce: str) -> None:
        pass


def verbs(**network: Any) -> Verbs:
    """The verbs over a network of these attributes."""
    net: Any = SimpleNamespace(location={"web1": "hv1", "web2": "hv1"}, **network)
    stream = Stream()
    lab = SimpleNamespace(migrator=Slow(net, stream.tell, lambda vm, switch: "", lambda vm: nullcontext()))
    instruments = SimpleNamespace(take_heartbeats=lambda vm: [])
    session: Any = SimpleNamespace(network=net, lab=lab, instruments=instruments, stream=stream)
    return Verbs(session, RunDir(Path("/nowhere"), -1, "up"))


class Heard:
    """Somebody who asked."""

    gone = False

    def __init__(self) -> None:
        self.told: list[Event] = []
        self.sent: list[Event] = []

    def tell(self, event: Event) -> Event:
        self.told.append(event)
        return event

    def send(self, event: Event) -> None:
        if self.gone:
            raise Gone
        self.sent.append(event)


def test_of_two_migrations_at_a_time_each_is_told_to_who_asked_for_it() -> None:
    asked, heard = verbs(), {"web1": Heard(), "web2": Heard()}
    threads = [threading.Thread(target=asked.migrate, args=(Migrate(vm, "hv3"), asker)) for vm, asker in heard.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for vm, asker in heard.items():
        assert [event.text for event in asker.told] == [
            f"migrating {vm}: hv1 → hv3",
            f"{vm} moves",
            f"{vm} runs at hv1",
        ]
        assert [event.cursor for event in asker.told] == sorted(event.cursor for event in asker.told), (
            "as in the stream"
        )
    assert asked._session.stream.cursor == 6, "and all of it is in the lab's stream"
    assert sorted(r.vm for r in asked._lab.migrator.records) == ["web1", "web2"], (
        "all of the lab's migrations are on record"
    )


def test_a_vm_is_moved_once_at_a_time_whoever_asks() -> None:
    asked = verbs()
    first = threading.Thread(target=asked.migrate, args=(Migrate("web1", "hv3"), Heard()))
    first.start()
    while not asked._lab.migrator.records:
        time.sleep(0.001)
    with pytest.raises(SessionError, match="web1 is being migrated already"):
        asked.migrate(Migrate("web1", "hv2"), nobody())
    for _ in range(2):
        Slow.together.wait(20)
    first.join(20)


def ask(verb: str, **arguments: Any) -> Any:
    """What a request comes to at a lab whose links must not be touched."""

    def cable(name: str) -> Any:
        raise AssertionError(f"{name} was reached")

    table = verbs(cable=cable).table()
    request = read_request(json.dumps({"version": VERSION, "verb": verb, "arguments": arguments}).encode(), table)
    return table[type(request)](request, nobody())


def nobody() -> Any:
    return Heard()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "wan", "action": "explode"}, "Invalid enum value 'explode' - at `action`"),
        ({"name": "wan", "action": "set", "changes": {"delay_ms": -5}}, "`float` >= 0.0 - at `changes.delay_ms`"),
        ({"name": "wan", "action": "set", "changes": {"loss_percent": 101}}, "<= 100.0 - at `changes.loss_percent`"),
        ({"name": "wan", "action": "set", "changes": {"delay": 5}}, "unknown field `delay` - at `changes`"),
        ({"name": "wan", "direction": "up"}, "Invalid enum value 'up' - at `direction`"),
        ({"name": "wan", "how": "now"}, "unknown field `how`"),
        ({"name": 7}, "Expected `str`, got `int` - at `name`"),
        ({}, "missing required field `name`"),
    ],
)
def test_what_a_link_cannot_be_asked(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as refused:
        ask("link", **arguments)
    lines = str(refused.value).splitlines()
    assert lines[0].startswith("link: ") and said in lines[0]
    assert "action (cut | restore | set | show)" in lines[1] and "changes.delay_ms (0 to 10000)" in lines[1]


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [("stop", {}), ("start", {"node": None}), ("trace", {"source": "web1"}), ("status", {"all": True}),
     ("migrate", {"vm": "web1", "to": "hv3", "settings": {"downtime_ms": 5}}),
     ("capture_stop", {"link": "wan", "to": "/etc/passwd"}), ("inspect", {"node": ["hv1"]})],
)  # fmt: skip
def test_every_verb_is_checked(verb: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^{verb}: "):
        ask(verb, **arguments)


def test_changes_leave_alone_what_they_do_not_name() -> None:
    before = Impairment(bandwidth_mbps=100, delay_ms=10, jitter_ms=1)
    assert Changes(delay_ms=20).of(before) == Impairment(100, 20, 1)
    assert Changes(bandwidth_mbps=0).of(before) == Impairment(0, 10, 1)
    with pytest.raises(InputError, match=r"1 ms of jitter are more than the delay(.|\n)*at most 0.5 ms"):
        Changes(delay_ms=0.5).of(before)


def test_a_capture_that_does_not_end_in_its_time_has_ended_all_the_same() -> None:
    asked = verbs()

    def stop() -> Any:
        raise DeadlineError("capture did not end within 10 s")

    asked._captures["wan"] = SimpleNamespace(stop=stop)  # type: ignore[assignment]
    with pytest.raises(DeadlineError):
        asked.capture_stop(CaptureStop("wan"), nobody())
    (ended,) = asked._session.stream.read()
    assert ended == CaptureEnded(
        "The capture of wan", failed="capture did not end within 10 s", t=ended.t, cursor=ended.cursor
    )


# -- events --------------------------------------------------------------------------------------


def happened(asked: Verbs, *texts: str, at: float = 0.0) -> None:
    """Have this happen at the lab."""
    for text in texts:
        asked._session.stream.tell(Progress(text, t=at))


def texts(events: list[Event]) -> list[str]:
    return [event.text for event in events]


def test_events_since_a_cursor_or_of_the_last_seconds() -> None:
    asked, now = verbs(), time.time()
    happened(asked, "old", "older", at=now - 100)
    happened(asked, "new", at=now - 1)
    for request, wanted in (
        (Events(), ["old", "older", "new"]),
        (Events(cursor=1), ["older", "new"]),
        (Events(cursor=3), []),
        (Events(cursor=99), []),
        (Events(seconds=10), ["new"]),
        (Events(seconds=1000), ["old", "older", "new"]),
        (Events(seconds=0), []),
    ):
        asker: Any = Heard()
        assert asked.events(request, asker) == Told(3), request
        assert texts(asker.sent) == wanted, request


def test_who_follows_gets_what_comes_until_they_have_gone() -> None:
    asked, asker, ended = verbs(), nobody(), threading.Event()
    happened(asked, "before")

    def follow() -> None:
        with pytest.raises(Gone):
            asked.events(Events(follow=True), asker)
        ended.set()

    threading.Thread(target=follow, daemon=True).start()
    happened(asked, "one", "two")
    deadline = time.monotonic() + 20
    while len(asker.sent) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert texts(asker.sent) == ["before", "one", "two"]
    asker.gone = True
    happened(asked, "three")
    assert ended.wait(20)


@pytest.mark.parametrize("busy", [True, False])
def test_who_has_gone_is_followed_for_no_longer(monkeypatch: pytest.MonkeyPatch, busy: bool) -> None:
    """Also where nothing happens that could not be sent."""
    monkeypatch.setattr("chimera.hold._LOOK_S", 0.01)
    asked, asker = verbs(), nobody()
    asker.gone = True
    if busy:
        happened(asked, "one")
    with pytest.raises(Gone):
        asked.events(Events(follow=True), asker)
