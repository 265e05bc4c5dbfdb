"""TRILL and FabricPath on a leaf-spine fabric: equal-cost paths, trees, counters, and what a cut cable does to them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import pytest
from lab_spy import Seen, Spy, interrupted, spying
from lab_support import needs_lab
from running_lab import Ping, RunningLab, up
from wire_labs import EXPERIMENTAL, ipv4, mac, needs_translators

pytestmark = [*needs_lab, needs_translators]

TOPOLOGY = """
name: two-trees
leaf_spine: {spines: 2, leaves: 4, hypervisors_per_leaf: 2, vms_per_hypervisor: 2, segments: 2}
"""
TYPES = {"trill": b"\x22\xf3", "fabricpath": b"\x89\x03"}
SPINES, LEAVES = ("spine1", "spine2"), ("leaf1", "leaf2", "leaf3", "leaf4")
MARK = b"one of ours"
FLOWS, COPIES = 200, 40
LOST_AT_MOST = 20  # of pings 50 ms apart, over a cut and a repair on a busy machine


@dataclass(frozen=True)
class Made:
    """A fabric that is up."""

    overlay: str
    lab: RunningLab
    spy: Spy

    @cached_property
    def members(self) -> dict[str, list[str]]:
        """VMs of each segment, in order."""
        found: dict[str, list[str]] = {}
        for name, endpoint in self.lab.endpoints.items():
            found.setdefault(endpoint["segment"], []).append(name)
        return found

    @property
    def pair(self) -> tuple[str, str]:
        """Two VMs of a segment under different leaves: the first and the last."""
        vms = next(iter(self.members.values()))
        return vms[0], vms[-1]

    def host(self, vm: str) -> str:
        return str(self.lab.endpoints[vm]["hypervisor"])

    def counters(self) -> dict[str, dict[str, int]]:
        return {name: dict(node["counters"]) for name, node in self.lab.inspect()["fabric"].items()}

    def flows(self) -> list[bytes]:
        """Datagrams of many flows between the pair, which nobody answers: their checksums are wrong."""
        source, target = self.pair
        ends = mac(self.spy.macs[target]["eth0"]) + mac(self.spy.macs[source]["eth0"]) + b"\x08\x00"
        at = self.lab.address(source), self.lab.address(target)
        length, checksum = (8 + len(MARK)).to_bytes(2), b"\0\1"
        return [
            ends + ipv4(*at, 17, (20000 + n).to_bytes(2) + b"\0\x07" + length + checksum + MARK) for n in range(FLOWS)
        ]

    def fired(self, vm: str, frames: list[bytes], arrivals: int) -> list[Seen]:
        """What everybody sees of frames: until so many arrived at VMs, and a while for more."""
        self.spy.take()
        self.spy.send(vm, *frames, gap_s=0.001)
        found = self.spy.take_until(lambda seen: len(at_vms(marked(seen))) >= arrivals)
        return marked(found + self.spy.take_until(lambda seen: False, 0.2))

    def on_the_wire(self, seen: list[Seen], node: str) -> list[Seen]:
        """Frames of the fabric that come in at a node."""
        return [s for s in seen if s.node == node and s.direction == "in" and s.frame[12:14] == TYPES[self.overlay]]


def marked(seen: list[Seen]) -> list[Seen]:
    return [s for s in seen if MARK in s.frame]


def at_vms(seen: list[Seen]) -> list[Seen]:
    return [s for s in seen if s.node.startswith("vm") and s.direction == "in"]


def hops_left(frame: bytes) -> int:
    """The last six bits behind the EtherType: both formats have them there."""
    return frame[15] & 0x3F


@pytest.fixture(scope="module", params=TYPES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    path = tmp_path_factory.mktemp("fabric") / "two-trees.yaml"
    path.write_text(TOPOLOGY)
    vms = [f"vm{n}" for n in range(1, 17)]
    with up(str(path), "--overlay", request.param) as lab, spying(lab, [*SPINES, *LEAVES, *vms]) as spy:
        found = Made(request.param, lab, spy)
        assert sorted(v for vms in found.members.values() for v in vms) == sorted(vms)
        assert lab.ping(*found.pair, 2).received
        yield found


@contextmanager
def cut(lab: RunningLab, link: str) -> Iterator[None]:
    """A cable that is cut meanwhile."""
    lab("link", link, "cut")
    try:
        yield
    finally:
        lab("link", link, "restore")


def link_between(lab: RunningLab, *nodes: str) -> str:
    links = lab.json("inspect", nodes[0])["links"]
    return str(next(k["link"] for k in links if {end.partition(":")[0] for end in k["ends"]} == set(nodes)))


def shared(made: Made) -> tuple[Counter[str], list[Seen]]:
    """How many of many flows each spine carries; all of them arrive, once."""
    sent = made.flows()
    seen = made.fired(made.pair[0], sent, FLOWS)
    assert sorted(s.frame for s in at_vms(seen)) == sorted(sent)
    assert {s.node for s in at_vms(seen)} == {made.pair[1]}
    return Counter({spine: len(made.on_the_wire(seen, spine)) for spine in SPINES}), seen


def everybody_once(made: Made, segment: str, sender: str) -> list[Seen]:
    """Numbered broadcasts of one VM reach each other VM of its segment once, in order, and no other segment's."""
    start = b"\xff" * 6 + mac(made.spy.macs[sender]["eth0"]) + EXPERIMENTAL.to_bytes(2) + bytes(50) + MARK
    frames = [start + n.to_bytes(2) for n in range(COPIES)]
    others = [vm for vm in made.members[segment] if vm != sender]
    seen = made.fired(sender, frames, COPIES * len(others))
    for vm in others:
        assert [s.frame for s in at_vms(seen) if s.node == vm] == frames, f"{vm} of {segment}"
    assert {s.node for s in at_vms(seen)} == set(others)
    return seen


