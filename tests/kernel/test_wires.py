"""What is on the cables: each field of each wire format, at each hop, by Wireshark's reading and by the lab's model.

A volley from web1 to web4 crosses five cables: to its leaf, to the site's router, the WAN, and down again. The
expectations come from the topology, the planned fabric and the kernel's own MACs; the values from tshark and tcpdump.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from lab_support import needs_lab
from wire_labs import PATH, Cable, Volley, mac

from chimera.model.topology import Segment
from chimera.overlay.lisp import instance_id
from chimera.overlay.mpls import label
from tests import judge
from tests.judge import needs_tcpdump, needs_tshark

pytestmark = needs_lab

TUNNEL_TTL, FABRIC_HOPS = 64, 32
ALL_RBRIDGES = "01:80:c2:00:00:40"  # RFC 6325 section 1.4
CHECKED = ("-o", "ip.check_checksum:TRUE", "-o", "cfp.check_fcs:TRUE")

Expected = dict[str, str]


def control_word(volley: Volley) -> bool:
    """Whether a pseudowire control word is on the wire."""
    return volley.wire.overlay == "mpls" and volley.wire.options.get("control_word", "on") == "on"


def options(volley: Volley) -> list[str]:
    """What Wireshark has to be told, as it knows no labels and no OTV."""
    topology = volley.topology
    labels = (label(topology, node.name, s) for node in topology.vteps for s in topology.segments)
    return [*CHECKED, *judge.OTV, *judge.control_words(dict.fromkeys(labels, control_word(volley)))]


def decoded(volley: Volley, folder: Path, frames: list[bytes]) -> list[judge.Fields]:
    return judge.decode(judge.write_pcap(folder / "wire.pcap", frames), *options(volley))


def first(fields: judge.Fields, names: Mapping[str, str]) -> Expected:
    """The outermost value of each field."""
    return {name: fields[name][0] if fields.get(name) else "none" for name in names}


# -- what the model says ---------------------------------------------------------------------------


def routed(cable: Cable, frame: bytes, protocol: int) -> Expected:
    """Ethernet from hop to hop, and IP from VTEP to VTEP, one TTL less behind each router."""
    hops = PATH.index(cable.near)
    vtep = cable.volley.facts["vtep"]
    return {
        "eth.src": cable.station_mac(cable.near),
        "eth.dst": cable.station_mac(cable.far),
        "eth.type": "0x0800",
        "ip.version": "4",
        "ip.hdr_len": "20",
        "ip.dsfield": "0x00",
        "ip.len": str(len(frame) - 14),
        "ip.flags.df": "1",
        "ip.flags.mf": "0",
        "ip.frag_offset": "0",
        "ip.ttl": str(TUNNEL_TTL - hops),
        "ip.proto": str(protocol),
        "ip.checksum.status": "1",  # good
        "ip.src": vtep[PATH[0]],
        "ip.dst": vtep[PATH[-1]],
    }


def datagram(cable: Cable, frame: bytes, port: int) -> Expected:
    """UDP without a checksum (RFC 7348 section 5, RFC 7510 section 3.1, RFC 9300 section 5.3)."""
    header = {"udp.dstport": str(port), "udp.length": str(len(frame) - 34), "udp.checksum": "0x0000"}
    return routed(cable, frame, 17) | header


def vxlan_bits(segment: Segment) -> Expected:
    return {"vxlan.flags": "0x0800", "vxlan.gbp": "0", "vxlan.vni": str(segment.vni), "vxlan.reserved8": "0"}


def vxlan(cable: Cable, frame: bytes, segment: Segment) -> Expected:
    return datagram(cable, frame, 4789) | vxlan_bits(segment)


def geneve(cable: Cable, frame: bytes, segment: Segment) -> Expected:
    """No options, neither a control packet nor anything critical, and Ethernet inside (RFC 8926 section 3.4)."""
    header = {"version": "0", "option.length": "0", "flags": "0x00", "proto_type": "0x6558", "options": "none"}
    header |= {"vni": f"0x{segment.vni:06x}", "reserved": "0x00"}
    return datagram(cable, frame, 6081) | {f"geneve.{name}": value for name, value in header.items()}


def otv(cable: Cable, frame: bytes, segment: Segment) -> Expected:
    """Overlay ID 0 is where Wireshark sees reserved flags and a group policy."""
    return datagram(cable, frame, 8472) | vxlan_bits(segment)


def labelled(cable: Cable, segment: Segment) -> Expected:
    """One entry, with the label that the receiver hands out; below it the control word or the VM's frame at once."""
    number = label(cable.volley.topology, PATH[-1], segment)
    sequence = {"pweth.cw.sequence_number": "0"} if control_word(cable.volley) else {"pweth.cw": "none"}
    entry = {"mpls.label": str(number), "mpls.exp": "0", "mpls.bottom": "1", "mpls.ttl": str(TUNNEL_TTL)}
    return entry | sequence


