"""Results that look like those of real runs, for tests of the reports. Nothing here was measured."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

from chimera.model.result import (
    Bum,
    Control,
    ControlMark,
    Entropy,
    Expectation,
    Header,
    LabInfo,
    LinkReport,
    Machine,
    Map,
    MapLink,
    MapNode,
    Mark,
    Migration,
    Mtu,
    NodeState,
    PathReport,
    Phase,
    Result,
    Round,
    Series,
    Timing,
    Vantage,
    Wire,
)
from chimera.report.columns import Column


def dual_dc_map() -> Map:
    """Two data centres and a client's site."""
    nodes, links = [], []
    for site, number in (("west", 1), ("east", 2)):
        nodes += [MapNode(f"r{number}", "router", site), MapNode(f"leaf{number}", "switch", site, "leaf")]
        links.append(MapLink(f"leaf{number}-r{number}", f"leaf{number}", f"r{number}"))
        for hypervisor in (f"hv{2 * number - 1}", f"hv{2 * number}"):
            nodes.append(MapNode(hypervisor, "hypervisor", site))
            links.append(MapLink(f"{hypervisor}-leaf{number}", hypervisor, f"leaf{number}"))
        nodes.append(MapNode(f"gw{number}", "gateway", site))
        links.append(MapLink(f"gw{number}-leaf{number}", f"gw{number}", f"leaf{number}"))
    for vm, hypervisor, site in (
        ("web", "hv1", "west"), ("app", "hv1", "west"), ("db", "hv2", "west"), ("peer", "hv3", "east"),
        ("cache", "hv4", "east"),
    ):  # fmt: skip
        nodes.append(MapNode(vm, "vm", site, parent=hypervisor, tenant="blue", segment="front"))
    nodes += [MapNode("r3", "router", "branch"), MapNode("client", "client", "branch")]
    links += [
        MapLink("r1-r2", "r1", "r2", "10 ms · 1 Gbit/s", inter_site=True),
        MapLink("r1-r3", "r1", "r3", "5 ms · 100 Mbit/s", inter_site=True),
        MapLink("r2-r3", "r2", "r3", "8 ms · 100 Mbit/s", inter_site=True),
        MapLink("client-r3", "client", "r3"),
    ]
    return Map(["west", "east", "branch"], nodes, links)


def fabric_map(hypervisors: int, vms_each: int, leaves: int = 4, spines: int = 2) -> Map:
    """A leaf-spine of one site."""
    nodes = [MapNode(f"spine{n + 1}", "switch", "dc", "spine") for n in range(spines)]
    nodes += [MapNode(f"leaf{n + 1}", "switch", "dc", "leaf") for n in range(leaves)]
    links = [
        MapLink(f"s{s + 1}l{n + 1}", f"spine{s + 1}", f"leaf{n + 1}", "10 Gbit/s")
        for s in range(spines)
        for n in range(leaves)
    ]
    for h in range(hypervisors):
        nodes.append(MapNode(f"hv{h + 1}", "hypervisor", "dc"))
        links.append(MapLink(f"h{h + 1}", f"hv{h + 1}", f"leaf{h * leaves // hypervisors + 1}", "10 Gbit/s"))
        nodes += [
            MapNode(f"vm{h * vms_each + v + 1}", "vm", "dc", parent=f"hv{h + 1}", tenant="t1") for v in range(vms_each)
        ]
    return Map(["dc"], nodes, links)


def phases_from(start: float, precopy_s: float, stun_ms: float) -> list[Phase]:
    """The phases of a migration whose stun starts at ``start + 0.05 + precopy_s``."""
    stun = start + 0.05 + precopy_s
    rounds = [(0.62, "128 MB"), (0.28, "61 MB"), (0.1, "9 MB")]
    phases, at = [Phase("reserve", start, start + 0.05)], start + 0.05
    for number, (share, detail) in enumerate(rounds, 1):
        phases.append(Phase(f"precopy {number}", at, at + share * precopy_s, detail))
        at += share * precopy_s
    end = stun + stun_ms / 1000
    return [
        *phases,
        Phase("stun", stun, end, "0.4 MB of last dirty pages"),
        Phase("move", stun + 0.008, end - 0.004),
        Phase("resume", end - 0.004, end),
        Phase("announce", end, end + 0.003, "RARP, 3 copies"),
    ]


