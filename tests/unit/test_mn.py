"""A lab as Mininet sees it: who is who, links that follow VMs, and commands, which run on this machine here."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence

import pytest

pytest.importorskip("mininet", reason="not installed: mininet")

from mininet.net import Mininet

from chimera import share
from chimera.load import load_topology
from chimera.model.errors import InputError, SessionError
from chimera.net.mn import LabNet, UnknownNode, may_talk, mininet_view
from chimera.session import prepare_topology

DUAL_DC = load_topology("dual-dc", [share.folder("topologies")])
UNDERLAY = prepare_topology(DUAL_DC, "vxlan").underlay


class Here:
    """Nodes whose programs run on this machine; the lab's part of what they ask for is written down."""

    def __init__(self) -> None:
        self.location = {vm.name: vm.hypervisor for vm in DUAL_DC.vms}
        self.links: list[tuple[str, bool]] = []
        self.entered: list[str] = []
        self.started: list[subprocess.Popen[bytes]] = []
        self.net = mininet_view(
            DUAL_DC, UNDERLAY, lambda: self.location, lambda name, up: self.links.append((name, up)),
            enter=self.enter, start=self.start,
        )  # fmt: skip

    def enter(self, node: str, argv: Sequence[str]) -> list[str]:
        self.entered.append(node)
        return ["env", f"NODE={node}", *argv]

    def start(self, argv: Sequence[str], **options: object) -> subprocess.Popen[bytes]:
        self.started.append(subprocess.Popen(argv, **options))  # type: ignore[call-overload]
        return self.started[-1]


@pytest.fixture
def here() -> Iterator[Here]:
    made = Here()
    yield made
    made.net.stop()
    assert [each.poll() for each in made.started if each.poll() is None] == []


def test_it_is_a_mininet_whose_hosts_are_the_machines_that_users_use(here: Here) -> None:
    net = here.net
    assert isinstance(net, Mininet)
    assert [h.name for h in net.hosts] == ["web1", "web2", "web3", "web4", "web5", "red1", "red2", "laptop"]
    assert {s.name for s in net.switches} == {"hv1", "hv2", "hv3", "hv4", "gw1", "leaf1", "leaf2", "r1", "r2", "r3"}
    assert [*net] == [node.name for node in net.values()] == [name for name, _ in net.items()]
    assert net["web1"] is net.get("web1") is net.nameToNode["web1"]
    assert [n.name for n in net.get("web1", "hv1")] == ["web1", "hv1"]


def test_addresses_are_the_topologys(here: Here) -> None:
    for vm in DUAL_DC.vms:
        node = here.net[vm.name]
        assert (node.IP(), node.MAC()) == (vm.ip.partition("/")[0], vm.mac)
        assert str(node.intf("eth0")) == f"{vm.name}:eth0"
    assert here.net["laptop"].IP() == UNDERLAY.client_address["laptop"].partition("/")[0]
    assert {h: here.net[h].IP() for h in UNDERLAY.vtep} == UNDERLAY.vtep


def test_an_unknown_node_is_mininets_error_and_says_what_there_is(here: Here) -> None:
    with pytest.raises(UnknownNode) as refused:
        here.net["web9"]
    assert isinstance(refused.value, KeyError) and isinstance(refused.value, InputError)
    assert str(refused.value).startswith("no node 'web9'\n    allowed: ") and "did you mean 'web" in str(refused.value)


def test_links_follow_a_vm_that_moves_in_a_net_that_is_open(here: Here) -> None:
    def plugged(vm: str) -> str:
        (link,) = [link for link in here.net.links if link.name == vm]
        return str(link.intf2)

    web1, before = here.net["web1"], plugged("web1")
    assert before == "hv1:web1" and here.net["hv1"].connectionsTo(web1)
    here.location["web1"] = "hv3"
    assert plugged("web1") == "hv3:web1"
    assert here.net["hv3"].connectionsTo(web1) and not here.net["hv1"].connectionsTo(web1)
    assert here.net.linksBetween(web1, here.net["hv3"]) and here.net["web1"] is web1
    here.location["web1"] = "hv1"
    assert plugged("web1") == before


