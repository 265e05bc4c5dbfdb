"""The recording programs (``chimera/native/``), started in the right namespaces and told when to write."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chimera.deadline import ready, steps
from chimera.measure import pcapng
from chimera.model.errors import DeadlineError, SessionError
from chimera.model.topology import Link, Port
from chimera.net import netns
from chimera.net.tools import native_tool

_READY_S = 10.0
_STOP_S = 10.0
WHOLE = 65535  # bytes kept of a frame where all are wanted


class Recorder:
    """A program that says ``ready``, records, and writes its file when it is told to end.

    Raises:
        SessionError: it ended instead of getting ready; its own words are in the text.
    """

    def __init__(self, namespace: str, tool: str, *arguments: str) -> None:
        self._what = f"{tool} {arguments[0]}{f' in {namespace}' if namespace else ''}"
        argv = [str(native_tool(tool)), *arguments]
        self._process = netns.start(namespace, argv, stdout=netns.PIPE, stderr=netns.PIPE)
        self._line()

    def _line(self) -> str:
        assert self._process.stdout and self._process.stderr
        if not ready(self._process.stdout, _READY_S):
            raise DeadlineError(f"{self._what} did not get ready within {_READY_S:g} s")
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
        """Have it write its file and end; returns the rest of what it printed."""
        if self.running:
            self.signal(signal.SIGTERM)
        for step_s in steps(_STOP_S):
            try:
                return self._process.communicate(timeout=step_s)[0].decode()
            except netns.TimeoutExpired:
                continue  # what it has printed until now is kept for the next call
        self._process.kill()
        return self._process.communicate()[0].decode()


@dataclass(frozen=True)
class Capture:
    """A running capture of several links, one pcapng file per link."""

    recorder: Recorder
    files: dict[str, Path]  # link name -> file
    whole: bool = False  # for people to open: frames are not cut short

    def stop(self) -> list[dict[str, Any]]:
        """End it; returns what was captured and dropped, per interface."""
        text = self.recorder.stop().strip().splitlines()
        if self.whole:
            for path in self.files.values():
                pcapng.add_check_sequences(path)
        return list(json.loads(text[-1]).get("specs", [])) if text else []


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
    files, arguments = {}, []
    for link in links:
        ports = link.ends() if both_ends else (_end(link, translated),)
        path = files[link.name] = folder / f"{link.name}.pcapng"
        pcapng.write_header(path, [(port, _peer(link, port)) for port in ports], names, translated)
        for port in ports:
            arguments += ["--spec", f"{netns.path(port.node)}:{port.interface}:{path}:{snaplen}"]
    if skip_tcp_port:
        arguments += ["--skip-tcp-port", str(skip_tcp_port)]
    return Capture(Recorder("", "capture", *arguments), files, whole=snaplen >= WHOLE)


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
