"""The lab's controller process: started, watched and, for experiments, killed and started again.

It runs ``python -m controllers`` in the sandbox's own namespace and reports over a unix socket, one JSON
object a line: ``listening``, ``synced``, ``advertise``/``withdraw`` of hosts, and the control messages it
sent and received.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from chimera.deadline import ready, steps
from chimera.model.codec import to_json
from chimera.model.control import LISTENER, Inventory
from chimera.model.errors import DeadlineError, LabError, SessionError
from chimera.net import netns
from chimera.net.control_log import ControlLog, Message

FOLDER = Path("/run/lab")
API = str(FOLDER / "controller.sock")
_IP_FREEBIND = 15
_LIMIT_S = 30.0  # without progress (chimera.deadline): to import, to connect, to program a switch
_WIRED_S = 3.0  # to hear of one interface and send its flows
_ERRORS = 100
_NOTES = 10_000
_PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class AgentNote:
    """What an agent said of its state, when the session received it (seconds since the epoch)."""

    t: float
    node: str
    what: str
    detail: str


@dataclass
class Controller:
    """One controller process per lab.

    ``on_route`` is called with (verb, prefix, switch) when the control plane asks for a host route.
    """

    inventory: Inventory
    on_route: Callable[[str, str, str], None] = lambda verb, prefix, switch: None
    log: ControlLog = field(default_factory=ControlLog)
    _process: subprocess.Popen[bytes] | None = None
    errors: deque[str] = field(default_factory=lambda: deque(maxlen=_ERRORS))  # what switches refused, the latest
    agents: dict[str, str] = field(default_factory=dict)  # node -> running, stopped, failed
    noted: deque[AgentNote] = field(default_factory=lambda: deque(maxlen=_NOTES))  # what agents said of themselves
    counters: Counter[tuple[str, str]] = field(default_factory=Counter)  # of agents: node, what
    _last: dict[str, dict[str, Any]] = field(default_factory=dict)  # latest report of each kind
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stream: socket.socket | None = None

    _located: dict[str, tuple[str, int]] = field(default_factory=dict)  # interface -> switch, syncs before it
    _synced: int = 0
    _starts: int = 0

    def __post_init__(self) -> None:
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
        self._last.clear()
        self.agents.clear()
        self._starts += 1
        inventory = replace(self.inventory, openflow_port=self._port)
        (FOLDER / "inventory.json").write_bytes(to_json(inventory))
        log = open(FOLDER / f"controller-{self._starts}.log", "wb")  # noqa: SIM115 - the child's, closed below
        argv = [sys.executable, "-m", "controllers", "--inventory", str(FOLDER / "inventory.json")]
        listener = self._listen()
        environment = {
            **os.environ,
            LISTENER: str(listener.fileno()),
            "PYTHONPATH": os.pathsep.join([str(_PROJECT), os.environ.get("PYTHONPATH", "")]),
        }
        self._process = netns.start("", argv, stdout=log, stderr=log, env=environment, pass_fds=[listener.fileno()])
        listener.close()
        log.close()
        threading.Thread(target=self._watch, args=(self._process,), daemon=True, name="controller").start()

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
        self._process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        self._process.wait()
        self._process = None

    def tell_agent(self, command: Literal["start", "stop"], node: str) -> None:
        """Begin or end one node's agent; the others go on."""
        if self._stream is None:
            raise SessionError("the agents' process is not running")
        self._stream.sendall(json.dumps({"command": command, "node": node}).encode() + b"\n")

    @property
    def running(self) -> bool:
        """True while the process is there."""
        return self._process is not None and self._process.poll() is None

    def agents_of(self, node: str = "") -> dict[str, Any]:
        """The agents of a node, or all: their states, what they noted of themselves last, and what they counted."""
        return {
            "states": {name: state for name, state in self.agents.items() if node in ("", name)},
            "notes": [note for note in tuple(self.noted) if node in ("", note.node)],
            "counters": {f"{at}: {what}": n for (at, what), n in tuple(self.counters.items()) if node in ("", at)},
        }

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
        path = FOLDER / f"controller-{self._starts}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Read reports until the stream ends."""
        while not ready(self._listener, _LIMIT_S):
            if process.poll() is not None:
                return
        stream, _ = self._listener.accept()
        self._stream = stream
        with stream:
            for report in _reports(stream):
                self._take_report(report)
        process.poll()
        with self._changed:
            self._changed.notify_all()

    def _take_report(self, report: dict[str, Any]) -> None:
        event = report.get("event", "")
        if event == "control":
            self.log.add(Message(m["t"], m["type"], m["node"], m["bytes"]) for m in report["messages"])
        elif event in ("advertise", "withdraw"):
            try:
                self.on_route(event, report["prefix"], report.get("switch", ""))
            except LabError as error:  # the lab goes on without that route, says so, and hears the next report
                self.errors.append(f"{event} {report['prefix']}: {error}")
        elif event == "located":
            self._located[report["interface"]] = report["switch"], self._synced
        elif event == "synced":
            self._synced += 1
        elif event == "error":
            self.errors.append(report["text"])
        elif event == "agent":
            self.agents[report["node"]] = report["state"]
            if "text" in report:
                self.errors.append(f"the agent of {report['node']} failed and begins again: {report['text']}")
        elif event == "noted":
            self.noted.append(AgentNote(time.time(), report["node"], report["what"], report["detail"]))
        elif event == "counted":
            self.counters[report["node"], report["what"]] += report["times"]
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
