"""The TCP session: intact through an outage, dead when it is broken, and honest about either."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from native_support import Namespace, finish, namespaces, needs_root, tool

from chimera.measure.sessions import read_session

pytestmark = needs_root


@pytest.fixture
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    with namespaces(2) as (a, b):
        a.link("a0", b, "b0")
        a.address("a0", "10.0.0.1/24")
        b.address("b0", "10.0.0.2/24")
        b.start(tool("probe"), "tcp-server", "--port", "7001")
        yield a, b


def client(a: Namespace, out: Path, *options: str, port: int = 7001, ready: bool = True) -> subprocess.Popen[str]:
    command = (tool("probe"), "tcp-client", "--to", "10.0.0.2", "--port", str(port), "--out", str(out))
    return a.start(*command, *options, ready=ready)


def test_a_session_survives_an_outage_with_every_byte(pair: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    a, b = pair
    process = client(a, tmp_path / "c")
    time.sleep(0.3)
    b.run("ip", "link", "set", "dev", "b0", "down")
    time.sleep(0.3)
    b.run("ip", "link", "set", "dev", "b0", "up")
    time.sleep(1.2)
    finish(process)
    session = read_session(tmp_path / "c")
    assert session.survived
    assert session.bytes_echoed == session.bytes_sent > 500_000
    assert 300 <= session.longest_stall_ms < 1500


def test_a_frozen_server_is_a_stall_and_not_an_end(pair: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    a, b = pair
    process = client(a, tmp_path / "c", "--rate-kbps", "800")
    b.processes[0].send_signal(signal.SIGSTOP)
    time.sleep(0.4)
    b.processes[0].send_signal(signal.SIGCONT)
    time.sleep(0.3)
    finish(process)
    session = read_session(tmp_path / "c")
    assert session.survived and 350 < session.longest_stall_ms < 1000
    assert session.bytes_sent < 200_000


def test_a_dead_path_is_not_alive(pair: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    a, b = pair
    process = client(a, tmp_path / "c", "--deadline-ms", "300")
    b.run("ip", "link", "set", "dev", "b0", "down")
    finish(process)
    session = read_session(tmp_path / "c")
    assert session.connected and session.intact and not session.alive
    assert not session.survived


def test_a_server_that_is_gone_is_an_error(pair: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    a, b = pair
    process = client(a, tmp_path / "c")
    finish(b.processes[0])
    time.sleep(0.1)
    finish(process)
    session = read_session(tmp_path / "c")
    assert session.error and not session.alive and not session.survived


def test_a_wrong_byte_is_found(pair: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    """An echo server that damages the 100,000th byte."""
    a, b = pair
    liar = (
        "import socket;l=socket.create_server(('',7002));print('ready',flush=True);c=l.accept()[0];n=0\n"
        "while d:=bytearray(c.recv(9000)):\n"
        " if n<=100000<n+len(d): d[100000-n]^=1\n"
        " n+=len(d);c.sendall(d)"
    )
    b.start("python3", "-c", liar)
    process = client(a, tmp_path / "c", port=7002)
    time.sleep(0.4)
    finish(process)
    session = read_session(tmp_path / "c")
    assert not session.intact and session.error == "an echoed byte is wrong"


def test_a_refused_session_never_was_ready(pair: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    process = client(pair[0], tmp_path / "c", port=7009, ready=False)
    out, _ = process.communicate(timeout=10)
    session = read_session(tmp_path / "c")
    assert (process.returncode, out) == (1, "")
    assert not session.connected and session.error == "Connection refused"


def test_checkpoints_tell_stalls_apart(pair: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    a, b = pair
    process = client(a, tmp_path / "c")
    b.processes[0].send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    b.processes[0].send_signal(signal.SIGCONT)
    time.sleep(0.1)
    process.send_signal(signal.SIGUSR1)
    deadline = time.monotonic() + 5
    while not (tmp_path / "c").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    first = read_session(tmp_path / "c")
    time.sleep(0.2)
    finish(process)
    second = read_session(tmp_path / "c")
    assert (first.checkpoints, second.checkpoints) == (1, 2)
    assert first.survived and first.recent_stall_ms > 450
    assert second.recent_stall_ms < 300 and second.longest_stall_ms == first.longest_stall_ms
