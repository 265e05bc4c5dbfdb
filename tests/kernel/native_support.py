"""What the tests of the native tools share: compiled tools, throwaway network namespaces, veth pairs."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

import chimera
from chimera.net.tools import LIBRARIES

SOURCES = Path(chimera.__file__).parent / "native"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces")


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skips a test where a program is missing, and says which."""
    missing = [p for p in programs if not shutil.which(p)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@cache
def _tools() -> Path:
    folder = Path(mkdtemp(prefix="chimera-native-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def tool(name: str) -> str:
    """The compiled native tool; any warning of the compiler is a failure."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler")
    binary = _tools() / name
    flags = os.environ.get("CHIMERA_NATIVE_CFLAGS", "-O2").split()
    source = str(SOURCES / f"{name}.c")
    command = [compiler, *flags, "-Wall", "-Wextra", "-Werror", "-o", str(binary), source, *LIBRARIES]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return str(binary)


class Namespace:
    """A network namespace that lives as long as its holder process."""

    def __init__(self) -> None:
        self.holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo held; exec sleep 600"], stdout=subprocess.PIPE, text=True
        )
        assert self.holder.stdout and self.holder.stdout.readline() == "held\n"
        self.path = f"/proc/{self.holder.pid}/ns/net"
        self.processes: list[subprocess.Popen[str]] = []
        self.run("ip", "link", "set", "lo", "up")

    def enter(self, *command: str) -> list[str]:
        return ["nsenter", f"--net={self.path}", *command]

    def run(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(self.enter(*command), capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def start(self, *command: str, ready: bool = True) -> subprocess.Popen[str]:
        """Starts a program here and waits for its ``ready``."""
        process = subprocess.Popen(
            self.enter(*command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        if ready:
            assert process.stdout
            line = process.stdout.readline()
            if line != "ready\n":
                process.kill()
                raise AssertionError(f"{command}: said {line!r}; {process.stderr.read() if process.stderr else ''}")
        return process

    def link(self, name: str, other: Namespace, other_name: str, mtu: int = 1500) -> None:
        """A veth pair between two namespaces, both ends up."""
        peer = ["peer", "name", other_name, "mtu", str(mtu), "netns", str(other.holder.pid)]
        self.run("ip", "link", "add", "name", name, "mtu", str(mtu), "type", "veth", *peer)
        self.run("ip", "link", "set", "dev", name, "up")
        other.run("ip", "link", "set", "dev", other_name, "up")

    def address(self, interface: str, address: str) -> None:
        nodad = ["nodad"] if ":" in address else []
        self.run("ip", "address", "add", address, "dev", interface, *nodad)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        self.holder.kill()
        self.holder.communicate()


@contextmanager
def namespaces(count: int) -> Iterator[list[Namespace]]:
    """Network namespaces that are gone, with all in them, afterwards."""
    made: list[Namespace] = []
    try:
        for _ in range(count):
            made.append(Namespace())
        yield made
    finally:
        for namespace in made:
            namespace.close()


def finish(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
    """Stops a tool as the lab does, expects success, and returns what else it printed."""
    process.send_signal(number)
    out, err = process.communicate(timeout=15)
    assert process.returncode == 0, err
    return out


def ask(process: subprocess.Popen[str], command: str) -> Any:
    """The JSON line a tool answers to a command on its stdin."""
    tell(process, command)
    assert process.stdout
    return json.loads(process.stdout.readline())


def tell(process: subprocess.Popen[str], command: str) -> None:
    """A command without an answer."""
    assert process.stdin
    process.stdin.write(command + "\n")
    process.stdin.flush()
