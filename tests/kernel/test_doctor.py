"""lab doctor against this machine's kernel, and against the same machine with something taken away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chimera.net import machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces are made")

CHECKOUT = Path(__file__).resolve().parents[2]
DOCTOR = ["-sP", "-c", "from chimera.cli.doctor import doctor; doctor()"]


def doctor(
    *arguments: str, before: tuple[str, ...] = (), python: Path = Path(sys.executable), **environment: str
) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    command = [*before, str(python), *DOCTOR, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in json.loads(done.stdout)["capabilities"]}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True)


def test_netem_is_reported_as_the_kernel_has_it() -> None:
    if not shutil.which("tc"):
        pytest.skip("needs tc")
    tried = run("unshare", "--net", "sh", "-c", "ip link set lo up && tc qdisc add dev lo root netem delay 10ms")
    assert machine.has_netem() == (tried.returncode == 0)
    found = findings(doctor("--json"))["netem"]
    assert found["present"] == (tried.returncode == 0)
    assert found["present"] or "delay line" in found["consequence"]


def test_a_machine_that_has_everything_required_can_run_a_lab() -> None:
    done = doctor("--json")
    answer = json.loads(done.stdout)
    lacking = [c["name"] for c in answer["capabilities"] if c["required"] and c["present"] is False]
    assert answer["can_run"] == (not lacking)
    assert done.returncode == (3 if lacking else 0)


def test_every_gap_has_a_consequence_and_a_remedy() -> None:
    for item in findings(doctor("--json")).values():
        assert bool(item["consequence"]) == bool(item["remedy"]) == (item["present"] is not True), item


def test_nothing_is_left_behind() -> None:
    def machine_state() -> list[str]:
        commands = (["ip", "-o", "link"], ["ip", "netns"], ["tc", "qdisc"], ["cat", "/proc/self/mountinfo"])
        ours = [entry.name for entry in Path("/tmp").iterdir() if "probe" in entry.name]
        return [run(*command).stdout for command in commands if shutil.which(command[0])] + ours

    before = machine_state()
    doctor()
    assert machine_state() == before


def test_a_user_is_told_to_come_back_as_root() -> None:
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv")
    # The checkout may lie where this user cannot enter (/root), so in a mount namespace of its own it is in /mnt too.
    user = 'exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"'
    there = f'mount --bind "{CHECKOUT}" /mnt && cd /mnt && {user}'
    python = Path(sys.executable)
    inside = Path("/mnt") / python.relative_to(CHECKOUT) if python.is_relative_to(CHECKOUT) else python
    done = doctor(before=("unshare", "--mount", "sh", "-c", there, "sh"), python=inside, PYTHONPATH="/mnt")
    assert done.returncode == 3
    assert "to fix: sudo lab" in done.stdout
    assert "not tried: namespaces" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_missing_package_is_named_with_its_command(tmp_path: Path) -> None:
    for name in ("ip", "unshare", "true", "tc", "nft", "mnexec", "cc"):  # and no Open vSwitch
        if path := shutil.which(name):
            (tmp_path / name).symlink_to(path)
    done = doctor(PATH=str(tmp_path))
    assert done.returncode == 3
    assert (
        "Open vSwitch: hypervisors have no switch\n    to fix: apt-get install -y openvswitch-switch"
        in done.stdout
    )
    assert "Open vSwitch missing" in done.stdout.splitlines()[-1]


def test_a_missing_tun_device_keeps_a_lab_from_running() -> None:
    hide = 'mount -t tmpfs none /dev/net && exec "$@"'
    done = doctor("--json", before=("unshare", "--mount", "sh", "-c", hide, "sh"))
    assert done.returncode == 3
    assert findings(done)["tun/tap"]["present"] is False
    assert "mknod /dev/net/tun" in findings(done)["tun/tap"]["remedy"]
