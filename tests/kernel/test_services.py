"""Services of nodes in labs that are up: killed behind the lab's back, stopped, started, and looked at."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_support import ENVIRONMENT, LAB, PROJECT, lab, needs_lab, result
from running_lab import Ping, RunningLab, up

from tests import waiting

pytestmark = needs_lab


@pytest.fixture(scope="module")
def dual() -> Iterator[RunningLab]:
    with up("dual-dc") as running:
        yield running


def until(condition: Callable[[], Any], timeout_s: float = 30) -> Any:
    """The first true value of a condition; each look at a lab takes its time."""
    return waiting.until(condition, timeout_s, 0.05)


def troubled(running: RunningLab) -> dict[str, dict[str, Any]]:
    """What 'lab status' says of services, by name."""
    return {found["name"]: found for found in running.state()["troubled"]}


def at(running: RunningLab, hypervisor: str) -> str:
    """A VM on a hypervisor."""
    return str(running.state()["hypervisors"][hypervisor][0])


def test_every_service_of_a_hypervisor_is_ready(dual: RunningLab) -> None:
    found = dual.services("hv1")
    assert list(found) == ["ovsdb-server", "ovs-vswitchd"]
    assert {s["state"] for s in found.values()} == {"ready"}
    for name, service in found.items():
        assert dual.exec("hv1", "cat", f"/proc/{service['pid']}/comm").strip() == name
    said = dual("inspect", "hv1").stdout
    assert all(str(service["pid"]) in said for service in found.values())
    assert dual.state()["troubled"] == []


def test_a_database_server_that_is_killed_costs_no_packet_and_is_started_again(dual: RunningLab) -> None:
    vm, other, before = at(dual, "hv1"), at(dual, "hv3"), dual.services("hv1")["ovsdb-server"]["pid"]
    assert dual.ping(vm, other).received
    echoes = dual.start(vm, "ping", "-n", "-q", "-i", "0.01", "-c", "300", "-W", "1", dual.address(other))
    dual.kill("hv1", "ovsdb-server")
    until(lambda: dual.services("hv1")["ovsdb-server"]["restarts"] == 1)
    found = until(lambda: (s := dual.services("hv1")["ovsdb-server"])["state"] == "ready" and s)
    assert found["pid"] != before
    echoed = Ping.read(echoes.communicate(timeout=30)[0])
    assert (echoed.sent, echoed.lost) == (300, 0)
    status = lab("status").stdout
    assert "ovsdb-server of hv1: ready, restarted 1 time" in status
    dual("migrate", vm, "hv3")  # what is written to it arrives
    dual("migrate", vm, "hv1")
    assert dual.ping(vm, other, 5).lost == 0


def test_a_switch_that_is_killed_comes_back_with_ports_addresses_tunnels_and_flows(dual: RunningLab) -> None:
    vm, other = at(dual, "hv1"), at(dual, "hv3")
    neighbour = at(dual, "hv2")
    assert dual.ping(vm, other).received
    flows = dual.inspect()["state"]["hv1"]["flows"]
    dual.kill("hv1", "ovs-vswitchd")
    found = until(lambda: (s := dual.services("hv1")["ovs-vswitchd"])["restarts"] and s["state"] == "ready" and s)
    assert found["restarts"] == 1
    until(lambda: dual.ping(vm, other, 1).received)
    assert dual.ping(vm, other, 5).lost == 0 and dual.ping(vm, neighbour, 5).lost == 0
    until(lambda: dual.inspect()["state"]["hv1"]["flows"] == flows)
    written = dual("logs", "hv1", "ovs-vswitchd", "-n", "500").stdout
    assert "lab: ovs-vswitchd of hv1 ended: killed by SIGKILL" in written
    dual("migrate", vm, "hv3")
    dual("migrate", vm, "hv1")
    assert dual.ping(vm, other, 5).lost == 0


def test_a_switch_that_is_stopped_stays_so_until_it_is_started(dual: RunningLab) -> None:
    vm, other = at(dual, "hv1"), at(dual, "hv3")
    assert dual("stop", "hv1", "ovs-vswitchd").stdout == "ovs-vswitchd of hv1 is stopped\n"
    try:
        assert dual.ping(vm, other).received == 0
        assert troubled(dual)["ovs-vswitchd"]["state"] == "ended" and dual.state()["stopped"] == []
        again = dual("stop", "hv1", "ovs-vswitchd", check=False)
        assert again.returncode == 1 and "is stopped already" in again.stderr
        for action in ("cut", "restore"):
            dual("link", "hv1--leaf1", action)  # there is nothing at hv1 that a route could lead to
        dual("stop", "controller")
        dual("start", "controller")  # and does not wait for a switch that is not there
    finally:
        dual("start", "hv1")
    until(lambda: dual.ping(vm, other, 1).received)
    assert dual.ping(vm, other, 5).lost == 0


def test_a_link_whose_delay_line_is_killed_is_down_until_it_is_restored(dual: RunningLab) -> None:
    impaired = [link["link"] for link in dual.json("inspect")["cables"] if link["how"] == "delay line"]
    if not impaired:
        pytest.skip("this kernel has netem: there are no delay lines")
    name = next((each for each in impaired if each == "wan"), impaired[0])
    before = dual.services(name)["delay-line"]
    dual.kill(name, "delay-line")
    until(lambda: name in dual.state()["cut_links"])
    found = dual.services(name)["delay-line"]
    assert (found["state"], found["detail"], found["pid"]) == ("failed", "killed by SIGKILL", None)
    refused = dual("link", name, "set", "--delay", "7", check=False)
    assert refused.returncode == 1 and f"'lab link {name} restore' starts it again" in refused.stderr
    assert f"{name}: cut" in dual("link", name).stdout
    dual("link", name, "cut")
    dual("start", name, "delay-line")
    assert name in dual.state()["cut_links"], "its user has cut it meanwhile"
    dual("stop", name, "delay-line")
    dual("link", name, "restore")
    found = dual.services(name)["delay-line"]
    assert found["state"] == "ready" and found["pid"] != before["pid"]
    assert dual.state()["cut_links"] == []
    assert dual.ping(at(dual, "hv1"), at(dual, "hv3"), 5).received


def test_a_controller_that_is_killed_is_not_started_again_and_known_traffic_goes_on(dual: RunningLab) -> None:
    vm, other = at(dual, "hv1"), at(dual, "hv3")
    assert dual.ping(vm, other).received
    dual.kill("controller", "agents")
    assert dual.ping(vm, other, 5).lost == 0
    state = dual.state()
    assert state["controller"] == "stopped" and troubled(dual)["agents"]["detail"] == "killed by SIGKILL"
    assert "agents: failed: killed by SIGKILL" in lab("status").stdout
    dual("start", "controller")
    assert "agents" not in troubled(dual) and dual.state()["controller"] == "running"


def test_a_plain_link_that_is_cut_stays_so_when_the_switches_at_its_ends_are_back() -> None:
    with up("rack", "--overlay", "vlan") as running:
        vm, other = at(running, "hv1"), at(running, "hv2")
        name = running.json("inspect", "hv1")["links"][0]["link"]
        running("link", name, "cut")
        for node in ("hv1", "tor"):
            running("stop", node, "ovs-vswitchd")
            running("start", node, "ovs-vswitchd")
        assert running.state()["cut_links"] == [name] and running.ping(vm, other).received == 0
        assert "state DOWN" in running.exec("hv1", "ip", "link", "show", "eth0")
        running("link", name, "restore")
        until(lambda: running.ping(vm, other, 1).received)


@pytest.mark.parametrize(("overlay", "node"), [("vlan", "tor"), ("vlan", "hv1"), ("mpls", "hv1"), ("trill", "hv1")])
def test_a_switch_of_another_overlay_comes_back_too(overlay: str, node: str) -> None:
    """A physical switch learns anew; where a translator is at the uplink, it is still there."""
    with up("rack", "--overlay", overlay) as running:
        vm, other = at(running, "hv1"), at(running, "hv2")
        assert running.ping(vm, other).received
        running.kill(node, "ovs-vswitchd")
        until(lambda: (s := running.services(node)["ovs-vswitchd"])["restarts"] == 1 and s["state"] == "ready")
        until(lambda: running.ping(vm, other, 1).received)
        assert running.ping(vm, other, 5).lost == 0


def test_logs_are_followed_until_the_lab_ends(tmp_path: Path) -> None:
    with up("rack") as running:
        argv = [*LAB, "logs", "--lab", running.name, "hv1", "ovs-vswitchd", "-f", "-n", "0"]
        follower = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=PROJECT
        )
        time.sleep(1)
        running("stop", "hv1", "ovs-vswitchd")
        running("start", "hv1", "ovs-vswitchd")
        until(lambda: "bridge br-int" in running("logs", "hv1", "ovs-vswitchd", "-n", "500").stdout)
    said, complaint = follower.communicate(timeout=30)
    assert follower.returncode == 0 and complaint == "" and "ovs-vswitchd" in said


KILL = """
import os, signal

