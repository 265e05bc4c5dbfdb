"""Migrations, and what goes on when the controller, a hypervisor or a daemon ends, in labs that are up."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from lab_support import lab, needs_lab
from running_lab import Ping, RunningLab, up

from chimera.model.verbs import VERSION
from chimera.net import rundir

pytestmark = needs_lab


@pytest.fixture(scope="module")
def rack() -> Iterator[RunningLab]:
    with up("rack") as running:
        yield running


def _pid(running: RunningLab, *pattern: str) -> str:
    """The newest process of the sandbox whose command line matches."""
    return running.exec("hv1", "pgrep", "-n", *pattern).strip()


def _elsewhere(running: RunningLab, vm: str) -> str:
    return "hv2" if running.whereabouts(vm) == "hv1" else "hv1"


# -- migrations ------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("announce", "seen"), [("rarp", "ethertype Reverse ARP"), ("garp", "ethertype ARP"), ("none", "")]
)
def test_a_vm_moves_is_announced_as_asked_and_answers_in_one_place(rack: RunningLab, announce: str, seen: str) -> None:
    source, destination = rack.whereabouts("vm1"), _elsewhere(rack, "vm1")
    mac = rack.endpoints["vm1"]["mac"]
    with rack.listening("vm1", "eth0", "-Q", "out", "ether", "dst", "ff:ff:ff:ff:ff:ff") as sent:
        marker = rack.start("vm1", "sleep", "60")
        done = rack("migrate", "vm1", destination, "--set", f"announce={announce}")
        time.sleep(0.5)  # it is repeated after 50 and after 200 ms
        lived_on = marker.poll() is None
        marker.terminate()
        marker.communicate(timeout=10)
    assert f"vm1: {source} → {destination}" in done.stdout and lived_on
    stunned = re.search(r"stunned for (\d+\.\d) ms", done.stdout)
    assert stunned and float(stunned[1]) > 1, "by the VM's own heartbeat, though nobody probes it"
    assert rack.whereabouts("vm1") == destination
    own = [line for line in sent if f"{mac} > " in line and "ARP" in line]
    assert len(own) == (3 if seen else 0) and all(seen in line for line in own), sent
    assert "vm1" not in rack.exec(source, "ls", "/sys/class/net").split()
    replies = rack.exec("vm2", "ping", "-n", "-c", "5", "-i", "0.1", rack.address("vm1"))
    assert "5 received" in replies and "DUP!" not in replies


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("vm9", "hv2"), ["no VM 'vm9'", "vm1, vm2, vm3, vm4"]),
        (("vm2", "hv9"), ["no hypervisor 'hv9'", "hv1, hv2"]),
        (("vm2", "hv1"), ["vm2 is at hv1 already"]),
        (("vm2", "hv2", "--set", "announce=rar"), ["rarp, garp, none", "did you mean 'rarp'?"]),
        (("vm2", "hv2", "--set", "pace=3"), ["unknown setting 'pace'", "pace_mbps"]),
    ],
)
def test_a_migration_that_cannot_be_asked_for(rack: RunningLab, words: tuple[str, ...], says: list[str]) -> None:
    done = rack("migrate", *words, check=False)
    assert done.returncode == 2
    assert all(text in done.stderr for text in says), done.stderr
    assert rack.whereabouts("vm2") == "hv1"


# -- what the API refuses --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "arguments", "said"),
    [
        ("link", {"name": "hv1--tor", "action": "explode"}, "action (cut | restore | set | show)"),
        ("link", {"name": "hv1--tor", "action": "set", "changes": {"delay_ms": -5}}, "delay_ms (0 to 10000)"),
        ("link", {"name": "hv1--tor", "action": "cut", "force": True}, "unknown field `force`"),
        ("migrate", {"vm": "vm1", "to": "hv2", "settings": {"pace_mbps": 100}}, "Expected `str`, got `int`"),
        ("capture_stop", {"link": "hv1--tor", "to": "/etc/passwd"}, "unknown field `to`"),
    ],
)
def test_a_request_that_is_not_as_declared(rack: RunningLab, verb: str, arguments: dict[str, Any], said: str) -> None:
    """What the command line would not send comes from other programs: it is refused, and nothing is done."""
    before = rack.state()["hypervisors"], rack.state()["cut_links"]
    refused = answer(rack, {"version": VERSION, "verb": verb, "arguments": arguments})
    assert said in refused["error"] and refused["exit"] == 2
    assert (rack.state()["hypervisors"], rack.state()["cut_links"]) == before


def test_a_program_of_another_version_is_refused(rack: RunningLab) -> None:
    refused = answer(rack, {"version": VERSION + 1, "verb": "stop", "arguments": {"node": "hv2"}})
    assert f"speaks version {VERSION} of the API and this command version {VERSION + 1}" in refused["error"]
    assert rack.state()["stopped"] == []


def answer(running: RunningLab, request: dict[str, Any]) -> dict[str, Any]:
    """What the lab says to a request."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(rundir.ROOT / running.name / "api.sock"))
        channel.sendall(json.dumps(request).encode() + b"\n")
        with channel.makefile("rb") as lines:
            return dict(json.loads(lines.readline()))


