"""VMs look like VMs: names, files and /sys of their own, also after a move, and nothing written on the host."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_support import ENVIRONMENT, LAB, PROJECT, needs_lab
from running_lab import RunningLab, up

pytestmark = needs_lab


@pytest.fixture(scope="module")
def rack() -> Iterator[RunningLab]:
    with up("rack") as running:
        yield running


@pytest.fixture
def name() -> str:
    """A file's name that nobody else has."""
    return f"chimera-{uuid.uuid4().hex}"


def sh(running: RunningLab, node: str, script: str) -> str:
    return running.exec(node, "sh", "-c", script).strip()


def test_a_vm_has_a_hostname_and_knows_its_neighbours_by_name(rack: RunningLab) -> None:
    assert sh(rack, "vm1", "hostname; cat /etc/hostname; uname -n").split() == ["vm1"] * 3
    assert sh(rack, "vm2", "uname -n") == "vm2" and sh(rack, "hv1", "uname -n") == os.uname().nodename
    assert "3 received" in rack.exec("vm1", "ping", "-n", "-c", "3", "-i", "0.1", "vm4")
    found = {line.split()[1] for line in sh(rack, "vm1", "cat /etc/hosts").splitlines()}
    assert {"vm1", "vm2", "vm3", "vm4"} <= found


def test_a_shell_has_the_vms_prompt(rack: RunningLab) -> None:
    told = sh(rack, "vm1", "bash --norc -c 'PS1=\"\\u@\\h\"; echo ${PS1@P}'")
    assert told == "root@vm1"


@pytest.mark.parametrize("folder", ["/tmp", "/root", "/var/tmp", "/etc", "/run", "/dev/shm", "/", str(PROJECT)])
def test_what_a_vm_writes_is_its_own_and_stays(rack: RunningLab, name: str, folder: str) -> None:
    file = Path(folder) / name
    assert sh(rack, "vm1", f"echo mine >{file}; cat {file}") == "mine"
    assert sh(rack, "vm1", f"cat {file}") == "mine", "the next program on the VM sees it"
    assert not file.exists(), "on the host"
    for other in ("vm2", "hv1"):
        assert sh(rack, other, f"ls {file} 2>&1 || echo none").endswith("none")


def test_what_a_vm_changes_or_removes_is_there_on_the_host(rack: RunningLab, tmp_path: Path) -> None:
    file = tmp_path / "of-the-host"
    file.write_text("as it was")
    assert sh(rack, "vm3", f"cat {file}") == "as it was"
    sh(rack, "vm3", f"echo changed >{file}; chmod 600 {file}; rm {file}")
    assert file.read_text() == "as it was" and file.stat().st_mode & 0o777 == 0o644
    assert sh(rack, "vm3", f"ls {file} 2>&1 || echo none").endswith("none")


def test_sys_shows_the_vms_interfaces_and_takes_nothing(rack: RunningLab) -> None:
    assert sh(rack, "vm1", "cat /sys/class/net/eth0/address") == rack.endpoints["vm1"]["mac"]
    assert sh(rack, "vm1", "ls /sys/class/net").split() == ["eth0", "lo"]
    assert "Read-only" in sh(rack, "vm1", "echo 1 >/sys/kernel/mm/ksm/run 2>&1 || touch /sys/x 2>&1 || true")


def test_the_labs_own_files_are_not_there(rack: RunningLab) -> None:
    assert sh(rack, "vm3", "ls -A /run") == ""


def test_devices_work(rack: RunningLab) -> None:
    assert sh(rack, "vm1", "echo away >/dev/null; head -c 4 /dev/urandom | wc -c") == "4"


def test_after_a_move_it_is_the_same_machine(rack: RunningLab, name: str) -> None:
    sh(rack, "vm2", f"echo kept >/tmp/{name}")
    rack("migrate", "vm2", "hv2")
    assert sh(rack, "vm2", f"cat /tmp/{name}; uname -n").split() == ["kept", "vm2"]


def test_mininets_command_line_enters_the_same_machine(rack: RunningLab, name: str) -> None:
    sh(rack, "vm3", f"echo found >/tmp/{name}")
    done = subprocess.run(
        [*LAB, "cli", "--lab", rack.name], input=f"vm3 cat /tmp/{name}\nvm3 uname -n\n", capture_output=True, text=True,
        env=ENVIRONMENT, cwd=PROJECT, timeout=60,
    )  # fmt: skip
    assert "found" in done.stdout + done.stderr and "vm3" in done.stdout + done.stderr


def test_many_at_once_are_first_on_a_machine(rack: RunningLab, name: str) -> None:
    started = [rack.start("vm4", "sh", "-c", f"echo {n} >>/tmp/{name}; uname -n") for n in range(4)]
    assert [process.communicate(timeout=30)[0] for process in started] == ["vm4\n"] * 4
    assert sorted(sh(rack, "vm4", f"cat /tmp/{name}").split()) == ["0", "1", "2", "3"]


def test_a_machine_whose_holder_was_killed_gets_another(rack: RunningLab) -> None:
    """Processes are the sandbox's: whoever is on a VM can kill any."""
    holder = sh(rack, "hv1", "cut -d' ' -f1 /run/userland/vm1")
    sh(rack, "vm1", f"kill -9 {holder}")
    assert sh(rack, "vm1", "uname -n") == "vm1"
