"""A migration's sequence with a network that only keeps books: where the VM is in the end, and what is said of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from chimera.measure.conclude import at_end
from chimera.model.errors import DeadlineError, MigrationAborted, SessionError
from chimera.model.topology import Endpoint, Kind, Node, Site, Topology
from chimera.scenario import migration
from chimera.scenario.migration import Migrator, Settings

MB = 1 << 20
TOPOLOGY = Topology(
    "two", "", (Site("dc"),),
    tuple(Node(name, Kind.HYPERVISOR, "dc", n, memory_mb=96) for n, name in enumerate(("hv1", "hv2", "hv3"), 1)),
    tuple(
        Endpoint(name, Kind.VM, "dc", n, "hv1", "red/web", f"02:00:00:00:00:{n:02x}", f"10.0.0.{n}/24", port=n)
        for n, name in enumerate(("web1", "web2"), 1)
    ), (), (),
)  # fmt: skip
VTEP = {"hv1": "192.0.2.1", "hv2": "192.0.2.2", "hv3": "192.0.2.3"}


class Network:
    """Where VMs are, and which of them are plugged into a switch."""

    def __init__(self) -> None:
        self.topology = TOPOLOGY
        self.underlay = SimpleNamespace(vtep=VTEP)
        self.location = {vm.name: vm.hypervisor for vm in TOPOLOGY.vms}
        self.plugged = set(self.location)
        self.stopped: set[str] = set()

    def vms_at(self, hypervisor: str) -> list[str]:
        return [vm for vm, at in self.location.items() if at == hypervisor]

    def longest_round_trip_s(self) -> float:
        return 0.0

    def set_port(self, vm: str, up: bool) -> None:
        pass

    def unplug(self, vm: str) -> None:
        self.plugged.discard(vm)

    def move(self, vm: str, destination: str) -> None:
        self.location[vm] = destination

    def plug(self, vm: str) -> None:
        self.plugged.add(vm)

    replug = plug


class Copied:
    """A sender whose every call succeeds, but for the one that is to fail."""

    def __init__(self, fails: str = "", error: Exception | None = None) -> None:
        self._fails, self._error = fails, error
        self.closed = False
        self.arrived = 0

    def _do(self, what: str) -> None:
        if what == self._fails:
            raise self._error or OSError("no route to host")

    def connect(self, source: str, destination: str) -> None:
        self._do("connect")

    def reserve(self, vm: str, memory_bytes: int) -> None:
        self._do("reserve")

    def pages(self, length: int, *, final: bool = False, told: Callable[[int], None] = lambda sent: None) -> None:
        self._do("final" if final else "pages")

    def commit(self) -> None:
        self._do("commit")

    def close(self) -> None:
        self.closed = True


class Bench:
    """A migrator on books, what it said, and what runs."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.network, self.said, self.frozen, self.announced = Network(), [], set(), []
        self.sender = Copied()
        self.missing = ""
        channel = SimpleNamespace(
            bind=lambda address: None, send=self.announced.append, close=lambda: None,
            __enter__=None, __exit__=None,
        )  # fmt: skip
        patch.setattr(migration.memory_copy, "sending_from", lambda hypervisor: None)
        patch.setattr(migration, "Sender", lambda channel, pace, stall: self.sender)
        patch.setattr(migration.guests, "freeze", self.frozen.add)
        patch.setattr(migration.guests, "thaw", self.frozen.discard)
        patch.setattr(migration.namespaces, "inside", lambda path: nullcontext())
        patch.setattr(migration.socket, "socket", lambda *_: channel)
        patch.setattr(migration, "_repeat", lambda channel, frame: None)
        network: Any = self.network
        wired = lambda vm, switch: self.missing  # noqa: E731
        self.migrator = Migrator(network, self.said.append, wired, lambda vm: nullcontext())
        patch.setattr(self.migrator, "_receiver", lambda hypervisor: None)

    def migrate(self, vm: str = "web1", to: str = "hv3", announce: str = "rarp") -> Any:
        return self.migrator.migrate(vm, to, Settings(announce))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    yield Bench(monkeypatch)


def test_a_migration(bench: Bench) -> None:
    record = bench.migrate()
    assert (bench.network.location["web1"], at_end(record)) == ("hv3", "hv3")
    assert bench.network.plugged == {"web1", "web2"} and not bench.frozen and bench.sender.closed
    assert (record.aborted, record.warnings, len(bench.announced)) == ("", [], 1)
    names = [phase.name for phase in record.phases]
    assert names == ["reserve", "precopy 1", "stun", "move", "resume", "announce"]


@pytest.mark.parametrize("error", [OSError("no route"), SessionError("no room"), DeadlineError("too late")])
@pytest.mark.parametrize("step", ["connect", "reserve", "pages", "final"])
def test_before_the_switch_over_it_is_rolled_back(bench: Bench, step: str, error: Exception) -> None:
    bench.sender = Copied(step, error)
    with pytest.raises(MigrationAborted, match=f"aborted: {error}; it runs at hv1"):
        bench.migrate()
    (record,) = bench.migrator.records
    assert (bench.network.location["web1"], at_end(record)) == ("hv1", "hv1")
    assert bench.network.plugged == {"web1", "web2"} and not bench.frozen and bench.sender.closed
    assert record.ended and not bench.announced
    bench.sender = Copied()
    assert not bench.migrate().aborted, "it may try again"