SETTINGS = {}


def run(lab):
    os.kill(lab.network.services.of("hv1")["ovs-vswitchd"].pid, signal.SIGKILL)
    lab.wait(3)
    lab.stop("hv2", "ovsdb-server")
    lab.start("hv2", "ovsdb-server")


def check(result, expect):
    expect("it is told", any("ovs-vswitchd of hv1 ended on its own" in note for note in result.notes))
"""


def test_a_run_in_which_a_service_ended_says_so(tmp_path: Path) -> None:
    (tmp_path / "kill.py").write_text(KILL)
    done = lab("run", str(tmp_path / "kill.py"), "--topology", "rack", "--out", str(tmp_path / "out"))
    assert "ovs-vswitchd of hv1 failed: killed by SIGKILL; it starts again in 0.1 s" in done.stderr
    found = result(tmp_path / "out")
    (note,) = [note for note in found["notes"] if "ended on its own" in note]
    assert "(killed by SIGKILL; it starts again in 0.1 s), and was ready again" in note
    marks = [mark["text"] for mark in found["marks"]]
    assert marks == [
        "ovs-vswitchd of hv1 failed: killed by SIGKILL; it starts again in 0.1 s", "ovs-vswitchd of hv1 restarted",
        "ovsdb-server of hv2 stopped", "ovsdb-server of hv2 started",
    ], json.dumps(marks)  # fmt: skip
