"""Runs the agents of a lab in one process: one thread, one event after the other, timers, and batches for switches.

What happens is posted from any thread into one bounded queue; who posts faster than agents work waits, and with that
thread the switch or socket it reads from. What many events cause together is asked of switches when none waits any
more, or after ``_LONGEST_S``.
"""

from __future__ import annotations

import queue
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from chimera.agents.host import Host
from chimera.agents.sockets import Post, Sockets
from chimera.model.control import (
    AdvertiseHost,
    Counted,
    Effect,
    Event,
    Located,
    Noted,
    PacketOut,
    SendDatagram,
    SendFrame,
    Started,
    SwitchDown,
    SwitchUp,
    WithdrawHost,
)
from chimera.overlay.agent import CONTROLLER, Agent, Agents
from chimera.overlay.programs import Batch

_WAITING = 10_000  # events; more hold up whoever posts them
_LONGEST_S = 0.25
_AGAIN_S = 0.5  # an agent that fails is begun again after this

Report = dict[str, object]


class Switches(Protocol):
    """The OpenFlow sessions, as the runner needs them; called from its thread alone."""

    def program(self, batches: Iterable[Batch], others: Iterable[PacketOut]) -> None:
        """Send additions of all switches, then packets, then deletions; each switch that is programmed confirms."""

    def settled(self) -> Collection[str] | None:
        """The switches that are here, where each has confirmed everything; None while one has not."""

    def tell_again(self, switches: Collection[str]) -> None:
        """Post again what these switches have: all their ports, then what they hold; empty: all switches."""