def vantage(
    name: str,
    relation: str,
    rtt: tuple[float, float],
    window: tuple[float, float],
    gap: tuple[float, float],
    stun: float,
) -> Vantage:
    """Probes at 1 kHz over ``window``, all lost that would arrive inside ``gap``, slower right after it."""
    rng = random.Random(name + str(gap))
    sent, times = [], []
    at, duration = window[0], (gap[1] - gap[0]) * 1000
    while at < window[1]:
        lost = gap[0] < at < gap[1]
        base = rtt[0] if at <= gap[0] else rtt[1]
        queue = max(0.0, 30 - (at - gap[1]) * 400) if at >= gap[1] else 0.0
        sent.append(round(at, 6))
        times.append(None if lost else round(base + rng.expovariate(4 / max(base, 0.1)) * 0.3 + queue, 4))
        at += 0.001
    lost_count = sum(t is None for t in times)
    return Vantage(
        name, relation, stun, duration, duration - stun, len(sent), lost_count, 0, 0, 1.0, gap[0], gap[1],
        Series(sent, times), 1.5, 1.1, 0.0,
    )  # fmt: skip


def migration(number: int, start: float, source: str, destination: str, slower: float = 0.0) -> Migration:
    """One successful migration of ``web`` with three vantage points."""
    precopy, stun = 1.84, 38.4
    freeze = start + 0.05 + precopy
    window = (start - 0.5, freeze + 1.2)
    there = [
        ("peer", "remote", 20.4, 0.31, 6.1),
        ("app", "neighbour", 0.18, 20.6, 11.9),
        ("client", "client", 10.5, 16.7, 14.2),
    ]
    points = []
    for name, relation, before, after, added in there:
        rtt = (before, after) if number == 1 else (after, before)
        gap = (freeze + 0.0004, freeze + (stun + added + slower) / 1000)
        points.append(vantage(name, relation, rtt, window, gap, stun))
    return Migration(
        "web", source, destination, start, precopy, stun,
        max(v.outage_ms for v in points), max(v.network_outage_ms for v in points),
        sum(v.probes_sent for v in points), sum(v.probes_lost for v in points), 0, 0, True,
        rounds=[Round(1, 128, 1.14, 898), Round(2, 61, 0.52, 938), Round(3, 9, 0.08, 900)],
        phases=phases_from(start, precopy, stun),
        vantage_points=points,
        resolution_ms=1.5,
        machine_stall_ms=1.1,
        leaked=0,
    )  # fmt: skip


def paths() -> list[PathReport]:
    """Three flows at three moments."""
    client = ["client", "r3", "r1", "leaf1"]
    found = []
    for when, home in (("before", True), ("after migration 1", False), ("after migration 2", True)):
        to_web = ["leaf1", "hv1", "web"] if home else ["leaf1", "r1", "r2", "leaf2", "hv4", "web"]
        found += [
            PathReport("peer", "web", when, 20.4 if home else 0.31, 2 if home else 0,
                       ["peer", "hv3", "leaf2", *(["r2", "r1", "leaf1", "hv1"] if home else ["hv4"]), "web"], 812.5, 9),
            PathReport("app", "web", when, 0.18 if home else 20.6, 0 if home else 2,
                       ["app", "hv1", *([] if home else to_web[:-1]), "web"], 930.1, 200),
            PathReport("client", "web", when, 10.5 if home else 30.9, 2 if home else 4,
                       [*client, "gw1", *to_web], 92.0, 200),
        ]  # fmt: skip
    return found


def vxlan_wire() -> Wire:
    """A VM's ping in VXLAN."""
    return Wire(
        ["eth", "ip", "udp", "vxlan", "eth", "ip", "icmp"],
        50,
        [
            Header("eth", 14, {"src": "02:00:00:00:01:01", "dst": "02:00:00:00:01:fe", "type": "0x0800"}),
            Header("ip", 20, {"src": "10.255.0.1", "dst": "10.255.0.3", "ttl": "64", "proto": "17"}),
            Header("udp", 8, {"sport": "49877", "dport": "4789"}),
            Header("vxlan", 8, {"vni": "10001", "flags": "0x08"}),
            Header("eth", 14, {"src": "02:00:00:00:10:01", "dst": "02:00:00:00:10:04", "type": "0x0800"}),
            Header("ip", 20, {"src": "192.168.10.1", "dst": "192.168.10.4", "ttl": "64"}),
            Header("icmp", 8, {"type": "8", "code": "0"}),
        ],
        "r1-r2", 412, 98, 148,
    )  # fmt: skip