def mpls_in_udp(cable: Cable, frame: bytes, segment: Segment) -> Expected:
    return datagram(cable, frame, 6635) | labelled(cable, segment)


def mpls_in_gre(cable: Cable, frame: bytes, segment: Segment) -> Expected:
    header = {"gre.flags_and_version": "0x0000", "gre.proto": "0x8847"}
    return routed(cable, frame, 47) | header | labelled(cable, segment)


def mpls_in_ip(cable: Cable, frame: bytes, segment: Segment) -> Expected:
    return routed(cable, frame, 137) | labelled(cable, segment)


def lisp(cable: Cable, frame: bytes, segment: Segment) -> Expected:
    generic = cable.volley.wire.options["wire"] == "gpe"
    flags = {"nonce": "0", "lsb": "0", "enr": "0", "mv": "0", "iid": "1"}
    return datagram(cable, frame, 4341) | {
        "lisp-data.flags": "0x0c" if generic else "0x08",
        **{f"lisp-data.flags.{name}": value for name, value in flags.items()},
        "lisp-data.nonce": "none",
        "lisp-data.lsb8": "none",
        "lisp-data.iid": str(instance_id(cable.volley.topology, segment.tenant)),
    }


def identifier(volley: Volley, node: str) -> int:
    """A nickname or switch ID, as planned."""
    return int(volley.facts["fabric"][node]["planned"]["identifier"])


def rbridges(cable: Cable) -> tuple[Cable, Cable]:
    """The cables at which the RBridge before and the one behind this place are: a leaf is a bridge between them."""
    cables = cable.volley.cables()
    groups = [(cables[0], cables[1]), (cables[2], cables[2]), (cables[3], cables[4])]
    return next(pair for pair in groups if cable in pair)


def trill(cable: Cable, frame: bytes, segment: Segment) -> Expected:
    """Outer MACs from RBridge to RBridge, one hop less behind each that forwards."""
    volley, (before, behind) = cable.volley, rbridges(cable)
    passed = [node for node in PATH[: PATH.index(cable.near) + 1] if identifier(volley, node) and node != PATH[0]]
    return {
        "eth.src": before.port_mac(before.near),
        "eth.dst": behind.port_mac(behind.far),
        "eth.type": "0x22f3",
        "trill.version": "0",
        "trill.reserved": "0",
        "trill.multi_dst": "0",
        "trill.op_len": "0",
        "trill.hop_cnt": str(FABRIC_HOPS - len(passed)),
        "trill.egress_nick": str(identifier(volley, PATH[-1])),
        "trill.ingress_nick": str(identifier(volley, PATH[0])),
        "vlan.id": str(segment.vlan),
        "vlan.priority": "0",
        "vlan.dei": "0",
    }


def fabricpath(cable: Cable, frame: bytes, segment: Segment) -> Expected:
    """The same addresses all the way; every switch takes one from the TTL. Destination first, then source."""
    sender, receiver = ("web1", "web4") if segment.name == "web" else ("red1", "red2")
    return {
        "cfp.etype": "0x8903",
        "cfp.ftag": "1",
        "cfp.ttl": str(FABRIC_HOPS - PATH.index(cable.near)),
        "cfp.fcs.status": "1",
        "eth.dst": cable.volley.macs[receiver]["eth0"],  # the VMs': Wireshark sees no outer Ethernet
        "eth.src": cable.volley.macs[sender]["eth0"],
    }


