"""Switches that learn, on real Open vSwitches: what a station sent before it moved is never learned after it arrived.

A switch with ports a, b and c learns in two ways, by its MAC table (``vlan``) and by the ``learn`` action
(``mode=flood``). A mobile station talks to the one at c, falls silent, announces itself at another port, and c writes
to it at once, before any counter has been read again.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lab_support import needs_lab

from chimera import namespaces
from chimera.bench.isolated import standing
from chimera.model.ports import PortSpec
from chimera.net import netns
from chimera.net.ovs import OpenVSwitch
from chimera.wire import ovsdb

pytestmark = [*needs_lab, pytest.mark.alone]  # what was sent has to arrive before counters are read again

Ask = Callable[[str], dict[str, Any]]

MOVES = 4  # counters are read twice a second: by chance those of one or two moves are read in time, not of all
TALK, SILENCE_S = 60, 0.2  # frames; longer than a switch may remember on a busy machine, shorter than half a second
PORTS = ("a", "b", "c")
ETHERTYPE = 0x88B5  # for experiments (IEEE 802a)
BROADCAST, AT_C = b"\xff" * 6, bytes.fromhex("0200000000cc")
LEARN = "table=0,actions=learn(table=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),resubmit(,1)"
FLOOD = "table=1,priority=0,actions=FLOOD"


def _build() -> Callable[[str], dict[str, Any]]:
    netns.ip_batch("", ["netns add switch", "netns add stations"])
    names = [f"{bridge}{port}" for bridge in ("mac", "learn") for port in PORTS]
    link = "link add name {0} netns switch up type veth peer name {0} netns stations"
    netns.ip_batch("", [link.format(name) for name in names])
    netns.ip_batch("stations", [f"link set dev {name} up" for name in names])
    switch = OpenVSwitch("switch", learns=True)
    ports = {bridge: [PortSpec(f"{bridge}{port}", bridge) for port in PORTS] for bridge in ("mac", "learn")}
    switch.start([operation for bridge, of in ports.items() for operation in ovsdb.add_bridge(bridge, ports=of)])
    for flow in (LEARN, FLOOD):
        switch.ofctl("add-flow", "learn", flow)
    stations = {name: _station(name) for name in names}

    def move(how: str) -> dict[str, Any]:
        bridge, old, new, number = how.split()
        at = {port: stations[f"{bridge}{port}"] for port in PORTS}
        return {"reached": _move(at, old, new, bytes.fromhex(f"02000000aa{int(number):02x}"))}

    return move


def _station(name: str) -> socket.socket:
    with namespaces.inside(namespaces.path("stations")):
        channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        channel.bind((name, ETHERTYPE))
    channel.setblocking(False)
    return channel


def _move(at: dict[str, socket.socket], old: str, new: str, mac: bytes) -> list[str]:
    """Talk at the port ``old``, announce at ``new``; the ports at which the next frame for the station comes out."""
    for _ in range(TALK):
        _send(at[old], AT_C, mac)
        _send(at["c"], mac, AT_C)
        time.sleep(0.001)
    time.sleep(SILENCE_S)
    for port in PORTS:
        _drain(at[port])
    _send(at[new], BROADCAST, mac)
    select.select([at["c"]], [], [], 10)
    _send(at["c"], mac, AT_C, b"where are you?")
    reached: list[str] = []
    deadline = time.monotonic() + 10
    while not reached and (left := deadline - time.monotonic()) > 0:  # the announcement may come out first
        select.select([at[old], at[new]], [], [], left)
        reached = [port for port in (old, new) if any(b"where" in frame for frame in _drain(at[port]))]
    return reached


def _send(channel: socket.socket, destination: bytes, source: bytes, text: bytes = b"") -> None:
    channel.send(destination + source + ETHERTYPE.to_bytes(2) + text.ljust(46, b"\0"))


def _drain(channel: socket.socket) -> list[bytes]:
    frames = []
    while True:
        try:
            frames.append(channel.recv(2048))
        except BlockingIOError:
            return frames


@pytest.fixture(scope="module")
def move() -> Iterator[Ask]:
    """Ask with ``BRIDGE OLD NEW STATION``."""
    with standing(_build) as ask:
        yield ask


@pytest.mark.parametrize("bridge", ["mac", "learn"])
def test_a_station_that_comes_back_is_heard_at_once(move: Ask, bridge: str) -> None:
    """Cached flows of its last stay must not swallow its announcement."""
    ways = [("a", "b") if number % 2 else ("b", "a") for number in range(MOVES)]
    assert [move(f"{bridge} {old} {new} 0")["reached"] for old, new in ways] == [[new] for _, new in ways]


@pytest.mark.parametrize("bridge", ["mac", "learn"])
def test_what_a_station_sent_before_it_moved_is_not_learned_afterwards(move: Ask, bridge: str) -> None:
    """Nothing is cached of where it arrives, so the announcement is learned; the counters of its old flows are due."""
    reached = [move(f"{bridge} a b {number}")["reached"] for number in range(1, MOVES + 1)]
    assert reached == [["b"]] * MOVES
