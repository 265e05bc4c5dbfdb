"""Killed or interrupted at any instant, a lab leaves nothing behind and touches nothing of the host's."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lab_support import lab, needs_lab, on_a_host_of_its_own, start

from chimera.model.ports import PortSpec
from chimera.net import netns
from chimera.net.ovs import OpenVSwitch
from chimera.net.services import Supervisor
from chimera.wire import ovsdb

pytestmark = needs_lab
SEED = 20261122
HOSTS = 4  # each a machine of its own, so that labs are killed side by side
KILLS = 15  # on each
LONGEST_S = {"run": 6.0, "up": 2.5, "down": 0.6}  # until a command is killed
INTERRUPTS = 8
OUT = Path("/run/results")
RUN = ("run", "vmotion", "--topology", "rack", "--out", str(OUT / "r"), "--force", "-q")


def _snapshot() -> dict[str, Any]:
    """What there is on this host: processes, interfaces, namespaces, mounts, files of labs."""
    _reap()
    return {
        "processes": sorted(_processes()),
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "namespaces": sorted(os.listdir("/run/netns")),
        "mounts": sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "run": sorted(os.listdir("/run/chimera")) if Path("/run/chimera").exists() else [],
        "results": sorted(p.name for p in OUT.iterdir() if p.name.startswith(".")),
    }


def _processes() -> Iterator[str]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                yield f"{process.name} {(process / 'comm').read_text().strip()}"


def _reap() -> None:
    """This process is the first of its host: what lost its parent is its child now."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _host() -> OpenVSwitch:
    """An Open vSwitch with a bridge, and a namespace behind it, as a host may have them."""
    OUT.mkdir()
    own = Path("/run/chimera")
    for entry in own.iterdir():  # the run directory this host itself is held by belongs to the machine outside
        subprocess.run(["umount", str(entry)], check=True)
        entry.rmdir()
    own.rmdir()
    netns.ip_batch("", ["netns add witness", "link set dev lo up"])
    netns.ip_batch("witness", ["link set dev lo up", "link add name eth0 type veth peer name port"])
    switch = OpenVSwitch("witness", Supervisor())
    switch.start(ovsdb.add_bridge("br0", ports=[PortSpec("port", "br0")]))
    return switch


def _witness(switch: OpenVSwitch) -> tuple[list[str], str]:
    names = sorted(row["name"] for row in switch.db.rows("Interface"))
    return names, netns.run("witness", ["ip", "-br", "link"])


def _kill_many(host: int) -> dict[str, Any]:
    chance = random.Random(SEED + host)
    switch = _host()
    before, witness = _snapshot(), _witness(switch)
    left, reached, longest_s = [], dict.fromkeys(LONGEST_S, 0), dict(LONGEST_S)
    for number in range(KILLS):
        verb = ("run", "up", "down")[number % 3]
        if verb == "down":
            lab("up", "rack", "-q")
            killed = start("down")
        else:
            killed = start(*RUN) if verb == "run" else start("up", "rack", "-q")
        after_s = chance.uniform(0.0, longest_s[verb])
        time.sleep(after_s)
        if killed.poll() is None:
            reached[verb] += 1
        else:
            longest_s[verb] = after_s  # it had ended by then
        killed.kill()
        killed.communicate()
        lab("status")  # the next command sweeps
        if "rack" in os.listdir("/run/chimera") if Path("/run/chimera").exists() else False:
            lab("down")  # it had come up before it was killed: a lab that is up, stays
        after = _settled(before)
        if after != before:
            left.append({"number": number, "verb": verb, "after_s": after_s, "left": _difference(before, after)})
    return {"left": left, "reached": reached, "untouched": _witness(switch) == witness}


def _settled(wanted: dict[str, Any]) -> dict[str, Any]:
    """The snapshot, once it is as wanted or a second has passed: the kernel reaps asynchronously."""
    deadline = time.monotonic() + 1.0
    while (now := _snapshot()) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    return now


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[str]]:
    return {k: sorted(set(map(str, after[k])) ^ set(map(str, before[k]))) for k in before if before[k] != after[k]}


@pytest.mark.parametrize("host", range(HOSTS))
def test_nothing_is_left_after_fifteen_kills(host: int) -> None:
    found = on_a_host_of_its_own(partial(_kill_many, host))
    assert found["left"] == []
    assert found["untouched"], "the host's own Open vSwitch or namespace changed"
    assert all(found["reached"].values()), f"too few kills hit a live command: {found['reached']}"


def _interrupt_many() -> dict[str, Any]:
    chance = random.Random(SEED)
    _host()
    before = _snapshot()
    outcomes = []
    for number in range(INTERRUPTS):
        process = start(*RUN) if number % 2 else start("up", "rack", "-q")
        time.sleep(chance.uniform(0.4, 4.0 if number % 2 else 0.9))
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate()
        ended = "rack is up" in said or "Timing" in said  # all was said, and the signal came too late
        outcomes.append(
            {"ended": ended, "status": process.returncode, "seconds": time.monotonic() - begin, "said": said}
        )
        if ended:
            lab("down", check=False)
        outcomes[-1]["left"] = _difference(before, _settled(before))
    return {"outcomes": outcomes}


@pytest.mark.alone
def test_an_interrupt_ends_everything_in_two_seconds_with_status_130() -> None:
    outcomes = on_a_host_of_its_own(_interrupt_many)["outcomes"]
    hit = [o for o in outcomes if not o["ended"]]
    assert len(hit) >= INTERRUPTS // 2
    assert [o["status"] for o in hit] == [130] * len(hit), hit
    assert max(o["seconds"] for o in hit) < 2.0
    assert [o["left"] for o in outcomes] == [{}] * len(outcomes)