def test_link_down_cuts_the_labs_link_and_what_is_none_is_said(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    here.net.configLinkStatus("r2", "r1", "down")
    here.net.configLinkStatus("r1", "r2", "up")
    assert here.links == [("wan", False), ("wan", True)]
    here.net.configLinkStatus("web1", "r1", "down")
    assert len(here.links) == 2


def test_nothing_is_started_until_a_command_needs_it(here: Here) -> None:
    for node in here.net.values():
        assert node.IP() or node.intfs
    assert here.started == []
    assert here.net["web1"].cmd("echo $NODE").strip() == "web1"
    assert len(here.started) == 1 and here.entered == ["web1"]
    assert here.net["web1"].cmd("echo", "again").strip() == "again" and len(here.started) == 1


def test_a_shell_keeps_what_it_was_told_and_can_be_interrupted(here: Here) -> None:
    web1 = here.net["web1"]
    web1.cmd("cd /; x=7")
    assert web1.cmd("echo $x; pwd").split() == ["7", "/"]
    # One program says that it has begun and sleeps: between two of its own commands bash may lose an interrupt.
    web1.sendCmd("sh -c 'echo begun; exec sleep 600'; echo no")
    assert web1.waiting
    said = ""
    while "begun" not in said:
        said += web1.monitor(20_000)  # an interrupt before the shell has read the line takes the line with it
    web1.sendInt()
    assert "no" not in web1.waitOutput() and not web1.waiting
    assert web1.cmd("sleep 600 &") is not None
    web1.cmd("kill -KILL $!; wait")  # bash ignores SIGTERM, and so may its child for a moment
    web1.sendCmd("echo", "one", "two")
    assert web1.waitOutput().split() == ["one", "two"]


def test_several_nodes_are_monitored_at_once(here: Here) -> None:
    some = here.net.get("web1", "web2")
    for node in some:
        node.sendCmd("echo it is $NODE")
    said: dict[str, str] = {}
    for node, line in here.net.monitor(some, timeoutms=2000):
        if node is None:
            break
        said[node.name] = line.strip()
        if len(said) == len(some):
            break
    assert said == {"web1": "it is web1", "web2": "it is web2"}
    for node in some:
        node.waiting = False


def test_popen_is_a_popen_and_needs_no_shell(here: Here) -> None:
    web1 = here.net["web1"]
    assert web1.popen("sh", "-c", "echo $NODE").communicate() == (b"web1\n", b"")
    assert web1.popen(["printf", "%s", 5]).communicate()[0] == b"5"
    assert web1.popen("echo one two", text=True).communicate()[0] == "one two\n"
    assert web1.popen("echo $NODE | rev", shell=True).communicate()[0] == b"1bew\n"
    assert web1.pexec("sh -c false")[2] == 1
    sleeping = web1.popen("sleep 600")
    sleeping.send_signal(signal.SIGINT)
    assert sleeping.wait() == -signal.SIGINT
    assert web1._shell is None


def test_a_shell_that_was_ended_is_followed_by_another(here: Here) -> None:
    web1 = here.net["web1"]
    first = web1.pid
    here.net.stop()
    assert here.started[0].poll() is not None
    assert web1.cmd("echo hello").strip() == "hello" and web1.pid != first


def test_a_shell_of_a_machine_that_stands_still_ends_too(here: Here) -> None:
    web1 = here.net["web1"]
    os.kill(web1.pid, signal.SIGSTOP)
    web1.terminate()
    assert here.started[0].returncode == -signal.SIGHUP


def test_whoever_waits_for_a_shell_that_ends_is_told(here: Here) -> None:
    web1 = here.net["web1"]
    web1.sendCmd("sleep 600")
    os.killpg(web1.pid, signal.SIGKILL)
    with pytest.raises(SessionError, match="the shell of web1 has ended"):
        web1.waitOutput()
    assert web1.cmd("echo again").strip() == "again"


def test_a_node_that_runs_nothing_says_so() -> None:
    net = mininet_view(
        DUAL_DC, UNDERLAY, lambda: {vm.name: vm.hypervisor for vm in DUAL_DC.vms}, lambda name, up: None,
        enter=lambda node, argv: ["sh", "-c", "echo no such machine; exit 1"],
    )  # fmt: skip
    with pytest.raises(SessionError, match="web1 runs no commands: no such machine"):
        net["web1"].cmd("true")
    with pytest.raises(SessionError, match="web1 runs no commands"):
        net["web1"].cmd("true")


@pytest.mark.parametrize("verb", ["addHost", "addSwitch", "addLink", "addNAT", "addController", "delLink", "delHost"])
def test_what_would_change_the_network_is_refused(here: Here, verb: str) -> None:
    with pytest.raises(InputError, match="nothing can be added to a running lab"):
        getattr(here.net, verb)("h9")


def test_links_and_interfaces_stay(here: Here) -> None:
    link = here.net.links[0]
    with pytest.raises(InputError, match="cut it instead"):
        link.delete()
    with pytest.raises(InputError, match="cannot be removed"):
        link.intf1.delete()
    here.net.start()
    here.net.stop()
    assert link in here.net.links and here.started == []


def test_who_may_talk() -> None:
    def talk(a: str, b: str) -> bool:
        assert may_talk(DUAL_DC, a, b) == may_talk(DUAL_DC, b, a)
        return may_talk(DUAL_DC, a, b)

    assert talk("web1", "web4") and talk("red1", "red2") and talk("web1", "laptop")
    assert not talk("web1", "red1") and not talk("red1", "laptop") and not talk("hv1", "hv2")


class Pinged(LabNet):
    """Answers pings itself, but for one pair."""

    silent = ("web1", "web2")

    def _ping(self, a: object, b: object, timeout: object) -> str:
        got = 0 if (str(a), str(b)) == self.silent else 1
        return f"1 packets transmitted, {got} received, 0% packet loss\nrtt min/avg/max/mdev = 1.0/1.0/1.0/0.0 ms"


def test_everybody_is_pinged_who_may_be(here: Here) -> None:
    here.net.__class__ = Pinged
    pairs = 6 * 5 + 2  # five web VMs and the laptop, and the two red ones
    assert len(here.net.pingFull()) == pairs
    assert here.net.pingAll() == pytest.approx(100 / pairs)
    assert here.net.pingPair() == 50.0, "there and back"
    assert here.net.ping(here.net.get("web3", "web4")) == 0.0
    assert here.net.ping(here.net.get("web3", "red1")) == 0.0, "those that are named are tried, whoever they are"
