"""Controllers against real Open vSwitches: flows as the switch understands them, and real packets."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import overlay_rig
import pytest
from native_support import Namespace
from overlay_rig import Rig, ofctl, openflow, rig, start_switch, topology

import controllers  # noqa: F401  makes ryu importable
from chimera.model.flow import (
    CONTROLLER,
    IN_PORT,
    NORMAL,
    CheckLarger,
    DecTtl,
    Flow,
    Goto,
    Learn,
    Move,
    Output,
    SetField,
)
from chimera.wire.ovsdb import add_bridge
from controllers import translate

pytestmark = pytest.mark.skipif(bool(overlay_rig.missing()), reason=overlay_rig.missing())

VMS = {
    "r1": (1, "red", "10.0.0.11/24"),
    "r2": (2, "red", "10.0.0.12/24"),
    "r3": (1, "red", "10.0.0.13/24"),
    "b1": (1, "blue", "10.0.0.11/24"),
    "b2": (2, "blue", "10.0.0.12/24"),
}


# -- translation


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a switch with one bridge and no controller."""
    folder = tmp_path_factory.mktemp("ovs")
    namespace = Namespace()
    daemons = start_switch(folder, namespace, add_bridge("br-int", fail_mode="secure"))
    yield folder
    overlay_rig.stop(daemons)
    namespace.close()


LEARN = Learn(
    1,
    100,
    (("eth_src", "eth_dst"), ("tunnel_id", "tunnel_id"), (0x0800, "eth_type")),
    (("tun_ipv4_src", "tun_ipv4_dst"), (7, "reg0")),
    "in_port",
    300,
    600,
    0xC0,
)


@pytest.mark.parametrize(
    ("flow", "text"),
    [
        (Flow(0, 0, (), ()), "priority=0 actions=drop"),
        (
            Flow(0, 9, (("in_port", 3), ("eth_src", "02:00:00:00:00:01")), (SetField("tunnel_id", 5001), Goto(1))),
            "priority=9,in_port=3,dl_src=02:00:00:00:00:01 actions=set_field:0x1389->tun_id,goto_table:1",
        ),
        (
            Flow(1, 9, (("eth_dst", ("01:00:00:00:00:00",) * 2),), (SetField("tun_ipv4_dst", "192.0.2.1"), Output(5))),
            "table=1, priority=9,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 "
            "actions=set_field:192.0.2.1->tun_dst,output:5",
        ),
        (
            Flow(0, 9, (("eth_type", 0x0806), ("arp_tpa", "10.0.0.1"), ("arp_op", 1)), (Output(CONTROLLER),)),
            "priority=9,arp,arp_tpa=10.0.0.1,arp_op=1 actions=CONTROLLER:65535",
        ),
        (
            Flow(0, 9, (("eth_type", 0x86DD), ("ip_proto", 58), ("icmpv6_type", 135)), (Output(NORMAL),)),
            "priority=9,icmp6,icmp_type=135 actions=NORMAL",
        ),
        (
            Flow(0, 9, (("eth_type", 0x0800), ("ipv4_dst", ("10.0.0.0", "255.0.0.0"))), (DecTtl(), Output(1))),
            "priority=9,ip,nw_dst=10.0.0.0/8 actions=dec_ttl,output:1",
        ),
        (
            Flow(0, 9, (("eth_type", 0x86DD), ("nw_ttl", 1), ("eth_dst", "02:00:00:00:00:01")), (Output(1),)),
            "priority=9,ipv6,dl_dst=02:00:00:00:00:01,nw_ttl=1 actions=output:1",
        ),
        (
            Flow(0, 9, (("reg0", 1),), (CheckLarger(1464), SetField("tunnel_id", 1), Goto(2))),
            "priority=9,reg0=0x1 actions=check_pkt_larger(1464)->NXM_NX_REG0[0],set_field:0x1->tun_id,goto_table:2",
        ),
        (
            Flow(0, 9, (("tunnel_id", 1),), (Move("eth_src", "eth_dst"),)),
            "priority=9,tun_id=0x1 actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
        ),
        (
            Flow(
                8,
                9,
                (
                    ("tunnel_id", 5),
                    ("eth_type", 0x86DD),
                    ("ip_proto", 58),
                    ("icmpv6_type", 135),
                    ("ipv6_nd_target", "fd00::2"),
                    ("nw_ttl", 255),
                ),
                (SetField("nd_reserved", 0xE0000000), SetField("icmpv6_type", 136), Goto(9)),
            ),
            "table=8, priority=9,icmp6,tun_id=0x5,nw_ttl=255,icmp_type=135,nd_target=fd00::2 "
            "actions=set_field:3758096384->nd_reserved,set_field:136->icmpv6_type,goto_table:9",
        ),
        (
            Flow(
                9,
                9,
                (("eth_type", 0x86DD), ("ip_proto", 58), ("icmpv6_type", 136)),
                (SetField("nd_options_type", 2), Move("eth_src", "ipv6_nd_tll"), Output(IN_PORT)),
            ),
            "table=9, priority=9,icmp6,icmp_type=136 actions=set_field:2->nd_options_type,"
            "move:NXM_OF_ETH_SRC[]->NXM_NX_ND_TLL[],IN_PORT",
        ),
        (
            Flow(0, 9, (("in_port", 4),), (LEARN, Goto(1))),
            "priority=9,in_port=4 actions=learn(table=1,idle_timeout=300,hard_timeout=600,priority=100,delete_learned,"
            "cookie=0xc0,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],NXM_NX_TUN_ID[],eth_type=0x800,"
            "load:NXM_NX_TUN_IPV4_SRC[]->NXM_NX_TUN_IPV4_DST[],load:0x7->NXM_NX_REG0[],output:OXM_OF_IN_PORT[]),"
            "goto_table:1",
        ),
    ],
    ids=lambda value: "" if isinstance(value, Flow) else value.split(" ")[-1].split(":")[0],
)
def test_a_flow_as_the_switch_understands_it(switch: Path, flow: Flow, text: str) -> None:
    answers = openflow(switch / "br-int.mgmt", translate.added(flow))
    assert [kind for kind, _ in answers if kind == 1] == []  # no errors
    assert ofctl(switch, "dump-flows", "br-int").strip() == f"cookie={flow.cookie:#x}, {text}"
    openflow(switch / "br-int.mgmt", translate.deleted(flow.cookie ^ 1))
    assert ofctl(switch, "dump-flows", "br-int").strip() != ""
    openflow(switch / "br-int.mgmt", translate.deleted(flow.cookie))
    assert ofctl(switch, "dump-flows", "br-int").strip() == ""


