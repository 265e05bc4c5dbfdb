"""The lab's controller process: started, watched and, for experiments, killed and started again.

It runs ``python -m controllers`` in the sandbox's own namespace, as the service ``agents`` of the lab itself, and
reports over a unix socket, one JSON object a line: ``listening``, ``synced``, ``advertise``/``withdraw`` of hosts, and
the control messages it sent and received.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from chimera.deadline import STEP_S, steps
from chimera.model.codec import to_json
from chimera.model.control import LISTENER, Inventory
from chimera.model.errors import DeadlineError, LabError, SessionError
from chimera.model.events import (
    AgentChanged,
    AgentNoted,
    AgentsCounted,
    ControlMessage,
    InterfaceLocated,
    Refused,
    RouteChanged,
    Tell,
    Warned,
    tell_nobody,
)
from chimera.model.service import AGENTS, THE_LAB
from chimera.model.verbs import Agents
from chimera.net.control_log import ControlLog
from chimera.net.service import Service
from chimera.net.services import Process, Supervisor

FOLDER = Path("/run/lab")
API = str(FOLDER / "controller.sock")
_IP_FREEBIND = 15
_LIMIT_S = 30.0  # without progress (chimera.deadline): to import, to connect, to program a switch
_WIRED_S = 3.0  # to hear of one interface and send its flows
_ERRORS = 100
_NOTES = 10_000
_COUNTED_S = 1.0  # what agents count in this time is told together
_PROJECT = Path(__file__).resolve().parents[2]


@dataclass
class Controller:
    """One controller process per lab.

    ``on_route`` is called with (verb, prefix, switch) when the control plane asks for a host route.
    """

    inventory: Inventory
    on_route: Callable[[str, str, str], None] = lambda verb, prefix, switch: None
    log: ControlLog = field(default_factory=ControlLog)
    services: Supervisor = field(default_factory=Supervisor)
    tell: Tell = tell_nobody
    _process: Process | None = None
    errors: deque[str] = field(default_factory=lambda: deque(maxlen=_ERRORS))  # the latest, in words
    agents: dict[str, str] = field(default_factory=dict)  # node -> running, waiting, stopped, failed
    noted: deque[AgentNoted] = field(default_factory=lambda: deque(maxlen=_NOTES))  # what agents said of themselves
    counters: Counter[tuple[str, str]] = field(default_factory=Counter)  # of agents: node, what
    _last: dict[str, dict[str, Any]] = field(default_factory=dict)  # latest report of each kind
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stream: socket.socket | None = None
    _watching: threading.Thread | None = None
    _untold: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # node -> what
    _located: dict[str, tuple[str, int]] = field(default_factory=dict)  # interface -> switch, syncs before it
    _synced: int = 0
    _starts: int = 0

    def __post_init__(self) -> None:
        self.log.tell = self.tell
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(API)
        self._listener.listen()

    @property
    def target(self) -> str:
        """Where switches find it, as Open vSwitch names it."""
        return f"tcp:{self.inventory.openflow_address}:{self._port}"

    @property
    def _port(self) -> int:
        return self.inventory.openflow_port + self._starts - 1

    def start(self) -> None:
        """Start the process; it imports and listens while the network is built.

        Each start listens on a port of its own: Open vSwitch backs off for up to eight seconds from one that
        refused it.
        """
        if self._watching:  # what the process before said last is not about this one
            self._watching.join(_LIMIT_S)
        self._last.clear()
        self.agents.clear()
        self._starts += 1
        inventory = replace(self.inventory, openflow_port=self._port)
        (FOLDER / "inventory.json").write_bytes(to_json(inventory))
        argv = (sys.executable, "-m", "controllers", "--inventory", str(FOLDER / "inventory.json"))
        with self._listen() as listener:
            environment = {
                LISTENER: str(listener.fileno()),
                "PYTHONPATH": os.pathsep.join([str(_PROJECT), os.environ.get("PYTHONPATH", "")]),
            }
            service = Service(THE_LAB, AGENTS, argv, environment=environment)
            self._process = self.services.launch(service, pass_fds=[listener.fileno()])  # ready: see _is_listening
        self._watching = threading.Thread(target=self._watch, args=(self._process,), daemon=True, name="controller")
        self._watching.start()

    def _listen(self) -> socket.socket:
        """The socket switches connect to: it is there before the process is, and before the address is.

        A switch that finds it waits for the controller to have been imported, instead of backing off for a second.
        """
        listener = socket.socket()
        listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        listener.bind((self.inventory.openflow_address, self._port))
        listener.listen(1024)
        return listener

    def stop(self, *, kill: bool = True) -> None:
        """End the process, by default without a chance to say goodbye."""
        if self._process is None:
            raise SessionError("the controller is not running")
        self.services.stop(self._process, kill=kill)
        self._process = None

    def tell_agent(self, command: Literal["start", "stop"], node: str) -> None:
        """Begin or end one node's agent; the others go on.

        Raises:
            SessionError: the process that they run in is not there, or not any more.
        """
        stream = self._stream  # it may be gone at any time
        try:
            if stream is None:
                raise ConnectionError
            stream.sendall(json.dumps({"command": command, "node": node}).encode() + b"\n")
        except OSError as error:
            raise SessionError("the agents' process is not running") from error

    @property
    def running(self) -> bool:
        """True while the process is there."""
        return self._process is not None and self._process.running

    def agents_of(self, node: str = "") -> Agents:
        """The agents of a node, or all: their states, what they noted of themselves last, and what they counted."""
        return Agents(
            states={name: state for name, state in tuple(self.agents.items()) if node in ("", name)},
            notes=[note for note in tuple(self.noted) if node in ("", note.node)],
            counters={f"{at}: {what}": n for (at, what), n in tuple(self.counters.items()) if node in ("", at)},
        )

    def wait_listening(self) -> None:
        """Return when switches can connect. Raises as :meth:`wait_synced`."""
        self._wait("listening", lambda: "listening" in self._last)

    def wait_synced(self, switches: Collection[str], interfaces: int) -> None:
        """Return when these switches have confirmed all their flows, with that many interfaces located.

        Raises:
            SessionError: the controller ended instead; the end of its log is in the text.
            DeadlineError: the report did not come, and no more interfaces and switches were reported.
        """

        def synced() -> bool:
            report = self._last.get("synced", {})
            return set(switches) <= set(report.get("switches", ())) and report.get("located", 0) >= interfaces

        self._wait("in agreement with every switch", synced)

    def wait_wired(self, interface: str, switch: str) -> str:
        """Return when the flows for an interface at its new switch are in place; the text says why they may not be."""

        def wired() -> bool:
            where, before = self._located.get(interface, ("", 0))
            return where == switch and self._synced > before

        try:
            self._wait("done with an interface", wired, _WIRED_S)
        except SessionError:
            return "the controller is not running"
        except DeadlineError:
            return "the controller does not answer"
        return ""

    def _wait(self, what: str, done: Callable[[], bool], limit_s: float = _LIMIT_S) -> None:
        with self._changed:
            for step_s in steps(limit_s, self._progress):
                if done():
                    return
                if not self.running:
                    raise SessionError(f"the controller ended before it was {what}:\n{self.last_log_lines()}")
                self._changed.wait(step_s)
        said = self.last_log_lines()
        raise DeadlineError(f"the controller was not {what}, and did nothing towards it for {limit_s:g} s:\n{said}")

    def _progress(self) -> tuple[int, ...]:
        """What grows while switches are being programmed: interfaces that were located, switches in agreement."""
        synced = self._last.get("synced", {})
        return len(self._last), len(self._located), len(synced.get("switches", ())), synced.get("located", 0)

    def last_log_lines(self, lines: int = 12) -> str:
        """The end of the controller's log."""
        return self._process.said(lines) if self._process else ""

    def _watch(self, process: Process) -> None:
        """Read reports until the stream ends."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while not poll.poll(STEP_S * 1000):
            if not process.running:
                return
        stream, _ = self._listener.accept()
        self._stream = stream
        with stream:
            for report in _reports(stream):
                self._take_report(report)
            if self._stream is stream:
                self._stream = None
        with self._changed:
            self._changed.notify_all()

    def _is_listening(self) -> None:
        """The process does what it is for."""
        try:
            if self._process:
                self.services.wait_ready([self._process])
        except SessionError:
            return  # it has ended since; that is told

    def _take_agent(self, node: str, state: Literal["running", "stopped", "failed", "waiting"], text: str) -> None:
        self.agents[node] = state
        if state == "failed":
            self.errors.append(f"the agent of {node} failed and begins again: {text}")
        self.tell(AgentChanged(node, state, text))

    def _count(self, node: str, what: str, times: int) -> None:
        """Count, and tell of it soon: what comes in floods is not to flood the stream."""
        self.counters[node, what] += times
        with self._changed:
            first = not self._untold
            self._untold[node][what] += times
        if first:
            soon = threading.Timer(_COUNTED_S, self._tell_counted)
            soon.daemon = True
            soon.start()

    def _tell_counted(self) -> None:
        with self._changed:
            counts, self._untold = self._untold, defaultdict(Counter)
        if counts:
            self.tell(AgentsCounted({node: dict(counted) for node, counted in counts.items()}))

    def settle(self) -> None:
        """Tell what waits to be told."""
        self.log.settle()
        self._tell_counted()

    def _take_report(self, report: dict[str, Any]) -> None:
        event = report.get("event", "")
        if event == "control":
            self.log.add(ControlMessage(m["t"], m["type"], m["node"], m["bytes"]) for m in report["messages"])
        elif event == "listening":
            self._is_listening()
        elif event in ("advertise", "withdraw"):
            prefix, switch = report["prefix"], report.get("switch", "")
            try:
                self.on_route(event, prefix, switch)
                self.tell(RouteChanged(prefix, switch, "advertised" if event == "advertise" else "withdrawn"))
            except LabError as error:  # the lab goes on without that route, says so, and hears the next report
                self.errors.append(f"{event} {prefix}: {error}")
                self.tell(Warned(prefix, f"{event} {prefix}: {error}"))
        elif event == "located":
            self._located[report["interface"]] = report["switch"], self._synced
            self.tell(InterfaceLocated(report["interface"], report["switch"]))
        elif event == "synced":
            self._synced += 1
        elif event == "error":
            self.errors.append(f"a switch refused: {report['text']}")
            self.tell(Refused(report.get("node", ""), report["text"]))
        elif event == "agent":
            self._take_agent(report["node"], report["state"], report.get("text", ""))
        elif event == "noted":
            noted = self.tell(AgentNoted(report["node"], report["what"], report["detail"], t=time.time()))
            assert isinstance(noted, AgentNoted)
            self.noted.append(noted)
        elif event == "counted":
            self._count(report["node"], report["what"], report["times"])
        with self._changed:
            self._last[event] = report
            self._changed.notify_all()


def _reports(stream: socket.socket) -> Iterator[dict[str, Any]]:
    """What the controller says, until it ends; a line that it had not finished then is none."""
    try:
        with stream.makefile("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield json.loads(line)
    except OSError:
        return  # killed with something unread
