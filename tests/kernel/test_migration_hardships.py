"""Migrations where the machine stands still, the destination is lost, there is no controller, or strangers knock."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_support import lab, needs_lab, result, start
from native_support import namespaces
from running_lab import RunningLab, up

from chimera import namespaces as netns
from chimera.deadline import SLOWEST
from chimera.net.memory_copy import PORT, STALL_S, Sender
from chimera.net.rundir import ROOT, facts

pytestmark = needs_lab

TOPOLOGY = """
name: small
switches: {tor: {}}
hypervisors:
  hv[1-3]: {uplink: tor}
vms:
  vm1: {hypervisor: hv1, memory: 8 MB, dirty_rate: 0 MB/s, mobile: true}
  vm2: {hypervisor: hv2, memory: 8 MB}
"""
IP_FREEBIND = 15  # ip(7)
SLOWLY = ("--set", "pace_mbps=11")  # 8 MB take 6 s


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    path = tmp_path_factory.mktemp("small") / "small.yaml"
    path.write_text(TOPOLOGY)
    with up(str(path)) as running:
        yield running


def elsewhere(running: RunningLab, vm: str) -> str:
    return "hv3" if running.whereabouts(vm) == "hv1" else "hv1"


def begin(running: RunningLab, vm: str, to: str) -> subprocess.Popen[str]:
    """Start a slow migration; it is in its first round when this returns."""
    moving = start("migrate", "--lab", running.name, vm, to, *SLOWLY)
    assert moving.stdout
    assert "migrating" in moving.stdout.readline()
    time.sleep(1)
    return moving


def test_bytes_that_move_are_waited_for_and_so_is_a_machine_that_stands_still(small: RunningLab) -> None:
    """In the middle of a slow copy nothing of the lab's session, sender and receiver both, is run for four seconds."""
    to = elsewhere(small, "vm1")
    session = int(facts(ROOT / small.name)["pid"])
    moving = begin(small, "vm1", to)
    os.kill(session, signal.SIGSTOP)
    time.sleep(STALL_S + 1)
    os.kill(session, signal.SIGCONT)
    said, _ = moving.communicate(timeout=300)
    assert moving.returncode == 0, said
    assert small.whereabouts("vm1") == to
    assert small.ping("vm2", "vm1").lost == 0


def test_a_next_hop_that_answers_arp_late_is_connected_to_all_the_same() -> None:
    """The kernel itself gives up after three seconds, and says so to whoever connects."""
    with namespaces(2) as (near, far):
        near.link("eth0", far, "eth0")
        near.address("eth0", "192.0.2.1/24")
        with netns.inside(far.path):
            listener = socket.socket()
        listener.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)  # the address comes later
        listener.bind(("192.0.2.2", PORT))
        listener.listen()
        late = threading.Timer(3.5, far.address, ("eth0", "192.0.2.2/24"))
        late.start()

        def open_socket() -> socket.socket:
            with netns.inside(near.path):
                return socket.socket()

        sender = Sender(open_socket, stall_s=30.0)
        sender.connect("192.0.2.1", "192.0.2.2")
        threading.Thread(target=accept_commit, args=(listener,)).start()
        sender.commit()
        sender.close()
        late.join()


def accept_commit(listener: socket.socket) -> None:
    """Serve one connection with one message, which has no body."""
    channel, _ = listener.accept()
    with listener, channel:
        assert channel.recv(9) == b"C" + bytes(8)
        channel.sendall(b"A")


def test_a_destination_that_is_lost_is_given_up_in_bounded_time(small: RunningLab) -> None:
    here, to = small.whereabouts("vm1"), elsewhere(small, "vm1")
    moving = begin(small, "vm1", to)
    small("stop", to)
    try:
        said, _ = moving.communicate(timeout=STALL_S * SLOWEST + 30)
        assert moving.returncode == 1 and f"nothing moved for {STALL_S:g} s; it runs at {here}" in said
        assert small.whereabouts("vm1") == here
        assert small.ping("vm2", "vm1").lost == 0
        refused = small("migrate", "vm1", to, check=False)
        assert refused.returncode == 1 and f"{to} is stopped" in refused.stderr
    finally:
        small("start", to)


def test_a_vm_that_moved_without_a_controller_is_said_to_be_unreachable(small: RunningLab) -> None:
    small("stop", "controller")
    try:
        to = elsewhere(small, "vm1")
        moved = small("migrate", "vm1", to, check=False)
        assert moved.returncode == 1 and f"→ {to}" in moved.stdout
        assert "the controller is not running): vm1 may be unreachable" in moved.stdout
        assert small.whereabouts("vm1") == to
    finally:
        small("start", "controller")
    assert small.ping("vm2", "vm1", 5).lost == 0


STRANGER = r"""
import json, os, socket, struct, sys
mine, theirs = sys.argv[1:]

def message(kind, body=b"", length=None):
    return kind + struct.pack("!Q", len(body) if length is None else length) + body

def heard(*messages):
    with socket.create_connection((theirs, 8000), timeout=30, source_address=(mine, 0)) as channel:
        try:
            for said in messages:
                channel.sendall(said)
            return channel.recv(10)
        except OSError:
            return b""

most = 16 << 30
for vm, size in (("ghost", most), ("vm1", 8 << 20), ("vm2", 8 << 20)):
    print(heard(message(b"R", struct.pack("!Q", size) + vm.encode())))
    print(heard(message(b"R", json.dumps({"vm": vm, "memory_bytes": size}).encode())))
print(heard(message(b"P", length=1 << 40), bytes(1 << 20)))
print(heard(message(b"C")), heard(os.urandom(99)), heard(b"GET / HTTP/1.1\r\n\r\n"))
print(heard(message(b"R", length=1 << 40), *[bytes(1 << 20)] * 100))
print("done")
"""


def test_strangers_reserve_nothing_and_make_the_session_hold_nothing(small: RunningLab) -> None:
    """From a hypervisor's own address, too: only what is being migrated from there is taken."""
    to = elsewhere(small, "vm1")
    small("migrate", "vm1", to)  # from now on it listens
    vtep = small.inspect()["vtep"]
    session = int(facts(ROOT / small.name)["pid"])
    before = _resident_mb(session)
    said = small.exec("hv2", sys.executable, "-c", STRANGER, vtep["hv2"], vtep[to])
    assert said.endswith("done\n") and "b'A'" not in said, said
    assert _resident_mb(session) < before + 50
    small("migrate", "vm1", elsewhere(small, "vm1"))
    small("migrate", "vm1", to)  # there is room, and it listens still


def _resident_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def test_a_run_whose_migration_is_given_up_has_a_result(tmp_path: Path) -> None:
    full = TOPOLOGY.replace("hv[1-3]: {uplink: tor}", "hv[1-2]: {uplink: tor, memory: 8 MB}")
    path, out = tmp_path / "full.yaml", tmp_path / "r"
    path.write_text(full)
    done = lab("run", "vmotion", "--topology", str(path), "--quiet", "--out", str(out), check=False)
    assert done.returncode == 1, done.stderr
    found = result(out)
    (move,) = found["migrations"]
    assert "no room for vm1" in move["aborted"]
    first = found["expectations"][0]
    assert first["name"] == "the scenario went on to its end" and not first["passed"]
    assert "no room for vm1" in first["detail"]
    assert (out / "report.html").read_text().startswith("<!")
