"""An underlay too small for VMs' packets in their headers: nothing vanishes without a word, and TCP gets through."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from lab_support import lab, needs_lab
from running_lab import RunningLab, up

pytestmark = needs_lab

RECEIVE = (
    "import socket; s = socket.create_server(('', 5001)); print('ready', flush=True); c, _ = s.accept(); n = 0\n"
    "while data := c.recv(65536): n += len(data)\n"
    "print(n)"
)
SEND = "import socket, sys; c = socket.create_connection((sys.argv[1], 5001), 10); c.sendall(bytes(1 << 20)); c.close()"
SMALL = "underlay_mtu=1500"

# what to start, the largest packet that fits
LABS = {
    "vxlan": ("vxlan", (), 1450),
    "vxlan flood": ("vxlan", ("--set", "mode=flood"), 1450),
    "geneve": ("geneve", (), 1450),
    "lisp-gpe": ("lisp", ("--set", "wire=gpe"), 1464),
}


@pytest.fixture(scope="module", params=LABS, ids=lambda name: name.replace(" ", "-"))
def small(request: pytest.FixtureRequest) -> Iterator[tuple[RunningLab, int]]:
    overlay, options, largest = LABS[request.param]
    with up("rack", "--overlay", overlay, "--set", SMALL, *options) as running:
        yield running, largest


def ping(running: RunningLab, target: str, packet: int, *options: str) -> str:
    """What ping(8) says of three packets of that many bytes, IP header included, from vm1."""
    size = packet - (48 if ":" in target else 28)
    argv = ["ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", "-s", str(size), *options, target]
    done = running("exec", "vm1", "--", *argv, check=False)
    return done.stdout + done.stderr


def transfer(running: RunningLab, source: str, destination: str) -> int:
    """How many of a megabyte's bytes arrive over TCP."""
    receiver = running.start(destination, sys.executable, "-c", RECEIVE)
    assert receiver.stdout
    assert receiver.stdout.readline() == "ready\n"
    running.exec(source, sys.executable, "-c", SEND, running.address(destination))
    received, _ = receiver.communicate(timeout=20)
    return int(received)


def address6(running: RunningLab, vm: str) -> str:
    return str(running.endpoints[vm]["ip6"].partition("/")[0])


def test_a_megabyte_of_tcp_arrives(small: tuple[RunningLab, int]) -> None:
    assert transfer(small[0], "vm1", "vm3") == 1 << 20


def test_a_packet_that_does_not_fit_is_told_of_with_what_does(small: tuple[RunningLab, int]) -> None:
    running, largest = small
    text = ping(running, running.address("vm4"), 1500, "-M", "do")
    assert f"Frag needed and DF set (mtu = {largest})" in text
    assert "0 received" in text
    assert "3 received" in ping(running, running.address("vm4"), largest, "-M", "do")


def test_so_it_is_in_ipv6(small: tuple[RunningLab, int]) -> None:
    running, largest = small
    assert f"Packet too big: mtu={largest}" in ping(running, address6(running, "vm4"), 1500, "-M", "do")
    assert "3 received" in ping(running, address6(running, "vm4"), largest, "-M", "do")


def test_what_may_be_fragmented_arrives(small: tuple[RunningLab, int]) -> None:
    running, _ = small
    assert "3 received" in ping(running, running.address("vm3"), 1500, "-M", "dont")


def test_within_a_hypervisor_everything_fits(small: tuple[RunningLab, int]) -> None:
    running, _ = small
    assert "3 received" in ping(running, running.address("vm2"), 1500, "-M", "do")


def test_the_lab_says_it(small: tuple[RunningLab, int]) -> None:
    running, largest = small
    mtu = running.inspect()["mtu"]
    assert (mtu["underlay"], mtu["vm"], mtu["largest_vm_packet"]) == (1500, 1500, largest)
    assert f"packets of more than {largest} bytes do not fit" in mtu["consequence"]


def test_a_client_is_told_too_and_its_tcp_gets_through() -> None:
    with up("dual-dc", "--overlay", "vxlan", "--set", SMALL) as running:
        assert transfer(running, "laptop", "web4") == 1 << 20
        assert transfer(running, "web5", "web1") == 1 << 20


def test_where_all_fits_that_is_said() -> None:
    started = lab("doctor", "--json")
    needs = {need["overlay"]: need["underlay_mtu"] for need in json.loads(started.stdout)["mtu"]}
    assert needs["vxlan"] == 1550
    with up("rack", "--overlay", "vxlan") as running:
        assert "fit with 50 bytes of vxlan" in running.inspect()["mtu"]["consequence"]
        assert "3 received" in ping(running, running.address("vm3"), 1500, "-M", "do")