def test_adding_replaces_in_place(switch: Path) -> None:
    old, new = (Flow(3, 9, (("in_port", 1),), (Output(port),)) for port in (2, 3))
    openflow(switch / "br-int.mgmt", translate.added(old) + translate.added(new) + translate.deleted(old.cookie))
    assert "output:3" in ofctl(switch, "dump-flows", "br-int")
    openflow(switch / "br-int.mgmt", translate.deleted(new.cookie))


# -- whole overlays


@pytest.fixture(params=["vxlan", "vxlan mode=flood", "vxlan gateway=anycast", "vlan"], scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Two hypervisors, two tenants with the same addresses, the controller synced."""
    overlay, *options = request.param.split()
    folder = tmp_path_factory.mktemp("lab")
    with rig(folder, topology(2, VMS), overlay, **dict(o.split("=") for o in options)) as made:
        made.start_controller()
        yield made


def test_neighbours_and_remote_vms_reach_each_other(lab: Rig) -> None:
    for target in ("10.0.0.12", "10.0.0.13", "fd00::2", "fd00::3"):
        assert lab.reaches("r1", target), lab.ping("r1", target)
    assert lab.reaches("b1", "10.0.0.12")


def test_tenants_with_the_same_addresses_stay_apart(lab: Rig) -> None:
    assert "100% packet loss" in lab.ping("b1", "10.0.0.13")  # red's alone
    assert "100% packet loss" in lab.ping("b1", "fd00::2")
    assert lab.reaches("b1", "10.0.0.12")
    seen = lab.spaces["b1"].run("ip", "neigh", "show", "10.0.0.12").split()
    assert lab.inventory.topology.vm("b2").mac in seen


def test_a_vm_that_moves_is_reached_where_it_is(lab: Rig) -> None:
    assert lab.reaches("r1", "10.0.0.12")
    lab.move("r2", "hv2", "hv1")
    lab.ping("r2", "10.0.0.11")  # it speaks first, as in an announcement: where switches learn, they must hear it
    for asker in ("r1", "r3"):
        assert lab.reaches(asker, "10.0.0.12")
    lab.move("r2", "hv1", "hv2")
    lab.ping("r2", "10.0.0.13")
    assert lab.reaches("r1", "10.0.0.12")
    assert lab.reaches("b1", "10.0.0.12")


def test_a_controller_that_is_killed_and_returns_costs_nothing(lab: Rig) -> None:
    assert lab.reaches("r1", "10.0.0.12")
    argv = lab.spaces["r1"].enter("ping", "-n", "-i", "0.01", "-c", "300", "-W", "1", "10.0.0.12")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as pings:
        before = {name: lab.flows(name) for name in ("hv1", "hv2")}
        lab.kill_controller()
        time.sleep(0.5)
        lab.start_controller()
        assert "FLOW_MOD" not in lab.control_messages()
        assert {name: lab.flows(name) for name in ("hv1", "hv2")} == before
        output = pings.communicate()[0]
    assert "300 received" in output, output


def test_neighbours_are_found_without_a_controller(lab: Rig) -> None:
    for vm, target in (("r1", "10.0.0.12"), ("r2", "10.0.0.11"), ("b1", "10.0.0.12")):
        assert lab.reaches(vm, target)  # where switches learn, they have
    lab.kill_controller()
    try:
        for vm in VMS:
            lab.spaces[vm].run("ip", "neigh", "flush", "dev", "eth0")
        for target in ("10.0.0.12", "10.0.0.13", "fd00::2", "fd00::3"):
            assert lab.reaches("r1", target), lab.ping("r1", target)
        assert lab.reaches("b1", "10.0.0.12")
        found = lab.spaces["b1"].run("ip", "neigh", "show", "10.0.0.12").split()
        assert lab.inventory.topology.vm("b2").mac in found, "each tenant's own"
    finally:
        lab.start_controller()


def test_no_switch_refused_anything(lab: Rig) -> None:
    lab.control_messages()
    assert [report for report in lab.reports if report["event"] == "error"] == []


# -- what controller mode promises


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Controller mode."""
    with rig(tmp_path_factory.mktemp("known"), topology(2, VMS)) as made:
        made.start_controller()
        yield made


def test_nothing_known_is_flooded(known: Rig) -> None:
    """A bystander of the segment hears neither the question nor the packets of two others."""
    with subprocess.Popen(
        known.spaces["r3"].enter("tcpdump", "-n", "-l", "-i", "eth0", "arp or icmp"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as bystander:
        assert bystander.stderr
        assert any("listening on" in line for line in bystander.stderr)
        known.spaces["r1"].run("ip", "neigh", "flush", "dev", "eth0")
        assert known.reaches("r1", "10.0.0.12")
        bystander.terminate()
        assert bystander.communicate()[0].strip() == ""


def test_known_traffic_goes_on_without_a_controller(known: Rig) -> None:
    assert known.reaches("r1", "10.0.0.12")
    known.kill_controller()
    try:
        mac = known.inventory.topology.vm("r2").mac
        known.spaces["r1"].run("ip", "neigh", "replace", "10.0.0.12", "lladdr", mac, "dev", "eth0", "nud", "probe")
        assert known.reaches("r1", "10.0.0.12", "-c", "60")  # longer than it takes the kernel to ask for the neighbour
        assert "REACHABLE" in known.spaces["r1"].run("ip", "neigh", "show", "10.0.0.12")
    finally:
        known.start_controller()


def test_a_move_while_the_controller_is_dead_is_mended_when_it_returns(known: Rig) -> None:
    known.kill_controller()
    known.move("r2", "hv2", "hv1", wait=False)
    known.start_controller()
    overlay_rig.await_true(lambda: known.locations()["r2"] == "hv1")
    overlay_rig.await_true(lambda: known.reaches("r1", "10.0.0.12"))
    known.move("r2", "hv1", "hv2")


@pytest.mark.alone
def test_it_listens_where_it_was_told_and_soon(tmp_path: Path) -> None:
    """On the management address alone, and in 0.6 s of CPU, or a little more than the framework takes to import.

    Processor time grows when others keep the machine busy, and so does the framework's.
    """
    framework = [sys.executable, "-c", "import os_ken.base.app_manager, os_ken.controller.controller"]
    with rig(tmp_path, topology(1, {})) as made:
        cpu_s = []
        for port in (6653, 6654, 6655):
            made.start_controller()
            listening = made.spaces["core"].run("ss", "-Htln").split()
            assert [f for f in listening if f.endswith(f":{port}")] == [f"{overlay_rig.CONTROLLER}:{port}"]
            cpu_s.append(made.controller_cpu_s())
            made.kill_controller()
        assert min(cpu_s) < max(0.6, 2.5 * cpu_time_s(framework)), cpu_s


def cpu_time_s(argv: list[str]) -> float:
    """Processor time of a program that runs to its end."""
    child = subprocess.Popen(argv)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    assert status == 0
    return usage.ru_utime + usage.ru_stime


def test_a_switch_that_restarts_is_programmed_again(tmp_path: Path) -> None:
    with rig(tmp_path, topology(2, VMS)) as made:
        made.start_controller()
        before = made.flows("hv2")
        made.restart_switch("hv2")
        made.await_report(lambda r: r["event"] == "synced" and r["switches"] == ["hv1", "hv2"])
        assert made.flows("hv2") == before


def test_sigterm_ends_it(tmp_path: Path) -> None:
    with rig(tmp_path, topology(1, {})) as made:
        made.start_controller()
        assert made._controller
        made._controller.terminate()
        assert made._controller.wait(timeout=2) == -15


def test_it_works_without_a_session_to_report_to(tmp_path: Path) -> None:
    """No listener on the API's path: flows come all the same."""
    with rig(tmp_path, topology(1, {"r1": (1, "red", "10.0.0.11/24")})) as made:
        made.inventory = replace(made.inventory, api=str(tmp_path / "nobody"))
        made.start_controller(report=False)
        overlay_rig.await_true(lambda: any("dl_dst=02:00:00:00:00:01" in flow for flow in made.flows("hv1")))
