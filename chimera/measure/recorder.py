"""The recording programs (``chimera/native/``), started in the right namespaces and told when to write."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chimera import namespaces
from chimera.deadline import ready, steps
from chimera.measure import pcapng
from chimera.model.errors import DeadlineError, SessionError
from chimera.model.topology import Link, Port
from chimera.net import netns
from chimera.net.tools import native_tool

_READY_S = 10.0
_READY_A_PORT_S = 0.02  # and that for each interface a program opens: a slow machine takes its time for thousands
_STOP_S = 10.0
WHOLE = 65535  # bytes kept of a frame where all are wanted
_LISTED = 3  # interfaces named in a sentence

# What a capture keeps until it is written. Memory for all of its interfaces together is bounded; one of them has
# ``_RING_KB`` where that allows it, and never less than ``_LEAST_RING_KB``, of which 64 blocks hold a cut frame each.
_MEMORY_KB = 256 << 10
_RING_KB, _LEAST_RING_KB = 4096, 256
_CUT = 1024  # bytes of a frame that the blocks of the smallest ring hold


class Recorder:
    """A program that says ``ready``, records, and writes its file when it is told to end.

    ``ports`` is how many interfaces it has to open first.

    Raises:
        SessionError: it ended instead of getting ready; its own words are in the text.
    """

    def __init__(self, namespace: str, tool: str, *arguments: str, ports: int = 0) -> None:
        self._what = f"{tool} {arguments[0]}{f' in {namespace}' if namespace else ''}"
        self._ports = ports
        argv = [str(native_tool(tool)), *arguments]
        self._process = netns.start(namespace, argv, stdout=netns.PIPE, stderr=netns.PIPE)
        self._line()

    def _line(self) -> str:
        assert self._process.stdout and self._process.stderr
        patience_s = _READY_S + self._ports * _READY_A_PORT_S
        if not ready(self._process.stdout, patience_s):
            raise DeadlineError(f"{self._what} did not get ready within {patience_s:g} s")
        line = self._process.stdout.readline().decode()
        if not line:
            raise SessionError(f"{self._what} failed: {self._process.stderr.read().decode().strip()}")
        return line

    @property
    def running(self) -> bool:
        """True until it ended."""
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self) -> str:
        """Have it write its file and end; returns the rest of what it printed.

        Raises:
            SessionError: it failed, so that its file is not there or not whole; its own words are in the text.
        """
        if self.running:
            self.signal(signal.SIGTERM)
        output, complaint = self._end()
        if self._process.returncode:
            why = complaint.decode(errors="replace").strip() or f"status {self._process.returncode}"
            raise SessionError(f"{self._what} failed: {why}")
        return output.decode()

    def _end(self) -> tuple[bytes, bytes]:
        """What it still prints until it has ended."""
        for step_s in steps(_STOP_S):
            try:
                output, complaint = self._process.communicate(timeout=step_s)
            except netns.TimeoutExpired:
                continue  # what it has printed until now is kept for the next call
            return output, complaint
        self._process.kill()
        self._process.communicate()
        raise DeadlineError(f"{self._what} did not end within {_STOP_S:g} s")


@dataclass(frozen=True)
class Recorded:
    """How many frames a capture has of one interface (``node:interface``), and how many the kernel had to drop."""

    interface: str
    frames: int
    dropped: int


def incomplete(what: str, found: Sequence[Recorded]) -> str:
    """Says what a capture lacks; empty where nothing was dropped."""
    lost = sorted((one for one in found if one.dropped), key=lambda one: -one.dropped)
    if not lost:
        return ""
    dropped, passed = sum(one.dropped for one in lost), sum(one.frames + one.dropped for one in found)
    places = [f"{one.interface} {one.dropped}" for one in lost[:_LISTED]] + ["…"] * (len(lost) > _LISTED)
    return (
        f"{what} is incomplete: the machine was too busy to record {dropped} of {passed} frames "
        f"({', '.join(places)}); what was counted in it may be too low."
    )


@dataclass(frozen=True)
class Capture:
    """A running capture of several links, one pcapng file per link."""

    recorder: Recorder
    files: dict[str, Path]  # link name -> file
    ports: list[Port]  # in the order the program was given them
    whole: bool = False  # for people to open: frames are not cut short

    def stop(self) -> list[Recorded]:
        """End it; returns what was captured and dropped, per interface.

        Raises:
            SessionError: it failed; what it should have recorded is missing.
        """
        text = self.recorder.stop().strip().splitlines()
        found = json.loads(text[-1])["captures"]
        if self.whole:
            for path in self.files.values():
                pcapng.add_check_sequences(path)
        return [Recorded(str(port), one["frames"], one["dropped"]) for port, one in zip(self.ports, found, strict=True)]


def start_capture(
    links: Sequence[Link],
    folder: Path,
    names: Mapping[str, str],
    *,
    both_ends: bool,
    snaplen: int = 256,
    skip_tcp_port: int = 0,
    translated: Collection[str] = (),
) -> Capture:
    """Capture on links, at both ends or at one; ``names`` maps addresses to node names.

    ``translated`` are the interfaces (``node:interface``) at which a translator changes received frames before they can
    be captured. Where one end is enough it is ``b``, unless that is such an interface and ``a`` is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    ports: list[Port] = []
    arguments: list[str] = []
    for link in links:
        ends = link.ends() if both_ends else (_end(link, translated),)
        path = files[link.name] = folder / f"{link.name}.pcapng"
        pcapng.write_header(path, [(port, _peer(link, port)) for port in ends], names, translated)
        for port in ends:
            arguments += ["--spec", f"{namespaces.path(port.node)}:{port.interface}:{path}:{snaplen}"]
        ports += ends
    arguments += ["--ring-kb", str(_ring_kb(len(ports), snaplen))]
    if skip_tcp_port:
        arguments += ["--skip-tcp-port", str(skip_tcp_port)]
    return Capture(Recorder("", "capture", *arguments, ports=len(ports)), files, ports, whole=snaplen >= WHOLE)


def _ring_kb(ports: int, snaplen: int) -> int:
    """What to keep for each of so many interfaces; frames that are not cut short need large blocks."""
    if snaplen > _CUT:
        return _RING_KB
    return min(max(_MEMORY_KB // ports, _LEAST_RING_KB), _RING_KB)


def _end(link: Link, translated: Collection[str]) -> Port:
    return link.a if str(link.b) in translated and str(link.a) not in translated else link.b


def _peer(link: Link, port: Port) -> Port:
    return link.b if port == link.a else link.a


def wait_for_checkpoint(path: Path, count: int, timeout_s: float = 5.0) -> bool:
    """True when the recording at ``path`` has reached that many checkpoints; False when the time is over.

    The writer replaces the file, so it is looked at until then.
    """
    for _ in steps(timeout_s):
        try:
            if json.loads(path.read_bytes())["checkpoints"] >= count:
                return True
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.01)
    return False
