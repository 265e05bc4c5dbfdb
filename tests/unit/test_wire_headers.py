"""The header tables, with Scapy as the independent writer of frames."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.all import ARP, ICMP, IP, TCP, UDP, VXLAN, Dot1Q, Ether, ICMPv6EchoRequest, IPv6, Raw

from chimera.wire.formats import LAYERS
from chimera.wire.headers import carried, dissect, inner
from chimera.wire.probe import MAGIC, PROBE, PROBE_BYTES, ProbeMark, find_probe, vm_frame_bytes

VM_A, VM_B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
PROBE_PAYLOAD = PROBE.pack(MAGIC, 7, 42, 1, 1, 2)
V4, V6 = {"src": "10.1.0.1", "dst": "10.1.0.2"}, {"src": "fd00::1", "dst": "fd00::2"}
ASK = ARP(psrc="10.1.0.1", hwsrc=VM_A)


def eth(**fields: int) -> Ether:
    """Both addresses given: Scapy would ask the machine's network for them."""
    return Ether(src=VM_A, dst=VM_B, **fields)


VM_FRAME = Ether(src=VM_A, dst=VM_B) / IP(src="10.1.0.1", dst="10.1.0.2") / UDP(sport=1, dport=7000) / PROBE_PAYLOAD
UNDERLAY = Ether(src="02:aa:00:00:00:01", dst="02:aa:00:00:00:02") / IP(src="192.0.2.1", dst="192.0.2.2")
TUNNELLED = UNDERLAY / UDP(sport=50000, dport=4789) / VXLAN(vni=5001, flags=8) / VM_FRAME


def names(frame: bytes) -> list[str]:
    return [h.name for h in dissect(frame)]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (VM_FRAME, ["eth", "ip", "udp"]),
        (TUNNELLED, ["eth", "ip", "udp", "vxlan", "eth", "ip", "udp"]),
        (eth() / Dot1Q(vlan=100) / ASK, ["eth", "vlan", "arp"]),
        (
            eth(type=0x88A8) / Dot1Q(vlan=1, type=0x8100) / Dot1Q(vlan=2) / IP(**V4) / TCP(),
            ["eth", *["vlan"] * 2, "ip", "tcp"],
        ),
        (eth() / IPv6(**V6) / ICMPv6EchoRequest(), ["eth", "ipv6", "icmpv6"]),
        (eth() / IP(**V4, options=b"\x01\x01\x01\x00") / ICMP(), ["eth", "ip", "icmp"]),
        (eth(type=0x8035) / ASK, ["eth", "rarp"]),
        (eth() / IP(**V4, frag=5, proto=17) / Raw(b"x" * 40), ["eth", "ip"]),
        (eth(type=0x9999) / Raw(b"?"), ["eth"]),
    ],
)
def test_headers_are_told_apart_as_scapy_wrote_them(frame: Ether, expected: list[str]) -> None:
    assert names(bytes(frame)) == expected


def test_fields_read_as_the_rfc_names_them() -> None:
    outer, ip, udp, vxlan, vm_eth, _, _ = dissect(bytes(TUNNELLED))
    assert outer.fields == {"destination": "02:aa:00:00:00:02", "source": "02:aa:00:00:00:01", "type": "0x800"}
    assert (ip.fields["source"], ip.fields["destination"], ip.fields["ttl"]) == ("192.0.2.1", "192.0.2.2", "64")
    assert (udp.fields["source"], udp.fields["destination"]) == ("50000", "4789")
    assert vxlan.fields == {"flags": "0x8", "vni": "5001"}
    assert vm_eth.fields["destination"] == VM_B


def test_tag_and_ipv6_fields() -> None:
    _, vlan, ip = dissect(bytes(eth() / Dot1Q(prio=5, vlan=4001) / IPv6(src="fd00::1", dst="fd00::2", fl=0xABCDE)))
    assert vlan.fields == {"priority": "5", "dei": "0", "id": "4001", "type": "0x86dd"}
    assert (ip.fields["source"], ip.fields["label"], ip.fields["version"]) == ("fd00::1", "0xabcde", "6")


def test_lengths_count_options() -> None:
    headers = dissect(bytes(eth() / IP(**V4, options=b"\x01\x01\x01\x00") / TCP(options=[("MSS", 1460)])))
    assert [h.length_bytes for h in headers] == [14, 24, 24]


def test_every_table_covers_whole_bytes() -> None:
    assert {name: layer.minimum for name, layer in LAYERS.items()} == {
        "eth": 14, "vlan": 4, "arp": 28, "rarp": 28, "ip": 20, "ipv6": 40, "udp": 8, "tcp": 20, "icmp": 8, "icmpv6": 8,
        "vxlan": 8, "geneve": 8, "otv": 8, "mpls": 4, "pwcw": 4, "gre": 4, "lisp": 8, "lisp-gpe": 8, "trill": 6,
        "fabricpath": 16,
    }  # fmt: skip


def test_a_tunnel_carries_the_vms_frame_untouched() -> None:
    found = carried(bytes(TUNNELLED))
    assert found and found.frame == bytes(VM_FRAME)
    assert found.overhead_bytes == 50
    assert found.headers == ("eth", "ip", "udp", "vxlan", "eth")
    assert found.outer_destination == "192.0.2.2"


def test_a_tunnel_over_ipv6_and_a_tagged_vm_frame() -> None:
    vm = bytes(eth() / Dot1Q(vlan=5) / IP(**V4))
    outer = eth() / IPv6(src="fd00::1", dst="fd00::9") / UDP(dport=4789) / VXLAN(vni=1)
    found = carried(bytes(outer) + vm)
    assert found and (found.frame, found.overhead_bytes, found.outer_destination) == (vm, 70, "fd00::9")


def test_a_tag_is_the_overhead_of_a_stretched_vlan() -> None:
    tagged = bytes(VM_FRAME)[:12] + struct.pack(">HH", 0x8100, 100) + bytes(VM_FRAME)[12:]
    found = carried(tagged)
    assert found and (found.frame, found.overhead_bytes, found.vlan) == (bytes(VM_FRAME), 4, 100)


def test_the_underlays_own_frames_carry_nothing() -> None:
    for frame in (eth() / ASK, UNDERLAY / TCP(), UNDERLAY / UDP(dport=53)):
        assert carried(bytes(frame)) is None
    assert inner(bytes(UNDERLAY)) == (0, bytes(UNDERLAY))


def test_a_probe_is_found_at_any_depth() -> None:
    assert find_probe(bytes(TUNNELLED)) == find_probe(bytes(VM_FRAME)) == ProbeMark(7, 42, 1)
    assert find_probe(bytes(UNDERLAY)) is None
    assert find_probe(b"x" * 40 + MAGIC + b"\0" * 8) is None


def test_the_length_of_a_probe_is_what_it_is_on_the_wire() -> None:
    assert len(PROBE_PAYLOAD) == PROBE_BYTES == 64
    assert vm_frame_bytes() == len(bytes(VM_FRAME)) == 106
    assert vm_frame_bytes(ipv6=True) == 126


@settings(deadline=None)  # a busy machine is no defect
@given(st.binary(max_size=300), st.integers(0, 170), st.binary(min_size=1, max_size=8))
def test_no_bytes_whatever_upset_the_walk(tail: bytes, at: int, damage: bytes) -> None:
    whole = bytes(TUNNELLED)
    for frame in (tail, whole[:at] + damage + whole[at + len(damage) :], whole[:at] + tail):
        assert sum(h.length_bytes for h in dissect(frame)) <= len(frame)
        overhead, vm = inner(frame)
        assert overhead + len(vm) == len(frame)
        find_probe(frame)
