"""The verbs of a lab that stays up, without the lab: who hears of what, and what cannot be asked."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chimera.api import Verb
from chimera.hold import Changes, Verbs
from chimera.model.errors import InputError, SessionError
from chimera.model.record import MigrationRecord
from chimera.model.topology import Impairment
from chimera.net.rundir import RunDir
from chimera.scenario.migration import Migrator, Settings


class Slow(Migrator):
    """Migrations that go on until as many are under way as the test wants."""

    together = threading.Barrier(2)

    def check(self, vm_name: str, destination: str) -> Any:
        return SimpleNamespace(name=vm_name)

    def _run(self, vm: Any, record: MigrationRecord, settings: Settings) -> Any:
        self.together.wait(20)
        self._progress(f"{vm.name} moves")
        self.together.wait(20)

    def _settle(self, sender: Any, record: MigrationRecord, vm: Any, announce: str) -> None:
        pass


def verbs(**network: Any) -> Verbs:
    """The verbs over a network of these attributes."""
    net: Any = SimpleNamespace(location={"web1": "hv1", "web2": "hv1"}, **network)
    lab = SimpleNamespace(migrator=Slow(net, lambda text: None, lambda vm, switch: "", lambda vm: nullcontext()))
    instruments = SimpleNamespace(take_heartbeats=lambda vm: [])
    session: Any = SimpleNamespace(network=net, lab=lab, instruments=instruments)
    return Verbs(session, RunDir(Path("/nowhere"), -1, "up"))


def test_of_two_migrations_at_a_time_each_is_told_to_who_asked_for_it() -> None:
    asked, heard = verbs(), {"web1": [], "web2": []}  # type: ignore[var-annotated]
    threads = [threading.Thread(target=asked.migrate, args=(said.append, vm, "hv3", {})) for vm, said in heard.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert heard == {vm: [f"migrating {vm}: hv1 → hv3", f"{vm} moves"] for vm in heard}
    assert sorted(r.vm for r in asked._lab.migrator.records) == ["web1", "web2"], (
        "all of the lab's migrations are on record"
    )


def test_a_vm_is_moved_once_at_a_time_whoever_asks() -> None:
    asked = verbs()
    first = threading.Thread(target=asked.migrate, args=(lambda text: None, "web1", "hv3", {}))
    first.start()
    while not asked._lab.migrator.records:
        time.sleep(0.001)
    with pytest.raises(SessionError, match="web1 is being migrated already"):
        asked.migrate(lambda text: None, "web1", "hv2", {})
    for _ in range(2):
        Slow.together.wait(20)
    first.join(20)


def ask(verb: str, **arguments: Any) -> Any:
    """What a request comes to at a lab whose links must not be touched."""

    def cable(name: str) -> Any:
        raise AssertionError(f"{name} was reached")

    return Verb(verb, verbs(cable=cable).table()[verb])(arguments, lambda text: None)


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
