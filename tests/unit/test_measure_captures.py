"""Figures from captured frames: crossings, hops, header stacks, flooding; frames written by Scapy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from scapy.all import ARP, GRE, ICMP, IP, LLC, STP, TCP, UDP, VXLAN, Dot1Q, Dot3, Ether, IPv6
from scapy.packet import Packet

from chimera.measure.bum import UNDECODED, Located, Toward, addressee, copies, toward_edge, toward_side
from chimera.measure.paths import WanCrossings, count_crossings, hops, wan_crossings
from chimera.measure.wire_stack import wire
from chimera.model.result import Bum
from chimera.model.samples import ProbeRecord, ProbeStream, Window
from chimera.wire.formats import LISP
from chimera.wire.headers import carried
from chimera.wire.pcapng import Frame
from chimera.wire.probe import MAGIC, PROBE
from tests.wire_frames import arp_frame, fabricpath, outer, trill, udp, wires
from tests.wire_frames import vm_frame as probe_frame

VM_A, VM_B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
ALL_TIME = Window(0, 100)
ENDS = {IP: {"src": "10.1.0.1", "dst": "10.1.0.2"}, IPv6: {"src": "fd00::1", "dst": "fd00::2"}}


def eth(dst: str = "02:aa:00:00:00:02") -> Ether:
    """Both addresses given: Scapy would ask the machine's network for them."""
    return Ether(src="02:aa:00:00:00:01", dst=dst)


def vm_frame(sequence: int = 0, direction: int = 0, flow: int = 7, dst: str = VM_B, ip: type = IP) -> Ether:
    return (
        Ether(src=VM_A, dst=dst) / ip(**ENDS[ip]) / UDP(dport=7000) / PROBE.pack(MAGIC, flow, sequence, direction, 1, 2)
    )


def vxlan(vm: Ether, vtep: str = "192.0.2.2") -> Ether:
    return eth() / IP(src="192.0.2.1", dst=vtep) / UDP(dport=4789) / VXLAN(vni=5) / vm


def vlan(vm: Ether) -> Ether:
    return Ether(src=vm.src, dst=vm.dst) / Dot1Q(vlan=100) / vm.payload


def frame(packet: Ether, t: float = 1.0, interface: str = "r1:wan", inbound: bool | None = True) -> Frame:
    data = bytes(packet)
    return Frame(t, data, len(data), interface, inbound)


# -- paths ---------------------------------------------------------------------------------


def stream(answered: range, sent: range) -> ProbeStream:
    records = [ProbeRecord(n, n / 10, (n / 10 + 0.02,) if n in answered else ()) for n in sent]
    return ProbeStream(7, "vm9", "vm1", "remote", 100, records)


def test_a_request_and_its_answer_cross_once_each() -> None:
    frames = [frame(vxlan(vm_frame(n, d))) for n in range(10) for d in (0, 1)]
    counted = count_crossings(
        [*frames, frame(eth() / ARP(psrc="192.0.2.1", hwsrc=VM_A)), frame(vxlan(vm_frame(3, flow=8)))]
    )
    assert wan_crossings(counted, stream(range(10), range(10)), ALL_TIME) == WanCrossings(2.0, 10)


def test_a_trombone_crosses_four_times_and_one_odd_probe_does_not_matter() -> None:
    frames = [frame(vxlan(vm_frame(n, d))) for n in range(9) for d in (0, 1, 0, 1)]
    assert wan_crossings(count_crossings(frames), stream(range(10), range(10)), ALL_TIME) == WanCrossings(4.0, 10)


def test_a_local_path_crosses_zero_times_and_only_answered_probes_are_looked_at() -> None:
    assert wan_crossings({}, stream(range(5), range(10)), ALL_TIME) == WanCrossings(0.0, 5)
    assert wan_crossings({}, stream(range(0), range(10)), ALL_TIME) is None


def sightings(sequence: int, way: list[str]) -> Iterator[Frame]:
    for step, node in enumerate(way):
        yield frame(vxlan(vm_frame(sequence)), sequence + step * 1e-5, f"{node}:eth0", step % 2 == 1)


def test_hops_are_the_nodes_in_the_order_of_time_as_most_probes_went() -> None:
    usual, odd = ["hv1", "leaf1", "leaf1", "r1", "hv3"], ["hv1", "leaf2", "hv3"]
    frames = [f for n in range(3) for f in sightings(n, odd if n == 0 else usual)]
    assert hops(reversed(frames), 7, ALL_TIME) == ["hv1", "leaf1", "r1", "hv3"]
    assert hops(frames, 7, ALL_TIME, direction=1) == []


