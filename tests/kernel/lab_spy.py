"""Frames of a lab that is up: heard at every interface of chosen nodes at once, and sent from any."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab_support import ENVIRONMENT, LAB, PROJECT
from running_lab import RunningLab

AGENT = Path(__file__).with_name("lab_agent.py")


@dataclass(frozen=True)
class Seen:
    """A frame as one interface had it: ``direction`` is ``in`` or ``out``, ``time`` seconds since the epoch."""

    node: str
    interface: str
    direction: str
    time: float
    frame: bytes

    @property
    def at(self) -> tuple[str, str, str]:
        """Where it was seen."""
        return self.node, self.interface, self.direction


class Spy:
    """What the agent in the lab hears and sends."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert self._ask_line() == "ready"
        self.macs: dict[str, dict[str, str]] = self._ask({"macs": 1})

    def _ask_line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().rstrip("\n")

    def _ask(self, what: dict[str, Any]) -> Any:
        assert self._process.stdin
        print(json.dumps(what), file=self._process.stdin, flush=True)
        return json.loads(self._ask_line())

    def send(self, node: str, *frames: bytes, interface: str = "eth0", gap_s: float = 0.0) -> None:
        """Send frames out of an interface, as they are."""
        self._ask({"send": [node, interface, [frame.hex() for frame in frames], gap_s]})

    def take(self) -> list[Seen]:
        """What was heard since the last time, in the order of time."""
        found = [Seen(*rest, frame=bytes.fromhex(data)) for *rest, data in self._ask({"take": 1})]
        return sorted(found, key=lambda seen: seen.time)

    def take_until(self, enough: Callable[[list[Seen]], bool], deadline_s: float = 5.0) -> list[Seen]:
        """What was heard by when it is ``enough``; all there is when the deadline has passed."""
        found: list[Seen] = []
        end = time.monotonic() + deadline_s
        while not enough(found) and time.monotonic() < end:
            time.sleep(0.02)
            found += self.take()
        return found


@contextmanager
def spying(lab: RunningLab, nodes: Iterable[str], *, management: bool = False) -> Iterator[Spy]:
    """Hear all interfaces of these nodes but loopback, and management unless asked for; send at any of any node's."""
    names: Sequence[str] = list(nodes)
    deaf = "lo" if management else "lo,mgmt"
    argv = [*LAB, "exec", "--lab", lab.name, names[0], "--", sys.executable, str(AGENT), deaf, *names]
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, env=ENVIRONMENT, cwd=PROJECT)
    try:
        yield Spy(process)
    finally:
        assert process.stdin
        process.stdin.close()
        process.wait(10)


def interrupted(said: str) -> str:
    """What ping(8) said; where it was ended before its last word, the same by its lines."""
    if "packets transmitted" in said:
        return said
    numbers = [int(n) for n in re.findall(r"icmp_seq=(\d+)", said)]
    return f"{max(numbers, default=0)} packets transmitted, {len(numbers)} received"
