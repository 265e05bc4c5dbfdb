"""Figures of many flows: which equal-cost paths they took, and what ended those that circled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

import pytest
from scapy.all import ICMP, IP, UDP, VXLAN, Ether
from underlays import shipped

from chimera.measure.entropy import paths_used
from chimera.measure.loops import Circle, limit, loop, loops
from chimera.measure.volley import FIRST_FLOW
from chimera.model.samples import ProbeRecord, ProbeStream, Window
from chimera.model.topology import Link
from chimera.underlay.ways import equal_ways
from chimera.wire.formats import TRILL, FabricPath
from chimera.wire.pcapng import Frame, write_header
from chimera.wire.probe import ANSWER, MAGIC, PROBE, REQUEST

CLOS, DUAL = shipped("leaf-spine"), shipped("dual-dc")
WAYS = equal_ways(CLOS, "hv1", "hv8")
FLOWS = range(FIRST_FLOW, FIRST_FLOW + 10)
VM = Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b") / IP(src="10.1.0.1", dst="10.1.0.2") / UDP(dport=7010)
OUTER = Ether(src="02:aa:00:00:00:01", dst="02:aa:00:00:00:02")


def packet(flow: int, sequence: int = 1, direction: int = REQUEST, ttl: int = 64) -> Ether:
    inside = VM / PROBE.pack(MAGIC, FIRST_FLOW + flow, sequence, direction, 1, 2)
    return OUTER / IP(src="192.0.2.1", dst="192.0.2.2", ttl=ttl) / UDP(dport=4789) / VXLAN(vni=5) / inside


def frame(data: Ether, at: str, t: float = 1.0, inbound: bool = True) -> Frame:
    return Frame(t, bytes(data), len(data), at, inbound)


# -- entropy -----------------------------------------------------------------------------------


Seen = Iterator[tuple[Link, Frame]]


def sent(flow: int, *way: str, sequence: int = 1, direction: int = REQUEST) -> Seen:
    """A probe on its way from node to node, as the links carried it."""
    for pair in pairwise(way):
        (link,) = (k for k in CLOS.links if {k.a.node, k.b.node} == set(pair))
        yield link, frame(packet(flow, sequence, direction), str(link.b))


def carried(*journeys: Seen) -> dict[Link, list[Frame]]:
    """The frames of each link."""
    seen: dict[Link, list[Frame]] = {}
    for link, found in chain(*journeys):
        seen.setdefault(link, []).append(found)
    return seen


def test_a_flow_counts_once_for_the_path_that_most_of_its_probes_took() -> None:
    seen = carried(
        *(sent(flow, "hv1", "leaf1", "spine2", "leaf4", "hv8") for flow in (0, 1, 2)),
        sent(3, "hv1", "leaf1", "spine1", "leaf4", "hv8"),
        *(sent(3, "hv1", "leaf1", "spine2", "leaf4", "hv8", sequence=n) for n in (2, 3)),
        sent(4, "hv1", "leaf1", "spine1", "leaf4", "hv8"),
    )
    assert paths_used(seen, FLOWS, WAYS) == {"spine2": 4, "spine1": 1}


def test_only_what_was_sent_counts() -> None:
    seen = carried(
        sent(0, "hv1", "leaf1", "spine1", sequence=0),  # warm-up
        sent(1, "hv1", "leaf1", "spine1", direction=ANSWER),
        sent(50, "hv1", "leaf1", "spine1"),  # somebody else's
    )
    assert paths_used(seen, FLOWS, WAYS) == {}


# -- loops -------------------------------------------------------------------------------------


def circle(again: bool | None = True) -> Circle:
    vm, sender = DUAL.vm("web1"), DUAL.vm("web4")
    location = {v.name: v.hypervisor for v in DUAL.vms}
    return Circle(sender, vm, "r1", "wan", "hv1", Path("/x"), FLOWS, 1, Window(10, 20), location, again)


def crossings(flow: int, ttl: int) -> Iterator[Frame]:
    """A probe that goes to and fro until its time to live is over; each crossing is seen at both ends."""
    for step, left in enumerate(range(ttl, 0, -1)):
        ends = ("r1:wan", "r2:wan")[:: -1 if step % 2 else 1]
        yield frame(packet(flow, ttl=left), ends[0], 1 + step / 100, False)
        yield frame(packet(flow, ttl=left), ends[1], 1.01 + step / 100, True)


def test_each_crossing_counts_once_and_the_limit_is_that_of_the_first_sighting() -> None:
    found = loop([*crossings(0, 60), *crossings(1, 62), *crossings(2, 10)], circle())
    assert (found.limit, found.started_at) == ("ttl", 62)
    assert (found.frames, found.crossings_median, found.crossings_most) == (3, 60, 62)
    assert (found.probes_sent, found.probes_arrived, found.reachable_after) == (10, 1, True)


def test_an_icmp_error_about_a_probe_is_no_crossing() -> None:
    error = OUTER / IP(src="192.0.2.9", dst="192.0.2.1") / ICMP(type=11) / packet(0).payload
    found = loop([*crossings(0, 5), frame(error, "r2:wan", 2.0)], circle())
    assert found.crossings_most == 5


def test_nothing_circled_is_said_as_it_is() -> None:
    found = loop([], circle(again=None))
    assert (found.frames, found.crossings_median, found.crossings_most) == (0, None, None)
    assert (found.limit, found.started_at, found.reachable_after) == ("", None, None)


@pytest.mark.parametrize(
    ("outside", "expected"),
    [
        (OUTER / IP(ttl=61) / UDP(dport=4789) / VXLAN(vni=5), ("ttl", 61)),
        (Ether(type=0x22F3) / TRILL(hops=17, egress=0x1001, ingress=0x1002), ("hop count", 17)),
        (FabricPath(ttl=9), ("ttl", 9)),
    ],
)
def test_the_outermost_header_limits(outside: Ether, expected: tuple[str, int]) -> None:
    assert limit(bytes(outside / VM)) == expected


def stream(vantage: str, target: str, lost: int) -> ProbeStream:
    """Ten probes in the window and one after it; the last ones are lost."""
    records = [ProbeRecord(n, 10 + n, (10.1 + n,) if n < 10 - lost else ()) for n in range(10)]
    return ProbeStream(1, vantage, target, "remote", 1000, [*records, ProbeRecord(11, 21, ())])


def test_bystanders_are_those_with_no_end_at_the_looped_hypervisor(tmp_path: Path) -> None:
    write_header(tmp_path / "wan", [], {})
    streams = [stream("web4", "web3", 2), stream("web4", "web1", 9), stream("web2", "web3", 9)]
    (found,) = loops([replace(circle(), capture=tmp_path / "wan")], streams)
    assert (found.bystanders_sent, found.bystanders_lost) == (10, 2)