def vmotion(overlay: str = "vxlan", mode: str = "controller", slower: float = 0.0) -> Result:
    """There and back over the WAN, three vantage points, all expectations met."""
    moves = [migration(1, 2.2, "hv1", "hv4", slower), migration(2, 7.4, "hv4", "hv1", slower)]
    marks = [
        ControlMark(m.phases[-1].end_s + offset, kind, node, 96)
        for m in moves
        for offset, kind, node in (
            (-1.5, "echo_request", "hv2"), (-0.004, "port_status", "hv4"), (-0.003, "flow_mod", "hv4"),
            (-0.002, "flow_mod", "hv3"), (-0.001, "flow_mod", "hv1"), (0.0, "packet_in", "hv4"),
        )
    ]  # fmt: skip
    asked = {"delay_ms": 10.0, "bandwidth_mbps": 1000.0}
    names = ["hv1", "hv2", "hv3", "hv4", "gw1", "gw2"]
    return Result(
        LabInfo("vmotion", "dual-dc", overlay, "userspace", "0.1.0", {"mode": mode, "gateway": "central"},
                "2026-01-02T03:04:05Z", "6.18.0 x86_64", "delay line"),
        Timing(1.32, 11.8, 0.21),
        [
            LinkReport("r1-r2", "r1->r2", asked, {"delay_ms": 10.21, "bandwidth_mbps": 962.4}, "ping"),
            LinkReport("r1-r2", "r2->r1", asked, {"delay_ms": 10.19, "bandwidth_mbps": None}, "ping"),
            LinkReport("r1-r3", "r1->r3", {"delay_ms": 5.0}, {"delay_ms": 5.1}, "ping"),
        ],
        moves, paths(), vxlan_wire(),
        bum=Bum(14, 9, 0, 5, 0),
        control=Control({"flow_mod": 182, "port_status": 12, "packet_in": 41, "packet_out": 39}, 48_210, marks),
        state={name: NodeState(41, 5, 5, 3) for name in names},
        expectations=[
            Expectation("two migrations succeeded", True, "2 of 2"),
            Expectation("every TCP session survived", True, "2 of 2"),
            Expectation("network outage at most one WAN round trip plus 10 ms", True, "14.2 ms ≤ 30.4 ms"),
        ],
        notes=[
            "client traffic goes through gw1 in west even while web is in east: the trombone costs 20 ms a round trip.",
        ],
        marks=[Mark(5.1, "traffic from app to web started")],
        captures=["r1-r2.pcapng"],
        map=dual_dc_map(),
        machine=Machine(2, 71.0, 2.4, 0.0, 55.0, 0.2, 3.1, 1.1),
    )  # fmt: skip


def busy(whole: Result) -> Result:
    """The same on a machine that had too much else to do."""
    reasons = ["other processes used 61 % of its 2 processors", "12.0 % of the frames left their delay line late"]
    return replace(whole, machine=Machine(2, 99.8, 61.0, 0.0, 99.0, 12.0, 88.0, 1.1, reasons))


def impossible(whole: Result) -> Result:
    """The same with a vantage point that noticed less silence than there was stun."""
    first, *others = whole.migrations
    point = replace(first.vantage_points[0], outage_ms=30.0, network_outage_ms=-8.4)
    return replace(whole, migrations=[replace(first, vantage_points=[point, *first.vantage_points[1:]]), *others])