class Runner:
    """The agents of one lab."""

    def __init__(self, agents: Agents, switches: Switches, sockets: Sockets, tell: Callable[[Report], None]) -> None:
        self._begin: Mapping[str, Callable[[], Agent]] = agents
        self._switches, self._sockets, self._tell = switches, sockets, tell
        self._hosts: dict[str, Host] = {}
        self._queue: queue.Queue[Callable[[], None]] = queue.Queue(_WAITING)
        self._moved = False
        self._settled: object = None
        self._packets: list[PacketOut] = []
        self._located: dict[str, str] = {}
        self._again: dict[str, float] = {}  # agents to begin again, and when
        self._waiting: dict[str, str] = {}  # of these, those that cannot begin yet, and why

    # -- from any thread

    def post(self, events: Iterable[Event]) -> None:
        """Have something happen; waits where too much waits already."""
        for event in events:
            self._queue.put(lambda event=event: self._happened(event))  # type: ignore[misc]

    def post_to(self, node: str) -> Post:
        """What has something happen at one node."""

        def post(events: Iterable[Event]) -> None:
            for event in events:
                self._queue.put(lambda event=event: self._happened_at(node, event))  # type: ignore[misc]

        return post

    def confirmed(self) -> None:
        """A switch has confirmed what it was asked, or went."""
        self._queue.put(lambda: None)

    def stop_agent(self, node: str) -> None:
        """End a node's agent; what its switches hold stays."""
        self._queue.put(lambda: self._end(node))

    def start_agent(self, node: str) -> None:
        """Begin a node's agent, which knows nothing, and tell it what its switches have."""
        self._queue.put(lambda: self._again.update({node: 0.0}))

    # -- the runner's own thread

    def run(self) -> None:
        """Run the agents until the process ends."""
        for node in self._begin:
            self._begin_agent(node)
        while True:
            self._flush()
            self._take(self._wait_s())

    def _wait_s(self) -> float | None:
        due = [*self._again.values(), *(at for host in self._hosts.values() if (at := host.due()) is not None)]
        return max(min(due) - time.monotonic(), 0) if due else None

    def _take(self, wait_s: float | None) -> None:
        """Deal with what is there, for a while; wait for the first of it."""
        try:
            self._queue.get(timeout=wait_s)()
            end = time.monotonic() + _LONGEST_S
            while time.monotonic() < end:
                self._queue.get_nowait()()
        except queue.Empty:
            pass

    def _flush(self) -> None:
        """Fire timers, and ask switches for what follows from all that has happened."""
        for node in [node for node, at in self._again.items() if at <= time.monotonic()]:
            del self._again[node]
            if self._begin_agent(node):
                self._switches.tell_again(() if node == CONTROLLER else (node,))
        for host in list(self._hosts.values()):
            due = host.due()
            if due is not None and due <= (now := time.monotonic()):
                self._guard(host, lambda host=host, now=now: self._carry_out(host, host.fire(now)))  # type: ignore[misc]
        batches = [batch for host in self._hosts.values() for batch in host.batches()]
        packets, self._packets = self._packets, []
        if batches or packets:
            self._switches.program(batches, packets)
        self._tell_synced(bool(batches))

    def _happened(self, event: Event) -> None:
        for node in (getattr(event, "switch", ""), CONTROLLER):
            self._happened_at(node, event)
        if isinstance(event, SwitchUp | SwitchDown):
            self._moved = True

    def _happened_at(self, node: str, event: Event) -> None:
        if host := self._hosts.get(node):
            self._guard(host, lambda: self._carry_out(host, host.step(event, time.monotonic())))

    def _carry_out(self, host: Host, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case PacketOut():
                    self._packets.append(effect)
                case AdvertiseHost(prefix, switch):
                    self._tell({"event": "advertise", "prefix": prefix, "switch": switch})
                case WithdrawHost(prefix):
                    self._tell({"event": "withdraw", "prefix": prefix})
                case Located(iface_id, switch):
                    self._moved = True
                    self._located.pop(iface_id, None)
                    if switch:
                        self._located[iface_id] = switch
                    self._tell({"event": "located", "interface": iface_id, "switch": switch})
                case SendDatagram() | SendFrame():
                    if refused := self._sockets.send(host.node, effect):
                        self._tell({"event": "counted", "node": host.node, "what": f"not sent: {refused}", "times": 1})
                case Noted(what, detail):
                    self._tell({"event": "noted", "node": host.node, "what": what, "detail": detail})
                case Counted(what, times):
                    self._tell({"event": "counted", "node": host.node, "what": what, "times": times})

    def _tell_synced(self, asked: bool) -> None:
        """Say so when all switches that are here have done all that they were asked."""
        if asked:
            self._settled = None
        settled = self._switches.settled()
        if settled is None or not self._queue.empty():
            return
        if self._moved or self._settled != settled:
            self._moved, self._settled = False, settled
            if settled:
                located = len(self._located)
                self._tell({"event": "synced", "switches": sorted(settled), "located": located})

    # -- agents that begin and end

    def _begin_agent(self, node: str) -> bool:
        """Whether it begins now, and knows nothing."""
        if node in self._hosts or node not in self._begin:
            return False
        host = self._hosts[node] = Host(node, self._begin[node])
        try:
            self._sockets.open(node, host.agent.listens(), self.post_to(node))
        except OSError as error:
            self._wait(host, f"its sockets cannot be opened: {error}")
            return False
        self._waiting.pop(node, None)
        self._tell({"event": "agent", "node": node, "state": "running"})
        self._guard(host, lambda: self._carry_out(host, host.step(Started(), time.monotonic())))
        return self._hosts.get(node) is host

    def _end(self, node: str) -> None:
        host, again = self._hosts.pop(node, None), self._again.pop(node, None)
        self._waiting.pop(node, None)
        if host:
            self._sockets.close(node)
        if host or again is not None:
            self._tell({"event": "agent", "node": node, "state": "stopped"})

    def _guard(self, host: Host, act: Callable[[], None]) -> None:
        """Do something of an agent's; one that raises begins again, soon and with nothing known. Others go on."""
        try:
            act()
        except Exception as error:  # a defect of one agent must not be the others'
            traceback.print_exception(error)
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {error} ({where.name}, line {where.lineno} of {where.filename})"
            self._failed(host, text)

    def _wait(self, host: Host, why: str) -> None:
        """It cannot begin: its node has no addresses yet, or not any more. It tries again by and by."""
        self._later(host)
        if self._waiting.get(host.node) != why:
            self._waiting[host.node] = why
            self._tell({"event": "agent", "node": host.node, "state": "waiting", "text": why})

    def _later(self, host: Host) -> None:
        self._hosts.pop(host.node, None)
        self._sockets.close(host.node)
        self._again[host.node] = time.monotonic() + _AGAIN_S

    def _failed(self, host: Host, text: str) -> None:
        self._later(host)
        self._tell({"event": "agent", "node": host.node, "state": "failed", "text": text})