# -- wire ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "stack", "overhead"),
    [
        (vxlan(vm_frame()), ["eth", "ip", "udp", "vxlan", "eth"], 50),
        (vxlan(vm_frame(ip=IPv6)), ["eth", "ip", "udp", "vxlan", "eth"], 50),
        (vlan(vm_frame()), ["eth", "vlan"], 4),
        (vm_frame(), ["eth"], 0),
    ],
)
def test_the_stack_and_its_overhead(packet: Ether, stack: list[str], overhead: int) -> None:
    found = wire([frame(eth() / ARP(psrc="192.0.2.1", hwsrc=VM_A)), frame(packet), frame(packet)], "wan")
    assert (found.stack, found.overhead_bytes, found.frames, found.link) == (stack, overhead, 2, "wan")
    assert found.wire_frame_bytes == len(bytes(packet)) == found.vm_frame_bytes + overhead
    assert [h.name for h in found.headers][-1] == "udp"


@pytest.mark.parametrize("wire_format", wires(probe_frame()))
def test_every_overlays_overhead_comes_out_of_a_capture(wire_format: str) -> None:
    packet, overhead = wires(probe_frame())[wire_format]
    found = wire([frame(packet)], "wan")
    assert (found.overhead_bytes, found.vm_frame_bytes) == (overhead, 106)
    assert sum(h.length_bytes for h in found.headers) == len(bytes(packet)) - 64


def test_a_capture_without_probes_says_nothing() -> None:
    found = wire([frame(eth() / ARP(psrc="192.0.2.1", hwsrc=VM_A))], "wan")
    assert (found.stack, found.overhead_bytes, found.frames) == ([], None, 0)


# -- broadcast, unknown unicast, multicast -------------------------------------------------


def bum(frames: Iterable[Frame], toward: Toward, located: Located, endpoints: Iterable[str] = ()) -> Bum:
    found = copies(frames, toward, located, {*endpoints})
    counts = (found[kind] for kind in ("broadcast", "unknown_unicast", "multicast"))
    return Bum(found.total() - found[UNDECODED], *counts, undecoded=found[UNDECODED])


def at_vtep(mac: str, t: float) -> set[str]:
    return {VM_B: {"192.0.2.2"}, VM_A: {"192.0.2.1"}}.get(mac, set())


def test_copies_count_by_the_vms_destination() -> None:
    frames = [
        frame(vxlan(eth("ff:ff:ff:ff:ff:ff") / ARP(psrc="192.0.2.1", hwsrc=VM_A))),
        frame(vxlan(eth("33:33:00:00:00:01") / IPv6(**ENDS[IPv6]))),
        frame(vxlan(vm_frame())),  # to the VTEP that has the VM
        frame(vxlan(vm_frame(), "192.0.2.9")),  # a flooded copy, to one that has not
        frame(vxlan(vm_frame(dst="02:00:00:00:00:99"))),  # to a MAC that is nowhere
    ]
    found = bum(frames, toward_edge, at_vtep)
    assert (found.broadcast, found.multicast, found.unknown_unicast, found.wan_frames) == (1, 1, 2, 4)


def test_the_underlays_own_frames_are_not_counted() -> None:
    frames = [
        frame(eth("ff:ff:ff:ff:ff:ff") / ARP(psrc="192.0.2.1", hwsrc=VM_A)),
        frame(eth("01:80:c2:00:00:0e") / IP(**ENDS[IP]) / TCP()),
        frame(Dot3(src=VM_A, dst="01:80:c2:00:00:00") / LLC() / STP()),
        frame(eth() / IP(**ENDS[IP], proto=89) / (b"\2\1" + bytes(42))),  # OSPF
        frame(eth() / IP(**ENDS[IP]) / ICMP(type=11) / vm_frame().payload),  # an error that quotes a probe
        frame(eth() / vm_frame().payload),  # a probe of a client, which is not tunnelled
        frame(eth() / IP(**ENDS[IP], frag=100) / bytes(40)),
    ]
    found = bum(frames, toward_edge, at_vtep)
    assert (found.wan_frames, found.undecoded) == (0, 0)


@pytest.mark.parametrize(
    "unknown",
    [
        eth() / IP(**ENDS[IP]) / UDP(dport=7471) / (bytes(18) + bytes(vm_frame())),  # STT's port, over UDP
        eth() / IP(**ENDS[IP], proto=115) / (bytes(4) + bytes(vm_frame(dst="ff:ff:ff:ff:ff:ff"))),  # L2TPv3
        Ether(src=VM_A, dst=VM_B, type=0x88E7) / (bytes(4) + bytes(vm_frame())),  # provider backbone bridging
        eth() / IP(**ENDS[IP]) / UDP(dport=4789) / bytes(vxlan(vm_frame()))[42:54],  # nothing whole within
        eth() / IP(**ENDS[IP]) / GRE(proto=0x9999) / bytes(40),
    ],
)
def test_a_format_that_is_not_known_is_not_counted_as_nothing(unknown: Packet) -> None:
    found = bum([frame(vxlan(vm_frame())), frame(unknown)], toward_edge, at_vtep)
    assert (found.wan_frames, found.undecoded) == (0, 1)


