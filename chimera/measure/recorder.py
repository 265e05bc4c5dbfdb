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
from chimera.model.errors import DeadlineError, SessionError
from chimera.model.topology import Link, Port
from chimera.net.service import Says, Service
from chimera.net.services import Supervisor
from chimera.net.tools import native_tool
from chimera.wire import pcapng

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
    """A program that says ``ready``, records, and writes its file when it is told to end: a service of its node.

    ``ports`` is how many interfaces it has to open first.

    Raises:
        SessionError: it ended instead of getting ready; its own words are in the text.
    """

    def __init__(self, services: Supervisor, namespace: str, tool: str, *arguments: str, ports: int = 0) -> None:
        name = tool if arguments[0].startswith("-") else f"{tool}-{arguments[0]}"
        self._services = services
        service = Service(
            namespace, name, (str(native_tool(tool)), *arguments), namespace=namespace, ready=Says(), stdout=True,
            transient=True, patience_s=_READY_S + ports * _READY_A_PORT_S, grace_s=_STOP_S,
        )  # fmt: skip
        self._process = services.start(service)

    @property
    def running(self) -> bool:
        """True until it ended."""
        return self._process.running

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.signal(number)

    def checkpoint(self) -> None:
        """Have it write what it has until now, and wait until it has; it goes on.

        Raises:
            SessionError: it ended instead; its own words are in the text.
            DeadlineError: it wrote nothing in its time.
        """
        stdout = self._process.stdout
        assert stdout is not None
        self.signal(signal.SIGUSR1)
        if not ready(stdout, _READY_S):
            raise DeadlineError(f"{self._process.service} did not write what it has within {_READY_S:g} s")
        if not stdout.readline():
            raise SessionError(f"{self._process.service} ended: {self._process.said()}")

    def stop(self) -> str:
        """Have it write its file and end; returns the rest of what it printed.

        Raises:
            SessionError: it failed, so that its file is not there or not whole; its own words are in the text.
            DeadlineError: it did not end, and was killed; its file is not there or not whole.
        """
        return self._services.finish(self._process).decode()


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

    def flush(self) -> None:
        """Have the files hold all that passed until now. Raises as :meth:`Recorder.checkpoint` does."""
        self.recorder.checkpoint()

    def stop(self) -> list[Recorded]:
        """End it; returns what was captured and dropped, per interface.

        Raises:
            SessionError: it failed; what it should have recorded is missing.
            DeadlineError: likewise, for it did not end in its time.
        """
        text = self.recorder.stop().strip().splitlines()
        found = json.loads(text[-1])["captures"]
        if self.whole:
            for path in self.files.values():
                pcapng.add_check_sequences(path)
        return [Recorded(str(port), one["frames"], one["dropped"]) for port, one in zip(self.ports, found, strict=True)]


def start_capture(
    services: Supervisor,
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
    return Capture(
        Recorder(services, "", "capture", *arguments, ports=len(ports)), files, ports, whole=snaplen >= WHOLE
    )


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