def fabricpath_ends(volley: Volley, segment: Segment) -> dict[str, list[str]]:
    """Fields that are there twice."""
    ends = [str(identifier(volley, node)) for node in (PATH[-1], PATH[0])]
    twice = {"swid": ends, "sswid": ["0", "0"], "lid": [str(segment.vlan)] * 2}
    twice |= {"eid": ["0", "0"], "ul": ["1", "1"], "ig": ["0", "0"], "ooodl": ["0", "0"]}
    return {f"cfp.{name}": values for name, values in twice.items()}


def model(volley: Volley) -> Callable[[Cable, bytes, Segment], Expected]:
    """What is expected over a wire."""
    overlay, wire = volley.wire.overlay, volley.wire.options.get("wire", "")
    if overlay == "mpls" or wire == "gre":
        return {"udp": mpls_in_udp, "gre": mpls_in_gre, "ip": mpls_in_ip}[wire]
    models = (vxlan, geneve, otv, lisp, trill, fabricpath)
    return {each.__name__: each for each in models}[overlay]


# -- and what is on the wire -------------------------------------------------------------------------


@needs_tshark
@needs_tcpdump
@pytest.mark.parametrize(("what", "segment_name"), [("probe", "web"), ("other tenant", "app")])
def test_every_field_at_every_hop_is_the_models(volley: Volley, tmp_path: Path, what: str, segment_name: str) -> None:
    """Two tenants with the same addresses, of which each has an identifier of its own."""
    segment, cables = volley.segment(segment_name), volley.cables()
    frames = [cable.frames(what) for cable in cables]
    assert [len(found) for found in frames] == [1] * len(cables)
    fields = decoded(volley, tmp_path, [frame for (frame,) in frames])
    assert len(fields) == len(cables)
    for cable, (frame,), found in zip(cables, frames, fields, strict=True):
        expected = model(volley)(cable, frame, segment)
        assert first(found, expected) == expected, cable.place
        assert not judge.complaints(found)
        if volley.wire.overlay == "fabricpath":
            twice = fabricpath_ends(volley, segment)
            assert {name: found[name] for name in twice} == twice, cable.place
    if model(volley) is otv:
        tcpdump_agrees(segment, tmp_path / "wire.pcap", len(fields))
    ports = {found["udp.srcport"][0] for found in fields} if "udp.dstport" in expected else {"49152"}
    assert len(ports) == 1 and 49152 <= int(ports.pop()) <= 65535


def tcpdump_agrees(segment: Segment, pcap: Path, frames: int) -> None:
    """Wireshark knows no OTV, tcpdump does."""
    text = judge.tcpdump(pcap)
    assert text.count(f"OTV, flags [I] (0x08), overlay 0, instance {segment.vni}\n") == frames
    assert "bad cksum" not in text


def test_the_vms_frame_is_inside_byte_by_byte(volley: Volley) -> None:
    """A VM's frame ends what is on the wire; with TRILL's inner tag behind its MACs, and over LISP from IP on."""
    segment = volley.segment("web")
    whole = {
        "trill": volley.probe[:12] + b"\x81\x00" + segment.vlan.to_bytes(2) + volley.probe[12:],
        "lisp": volley.probe[14:],
    }.get(volley.wire.overlay, volley.probe)
    for cable in volley.cables():
        (frame,) = cable.frames("probe")
        assert frame.endswith(whole), cable.place
        assert len(frame) - len(volley.probe) == volley.wire.overhead, cable.place
    (sent,), (arrived,) = (volley.at("probe", (vm, "eth0", way)) for vm, way in (("web1", "out"), ("web4", "in")))
    skipped = 12 if volley.wire.overlay == "lisp" else 0  # an ETR makes a new Ethernet header
    assert sent == volley.probe and arrived[skipped:] == volley.probe[skipped:]
    assert arrived[:6] == mac(volley.macs["web4"]["eth0"])


