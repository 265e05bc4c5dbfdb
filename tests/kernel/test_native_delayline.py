"""The delay line between two namespaces: what it was asked for, measured by the receiver's kernel stamps."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from native_support import Namespace, ask, namespaces, needs, needs_root, tell, tool

pytestmark = needs_root


@dataclass
class Cable:
    """Namespaces a and b, their ends a0 and b0, and the delay line between them in ``middle``."""

    a: Namespace
    middle: Namespace
    b: Namespace
    line: subprocess.Popen[str]

    def probe(self, *options: str) -> dict[str, Any]:
        ends = (f"{self.a.path}:a0", f"{self.b.path}:b0")
        link: dict[str, Any] = json.loads(self.a.run(tool("linkprobe"), *ends, *options))["links"][0]
        return link

    def stats(self, way: str = "fwd") -> dict[str, Any]:
        counters: dict[str, Any] = ask(self.line, "stats")[way]
        return counters

    def ping(self, *options: str) -> str:
        return self.a.run("ping", "-c", "10", "-i", "0.02", "-W", "1", *options, "10.0.0.2", check=False)


@pytest.fixture
def cable() -> Iterator[Cable]:
    with namespaces(3) as (a, middle, b):
        for namespace in (a, middle, b):  # no neighbour discovery of IPv6 among the frames that are counted
            namespace.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        a.link("a0", middle, "toa", mtu=9200)
        b.link("b0", middle, "tob", mtu=9200)
        a.address("a0", "10.0.0.1/24")
        b.address("b0", "10.0.0.2/24")
        yield Cable(a, middle, b, middle.start(tool("delayline"), "toa", "tob", "--seed", "1"))


@pytest.mark.alone
def test_delay_is_per_direction(cable: Cable) -> None:
    tell(cable.line, "set fwd delay_ms=10")
    tell(cable.line, "set bwd delay_ms=30")
    link = cable.probe()
    assert link["forward"]["delay_min_ms"] >= 9.99 and link["forward"]["delay_p50_ms"] < 12
    assert link["backward"]["delay_min_ms"] >= 29.99 and link["backward"]["delay_p50_ms"] < 32
    assert link["forward"]["loss_percent"] == link["backward"]["loss_percent"] == 0


def test_a_frame_that_leaves_late_is_counted(cable: Cable) -> None:
    tell(cable.line, "set fwd delay_ms=10")
    cable.probe("--frames", "20")
    before = cable.stats()
    sending = cable.a.start("ping", "-c", "5", "-i", "0.01", "-W", "1", "10.0.0.2", ready=False)
    cable.line.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    cable.line.send_signal(signal.SIGCONT)
    sending.communicate(timeout=20)
    after = cable.stats()
    assert 0 < after["late"] - before["late"] <= after["frames"] - before["frames"]
    assert after["late_max_us"] > 50_000
    assert before["late"] <= before["frames"]


@pytest.mark.alone
def test_without_impairment_a_frame_passes_at_once(cable: Cable) -> None:
    assert cable.probe()["forward"]["delay_min_ms"] < 0.2


@pytest.mark.alone
def test_bandwidth_is_what_was_asked(cable: Cable) -> None:
    tell(cable.line, "set fwd bandwidth_mbps=50")
    tell(cable.line, "set bwd bandwidth_mbps=200")
    link = cable.probe()
    assert link["forward"]["bandwidth_mbps"] == pytest.approx(50, rel=0.1)
    assert link["backward"]["bandwidth_mbps"] == pytest.approx(200, rel=0.15)


def test_loss_is_random_and_counted(cable: Cable) -> None:
    tell(cable.line, "set fwd loss=20")
    link = cable.probe("--frames", "1000", "--interval-us", "100")
    assert 14 < link["forward"]["loss_percent"] < 26
    assert link["backward"]["loss_percent"] == 0
    assert cable.stats()["dropped_loss"] > 140


@pytest.mark.alone
def test_jitter_spreads_the_delay(cable: Cable) -> None:
    tell(cable.line, "set fwd delay_ms=10,jitter_ms=4")
    forward = cable.probe("--frames", "100", "--interval-us", "3000")["forward"]
    assert 6 <= forward["delay_min_ms"] < 9
    assert 9 < forward["delay_p50_ms"] < 13
    assert forward["delay_p95_ms"] > 12


@pytest.mark.alone
def test_the_queue_drops_its_tail(cable: Cable) -> None:
    with namespaces(3) as (a, middle, b):
        a.link("a0", middle, "toa")
        b.link("b0", middle, "tob")
        slow = ("--fwd", "bandwidth_mbps=10,delay_ms=50", "--queue-packets", "15")
        small = Cable(a, middle, b, middle.start(tool("delayline"), "toa", "tob", *slow))
        small.probe("--frames", "1", "--burst", "20")
        counters = small.stats()
    assert counters["queue_max"] == 15
    assert counters["dropped_queue"] > 0


def test_a_long_pipe_is_not_a_full_queue(cable: Cable) -> None:
    with namespaces(3) as (a, middle, b):
        a.link("a0", middle, "toa")
        b.link("b0", middle, "tob")
        long = ("--fwd", "delay_ms=200", "--queue-packets", "5")
        cable = Cable(a, middle, b, middle.start(tool("delayline"), "toa", "tob", *long))
        assert cable.probe()["forward"]["received"] == 200


def test_jumbo_frames_pass_whole(cable: Cable) -> None:
    assert " 0% packet loss" in cable.ping("-M", "do", "-s", "9172")


def test_a_cut_loses_everything_until_it_is_restored(cable: Cable) -> None:
    tell(cable.line, "cut")
    assert "100% packet loss" in cable.ping()
    tell(cable.line, "restore")
    assert " 0% packet loss" in cable.ping()
    assert cable.stats()["dropped_cut"] > 0


def test_a_cut_loses_what_is_in_the_line(cable: Cable) -> None:
    tell(cable.line, "set fwd delay_ms=300")
    cable.a.run("ping", "-c", "1", "-W", "0.05", "10.0.0.2", check=False)
    tell(cable.line, "cut fwd")
    tell(cable.line, "restore fwd")
    time.sleep(0.4)
    assert cable.stats()["frames"] == 0


def test_an_interface_that_was_down_works_again(cable: Cable) -> None:
    cable.middle.run("ip", "link", "set", "dev", "toa", "down")
    cable.middle.run("ip", "link", "set", "dev", "tob", "down")
    cable.ping()
    assert cable.line.poll() is None
    cable.middle.run("ip", "link", "set", "dev", "toa", "up")
    cable.middle.run("ip", "link", "set", "dev", "tob", "up")
    cable.ping()  # the first frames may wait for the link to be seen
    assert " 0% packet loss" in cable.ping()


def test_the_end_of_the_commands_is_not_the_end_of_the_line(cable: Cable) -> None:
    assert cable.line.stdin
    cable.line.stdin.close()
    cable.line.stdin = None
    assert " 0% packet loss" in cable.ping()


@pytest.mark.alone
def test_nonsense_is_refused_and_changes_nothing(cable: Cable) -> None:
    tell(cable.line, "set fwd delay_ms=ten\nset up delay_ms=1\njump\n\nset fwd delay=3")
    assert cable.stats()["frames"] == 0  # it still answers
    assert cable.probe()["forward"]["delay_min_ms"] < 0.2
    bad = subprocess.run([tool("delayline"), "a", "b", "--fwd", "speed=3"], capture_output=True, text=True)
    assert (bad.returncode, "bandwidth_mbps, delay_ms" in bad.stderr) == (2, True)


@needs("tcpdump")
def test_vlan_tags_are_still_there_on_the_other_side(cable: Cable) -> None:
    """tcpdump is the judge; the tag is written into the frame, as a raw socket sees none."""
    watcher = cable.b.start("tcpdump", "-i", "b0", "-e", "-nn", "-c", "1", "--immediate-mode", "vlan", ready=False)
    assert watcher.stderr
    while "listening" not in watcher.stderr.readline():
        pass
    frame = "ffffffffffff020000000001" + "8100a064" + "88b5" + "00" * 46
    sender = (
        "import socket,sys;s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW);"
        "s.bind(('a0',0));s.send(bytes.fromhex(sys.argv[1]))"
    )
    cable.a.run(shutil.which("python3") or "python3", "-c", sender, frame)
    out, _ = watcher.communicate(timeout=10)
    assert "vlan 100, p 5" in out


RAW = "import socket,sys;s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW,3);s.setsockopt(263,15,1);"  # PACKET_VNET_HDR


def test_a_tagged_frame_whose_checksum_is_still_to_be_made_passes(cable: Cable) -> None:
    """What the kernel says about the checksum counts from the frame's start, which the tag moves."""
    receiver = cable.b.start(
        "python3",
        "-c",
        RAW + "s.bind(('b0',3));print('ready',flush=True)\n"
        "while (d:=s.recv(2000))[22:24]!=b'\\x08\\x00' or d[33]!=17: pass\n"
        "print(d.hex())",
    )
    udp = "4500002000010000401100000a0000010a000002" + "00010002000c1234" + "00000000"
    header = "01" + "00" + "0000" + "0000" + "2600" + "0600"  # NEEDS_CSUM from byte 38 = 14 + 4 + 20, sum at +6
    frame = header + "ffffffffffff020000000001" + "81000064" + "0800" + udp
    cable.a.run("python3", "-c", RAW + "s.bind(('a0',0));s.send(bytes.fromhex(sys.argv[1]))", frame)
    out, _ = receiver.communicate(timeout=10)
    seen = bytes.fromhex(out)
    assert (seen[0], seen[6:8], seen[8:10]) == (1, (34).to_bytes(2, "little"), (6).to_bytes(2, "little"))


@needs("iperf3", "ethtool")
@pytest.mark.parametrize("offload", ["on", "off"])
def test_tcp_passes_with_and_without_checksum_and_segmentation_offload(cable: Cable, offload: str) -> None:
    for end, interface in ((cable.a, "a0"), (cable.b, "b0")):
        end.run("ethtool", "-K", interface, "tx", offload, "tso", offload, "gso", offload, "gro", offload)
    cable.b.start("iperf3", "-s", "-1", "-p", "5999", ready=False)
    cable.b.run("sh", "-c", "until ss -ltn | grep -q :5999; do sleep 0.02; done")
    report = json.loads(cable.a.run("iperf3", "-c", "10.0.0.2", "-p", "5999", "-t", "1", "-J"))
    mbps = report["end"]["sum_received"]["bits_per_second"] / 1e6
    print(f"offload {offload}: {mbps:.0f} Mbit/s")
    assert mbps > 100