def aborted() -> Result:
    """A WAN cut during pre-copy: the VM stayed."""
    whole = vmotion()
    first = whole.migrations[0]
    stayed = replace(
        first, stun_ms=0.0, outage_ms=None, network_outage_ms=None, tcp_survived=None,
        aborted="link r1-r2 was cut in pre-copy round 2",
        phases=[*first.phases[:3], Phase("abort", 3.5, 3.52, "rolled back")], vantage_points=[],
    )  # fmt: skip
    return replace(
        whole, migrations=[stayed], marks=[Mark(3.45, "link r1-r2 cut"), Mark(6.0, "link r1-r2 restored")],
        paths=whole.paths[:3],
        expectations=[Expectation("web runs at hv1", True, "hv1"), Expectation("the WAN is back", False, "no answer")],
    )  # fmt: skip


def bare() -> Result:
    """The least a result can be."""
    return Result(LabInfo("ping", "rack", "vlan", "userspace", "0.1.0"), Timing(0.4, 1.0, 0.1))


# headers in front of a VM's frame, or in front of its IP packet
FRONTS = {
    "vlan": (("eth", 14), ("vlan", 4)),
    "vxlan": (("eth", 14), ("ip", 20), ("udp", 8), ("vxlan", 8), ("eth", 14)),
    "vxlan mode=flood": (("eth", 14), ("ip", 20), ("udp", 8), ("vxlan", 8), ("eth", 14)),
    "mpls": (("eth", 14), ("ip", 20), ("udp", 8), ("mpls", 4), ("pwcw", 4), ("eth", 14)),
    "mpls wire=gre": (("eth", 14), ("ip", 20), ("gre", 4), ("mpls", 4), ("pwcw", 4), ("eth", 14)),
    "lisp": (("eth", 14), ("ip", 20), ("udp", 8), ("lisp", 8)),
    "otv": (("eth", 14), ("ip", 20), ("udp", 8), ("otv", 8), ("eth", 14)),
    "trill": (("eth", 14), ("trill", 6), ("eth", 14), ("vlan", 4)),
    "fabricpath": (("fabricpath", 16), ("eth", 14)),
}
SLOWER_MS = (40, 0, 33, 1.5, 1.2, 3, 1, 12, 9)  # than vxlan's network outage


@cache
def over(name: str, slower: float = 0.0) -> Result:
    """:func:`vmotion` over an overlay as a comparison names it, with its own frames, floods, state and entropy."""
    overlay, *options = name.split(" ")
    whole = vmotion(overlay, slower=slower)
    front = [Header(header, length) for header, length in FRONTS[name]]
    added, learns = sum(h.length_bytes for h in front) - 14, name in ("vlan", "vxlan mode=flood")
    set_to = {"mode": "controller"} | dict(option.split("=") for option in options)
    macs, fabric = 12 if overlay == "vlan" else 0, 8 if overlay in ("trill", "fabricpath") else 0
    core = {name: NodeState(0, macs, 0, 9, fabric) for name in ("r1", "r2", "r3", "leaf1", "leaf2")}
    by_path = {"by spine1": 100} if name in ("vlan", "mpls wire=gre") else {"by spine1": 53, "by spine2": 47}
    return replace(
        whole, lab=replace(whole.lab, options=set_to), mtu=Mtu(1600, 1500, added, 1600 - added),
        wire=Wire([h.name for h in front], added, [*front, Header("ip", 20)], "r1-r2", 1000, 98, 98 + added),
        entropy=Entropy("web", "peer", 100, 2, len(by_path), by_path),
        bum=Bum(140, 120, 15, 5, 0) if learns else Bum(0, 0, 0, 0, 0),
        state=whole.state | core,
    )  # fmt: skip


def comparison() -> list[Column]:
    """Every overlay, one that could not run, and one that missed an expectation."""
    columns = [
        Column(name, over(name, slower), link=f"{name.replace(' ', '-')}/report.html")
        for name, slower in zip(FRONTS, SLOWER_MS, strict=True)
    ]
    lacks = (
        "this overlay's frames need an eBPF translator: clang is not installed\n  to fix: apt-get install clang"
    )
    last = columns[-1].result
    assert last
    missed = Expectation("network outage at most one WAN round trip plus 1 ms", False, "22.8 ms > 21 ms")
    columns[-1] = columns[-1]._replace(result=replace(last, expectations=[*last.expectations[:2], missed]))
    return [*columns[:5], Column("mpls wire=ip", failure=lacks), *columns[5:]]
