"""A lab that stays up, through the command line: up, status, exec, inspect, cli, down; two at once; Mininet's files."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_support import ENVIRONMENT, LAB, PROJECT, lab, needs_lab
from running_lab import RunningLab, up

pytestmark = needs_lab

_MININET_FILE = """
from mininet.topo import Topo

class Three(Topo):
    def build(self):
        core = self.addSwitch('s1')
        edge = self.addSwitch('s2')
        self.addLink(core, edge, delay='3ms')
        for number in (1, 2, 3):
            self.addLink(self.addHost(f'h{number}'), core if number < 3 else edge)

topos = {'three': Three}
"""


@pytest.fixture(scope="module")
def rack() -> Iterator[RunningLab]:
    with up("rack") as running:
        yield running


@pytest.mark.smoke
def test_status_says_what_is_up(rack: RunningLab) -> None:
    found = json.loads(lab("status", "--json").stdout)[rack.name]
    assert found["topology"] == "rack" and found["overlay"] == "vxlan"
    assert found["hypervisors"] == {"hv1": ["vm1", "vm2"], "hv2": ["vm3", "vm4"]}
    assert found["controller"] == "running" and found["stopped"] == [] and found["cut_links"] == []
    assert f"{rack.name}: rack over vxlan" in lab("status").stdout


@pytest.mark.smoke
def test_vms_reach_each_other(rack: RunningLab) -> None:
    assert rack.ping("vm1", "vm2").lost == 0
    assert rack.ping("vm1", "vm4").lost == 0


def test_exec_passes_output_input_and_exit_status_on(rack: RunningLab) -> None:
    done = rack("exec", "vm1", "--", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_options_after_the_node_are_the_programs(rack: RunningLab) -> None:
    assert lab("exec", "-l", rack.name, "vm1", "echo", "-l", "--help").stdout == "-l --help\n"


def test_exec_on_a_node_that_is_not_there(rack: RunningLab) -> None:
    done = rack("exec", "vm9", "--", "true", check=False)
    assert done.returncode == 2
    assert "no node 'vm9'" in done.stderr and "vm1" in done.stderr


def test_exec_of_a_program_that_is_not_there(rack: RunningLab) -> None:
    done = rack("exec", "vm1", "--", "no-such-program", check=False)
    assert done.returncode == 127 and "no-such-program" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.smoke
def test_inspect_agrees_with_the_kernel(rack: RunningLab) -> None:
    found = rack.inspect()
    assert f"inet {found['vtep']['hv1']}/" in rack.exec("hv1", "ip", "-4", "addr", "show", "dev", "br-phy")
    vm = next(e for e in found["endpoints"] if e["name"] == "vm3")
    shown = rack.exec("vm3", "ip", "addr", "show", "dev", "eth0")
    assert vm["mac"] in shown and f"inet {vm['ip']}" in shown
    assert f"mtu {found['mtu']['vm']}" in shown


def test_inspect_of_one_node(rack: RunningLab) -> None:
    found = rack.json("inspect", "hv1")
    assert found["vms"] == ["vm1", "vm2"] and found["state"]["flows"] > 0
    wrong = rack("inspect", "hv9", check=False)
    assert wrong.returncode == 2 and "allowed:" in wrong.stderr


def test_inspect_of_one_link_and_the_list_of_links(rack: RunningLab) -> None:
    found = rack.json("inspect", "hv1--tor")
    assert (found["link"], found["up"], found["ends"]) == ("hv1--tor", True, ["hv1:eth0", "tor:eth0"])
    listed = rack("link").stdout
    assert "hv1--tor" in listed and "hv2--tor" in listed and "up" in listed


def test_tables_say_where_a_vm_is_and_what_its_address_is(rack: RunningLab) -> None:
    vm = rack.endpoints["vm1"]
    for shown in (rack("inspect").stdout, lab("status").stdout):
        assert "vm1" in shown and vm["ip"].partition("/")[0] in shown
    assert vm["mac"] in rack("inspect", "vm1").stdout


def test_a_program_runs_on_every_vm(rack: RunningLab) -> None:
    done = lab("exec", "--lab", rack.name, "--all", "--", "ip", "-4", "-brief", "address", "show", "dev", "eth0")
    for name in ("vm1", "vm2", "vm3", "vm4"):
        assert f"── {name}" in done.stdout and rack.endpoints[name]["ip"] in done.stdout
    assert lab("exec", "--lab", rack.name, "--all", "--", "false", check=False).returncode == 1


def test_the_environment_names_the_lab(rack: RunningLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "LAB", rack.name)
    assert "hv1--tor" in lab("link").stdout
    monkeypatch.setitem(ENVIRONMENT, "LAB", "no-such-lab")
    refused = lab("link", check=False)
    assert refused.returncode == 2 and "no-such-lab" in refused.stderr


@pytest.mark.smoke
def test_mininets_command_line(rack: RunningLab) -> None:
    script = "nodes\nvm1 ping -c1 vm3\nlink hv1 tor down\nlink hv1 tor up\nvm1 ping -c1 -w5 vm3\nlink vm1 vm3 down\n"
    done = _type(rack, script)
    assert done.returncode == 0, done.stderr
    for node in ("hv1", "hv2", "vm1", "vm2", "vm3", "vm4", "tor"):
        assert node in done.stderr  # where Mininet prints what is no command of a node
    assert done.stderr.count("1 received") == 2
    assert "no link between vm1 and vm3" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_link_cut_in_mininets_command_line_is_cut(rack: RunningLab) -> None:
    try:
        _type(rack, "link hv1 tor down\n")
        assert json.loads(lab("status", "--json").stdout)[rack.name]["cut_links"] == ["hv1--tor"]
        assert rack.ping("vm1", "vm3").received == 0
    finally:
        _type(rack, "link hv1 tor up\n")
    assert rack.ping("vm1", "vm3", 20).received > 0


def _type(running: RunningLab, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAB, "cli", "--lab", running.name], input=script, capture_output=True, text=True, env=ENVIRONMENT,
        cwd=PROJECT, timeout=60,
    )  # fmt: skip


def test_two_labs_of_one_topology_do_not_meet(rack: RunningLab) -> None:
    with up("rack") as other:
        rack.exec("vm1", "ip", "addr", "add", "10.99.0.1/32", "dev", "lo")
        assert "10.99.0.1" not in other.exec("vm1", "ip", "addr")
        with other.listening("vm3", "eth0") as heard:
            assert rack.ping("vm1", "vm3").lost == 0
        assert [line for line in heard if "ICMP echo" in line] == []
        other("stop", "hv2")
        assert rack.ping("vm1", "vm3").lost == 0
        taken = lab("up", "rack", "--name", rack.name, check=False)
        assert taken.returncode == 2 and "already running" in taken.stderr
        which = lab("inspect", check=False)
        assert which.returncode == 2 and rack.name in which.stderr and other.name in which.stderr
    assert other.name not in lab("status").stdout and rack.name in lab("status").stdout


def test_down_ends_the_lab_and_a_second_time_says_that_it_is_not_there() -> None:
    with up("rack") as running:
        assert lab("down", running.name).stdout.startswith(f"lab {running.name} is down")
        again = lab("down", running.name, check=False)
        assert again.returncode == 2 and f"no lab called '{running.name}'" in again.stderr


def test_down_does_not_wait_until_the_kernel_has_tidied_up() -> None:
    """A suspended command (Ctrl-Z) reaps nothing of what it ran in the lab, so that the sandbox cannot end."""
    with up("rack") as running:
        suspended = running.start("vm1", "sleep", "600")
        try:
            while not running.exec("vm1", "pgrep", "-x", "sleep", check=False):
                assert suspended.poll() is None
            suspended.send_signal(signal.SIGSTOP)
            said = lab("down", running.name).stdout
            assert said == f"lab {running.name} is down; the kernel is still removing its processes and interfaces\n"
            lab("up", "rack", "--name", running.name, "--quiet")
            assert running.ping("vm1", "vm3").received
        finally:
            suspended.send_signal(signal.SIGCONT)
            suspended.wait(10)


@pytest.mark.parametrize("overlay", ["vxlan", "vlan"])
def test_a_mininet_file_is_a_topology(tmp_path: Path, overlay: str) -> None:
    file = tmp_path / "three.py"
    file.write_text(_MININET_FILE)
    with up(f"{file}:three", "--overlay", overlay) as running:
        assert running.exec("h1", "ip", "-br", "-4", "addr", "show", "dev", "eth0").split()[-1] == "10.0.0.1/8"
        assert running.ping("h1", "h2").lost == 0
        far = running.ping("h1", "h3")
        assert far.lost == 0 and 6 <= far.lowest_ms < 16
