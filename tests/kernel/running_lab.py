"""A lab that is up, as the tests of whole labs use it: only through the command line."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lab_support import ENVIRONMENT, LAB, PROJECT, lab

_numbers = itertools.count(1)
_SENT = re.compile(r"(\d+) packets transmitted, (\d+) received")
_TIMES = re.compile(r"= ([\d.]+)/([\d.]+)/([\d.]+)/")


@dataclass(frozen=True)
class Ping:
    """What ping(8) said in the end; round trips in milliseconds, 0 where nothing came back."""

    sent: int
    received: int
    lowest_ms: float
    average_ms: float

    @classmethod
    def read(cls, text: str) -> Ping:
        """Its last lines."""
        counts, times = _SENT.search(text), _TIMES.search(text)
        assert counts, text
        return cls(int(counts[1]), int(counts[2]), *(float(t) for t in times.groups()[:2]) if times else (0.0, 0.0))

    @property
    def lost(self) -> int:
        """Questions without an answer."""
        return self.sent - self.received


@dataclass(frozen=True)
class RunningLab:
    """A lab by its name."""

    name: str

    def __call__(self, verb: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``lab VERB --lab NAME WORDS``."""
        return lab(verb, "--lab", self.name, *words, check=check)

    def json(self, verb: str, *words: str) -> Any:
        """What ``lab VERB … --json`` printed, also where it exits with 1."""
        return json.loads(self(verb, *words, "--json", check=False).stdout)

    def exec(self, node: str, *argv: str, check: bool = True) -> str:
        """What a program printed on a node."""
        return self("exec", node, "--", *argv, check=check).stdout

    def start(self, node: str, *argv: str) -> subprocess.Popen[str]:
        """Start a program on a node; what is told to terminate tells the program."""
        return subprocess.Popen(
            [*LAB, "exec", "--lab", self.name, node, "--", *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, text=True, env=ENVIRONMENT, cwd=PROJECT,
        )  # fmt: skip

    def ping(self, source: str, target: str, count: int = 3, *options: str) -> Ping:
        """Ping an address, or the VM of that name, ten times a second; one second for the last answer."""
        argv = ["ping", "-n", "-c", str(count), "-i", "0.1", "-W", "1", *options, self.address(target)]
        return Ping.read(self.exec(source, *argv, check=False))

    @cached_property
    def endpoints(self) -> dict[str, dict[str, Any]]:
        """VMs, hosts and clients by name, as 'lab inspect' has them."""
        return {e["name"]: e for e in self.inspect()["endpoints"]}

    def address(self, name: str) -> str:
        """A VM's address; what is no VM's name is an address already."""
        return str(self.endpoints[name]["ip"].partition("/")[0]) if name in self.endpoints else name

    def inspect(self) -> dict[str, Any]:
        """Everything the lab knows of itself."""
        return dict(self.json("inspect"))

    def state(self) -> dict[str, Any]:
        """What 'lab status' says of it."""
        return dict(json.loads(lab("status", "--json").stdout)[self.name])

    def whereabouts(self, vm: str) -> str:
        """The hypervisor a VM is at."""
        (found,) = [name for name, vms in self.state()["hypervisors"].items() if vm in vms]
        return str(found)

    def services(self, node: str) -> dict[str, dict[str, Any]]:
        """The services of a node or link by name, as 'lab inspect' has them."""
        return {found["name"]: found for found in self.json("inspect", node)["services"]}

    def kill(self, node: str, service: str) -> None:
        """Kill a service behind the lab's back."""
        self.exec("hv1", "kill", "-9", str(self.services(node)[service]["pid"]))

    @contextmanager
    def listening(self, node: str, interface: str, *expression: str) -> Iterator[list[str]]:
        """Lines of tcpdump(8) on an interface, complete when the block has ended."""
        argv = ["tcpdump", "-l", "-n", "-e", "-U", "--immediate-mode", "-i", interface, *expression]
        process = self.start(node, *argv)
        lines: list[str] = []
        try:
            assert process.stdout
            for line in process.stdout:
                if line.startswith("listening on"):
                    break
            else:
                raise AssertionError(f"tcpdump did not start on {node}:{interface}")
            yield lines
        finally:
            process.terminate()
            output, _ = process.communicate(timeout=10)
            lines += output.splitlines()


@contextmanager
def up(topology: str, *words: str) -> Iterator[RunningLab]:
    """``lab up TOPOLOGY WORDS`` under a name of its own, and down in the end whatever happens."""
    name = f"t-{os.getpid()}-{next(_numbers)}"
    try:
        lab("up", topology, "--name", name, "--quiet", *words, timeout_s=60)
        yield RunningLab(name)
    finally:
        lab("down", name, check=False)