def test_a_destination_that_does_not_confirm_has_the_vm_all_the_same(bench: Bench) -> None:
    """The VM runs there when the last message is lost: it is announced there, and that is where the result has it."""
    bench.sender = Copied("commit")
    record = bench.migrate()
    assert (bench.network.location["web1"], at_end(record), record.aborted) == ("hv3", "hv3", "")
    assert len(bench.announced) == 1 and bench.sender.closed
    assert record.warnings == ["hv3 did not confirm that web1 is its own now: no route to host"]
    assert f"warning: {record.warnings[0]}" in bench.said
    assert not any("it stays at" in text for text in bench.said)


def test_a_vm_that_cannot_be_announced_runs_where_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(migration.socket, "socket", refuse)
    record = bench.migrate()
    assert (bench.network.location["web1"], record.aborted) == ("hv3", "")
    assert record.warnings == ["web1 was not announced at hv3: [Errno 1] Operation not permitted"]


@pytest.mark.parametrize("announce", ["rarp", "garp", "none"])
def test_flows_that_nobody_confirmed_are_said_to_be_missing(bench: Bench, announce: str) -> None:
    bench.missing = "the controller is not running"
    record = bench.migrate(announce=announce)
    assert not record.aborted
    assert record.warnings == [
        "nobody confirmed that hv3 has its flows for web1 (the controller is not running): web1 may be unreachable"
    ]


def test_a_stopped_destination_is_refused_without_waiting_for_it(bench: Bench) -> None:
    bench.network.stopped.add("hv3")
    with pytest.raises(MigrationAborted, match="hv3 is stopped; it runs at hv1"):
        bench.migrate()


def test_a_slow_machine_may_stun_longer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last pages may take 2 s where the machine is of usual speed, and as much longer as it is slower."""

    def slow(length: int, *, final: bool = False, told: object = None) -> None:
        time.sleep(0.03)

    monkeypatch.setattr(bench.sender, "pages", slow)
    monkeypatch.setattr(migration, "last_pages_ms", lambda *_: 5000.0)
    monkeypatch.setattr(migration, "verdict", lambda *_: "enough")
    monkeypatch.setattr(migration, "exceeds", lambda spent_s, limit_s: spent_s > limit_s * 1.0)
    with pytest.raises(MigrationAborted, match="about 5"):
        bench.migrate()
    monkeypatch.setattr(migration, "exceeds", lambda spent_s, limit_s: spent_s > limit_s * 10.0)
    assert not bench.migrate().aborted


@pytest.mark.parametrize(("factor", "rounds"), [(1.0, 1), (20.0, 2)])
def test_a_guest_on_a_slow_machine_is_as_slow(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, factor: float, rounds: int
) -> None:
    """The network carries less than the guest would write elsewhere: that is no reason to give up here."""
    moments = iter(float(n) for n in range(0, 10_000, 100))  # each look at the clock is 100 s later
    monkeypatch.setattr(migration.time, "monotonic", lambda: next(moments))
    monkeypatch.setattr(migration, "slowness", lambda: factor)
    monkeypatch.setattr(migration, "exceeds", lambda spent_s, limit_s: factor == 1)
    if factor == 1:
        with pytest.raises(MigrationAborted, match="the guest writes faster than the network carries"):
            bench.migrate()
    else:
        bench.migrate()
        assert "web1: the machine is 20.0 times slower than usual, and the guest with it" in bench.said
        (record,) = bench.migrator.records
        assert "20.0 times slower" in next(p.detail for p in record.phases if p.name == "precopy 2")
    (record,) = bench.migrator.records
    assert len(record.rounds) >= rounds


# -- who may reserve memory at a destination


@pytest.fixture
def admit(bench: Bench) -> Callable[..., bool]:
    """Asks for memory at hv3 while web1 is on its way there from hv1."""
    record = migration.MigrationRecord("web1", "hv1", "hv3", 0.0)
    bench.migrator._moving["web1"] = record

    def ask(vm: str = "web1", peer: str = "192.0.2.1", at: str = "hv3", megabytes: int = 64) -> bool:
        release = bench.migrator._admit(at, peer, vm, megabytes * MB)
        ask.releases.append(release)  # type: ignore[attr-defined]
        return release is not None

    ask.releases = []  # type: ignore[attr-defined]
    return ask


def test_memory_is_reserved_for_a_vm_that_is_on_its_way_from_there(admit: Callable[..., bool]) -> None:
    assert admit()
    assert not admit(), "once"
    admit.releases[0]()  # type: ignore[attr-defined]
    assert admit(), "until its connection ends"


@pytest.mark.parametrize(
    "wrong",
    [{"vm": "ghost"}, {"vm": "web2"}, {"peer": "192.0.2.2"}, {"peer": "10.0.0.66"}, {"at": "hv2"}, {"megabytes": 1}],
    ids=str,
)
def test_and_for_nobody_else(admit: Callable[..., bool], wrong: dict[str, Any]) -> None:
    assert not admit(**wrong)
    assert admit(), "and what was refused holds nothing"


def test_memory_that_is_taken_cannot_be_reserved(bench: Bench, admit: Callable[..., bool]) -> None:
    bench.network.location["web2"] = "hv3"
    assert not admit(), "96 MB are too few for two VMs of 64 MB"


def test_a_release_that_comes_late_ends_no_later_reservation(bench: Bench, admit: Callable[..., bool]) -> None:
    assert admit()
    bench.migrator._reserved.clear()  # the migration was given up …
    bench.migrator._moving["web1"] = migration.MigrationRecord("web1", "hv1", "hv3", 1.0)  # … and began again
    assert admit()
    admit.releases[0]()  # type: ignore[attr-defined]
    assert not admit()