def no_fault(before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> None:
    """No node counted a frame that should not have been where it was."""
    for what in ("hops used up", "no way", "wrong path", "malformed"):
        assert {node: after[node][what] - before[node][what] for node in after} == dict.fromkeys(after, 0), what


def test_flows_share_the_spines_and_counters_add_up(made: Made) -> None:
    before = made.counters()
    used, _ = shared(made)
    after = made.counters()
    assert sum(used.values()) == FLOWS and min(used.values()) > FLOWS / 5

    def counted(node: str, what: str) -> int:
        return after[node][what] - before[node][what]

    first, last = map(made.host, made.pair)
    assert counted(first, "passed on") >= FLOWS <= counted(last, "delivered")
    through = {spine: counted(spine, "passed on") for spine in SPINES}
    assert all(0 <= through[spine] - used[spine] <= 5 for spine in SPINES), (through, used)
    for leaf in ("leaf1", "leaf4"):
        assert FLOWS <= counted(leaf, "passed on") <= FLOWS + 10
    for leaf in ("leaf2", "leaf3"):
        assert counted(leaf, "passed on") <= 10
    no_fault(before, after)


@pytest.mark.smoke
def test_rbridges_take_a_hop_and_bridges_none(made: Made) -> None:
    """TRILL's leaves are Ethernet bridges between RBridges; FabricPath's are switches of the fabric."""
    _, seen = shared(made)
    places = (("leaf1", "in"), ("spine1", "in"), ("leaf4", "in"), ("leaf4", "out"))
    hops = [{hops_left(s.frame) for s in seen if (s.node, s.direction) == place} for place in places]
    expected = (32, 32, 31, 31) if made.overlay == "trill" else (32, 31, 30, 29)
    assert hops == [{n} for n in expected]


def test_a_broadcast_reaches_every_member_once_on_the_tree_of_its_segment(made: Made) -> None:
    """One frame leaves the sender's hypervisor, and two segments use two trees."""
    trees = set()
    for segment, vms in made.members.items():
        for sender in (vms[0], vms[-1]):
            seen = everybody_once(made, segment, sender)
            leaf = "leaf1" if sender == vms[0] else "leaf4"
            sent = [s for s in made.on_the_wire(seen, leaf) if hops_left(s.frame) == 32]
            assert len(sent) == COPIES
            identifying = slice(16, 18) if made.overlay == "trill" else slice(14, 16)
            trees |= {s.frame[identifying] for s in sent}
    assert len(trees) == 2


def test_what_a_spine_hears_of_another_tree_is_no_fault(made: Made) -> None:
    """On a LAN of TRILL's the spine that a tree does not pass hears its frames too (RFC 6325 section 4.5.2)."""
    before = made.counters()
    everybody_once(made, *next((segment, vms[0]) for segment, vms in made.members.items()))
    after = made.counters()
    no_fault(before, after)
    overheard = sum(after[spine]["no tree adjacency"] - before[spine]["no tree adjacency"] for spine in SPINES)
    assert overheard >= COPIES if made.overlay == "trill" else overheard == 0


def test_a_cut_cable_is_gone_around_and_used_again_when_repaired(made: Made) -> None:
    lab, (source, target) = made.lab, made.pair
    ping = lab.start(source, "ping", "-n", "-i", "0.05", "-w", "60", lab.address(target))
    try:
        time.sleep(0.3)
        with cut(lab, link_between(lab, "leaf1", "spine1")):
            used, _ = shared(made)
            assert used == {"spine1": 0, "spine2": FLOWS}
            for segment, vms in made.members.items():
                everybody_once(made, segment, vms[0])
                everybody_once(made, segment, vms[-1])
        used, _ = shared(made)
        assert min(used.values()) > FLOWS / 5
        for segment, vms in made.members.items():
            everybody_once(made, segment, vms[0])
    finally:
        ping.terminate()
        said, _ = ping.communicate(timeout=10)
    counted = Ping.read(interrupted(said))
    assert counted.received > 20 and counted.lost <= LOST_AT_MOST, said[-200:]
