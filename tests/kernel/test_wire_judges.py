"""Wireshark decodes every field of every format to the value that was built, tcpdump does for OTV."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from chimera.model.topology import Port
from chimera.wire.formats import GRE, LISP, LISP_GPE, MPLS, OTV, TRILL, VXLAN, ControlWord, FabricPath, Geneve
from chimera.wire.pcapng import add_check_sequences, write_header
from tests import judge
from tests.judge import needs_tcpdump, needs_tshark
from tests.wire_frames import NODE_A, NODE_B, VM_A, arp_frame, outer, tagged, udp, vm_frame, wires

Expected = dict[str, list[int]]
Case = tuple[Packet, Expected]
COUNT = 64  # frames of random values for each format
UNRESERVED = 16  # labels below mean something: RFC 3032 section 2.1


def _bits(r: Random, *widths: int) -> Iterator[int]:
    """A number of each width in bits."""
    return (r.getrandbits(width) for width in widths)


def vxlan(r: Random) -> Case:
    flags, reserved, vni, last = _bits(r, 8, 24, 24, 8)
    packet = outer() / udp() / VXLAN(flags=flags, reserved=reserved, vni=vni, reserved2=last) / vm_frame()
    return packet, {**_vxlan_bits(flags, reserved), "vxlan.vni": [vni], "vxlan.reserved8": [last]}


def geneve(r: Random) -> Case:
    """Options of a class that nobody has, for Wireshark looks into those that it knows."""
    o, c, reserved, vni, last, words, kind = _bits(r, 1, 1, 6, 24, 8, 5, 8)
    option = b"\xff\xff" + bytes([kind, words]) + r.randbytes(4 * words) if r.getrandbits(1) else b""
    packet = outer() / udp() / Geneve(o=o, c=c, reserved=reserved, vni=vni, reserved2=last, options=option) / vm_frame()
    return packet, {
        "geneve.version": [0],
        "geneve.flags.oam": [o],
        "geneve.flags.critical": [c],
        "geneve.flags.reserved": [int(reserved > 0)],  # six bits, of which Wireshark says whether there is any
        "geneve.flags": [o << 7 | c << 6 | reserved],
        "geneve.proto_type": [0x6558],
        "geneve.vni": [vni],
        "geneve.reserved": [last],
        "geneve.option.class": [0xFFFF] if option else [],
        "geneve.option.type": [kind] if option else [],
        "geneve.option.length": [len(option)] * (2 if option else 1),  # of all, and of the one there is
        "eth.src": [_mac(NODE_A), _mac(VM_A)],
    }


def otv(r: Random) -> Case:
    flags, overlay, instance, last = _bits(r, 8, 24, 24, 8)
    packet = outer() / udp() / OTV(flags=flags, overlay=overlay, instance=instance, reserved=last) / vm_frame()
    return packet, {**_vxlan_bits(flags, overlay), "vxlan.vni": [instance], "vxlan.reserved8": [last]}


def _vxlan_bits(flags: int, following: int) -> Expected:
    """Wireshark knows of later uses of what RFC 7348 reserves: 16 bits of flags, and a group policy."""
    return {"vxlan.flags": [flags << 8 | following >> 16], "vxlan.gbp": [following & 0xFFFF]}


def _labelled(r: Random, lower: Packet) -> Case:
    label, tc, ttl = r.randrange(UNRESERVED, 1 << 20), r.getrandbits(3), r.getrandbits(8)
    header, word = MPLS(label=label, tc=tc, ttl=ttl), bool(r.getrandbits(1))
    expected = {"mpls.label": [label], "mpls.exp": [tc], "mpls.bottom": [1], "mpls.ttl": [ttl]}
    expected["pweth.cw.sequence_number"] = [0] if word else []
    expected["eth.src"] = [_mac(NODE_A), _mac(VM_A)]
    return lower / header / ControlWord() / vm_frame() if word else lower / header / vm_frame(), expected


def mpls_udp(r: Random) -> Case:
    port = r.randrange(49152, 65536)
    packet, expected = _labelled(r, outer() / UDP(sport=port))
    return packet, expected | {"udp.srcport": [port, 40000], "udp.dstport": [6635, 7007]}


def mpls_gre(r: Random) -> Case:
    packet, expected = _labelled(r, outer() / GRE())
    return packet, expected | {"gre.proto": [0x8847]}


def mpls_ip(r: Random) -> Case:
    packet, expected = _labelled(r, outer())
    return packet, expected | {"ip.proto": [137, 17]}


def two_labels(r: Random) -> Case:
    label, ttl = r.randrange(UNRESERVED, 1 << 20), r.getrandbits(8)
    packet, expected = _labelled(r, outer() / udp() / MPLS(label=label, ttl=ttl, tc=0))
    first = {"mpls.label": [label], "mpls.exp": [0], "mpls.bottom": [0], "mpls.ttl": [ttl]}
    return packet, expected | {name: [*value, *expected[name]] for name, value in first.items()}


def control_word(r: Random) -> Case:
    sequence = r.getrandbits(16)
    packet = outer() / udp() / MPLS(label=100_000) / ControlWord(sequence=sequence) / vm_frame()
    return packet, {"pweth.cw.sequence_number": [sequence]}


def gre(r: Random) -> Case:
    c, k, s, checksum, key, sequence = _bits(r, 1, 1, 1, 16, 32, 32)
    packet = outer() / GRE(c=c, k=k, s=s, checksum=checksum, key=key, sequence=sequence) / MPLS(label=16) / vm_frame()
    return packet, {
        "gre.flags.checksum": [c],
        "gre.flags.key": [k],
        "gre.flags.sequence_number": [s],
        "gre.flags.version": [0],
        "gre.checksum": [checksum] if c else [],
        "gre.key": [key] if k else [],
        "gre.sequence_number": [sequence] if s else [],
        "gre.proto": [0x8847],
    }


def lisp(r: Random) -> Case:
    n, lsbs, e, v, i, k, nonce, source, dest, iid, lsb = _bits(r, 1, 1, 1, 1, 1, 2, 24, 12, 12, 24, 32)
    n, e = (0, 0) if v else (n, e & n)  # RFC 9300 section 5.3: not both N and V, and E only with N
    packet = LISP(
        n=n, l=lsbs, e=e, v=v, i=i, k=k, nonce=nonce, source_version=source, dest_version=dest,
        instance=iid, locators8=lsb & 0xFF, locators=lsb,
    )  # fmt: skip
    expected = _lisp_flags(n, lsbs, e, v, i, k) | _lisp_second(lsbs, i, iid, lsb)
    expected |= {"lisp-data.nonce": [nonce] if n else [], "lisp-data.srcmapver": [source] if v else []}
    return outer() / udp() / packet / vm_frame()[IP], expected | {"lisp-data.dstmapver": [dest] if v else []}


def lisp_gpe(r: Random) -> Case:
    """Wireshark 4.0 shows the P bit as a reserved one, and the next protocol as the end of the nonce."""
    n, lsbs, e, v, i, k, nonce, source, dest, iid, lsb = _bits(r, 1, 1, 1, 1, 1, 2, 16, 8, 8, 24, 32)
    n, e = (0, 0) if v else (n, e & n)
    packet = LISP_GPE(
        n=n, l=lsbs, e=e, v=v, i=i, k=k, nonce=nonce, source_version=source, dest_version=dest,
        instance=iid, locators8=lsb & 0xFF, locators=lsb,
    )  # fmt: skip
    versions = source << 16 | dest << 8 | 1
    expected = _lisp_flags(n, lsbs, e, v, i, 4 | k) | _lisp_second(lsbs, i, iid, lsb)
    expected |= {"lisp-data.nonce": [nonce << 8 | 1] if n else [], "lisp-data.srcmapver": [versions >> 12] if v else []}
    expected |= {"lisp-data.dstmapver": [versions & 0xFFF] if v else []}
    return outer() / udp() / packet / vm_frame()[IP], expected


def _lisp_flags(n: int, lsbs: int, e: int, v: int, i: int, last: int) -> Expected:
    names = ("nonce", "lsb", "enr", "mv", "iid", "res")
    return {f"lisp-data.flags.{name}": [value] for name, value in zip(names, (n, lsbs, e, v, i, last), strict=True)}


def _lisp_second(lsbs: int, i: int, iid: int, lsb: int) -> Expected:
    return {
        "lisp-data.iid": [iid] if i else [],
        "lisp-data.lsb8": [lsb & 0xFF] if i and lsbs else [],
        "lisp-data.lsb": [lsb] if lsbs and not i else [],
    }


def trill(r: Random) -> Case:
    version, reserved, m, hops, egress, ingress, vlan = _bits(r, 2, 2, 1, 6, 16, 16, 12)
    options = r.randbytes(4 * r.randrange(32))
    header = TRILL(version=version, reserved=reserved, m=m, hops=hops, egress=egress, ingress=ingress, options=options)
    return Ether(src=NODE_A, dst=NODE_B) / header / tagged(vm_frame(), vlan), {
        "trill.version": [version],
        "trill.reserved": [reserved],
        "trill.multi_dst": [m],
        "trill.op_len": [len(options) // 4],
        "trill.hop_cnt": [hops],
        "trill.egress_nick": [egress],
        "trill.ingress_nick": [ingress],
        "vlan.id": [vlan],
        "eth.src": [_mac(NODE_A), _mac(VM_A)],
    }


def fabricpath(r: Random) -> Case:
    """Wireshark 4.0 masks the end node ID once too often, and always shows 0."""
    ftag, ttl = r.getrandbits(10), r.getrandbits(6)
    header, expected = FabricPath(ftag=ftag, ttl=ttl), {"cfp.etype": [0x8903], "cfp.ftag": [ftag], "cfp.ttl": [ttl]}
    for end in ("destination", "source"):
        bits = {"endnode": 6, "endnode_high": 2, "local": 1, "ooo_dl": 1, "switch": 12, "subswitch": 8, "lid": 16}
        values = {name: r.getrandbits(n) for name, n in bits.items()}
        for name, value in values.items():
            setattr(header, f"{end}_{name}", value)
        shown = {"ul": "local", "ooodl": "ooo_dl", "swid": "switch", "sswid": "subswitch", "lid": "lid"}
        for field, name in shown.items():
            expected.setdefault(f"cfp.{field}", []).append(values[name])
        expected.setdefault("cfp.ig", []).append(0)
    return header / vm_frame(), expected | {"cfp.fcs.status": [1]}


def _mac(text: str) -> int:
    return int(text.replace(":", ""), 16)


def _number(text: str) -> int:
    return _mac(text) if re.fullmatch("([0-9a-f]{2}:){5}[0-9a-f]{2}", text) else int(text, 0)


def _last_label(packet: Packet) -> int:
    label = packet[MPLS]
    while isinstance(label.payload, MPLS):
        label = label.payload
    return int(label.label)


BUILDERS = [
    vxlan, geneve, otv, mpls_udp, mpls_gre, mpls_ip, two_labels, control_word, gre, lisp, lisp_gpe, trill, fabricpath,
]  # fmt: skip


def _options(packets: list[Packet]) -> list[str]:
    labels = {_last_label(p): ControlWord in p for p in packets if MPLS in p}
    return [*judge.OTV, "-o", "cfp.check_fcs:TRUE", *judge.control_words(labels)]


@needs_tshark
@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_wireshark_reads_every_field_as_it_was_built(build: Callable[[Random], Case], tmp_path: Path) -> None:
    """Every field over its whole range, but where Wireshark would see another protocol."""
    r = Random(build.__name__)
    cases = [build(r) for _ in range(COUNT)]
    pcap = judge.write_pcap(tmp_path / "frames.pcap", [bytes(packet) for packet, _ in cases])
    options = _options([packet for packet, _ in cases])
    decoded = judge.decode(pcap, *options)
    assert len(decoded) == COUNT
    for fields, (packet, expected) in zip(decoded, cases, strict=True):
        assert {name: [_number(v) for v in fields.get(name, [])] for name in expected} == expected, packet.command()
        assert not judge.complaints(fields)


@needs_tshark
@pytest.mark.parametrize("vm", [vm_frame(), arp_frame()], ids=["probe", "arp"])
@pytest.mark.parametrize("word", [True, False], ids=["control word", "none"])
def test_wireshark_finds_the_vms_frame_in_every_format(vm: Packet, word: bool, tmp_path: Path) -> None:
    packets = {
        wire: packet for wire, (packet, _) in wires(vm).items() if MPLS not in packet or word == (ControlWord in packet)
    }
    pcap = judge.write_pcap(tmp_path / "frames.pcap", [bytes(packet) for packet in packets.values()])
    decoded = judge.decode(pcap, *_options(list(packets.values())))
    assert len(decoded) == len(packets)
    for wire, fields in zip(packets, decoded, strict=True):
        assert fields["frame.protocols"][0].split(":")[-1] == ("arp" if vm.type == 0x0806 else "data"), wire
        assert wire.startswith("lisp") or _mac(VM_A) in map(_number, fields["eth.src"]), wire
        assert not judge.complaints(fields), wire


@needs_tcpdump
def test_tcpdump_reads_otv(tmp_path: Path) -> None:
    packet = outer() / udp() / OTV(overlay=0, instance=0xABCDEF) / vm_frame()
    pcap = judge.write_pcap(tmp_path / "otv.pcap", [bytes(packet)])
    assert "OTV, flags [I] (0x08), overlay 0, instance 11259375" in judge.tcpdump(pcap)


@needs_tshark
def test_a_lab_capture_of_fabricpath_opens_whole(tmp_path: Path) -> None:
    """Without its check sequence Wireshark would cut the VM's frame, and call it malformed."""
    path = tmp_path / "link.pcapng"
    write_header(path, [(Port("hv1", "eth0"), None)], {})
    frame = bytes(wires(arp_frame())["fabricpath"][0])
    body = b"".join(n.to_bytes(4, sys.byteorder) for n in (0, 0, 1, len(frame), len(frame)))
    body += frame + bytes(-len(frame) % 4)
    whole = (6).to_bytes(4, sys.byteorder) + (total := (len(body) + 12).to_bytes(4, sys.byteorder)) + body + total
    path.write_bytes(path.read_bytes() + whole)
    assert judge.malformed(path)
    add_check_sequences(path)
    assert judge.malformed(path) == []
    assert judge.decode(path, "-o", "cfp.check_fcs:TRUE")[0]["cfp.fcs.status"] == ["1"]
