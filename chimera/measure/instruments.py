"""The instruments of a run: probes, TCP sessions, listeners and captures, while the scenario goes on."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from chimera import namespaces
from chimera.deadline import slowness
from chimera.measure.entropy import paths_used
from chimera.measure.heartbeat import read_heartbeat
from chimera.measure.listen import Heard, read_heard
from chimera.measure.loops import Circle
from chimera.measure.probes import read_stream
from chimera.measure.recorder import WHOLE, Capture, Recorder, incomplete, start_capture, wait_for_checkpoint
from chimera.measure.sessions import TcpSession, read_session
from chimera.measure.volley import Volley
from chimera.model.errors import DeadlineError, SessionError
from chimera.model.events import CaptureEnded, CaptureStarted, Tell, tell_nobody
from chimera.model.record import Vantage
from chimera.model.result import Entropy
from chimera.model.samples import Heartbeat, ProbeStream, Window
from chimera.model.topology import Endpoint, Topology
from chimera.model.underlay import Underlay
from chimera.net.memory_copy import PORT as MIGRATION_PORT
from chimera.net.services import Supervisor
from chimera.underlay.ways import CorePair, Ways
from chimera.wire import pcapng

PROBE_PORT = 7007
TCP_PORT = 7008
BULK_PORT = 7009
INTERVAL_US = 1000  # of probes …
BEAT_US = 500  # … and of heartbeats, on a machine that is hardly slower than usual
NOBODY = "0.0.0.0"  # owner of a port at which every probe is astray

_LOOK_S = 0.4  # how long paths are looked at
_BULK_S = 0.8  # how long a throughput measurement sends; its second half counts
_TRIM_BYTES = 160
_UNDER_WAY_S = 0.1
_ECHO_MS = 3000.0  # without an echoed byte, for as long on a machine of usual speed, a TCP session is dead
_MOST_HOPS = 64  # that any of the formats allows a frame
_ROUNDS = 3  # probes of each flow of a spread
_SPEEDS = 3  # measurements of the machine's speed
_SLOW = 4.0  # times slower than usual (chimera.deadline): then probes at the usual rate would fill the network
_SLOW_SHARE = 0.5  # of what the machine is slower by, intervals get longer by


@dataclass(frozen=True)
class Look:
    """Paths at a moment: captures of all links in a window, and throughput per watched pair."""

    when: str
    window: Window
    files: Mapping[str, Path]
    throughput_mbps: Mapping[tuple[str, str], float]
    location: Mapping[str, str]


@dataclass(frozen=True)
class Watched:
    """A flow of probes: who looks at whom."""

    flow: int
    vantage: Vantage
    target: str


@dataclass(frozen=True)
class Checkpoint:
    """What a TCP session to a VM said at a moment; None where it did not answer."""

    when: float
    vm: str
    session: TcpSession | None


@dataclass
class Responder:
    """The process in a VM that answers probes and beats, and how many need it."""

    recorder: Recorder
    path: Path
    users: int = 0


@dataclass
class Instruments:
    """All that is measured in one run; files go to ``folder``, which is the sandbox's own memory.

    ``location`` tells where VMs are now. ``translated`` are the interfaces (``node:interface``) at which the overlay's
    translator changes received frames before they can be captured. ``losses`` are sentences on what could not be
    recorded: figures that needed it are missing, or may be too low.
    """

    topology: Topology
    underlay: Underlay
    folder: Path
    location: Callable[[], Mapping[str, str]]
    translated: Collection[str] = ()
    services: Supervisor = field(default_factory=Supervisor)
    tell: Tell = tell_nobody
    streams: list[ProbeStream] = field(default_factory=list)
    heartbeats: list[Heartbeat] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)
    entropy: Entropy | None = None
    circles: list[Circle] = field(default_factory=list)
    captures: dict[str, Path] = field(default_factory=dict)  # inter-site links, all through the run
    recordings: dict[str, Path] = field(default_factory=dict)  # --capture: every link
    losses: list[str] = field(default_factory=list)
    _flows: int = 0
    _responders: dict[str, Responder] = field(default_factory=dict)  # by VM
    _lock: threading.Lock = field(default_factory=threading.Lock)  # of these: several VMs migrate at once
    _sessions: list[tuple[Recorder, Path, str]] = field(default_factory=list)  # its file, and the VM
    _running: list[tuple[str, Capture]] = field(default_factory=list)

    # -- captures --------------------------------------------------------------------------------

    def start(self, *, record_all: bool) -> None:
        """Begin to capture: inter-site links for the figures, with ``record_all`` every link whole."""
        inter_site = self.topology.inter_site_links()
        if inter_site:
            capture = start_capture(
                self.services,
                inter_site,
                self.folder / "wan",
                self.names(),
                both_ends=False,
                snaplen=_TRIM_BYTES,
                skip_tcp_port=MIGRATION_PORT,
                translated=self.translated,
            )
            self.captures = capture.files
            self._running.append(self._began("The capture of inter-site links", capture))
        if record_all:
            capture = start_capture(
                self.services, self.topology.links, self.folder / "captures", self.names(), both_ends=False,
                snaplen=WHOLE, skip_tcp_port=MIGRATION_PORT, translated=self.translated,
            )  # fmt: skip
            self.recordings = capture.files
            self._running.append(self._began("The capture of all links (--capture)", capture))

    def flush(self) -> None:
        """Have every capture write what it has recorded until now, and go on."""
        for what, capture in self._running:
            try:
                capture.flush()
            except (SessionError, DeadlineError) as error:
                self._lost(f"{what} may lack its last frames: {error}")

    def finish(self) -> None:
        """End every capture; the files of one that failed do not count."""
        for what, capture in self._running:
            if not self._captured(what, capture):
                self.captures = {} if capture.files is self.captures else self.captures
                self.recordings = {} if capture.files is self.recordings else self.recordings
        self._running.clear()

    def _began(self, what: str, capture: Capture) -> tuple[str, Capture]:
        self.tell(CaptureStarted(what, tuple(capture.files)))
        return what, capture

    def _captured(self, what: str, capture: Capture) -> bool:
        """End a capture; False where it failed. What it lacks is noted."""
        try:
            counts = capture.stop()
            self.tell(CaptureEnded(what, sum(c.frames for c in counts), sum(c.dropped for c in counts)))
            lost = incomplete(what, counts)
        except (SessionError, DeadlineError) as error:
            self.tell(CaptureEnded(what, failed=str(error)))
            self._lost(f"{what} is missing, and so is what is measured by it: {error}")
            return False
        if lost:
            self._lost(lost)
        return True

    def _ended(self, recorder: Recorder, lack: str) -> bool:
        """End a recording program; False where it failed, and then ``lack`` says what is missing."""
        try:
            recorder.stop()
        except (SessionError, DeadlineError) as error:
            self._lost(f"{lack}: {error}")
            return False
        return True

    def _lost(self, text: str) -> None:
        if text not in self.losses:
            self.losses.append(text)

    def names(self) -> dict[str, str]:
        """Addresses to node names, for captures; of tenants that share addresses, the first one's."""
        found = {a.address.partition("/")[0]: a.node for a in self.underlay.addresses}
        for endpoint in self.topology.endpoints:
            for address in (endpoint.ip, endpoint.ip6):
                if address:
                    found.setdefault(address.partition("/")[0], endpoint.name)
        return found

    # -- probes ----------------------------------------------------------------------------------

    @contextmanager
    def responding(self, vm: str) -> Iterator[None]:
        """Have a process in a VM answer probes, and beat, for as long as anybody needs it."""
        with self._lock:
            responder = self._responders.get(vm)
            if responder is None:
                path = self.folder / f"heartbeat-{vm}"
                beat_us = str(self._paced(BEAT_US))
                argv = ("echo", "--port", str(PROBE_PORT), "--out", str(path), "--interval-us", beat_us)
                responder = self._responders[vm] = Responder(Recorder(self.services, vm, "probe", *argv), path)
            responder.users += 1
        try:
            yield
        finally:
            with self._lock:
                responder.users -= 1
                if not responder.users:
                    del self._responders[vm]
                    self._collect(vm, responder)

    @cached_property
    def _slowness(self) -> float:
        """How many times slower than usual the machine is, by the processor time of a few measurements' best.

        A busy machine is as fast as ever when it is a process's turn: an emulated one is not.
        """
        slow = min(slowness(time.thread_time) for _ in range(_SPEEDS))
        if slow > _SLOW:
            every_ms = INTERVAL_US * slow * _SLOW_SHARE / 1000
            self._lost(f"The machine is {slow:.0f} times slower than usual: probes are sent every {every_ms:.1f} ms.")
        return slow

    def _paced(self, interval_us: int) -> int:
        """An interval that leaves room in the network beside probes, however slow the machine is."""
        return round(interval_us * self._slowness * _SLOW_SHARE) if self._slowness > _SLOW else interval_us

    def take_heartbeats(self, vm: str) -> list[Heartbeat]:
        """The heartbeats of a VM, which are kept no longer: of a lab that stays up there would be ever more."""
        with self._lock:
            found = [beats for beats in self.heartbeats if beats.vm == vm]
            self.heartbeats = [beats for beats in self.heartbeats if beats.vm != vm]
        return found

    def _collect(self, vm: str, responder: Responder) -> None:
        self._ended(responder.recorder, f"{vm} may not have answered every probe")
        if responder.path.exists():  # else something ended it in its VM: what it would have shown was not measured
            self.heartbeats.append(read_heartbeat(responder.path, vm))
            responder.path.unlink()

    @contextmanager
    def watch(self, vm: Endpoint, vantages: Iterable[Vantage]) -> Iterator[None]:
        """Probe a VM from several places for as long as the block runs."""
        chosen = list(vantages)
        address = vm.ip.partition("/")[0]
        with ExitStack() as stack:
            listener, heard = self._listen(vm, chosen)
            stack.callback(self._hear, listener, heard)
            stack.enter_context(self.responding(vm.name))
            probers: list[tuple[Watched, Recorder, Path]] = []
            stack.callback(self._gather, probers)  # also where the scenario fails
            for vantage in chosen:
                self._flows += 1
                watched = Watched(self._flows, vantage, vm.name)
                path = self.folder / f"flow-{watched.flow}.probes"
                recorder = Recorder(
                    self.services, vantage.name, "probe", "send", "--to", address, "--port", str(PROBE_PORT),
                    "--flow", str(watched.flow), "--interval-us", str(self._paced(INTERVAL_US)), "--out", str(path),
                )  # fmt: skip
                self.watched.append(watched)
                probers.append((watched, recorder, path))
            yield

    def _gather(self, probers: Iterable[tuple[Watched, Recorder, Path]]) -> None:
        """End probers, and keep what they noticed."""
        for watched, recorder, path in probers:
            if self._ended(recorder, f"What {watched.vantage.name} noticed of {watched.target} is missing"):
                self.streams.append(self._read(watched, path))

    def _hear(self, listener: Recorder, path: Path) -> None:
        """End the listeners, and keep what they heard."""
        if not self._ended(listener, "Misdelivered probes were not counted"):
            return
        heard = read_heard(path)
        self.heard += heard
        dropped = sum(port.dropped for port in heard)
        if dropped:
            self._lost(
                f"Listening at VMs' ports was incomplete: the machine was too busy to look at {dropped} frames; "
                f"misdelivered ones among them are not counted."
            )

    def _read(self, watched: Watched, path: Path) -> ProbeStream:
        vantage = watched.vantage
        return read_stream(path, vantage=vantage.name, target=watched.target, relation=vantage.relation)

    def _listen(self, vm: Endpoint, vantages: list[Vantage]) -> tuple[Recorder, Path]:
        """Listen at every VM's port; a probe belongs to the target and to who sent it, and nowhere else.

        Tenants may share addresses, so the ports of bystanders own none.
        """
        involved = {vm.name, *(v.name for v in vantages)}
        path = self.folder / f"heard-{self._flows}.json"
        ports = []
        for peer in self.topology.vms:
            owner = peer.ip.partition("/")[0] if peer.name in involved else NOBODY
            ports += ["--netns", f"{namespaces.path(peer.name)}:eth0:{owner}"]
        return Recorder(self.services, "", "probe", "listen", "--out", str(path), *ports, ports=len(ports)), path

    # -- TCP -------------------------------------------------------------------------------------

    @contextmanager
    def session(self, server: Endpoint, client: str) -> Iterator[None]:
        """Keep a TCP session open for as long as the block runs, verifying every byte."""
        path = self.folder / f"tcp-{len(self._sessions)}.json"
        serving = Recorder(self.services, server.name, "probe", "tcp-server", "--port", str(TCP_PORT))
        address = server.ip.partition("/")[0]
        connected = Recorder(
            self.services, client, "probe", "tcp-client", "--to", address, "--port", str(TCP_PORT), "--out", str(path),
            "--deadline-ms", str(int(_ECHO_MS * slowness())),
        )  # fmt: skip
        held = connected, path, server.name
        self._sessions.append(held)
        try:
            yield
        finally:
            self._sessions.remove(held)
            self._ended(connected, f"How the TCP session to {server.name} ended is not known")
            self._ended(serving, f"The TCP session to {server.name} may have ended early")

    def checkpoint(self) -> None:
        """Have every TCP session prove that it still carries data, and remember how it went."""
        for recorder, path, vm in self._sessions:
            count = sum(c.vm == vm and c.session is not None for c in self.checkpoints) + 1
            when = time.time()
            if recorder.running:
                recorder.signal(signal.SIGUSR1)
            done = wait_for_checkpoint(path, count)
            self.checkpoints.append(Checkpoint(when, vm, read_session(path) if done else None))

    # -- paths -----------------------------------------------------------------------------------

    def paths(self, when: str, throughput: bool) -> None:
        """Capture every link at both ends for a moment; then measure throughput per watched pair."""
        number = len(self.looks)
        links = self.topology.links
        folder = self.folder / f"look-{number}"
        capture = start_capture(
            self.services, links, folder, {}, both_ends=True, snaplen=_TRIM_BYTES, translated=self.translated
        )
        self._began(what := f"The capture of paths {when}", capture)
        start = time.time()
        time.sleep(_LOOK_S)
        window = Window(start, time.time())
        time.sleep(_UNDER_WAY_S)  # answers
        captured = self._captured(what, capture)
        rates = {}
        if throughput:
            for watched in {(w.vantage.name, w.target): w for w in self.watched}.values():
                rate = self._bulk(watched)
                if rate is not None:
                    rates[watched.vantage.name, watched.target] = rate
        self.looks.append(Look(when, window, capture.files if captured else {}, rates, dict(self.location())))

    # -- many flows ------------------------------------------------------------------------------

    def spread(self, sender: Endpoint, target: Endpoint, ways: Ways, flows: int) -> None:
        """Send many flows while every link is captured, and tell by which of the equal ways each went."""
        with Volley(sender, target, flows) as volley:
            volley.reaches()  # what is asked once, and may go another way, is over then
            capture = start_capture(
                self.services, self.topology.links, self.folder / "spread", {}, both_ends=False, snaplen=_TRIM_BYTES
            )
            self._began(what := "The capture of many flows", capture)
            try:
                volley.fire(_ROUNDS)
                time.sleep(_UNDER_WAY_S)
            finally:
                captured = self._captured(what, capture)
        seen = {link: pcapng.read(capture.files[link.name]) for link in self.topology.links if captured}
        by_path = paths_used(seen, volley.flows, ways)
        if captured and not by_path:
            self._lost(f"No capture saw a flow from {sender.name} to {target.name}: the paths they use are not known.")
        self.entropy = Entropy(
            sender.name, target.name, flows, available=ways.count, used=len(by_path) or None, by_path=by_path
        )

    def circle(self, sender: Endpoint, target: Endpoint, pair: CorePair, probes: int) -> None:
        """Send probes, a flow each, into the loop between two nodes, and capture it until the last has died."""
        link, location = pair.link, dict(self.location())
        folder = self.folder / f"loop-{len(self.circles)}"
        start = time.time()
        with Volley(sender, target, probes) as volley:
            capture = start_capture(self.services, [link], folder, {}, both_ends=True, snaplen=_TRIM_BYTES)
            self._began(what := "The capture of the loop", capture)
            try:
                arrived = volley.fire(rounds=1)
                time.sleep(_MOST_HOPS * max(link.forward.delay_ms, link.backward.delay_ms) / 1000 + _UNDER_WAY_S)
            finally:
                captured = self._captured(what, capture)
        window = Window(start, time.time())
        if not captured:
            return
        self.circles.append(
            Circle(
                sender, target, pair.at, link.name, location[target.name], capture.files[link.name], volley.flows,
                arrived, window, location,
            )
        )  # fmt: skip

    def recheck(self) -> None:
        """See whether what was in loops can be reached again."""
        for number, circle in enumerate(self.circles):
            if circle.again is None:
                with Volley(circle.sender, circle.vm, 1) as volley:
                    self.circles[number] = replace(circle, again=volley.reaches())

    # -- throughput ------------------------------------------------------------------------------

    def _bulk(self, watched: Watched) -> float | None:
        """Megabits per second that one TCP connection from the vantage point to the VM carries; None without one."""
        target = self.topology.vm(watched.target).ip.partition("/")[0]
        with namespaces.inside(namespaces.path(watched.target)):
            listener = socket.create_server(("0.0.0.0", BULK_PORT))
        with namespaces.inside(namespaces.path(watched.vantage.name)):
            sender = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        with listener, sender:
            sender.settimeout(2)
            try:
                sender.connect((target, BULK_PORT))
            except OSError:
                return None
            receiver, _ = listener.accept()
            with receiver:
                return _rate_mbps(sender, receiver)


def _rate_mbps(sender: socket.socket, receiver: socket.socket) -> float | None:
    """What arrives per second in the second half of a burst: the first half is TCP finding its window.

    None where too little arrived to tell.
    """
    block = memoryview(bytes(1 << 18))
    end = time.monotonic() + _BULK_S

    def send() -> None:
        try:
            while time.monotonic() < end:
                sender.send(block)
            sender.shutdown(socket.SHUT_WR)
        except OSError:
            return

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    receiver.settimeout(2)
    half, counted, first, last = end - _BULK_S / 2, 0, 0.0, 0.0
    memory = bytearray(1 << 18)
    try:
        while (got := receiver.recv_into(memory)) and (now := time.monotonic()) < end:
            if now >= half:
                first = first or now
                counted += got if first != now else 0
                last = now
    except OSError:
        pass  # what arrived until then counts
    sender.close()
    thread.join()
    if last > first:
        return round(counted * 8 / (last - first) / 1e6, 1)
    return None if last else 0.0  # one piece of data alone has no rate; without any, nothing got through
