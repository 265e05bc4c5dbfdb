"""Links of a running lab: changed, cut, restored, captured; by way of the command line, on real packets."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_support import needs_lab
from running_lab import RunningLab, up

pytestmark = needs_lab
needs_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="not installed: tshark")


@pytest.fixture(scope="module")
def two_sites() -> Iterator[RunningLab]:
    with up("dual-dc") as running:
        yield running


def test_round_trips_follow_the_delay(two_sites: RunningLab) -> None:
    before = two_sites.ping("web1", "web4", 5)
    try:
        two_sites("link", "wan", "set", "--delay", "30")
        symmetric = two_sites.ping("web1", "web4", 5)
        two_sites("link", "wan", "set", "--delay", "5", "--direction", "forward")
        uneven = two_sites.ping("web1", "web4", 5)
    finally:
        two_sites("link", "wan", "set", "--delay", "10")
    after = two_sites.ping("web1", "web4", 5)
    for found, asked_ms in ((before, 20), (symmetric, 60), (uneven, 35), (after, 20)):
        assert found.lost == 0 and asked_ms <= found.lowest_ms < asked_ms + 5


def test_loss_is_loss(two_sites: RunningLab) -> None:
    try:
        two_sites("link", "wan", "set", "--loss", "30", "--direction", "forward")
        lossy = two_sites.ping("web1", "web4", 100, "-i", "0.01")
    finally:
        two_sites("link", "wan", "set", "--loss", "0")
    assert 12 <= lossy.lost <= 50
    assert two_sites.ping("web1", "web4", 20).lost == 0


def test_link_shows_what_was_set(two_sites: RunningLab) -> None:
    shown = two_sites("link", "wan").stdout
    assert "wan: up" in shown and shown.count("10 ms, 1000 Mbit/s") == 2


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("wann", "cut"), 2, "did you mean 'wan'?"),
        (("wan", "set"), 2, "nothing to set"),
        (("wan", "cut", "--delay", "3"), 2, "goes with 'set'"),
        (("wan", "set", "--delay", "-3"), 2, "--delay"),
        (("wan", "set", "--loss", "101"), 2, "--loss"),
        (("hv1--leaf1", "set", "--delay", "3"), 1, "made without impairments"),
    ],
)
def test_what_cannot_be_done_to_a_link(two_sites: RunningLab, words: tuple[str, ...], status: int, says: str) -> None:
    done = two_sites("link", *words, check=False)
    assert done.returncode == status and says in done.stderr
    assert two_sites("link", "wan").stdout.count(": 10 ms") == 2


def test_a_cut_wan_stops_what_crosses_it_and_nothing_else(two_sites: RunningLab) -> None:
    """The branch, linked to both, is no way between data centres."""
    try:
        two_sites("link", "wan", "cut")
        assert two_sites.state()["cut_links"] == ["wan"]
        assert two_sites.ping("web1", "web4").received == 0
        assert two_sites.ping("web1", "web3").lost == 0
        assert two_sites.ping("laptop", "web1").lost == 0
    finally:
        two_sites("link", "wan", "restore")
    assert two_sites.state()["cut_links"] == []
    assert two_sites.ping("web1", "web4").lost == 0


def test_a_cut_spine_link_is_routed_around() -> None:
    with up("leaf-spine") as running:
        first, *_, last = running.endpoints
        links = [link["link"] for link in running.json("inspect", "leaf1")["links"]]
        assert running.ping(first, last).lost == 0
        for spine in ("spine1", "spine2"):
            (name,) = [name for name in links if spine in name]
            running("link", name, "cut")
            try:
                assert running.ping(first, last, 5).lost == 0, f"no way around {name}"
                assert spine not in [hop["node"] for hop in running.json("trace", first, last)["hops"]]
            finally:
                running("link", name, "restore")


@needs_tshark
def test_a_capture_opens_in_wireshark_with_names(two_sites: RunningLab, tmp_path: Path) -> None:
    file = tmp_path / "wan.pcapng"
    echoes = two_sites.start("web1", "ping", "-i", "0.02", "-c", "300", two_sites.address("web4"))
    try:
        assert echoes.stdout
        while "icmp_seq" not in echoes.stdout.readline():
            pass
        two_sites("capture", "wan", "--seconds", "1", "--out", str(file))
    finally:
        echoes.terminate()
        echoes.communicate(timeout=10)
    columns = ("-e", "frame.protocols", "-e", "vxlan.vni", "-e", "_ws.malformed")
    fields = _tshark(file, "-T", "fields", *columns).splitlines()
    vni = next(s["vni"] for s in two_sites.inspect()["segments"] if s["tenant"] == "blue")
    assert not [line for line in fields if line.split("\t")[2]], "malformed"
    echoes_seen = [line for line in fields if line.startswith("eth:ethertype:ip:udp:vxlan:eth:ethertype:ip:icmp")]
    assert len(echoes_seen) >= 40
    assert {line.split("\t")[1] for line in echoes_seen} == {str(vni)}
    names = _tshark(file, "-q", "-z", "hosts")
    known = two_sites.inspect()
    for node in ("hv1", "hv3"):
        assert f"{known['vtep'][node]}\t{node}" in names


def _tshark(file: Path, *options: str) -> str:
    done = subprocess.run(["tshark", "-r", str(file), *options], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_capture_that_cannot_be(two_sites: RunningLab, tmp_path: Path) -> None:
    assert two_sites("capture", "wann", check=False).returncode == 2
    nowhere = two_sites("capture", "wan", "--out", str(tmp_path / "no" / "wan.pcapng"), check=False)
    assert nowhere.returncode == 2 and "No such file or directory" in nowhere.stderr