def test_what_tunnel_endpoints_tell_each_other_is_not_counted_as_nothing() -> None:
    """A VM's broadcast has no probe in it by which it could be found."""
    vteps = ("192.0.2.1", "192.0.2.2")
    unknown = outer() / UDP(dport=7784) / (bytes(16) + bytes(arp_frame()))
    others = [outer(dst) / UDP(dport=port) / bytes(40) for dst, port in (("192.0.2.9", 7784), (vteps[1], 3784))]
    assert bum([frame(p) for p in (unknown, *others)], toward_edge, at_vtep, vteps).undecoded == 1


def test_the_stack_of_an_unknown_format_ends_with_a_word_for_it() -> None:
    unknown = eth() / IP(**ENDS[IP]) / UDP(dport=7471) / (bytes(18) + bytes(vm_frame()))
    assert wire([frame(unknown)], "wan").stack == ["eth", "ip", "udp", "unknown"]


def test_in_a_vlan_the_side_of_the_link_decides() -> None:
    def at_site(mac: str, t: float) -> set[str]:
        return {"east"} if t < 10 else {"west"}

    sides = toward_side(receiving={"r1:wan": "west", "r2:wan": "east"}, sending={"r1:wan": "east", "r2:wan": "west"})
    before, after = frame(vlan(vm_frame()), 5, "r2:wan"), frame(vlan(vm_frame()), 15, "r2:wan")
    leaving = frame(vlan(vm_frame()), 5, "r1:wan", inbound=False)
    assert bum([before, leaving], sides, at_site).wan_frames == 0
    assert bum([before, after], sides, at_site).unknown_unicast == 1


# -- the same in every format --------------------------------------------------------------

EVERY = wires(probe_frame())
PLACE = {"trill": str(0x1234), "fabricpath": str(0x123)}  # of VM_B, as each format calls it


@pytest.mark.parametrize("wire_format", EVERY)
def test_unicast_is_known_where_its_addressee_is(wire_format: str) -> None:
    packet, _ = EVERY[wire_format]
    place = PLACE.get(wire_format, "192.0.2.2")
    whom = f"{0xABCDEF}/10.1.0.2" if wire_format.startswith("lisp") else VM_B

    def located(asked: str, t: float) -> set[str]:
        return {place} if asked == whom else set()

    assert bum([frame(packet)], toward_edge, located).wan_frames == 0
    assert bum([frame(packet)], toward_edge, lambda _asked, _t: {"elsewhere"}).unknown_unicast == 1


@pytest.mark.parametrize("wire_format", wires(arp_frame()))
def test_a_broadcast_is_one_in_every_format_that_carries_it(wire_format: str) -> None:
    found = bum([frame(wires(arp_frame())[wire_format][0])], toward_edge, at_vtep)
    assert (found.broadcast, found.wan_frames) == (1, 1)


@pytest.mark.parametrize("flooded", [trill(probe_frame(), m=1), fabricpath(probe_frame(), group="010fffc101c0")])
def test_a_unicast_frame_on_a_tree_was_flooded_even_where_its_addressee_is(flooded: Packet) -> None:
    assert bum([frame(flooded)], toward_edge, lambda _asked, _t: {"2", str(0x1234)}).unknown_unicast == 1


@pytest.mark.parametrize(
    ("destination", "kind"),
    [("255.255.255.255", "broadcast"), ("224.0.0.251", "multicast"), ("10.1.0.9", "unknown_unicast")],
)
def test_lisp_knows_groups_by_address(destination: str, kind: str) -> None:
    packet = outer() / udp() / LISP(instance=1) / probe_frame(ip=destination)[IP]
    assert getattr(bum([frame(packet)], toward_edge, at_vtep), kind) == 1


def test_lisps_addressees_are_named_with_their_instance() -> None:
    inside = IPv6(src="fd00::1", dst="fd00::2") / UDP()
    found = [carried(bytes(outer() / udp() / LISP(instance=n, i=i) / inside)) for n, i in ((7, 1), (None, 0))]
    assert [addressee(vm) for vm in found if vm] == ["7/fd00::2", "None/fd00::2"]
