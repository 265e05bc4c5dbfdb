"""What a trace says of a sighting: the headers of the cable, and what Open vSwitch makes of the frame."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from scapy.layers.inet import IP
from scapy.packet import Packet

from chimera.measure.trace import _framed, _on_the_wire, _peers, _tunnel
from chimera.measure.wireshark import decode_as
from chimera.model.topology import Link, Port
from chimera.wire.formats import LISP_GPE
from chimera.wire.headers import carried, dissect, identified
from chimera.wire.pcapng import Frame, write_header
from tests.wire_frames import arp_frame, outer, udp, vm_frame, wires

PEERS = _peers([Link("up", Port("hv1", "eth0"), Port("leaf1", "eth1"))])
WIRES = wires(vm_frame())


def seen(t: float, data: bytes, interface: str, *, inbound: bool, translated: bool = False) -> Frame:
    return Frame(t, data, len(data), interface, inbound, translated)


def test_a_translated_sighting_shows_what_the_other_end_sent_last() -> None:
    earlier, sent = (seen(t, data, "leaf1:eth1", inbound=False) for t, data in ((1.0, b"earlier"), (2.0, b"true")))
    elsewhere = seen(2.1, b"elsewhere", "leaf1:eth2", inbound=False)
    came = seen(2.2, b"translated", "hv1:eth0", inbound=True, translated=True)
    later = seen(3.0, b"later", "leaf1:eth1", inbound=False)
    assert _on_the_wire(came, [earlier, sent, elsewhere, came, later], PEERS) is sent
    assert _on_the_wire(sent, [earlier, sent, came], PEERS) is sent
    assert _on_the_wire(came, [came], PEERS) is came


@pytest.mark.parametrize(
    ("wire", "shown"),
    {
        "vxlan": "vxlan vni=11259375",
        "geneve": "geneve vni=11259375",
        "otv udp": "otv overlay=0 instance=11259375",
        "mpls udp": "mpls label=703710 tc=5 bottom=1 ttl=61",
        "mpls gre": "gre protocol=0x8847",
        "lisp lisp": "lisp instance=11259375",
        "lisp gpe": "lisp-gpe instance=11259375 next=1",
        "trill": "trill egress=0x1234 ingress=0xabcd m=0 hops=20",
        "fabricpath": "fabricpath source_switch=2748 source_subswitch=0 source_lid=101 destination_switch=291 "
        "destination_subswitch=0 destination_lid=101 ftag=2 ttl=32",
    }.items(),
)
def test_the_identifying_fields_of_every_format_are_shown(wire: str, shown: str) -> None:
    assert shown in [identified(header) for header in dissect(bytes(WIRES[wire][0]))]


def test_a_frame_on_a_tree_shows_its_group_and_no_switch() -> None:
    (shown, *_) = (identified(header) for header in dissect(bytes(wires(arp_frame())["fabricpath"][0])))
    assert shown == "fabricpath source_switch=2748 source_subswitch=0 source_lid=101 ftag=2 ttl=32 (multi-destination)"


@pytest.mark.parametrize(
    ("wire", "name"), [("vxlan", "vxlan"), ("geneve", "geneve"), ("otv udp", "otv"), ("lisp gpe", "lisp-gpe")]
)
def test_what_the_tunnel_port_takes_becomes_its_metadata(wire: str, name: str) -> None:
    ends = "tun_src=192.0.2.1,tun_dst=192.0.2.2"
    assert _tunnel(bytes(WIRES[wire][0])) == f"in_port=60001,tun_id=11259375,{ends}"


def test_what_is_no_tunnel_has_no_metadata() -> None:
    assert _tunnel(bytes(vm_frame())) == ""
    assert _tunnel(bytes(outer() / udp() / b"anything")) == ""


def test_a_packet_without_ethernet_enters_the_flows_with_a_header_of_zeros() -> None:
    whole, bare = (carried(bytes(p)) for p in (WIRES["vxlan"][0], outer() / udp() / LISP_GPE() / vm_frame()[IP]))
    assert whole and bare
    assert _framed(whole) == bytes(vm_frame())
    assert _framed(bare) == bytes(12) + b"\x08\x00" + bytes(vm_frame()[IP])


def test_wireshark_is_told_what_it_would_guess(tmp_path: Path) -> None:
    path = tmp_path / "link.pcapng"

    def told(*frames: Packet) -> list[str]:
        write_header(path, [(Port("r1", "wan"), None)], {})
        path.write_bytes(path.read_bytes() + b"".join(block(bytes(frame)) for frame in frames))
        return decode_as(path)

    assert told(WIRES["vxlan"][0], WIRES["trill"][0], WIRES["fabricpath"][0], vm_frame()) == []
    assert told(WIRES["otv udp"][0], *[WIRES["mpls gre"][0]] * 2) == [
        "mpls.label==703710,pwethcw",
        "udp.port==8472,vxlan",
    ]
    assert told(WIRES["otv gre"][0]) == ["mpls.label==703710,pwethnocw"]


def block(frame: bytes) -> bytes:
    body = struct.pack("=IIIII", 0, 0, 1, len(frame), len(frame)) + frame + bytes(-len(frame) % 4)
    return struct.pack("=II", 6, len(body) + 12) + body + struct.pack("=I", len(body) + 12)