# -- the controller --------------------------------------------------------------------------------


def test_nothing_is_lost_while_the_controller_dies_and_returns(rack: RunningLab) -> None:
    rack.ping("vm2", "vm4")
    address = rack.address("vm4")
    echoes = rack.start("vm2", "ping", "-n", "-q", "-i", "0.01", "-c", "500", "-W", "1", address)
    rack("stop", "controller")
    rack("start", "controller")
    output, _ = echoes.communicate(timeout=30)
    found = Ping.read(output)
    assert found.sent == 500 and found.lost == 0


def test_known_traffic_goes_on_without_a_controller_and_migrations_when_it_is_back(rack: RunningLab) -> None:
    assert rack.ping("vm2", "vm3").lost == 0
    rack("stop", "controller")
    try:
        assert rack.state()["controller"] == "stopped"
        assert rack.ping("vm2", "vm3", 5).lost == 0
        again = rack("stop", "controller", check=False)
        assert again.returncode == 1 and "not running" in again.stderr
    finally:
        rack("start", "controller")
    assert rack("start", "controller", check=False).returncode == 1
    rack("migrate", "vm1", _elsewhere(rack, "vm1"))
    assert rack.ping("vm2", "vm1", 5).lost == 0


def test_a_controller_killed_behind_the_labs_back_is_seen_and_can_return(rack: RunningLab) -> None:
    rack.exec("hv1", "kill", "-9", _pid(rack, "-f", "[-]m controllers"))
    assert rack.ping("vm2", "vm3").lost == 0
    assert rack.state()["controller"] == "stopped"
    rack("start", "controller")
    rack("migrate", "vm1", _elsewhere(rack, "vm1"))
    assert rack.ping("vm2", "vm1", 5).lost == 0


# -- hypervisors -----------------------------------------------------------------------------------


def test_a_hypervisor_that_is_powered_off_and_on(rack: RunningLab) -> None:
    vms = {vm: rack.whereabouts(vm) for vm in ("vm1", "vm2", "vm3", "vm4")}
    on_hv1 = [vm for vm, at in vms.items() if at == "hv1"]
    on_hv2 = [vm for vm, at in vms.items() if at == "hv2"]
    rack("stop", "hv2")
    try:
        assert rack.ping(on_hv1[0], on_hv2[0]).received == 0
        assert rack.state()["stopped"] == ["hv2"]
        refused = rack("migrate", on_hv1[0], "hv2", check=False)
        assert refused.returncode == 1 and rack.whereabouts(on_hv1[0]) == "hv1"
        assert rack("stop", "hv2", check=False).returncode == 1
    finally:
        rack("start", "hv2")
    assert rack.ping(on_hv1[0], on_hv2[0], 20).received > 0
    assert rack.ping(on_hv1[0], on_hv2[0], 5).lost == 0
    rack("migrate", on_hv1[0], "hv2")
    assert rack.ping(on_hv1[0], on_hv2[0], 5).lost == 0


def test_what_cannot_be_stopped(rack: RunningLab) -> None:
    for node in ("tor", "vm1", "nobody"):
        done = rack("stop", node, check=False)
        assert done.returncode in (1, 2) and node in done.stderr, done.stderr


# -- daemons killed behind the lab's back ----------------------------------------------------------


def _kill_for_good(running: RunningLab, node: str, service: str) -> None:
    """Kill a service again and again, until it is not started again any more."""
    deadline = time.monotonic() + 90
    while "not started again" not in (found := running.services(node)[service])["detail"]:
        assert time.monotonic() < deadline, found
        if found["pid"] is not None:
            running.exec("hv1", "kill", "-9", str(found["pid"]), check=False)


def test_no_command_hangs_when_daemons_are_killed() -> None:
    with up("dual-dc") as running:
        running.exec("hv1", "kill", "-9", _pid(running, "-f", "[d]elayline-"))  # the newest: the last link's
        for service in ("ovs-vswitchd", "ovsdb-server"):
            _kill_for_good(running, "hv2", service)
        answers = {
            "inspect": running("inspect"),
            "inspect hv2": running("inspect", "hv2"),
            "status": lab("status", check=False),
            "trace": running("trace", "web1", "web3", check=False),
            "set": running("link", "r2--r3", "set", "--delay", "7", check=False),
            "migrate": running("migrate", "web1", "hv2", check=False),
            "capture": running("capture", "wan", "--seconds", "0.1", "--out", "/dev/null", check=False),
            "logs": running("logs", "hv2"),
            "stop a service": running("stop", "hv2", "ovsdb-server", check=False),
            "stop": running("stop", "hv2", check=False),
        }
        for verb, answer in answers.items():
            text = answer.stdout + answer.stderr
            assert "defect" not in text and "Traceback" not in text, f"{verb}: {text}"
        assert running.whereabouts("web1") == "hv1"
        assert running.ping("web1", "web4").lost == 0
        running("start", "hv2")
        assert running.ping("web1", "web3", 20).received > 0