def test_a_frame_reaches_whom_it_is_for_and_nobody_else(volley: Volley) -> None:
    members = {"probe": {"web4"}, "other tenant": {"red2"}}
    members["group"] = {"web2"} if volley.wire.overlay == "lisp" else {"web2", "web3", "web4", "web5"}
    sent = {"probe": volley.probe, "other tenant": volley.other_tenant, "group": volley.group}
    for what, heard_by in members.items():
        got = [s.node for s in volley.seen[what] if s.direction == "in" and s.frame[14:] == sent[what][14:]]
        assert sorted(n for n in got if n.startswith(("web", "red"))) == sorted(heard_by), what


@needs_tshark
def test_neighbours_are_found_without_a_controller(volley: Volley) -> None:
    assert {name: ping.lost for name, ping in volley.alone.items()} == {"web2": 0, "web4": 0, "the gateway": 0}


def test_a_broadcast_is_a_copy_for_each_receiver_or_one_on_a_tree(volley: Volley, tmp_path: Path) -> None:
    segment, overlay = volley.segment("web"), volley.wire.overlay
    frames = [cable.frames("group") for cable in volley.cables()]
    if overlay == "lisp":
        assert frames == [[]] * 5
        return
    fields = [decoded(volley, tmp_path, found) for found in frames]
    assert not any(judge.complaints(one) for found in fields for one in found)
    if overlay in ("trill", "fabricpath"):
        assert [len(found) for found in fields] == [1] * 5
        check = on_trill_tree if overlay == "trill" else on_fabricpath_tree
        for cable, (found,) in zip(volley.cables(), fields, strict=True):
            check(cable, found, segment)
        return
    vtep = volley.facts["vtep"]
    receivers = {"hv2", "hv3", "hv4", "gw1"}  # gw1 has the segment's gateway
    for found, there in zip(fields, (receivers, {"hv3", "hv4"}, {"hv3", "hv4"}, {"hv3", "hv4"}, {"hv3"}), strict=True):
        assert sorted(one["ip.dst"][0] for one in found) == sorted(vtep[name] for name in there)
    labels = {one["ip.dst"][0]: one["mpls.label"][0] for one in fields[0] if "mpls.label" in one}
    if overlay == "mpls" or volley.wire.options.get("wire") == "gre":
        assert labels == {vtep[name]: str(label(volley.topology, name, segment)) for name in receivers}
    else:
        name = "geneve.vni" if overlay == "geneve" else "vxlan.vni"
        assert {int(one[name][0], 0) for one in fields[0]} == {segment.vni}


def tree_of(cable: Cable, segment: Segment) -> str:
    """The tree that a segment's frames take, of those that are planned."""
    trees = list(cable.volley.facts["fabric"]["r1"]["planned"]["trees"])
    return str(trees[segment.vlan % len(trees)])


def on_trill_tree(cable: Cable, found: judge.Fields, segment: Segment) -> None:
    """To All-RBridges, for the root of the tree (RFC 6325 sections 3.3, 3.7.3)."""
    before, _ = rbridges(cable)
    unicast = trill(cable, b"", segment)
    group = {"eth.dst": ALL_RBRIDGES, "trill.multi_dst": "1", "trill.egress_nick": tree_of(cable, segment)}
    expected = unicast | group | {"eth.src": before.port_mac(before.near)}
    assert first(found, expected) == expected, cable.place


def on_fabricpath_tree(cable: Cable, found: judge.Fields, segment: Segment) -> None:
    """The group's address is the outer one, too; the source alone says where it is from and whose it is."""
    expected = {
        "cfp.d_hmac_mc": "ff:ff:ff:ff:ff:ff",
        "eth.dst": "ff:ff:ff:ff:ff:ff",
        "cfp.swid": str(identifier(cable.volley, PATH[0])),
        "cfp.sswid": "0",
        "cfp.lid": str(segment.vlan),
        "cfp.ftag": tree_of(cable, segment),
        "cfp.ttl": str(FABRIC_HOPS - PATH.index(cable.near)),
        "cfp.fcs.status": "1",
    }
    assert first(found, expected) == expected, cable.place
    assert len(found["cfp.swid"]) == 1
