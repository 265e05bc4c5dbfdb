"""Captures of many namespaces by one process; tshark and capinfos judge the files."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from native_support import Namespace, finish, namespaces, needs, needs_root, tool

from chimera.model.topology import Port
from chimera.wire.pcapng import Frame, crossings, read, write_header

pytestmark = needs_root

HV, LEAF = Port("hv1", "a0"), Port("leaf1", "b0")
SENDER = (
    "import socket,sys;s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW);"
    "s.bind((sys.argv[1],0));[s.send(bytes.fromhex(f)) for f in sys.argv[2:]]"
)
MACS = "020000000002020000000001"


@pytest.fixture
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    with namespaces(2) as (a, b):
        for namespace in (a, b):  # no neighbour discovery of IPv6 among the frames that are counted
            namespace.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        a.link("a0", b, "b0")
        a.address("a0", "10.0.0.1/24")
        b.address("b0", "10.0.0.2/24")
        yield a, b


def start(pair: tuple[Namespace, Namespace], path: Path, *options: str) -> subprocess.Popen[str]:
    """Both ends of the link into one file, from a process that stands in neither namespace."""
    a, b = pair
    write_header(path, [(HV, LEAF), (LEAF, HV)], {"10.0.0.1": "hv1", "10.0.0.2": "leaf1"})
    with namespaces(1) as (elsewhere,):
        process = elsewhere.start(
            tool("capture"), "--spec", f"{a.path}:a0:{path}", "--spec", f"{b.path}:b0:{path}", *options
        )
        elsewhere.processes.remove(process)
    a.processes.append(process)
    return process


def send(namespace: Namespace, interface: str, *frames: str) -> None:
    namespace.run("python3", "-c", SENDER, interface, *frames)


def tcp_segment(port: int, tag: str = "") -> str:
    ip = "4500002800010000400600000a0000010a000002"
    return MACS + tag + "0800" + ip + f"{port:04x}0050" + "00" * 16


def test_what_was_captured_until_now_is_written_when_it_is_asked_for(
    pair: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    path = tmp_path / "link.pcapng"
    capture = start(pair, path)
    assert capture.stdout
    for asked in (1, 2):
        send(pair[0], "a0", tcp_segment(1000 + asked))
        capture.send_signal(signal.SIGUSR1)
        assert capture.stdout.readline() == "written\n"
        assert len(list(crossings(path))) == asked
    report = json.loads(finish(capture).splitlines()[-1])["captures"]
    assert [r["frames"] for r in report] == [2, 2] and len(list(crossings(path))) == 2


def seen_ports(path: Path, inbound: bool = True) -> list[str]:
    return [f.data.hex() for f in read(path) if f.inbound is inbound]


@pytest.mark.smoke
def test_both_directions_at_both_ends(pair: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    path = tmp_path / "link.pcapng"
    capture = start(pair, path)
    pair[0].run("ping", "-c", "3", "-i", "0.01", "10.0.0.2")
    report = json.loads(finish(capture))["captures"]
    frames = list(read(path))
    assert [r["frames"] for r in report] == [8, 8]  # ARP both ways, three requests, three answers
    assert [r["dropped"] for r in report] == [0, 0]
    assert len(frames) == 16 and len(list(crossings(path))) == 8
    first = min((f for f in frames), key=lambda f: f.t)
    assert (first.interface, first.inbound, first.data[:6]) == ("hv1:a0", False, b"\xff" * 6)
    arrived = next(f for f in frames if f.interface == "leaf1:b0" and f.data == first.data)
    assert 0 <= arrived.t - first.t < 0.05


@needs("tshark", "capinfos")
def test_wireshark_reads_it_with_names_and_directions(pair: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    path = tmp_path / "link.pcapng"
    capture = start(pair, path)
    pair[0].run("ping", "-c", "1", "10.0.0.2")
    finish(capture)
    fields = ["frame.interface_name", "frame.interface_description", "ip.src_host", "frame.packet_flags_direction"]
    command = ["tshark", "-N", "nN", "-r", str(path), "-Y", "icmp.type==8", "-T", "fields"]
    shown = subprocess.run(
        [*command, *(part for field in fields for part in ("-e", field))], capture_output=True, text=True
    )
    assert sorted(line.split("\t")[:3] for line in shown.stdout.splitlines()) == [
        ["hv1:a0", "hv1:a0 — leaf1:b0", "hv1"],
        ["leaf1:b0", "leaf1:b0 — hv1:a0", "hv1"],
    ], shown.stderr
    info = subprocess.run(["capinfos", str(path)], capture_output=True, text=True)
    assert info.returncode == 0 and "nanoseconds (9)" in info.stdout


@needs("tshark")
def test_vlan_tags_are_in_the_file(pair: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    path = tmp_path / "link.pcapng"
    capture = start(pair, path)
    send(pair[0], "a0", MACS + "8100a064" + "88b5" + "00" * 46)
    finish(capture)
    judged = subprocess.run(
        ["tshark", "-r", str(path), "-T", "fields", "-e", "vlan.id", "-e", "frame.len"], capture_output=True, text=True
    )
    assert judged.stdout.split("\n")[:2] == ["100\t64", "100\t64"]


@pytest.mark.parametrize("tag", ["", "8100a064", "88a8a064"])
def test_skipped_ports_are_left_out_tagged_or_not(pair: tuple[Namespace, Namespace], tmp_path: Path, tag: str) -> None:
    path = tmp_path / "link.pcapng"
    capture = start(pair, path, "--skip-tcp-port", "7001", "--skip-tcp-port", "7002")
    udp = tcp_segment(7001, tag).replace("40060000", "40110000")
    six = MACS + tag + "86dd" + "6000000000140640" + "fd" * 32
    wanted = [tcp_segment(7003, tag), udp, six + "1b5b0050" + "00" * 16]
    skipped = [
        tcp_segment(7001, tag),
        tcp_segment(7002, tag),
        six + "1b590050" + "00" * 16,
        six + "00501b5a" + "00" * 16,
    ]
    send(pair[0], "a0", *wanted, *skipped)
    finish(capture)
    assert seen_ports(path, inbound=False) == wanted
    assert seen_ports(path, inbound=True) == wanted


def test_a_snap_length_keeps_the_true_length(pair: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    a, _ = pair
    path = tmp_path / "short.pcapng"
    write_header(path, [(HV, None)], {})
    capture = a.start(tool("capture"), "--spec", f"-:a0:{path}:64")
    send(a, "a0", MACS + "88b5" + "00" * 500)
    finish(capture)
    frames: list[Frame] = list(read(path))
    assert [(len(f.data), f.wire_length) for f in frames] == [(64, 514)]


def test_a_file_without_a_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    done = subprocess.run(
        [tool("capture"), "--spec", f"-:lo:{tmp_path}/empty"], capture_output=True, text=True, timeout=10
    )
    assert (done.returncode, "no pcapng header" in done.stderr) == (1, True)
