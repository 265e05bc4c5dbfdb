"""The runner of agents, without switches and sockets: bursts, timers, failures, and who hears of what."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import pytest

from chimera.agents import runner as module
from chimera.agents.runner import Runner
from chimera.model.control import (
    Datagram,
    Effect,
    Event,
    Hold,
    Noted,
    PacketOut,
    PortUp,
    SendDatagram,
    SetTimer,
    Started,
    SwitchUp,
    TimerFired,
)
from chimera.model.flow import Flow
from chimera.overlay.agent import Listen, Udp
from chimera.overlay.programs import Batch

FLOW = Flow(0, 0, (), ())


class Agent:
    """It settles ports by a timer, notes what it is told, and fails when it is told to."""

    def __init__(self, name: str) -> None:
        self.name, self.ports = name, 0

    def listens(self) -> Sequence[Listen]:
        return (Udp(7),)

    def step(self, event: Event, now: float) -> Iterator[Effect]:
        match event:
            case Started():
                yield Noted("started")
            case PortUp():
                self.ports += 1
                yield SetTimer("settle", 0)
            case TimerFired("settle"):
                yield Noted("settled", str(self.ports))
                yield Hold("hv1", {("interface", str(self.ports)): (FLOW,)})
            case TimerFired(name):
                yield Noted("fired", name)
            case Datagram(data=b"fail"):
                raise RuntimeError("told to")
            case Datagram(data=b"timer"):
                yield SetTimer("late", 0.05)
            case Datagram(data=data):
                yield Noted("received", data.decode())
                yield SendDatagram(7, ("192.0.2.1", 7), data)


class Switches:
    """Switches that confirm at once."""

    def __init__(self) -> None:
        self.asked: list[Batch] = []
        self.again: list[Collection[str]] = []

    def program(self, batches: Iterable[Batch], others: Iterable[PacketOut]) -> None:
        self.asked += batches

    def settled(self) -> Collection[str]:
        return frozenset({"hv1"})

    def tell_again(self, switches: Collection[str]) -> None:
        self.again.append(switches)


class Sockets:
    """Sockets that note what is sent."""

    def __init__(self) -> None:
        self.open_nodes: list[str] = []
        self.refuse, self.refused = "", 0
        self.sent: list[tuple[str, bytes]] = []

    def open(self, node: str, listens: Sequence[Listen], post: Any) -> None:
        self.open_nodes.append(node)
        if self.refuse:
            self.refused += 1
            raise OSError(self.refuse)

    def close(self, node: str) -> None:
        self.open_nodes.remove(node)

    def send(self, node: str, effect: SendDatagram) -> str:
        self.sent.append((node, effect.data))
        return ""


class Running:
    """A runner in a thread of its own, and what it told."""

    def __init__(self, *nodes: str) -> None:
        self.switches, self.sockets, self.told = Switches(), Sockets(), list[dict[str, Any]]()
        agents: dict[str, Callable[[], Agent]] = {node: lambda node=node: Agent(node) for node in nodes}  # type: ignore[misc]
        sockets: Any = self.sockets
        self.runner = Runner(agents, self.switches, sockets, self.told.append)
        threading.Thread(target=self.runner.run, daemon=True).start()
        assert self.eventually(lambda: len(self.notes("started")) == len(nodes))

    def notes(self, what: str) -> list[tuple[str, str]]:
        return [(line["node"], line["detail"]) for line in self.told if line.get("what") == what]

    def states(self, node: str) -> list[str]:
        return [str(line["state"]) for line in self.told if line["event"] == "agent" and line["node"] == node]

    def receive(self, node: str, data: bytes) -> None:
        self.runner.post_to(node)([Datagram(7, ("192.0.2.9", 7), data)])

    @staticmethod
    def eventually(holds: Callable[[], bool]) -> bool:
        end = time.monotonic() + 10
        while not holds():
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        return True


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    monkeypatch.setattr(module, "_AGAIN_S", 0.01)
    return Running("controller", "hv1", "hv2")


def test_a_burst_of_ports_is_settled_once(running: Running) -> None:
    running.runner.post([SwitchUp("hv1"), *(PortUp("hv1", f"vm{n}", "", n) for n in range(500))])
    assert running.eventually(lambda: ("controller", "500") in running.notes("settled"))
    assert len(running.notes("settled")) < 50  # of a thousand events at two agents
    assert running.eventually(lambda: bool(running.switches.asked))
    assert running.switches.asked[0].switch == "hv1"


def test_an_event_reaches_its_own_node_and_the_controller_alone(running: Running) -> None:
    running.runner.post([PortUp("hv2", "vm1", "", 1)])
    assert running.eventually(lambda: len(running.notes("settled")) == 2)
    assert {node for node, _ in running.notes("settled")} == {"controller", "hv2"}


def test_timers_fire_when_nothing_happens(running: Running) -> None:
    running.receive("hv1", b"timer")
    assert running.eventually(lambda: running.notes("fired") == [("hv1", "late")])


def test_an_agent_that_fails_begins_again_and_the_others_go_on(running: Running) -> None:
    running.receive("hv1", b"fail")
    running.receive("hv2", b"hello")
    assert running.eventually(lambda: running.states("hv1") == ["running", "failed", "running"])
    assert running.notes("received") == [("hv2", "hello")]
    assert running.sockets.sent == [("hv2", b"hello")]
    assert running.states("hv2") == running.states("controller") == ["running"]
    assert running.switches.again == [("hv1",)]
    (failed,) = [line for line in running.told if line.get("state") == "failed"]
    assert "RuntimeError: told to" in failed["text"]
    assert sorted(running.sockets.open_nodes) == ["controller", "hv1", "hv2"]


def test_a_failed_controller_is_told_of_all_switches(running: Running) -> None:
    running.receive("controller", b"fail")
    assert running.eventually(lambda: running.states("controller") == ["running", "failed", "running"])
    assert running.switches.again == [()]


def test_an_agent_that_is_stopped_hears_nothing_until_it_is_started(running: Running) -> None:
    running.runner.stop_agent("hv1")
    running.receive("hv1", b"lost")
    running.runner.start_agent("hv1")
    assert running.eventually(lambda: running.states("hv1") == ["running", "stopped", "running"])
    running.receive("hv1", b"there")
    assert running.eventually(lambda: running.notes("received") == [("hv1", "there")])


def test_an_agent_whose_node_has_no_address_waits_and_says_so_once(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AGAIN_S", 0.01)
    running.sockets.refuse = "no address"
    running.runner.stop_agent("hv1")
    running.runner.start_agent("hv1")
    assert running.eventually(lambda: running.sockets.refused > 3)
    assert running.states("hv1") == ["running", "stopped", "waiting"]
    assert running.switches.again == [], "its switch has nobody to tell yet"
    running.sockets.refuse = ""
    assert running.eventually(lambda: running.states("hv1") == ["running", "stopped", "waiting", "running"])
    assert running.told[-1]["node"] == "hv1" and running.notes("started")[-1] == ("hv1", "")
    assert running.eventually(lambda: running.switches.again == [("hv1",)])


def test_an_agent_that_waits_can_be_stopped(running: Running) -> None:
    running.sockets.refuse = "no address"
    running.runner.stop_agent("hv1")
    running.runner.start_agent("hv1")
    assert running.eventually(lambda: running.states("hv1")[-1] == "waiting")
    running.runner.stop_agent("hv1")
    assert running.eventually(lambda: running.states("hv1")[-1] == "stopped")
    assert "hv1" not in running.sockets.open_nodes


def test_whoever_posts_too_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAITING", 10)
    sockets: Any = Sockets()
    stuck = Runner({}, Switches(), sockets, lambda line: None)  # nobody runs it
    poster = threading.Thread(target=stuck.post, args=([PortUp("hv1", "vm", "", n) for n in range(11)],), daemon=True)
    poster.start()
    poster.join(0.2)
    assert poster.is_alive()
    threading.Thread(target=stuck.run, daemon=True).start()
    poster.join(10)
    assert not poster.is_alive()
