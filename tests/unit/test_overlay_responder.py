"""ARP and neighbour discovery, with scapy as an independent judge of the bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from chimera.overlay import responder
from chimera.overlay.responder import Owner

ASKER, VM, GATEWAY = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:fe:00:00:00:01"
OWNERS = {
    "10.0.0.12": Owner("r2", VM),
    "10.0.0.1": Owner("", GATEWAY, router=True),
    "fd00::12": Owner("r2", VM),
    "fd00::1": Owner("", GATEWAY, router=True),
}


def solicitation(target: str, source: str = "fd00::11", **changes: int) -> bytes:
    """A multicast neighbour solicitation, as a kernel sends it."""
    option = ICMPv6NDOptSrcLLAddr(lladdr=ASKER) if source != "::" else b""
    message = ICMPv6ND_NS(tgt=target, code=changes.get("code", 0)) / option
    header = IPv6(src=source, dst="ff02::1:ff00:12", hlim=changes.get("hlim", 255))
    return bytes(Ether(src=ASKER, dst="33:33:ff:00:00:12") / header / message)


def request(target: str, source: str = "10.0.0.11", **changes: int | str) -> bytes:
    """A broadcast ARP request."""
    return bytes(Ether(src=ASKER, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=ASKER, psrc=source, pdst=target, **changes))


def reply_to(frame: bytes, asker: str = "r1") -> bytes | None:
    asked = responder.question(frame)
    return responder.answer(asked, OWNERS, asker) if asked else None


def test_arp_reply() -> None:
    reply = reply_to(request("10.0.0.12"))
    assert reply is not None
    assert len(reply) == 60
    frame = Ether(reply)
    assert (frame.src, frame.dst) == (VM, ASKER)
    arp = frame[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst) == (2, VM, "10.0.0.12", ASKER, "10.0.0.11")


def test_an_arp_probe_for_an_address_in_use_is_answered() -> None:
    """RFC 5227 section 2.1.1: the prober has no address yet, and must learn that the one it wants is taken."""
    reply = reply_to(request("10.0.0.12", source="0.0.0.0"), asker="r1")
    assert reply is not None
    assert Ether(reply)[ARP].pdst == "0.0.0.0"


@pytest.mark.parametrize(
    "frame",
    [
        request("10.0.0.99"),
        request("10.0.0.12", op=2),
        request("10.0.0.11"),
        request("10.0.0.12", hwlen=8),
        request("10.0.0.12", ptype=0x86DD),
        request("10.0.0.12")[:30],
    ],
    ids=["unknown target", "a reply", "gratuitous", "no Ethernet", "no IPv4", "cut off"],
)
def test_arp_that_gets_no_answer(frame: bytes) -> None:
    assert reply_to(frame) is None


def test_nobody_is_told_of_itself() -> None:
    assert reply_to(request("10.0.0.12"), asker="r2") is None
    own = bytes(Ether(src=GATEWAY) / ARP(hwsrc=GATEWAY, psrc="0.0.0.0", pdst="10.0.0.1"))
    assert reply_to(own, asker="hv1/red/web") is None


@pytest.mark.parametrize(("target", "mac", "router"), [("fd00::12", VM, 0), ("fd00::1", GATEWAY, 1)])
def test_neighbour_advertisement(target: str, mac: str, router: int) -> None:
    reply = reply_to(solicitation(target))
    assert reply is not None
    frame = Ether(reply)
    assert (frame.src, frame.dst) == (mac, ASKER)
    assert (frame[IPv6].src, frame[IPv6].dst, frame[IPv6].hlim) == (target, "fd00::11", 255)
    advertisement = frame[ICMPv6ND_NA]
    assert (advertisement.R, advertisement.S, advertisement.O, advertisement.tgt) == (router, 1, 1, target)
    assert frame[ICMPv6NDOptDstLLAddr].lladdr == mac
    assert advertisement.cksum == _right_checksum(frame)


def _right_checksum(frame: Ether) -> int:
    """The checksum that scapy computes for the same packet."""
    copy = frame.copy()
    del copy[ICMPv6ND_NA].cksum
    return int(Ether(bytes(copy))[ICMPv6ND_NA].cksum)


def test_duplicate_address_detection_is_answered_to_all_nodes() -> None:
    reply = reply_to(solicitation("fd00::12", source="::"))
    assert reply is not None
    frame = Ether(reply)
    assert (frame.dst, frame[IPv6].dst, frame[ICMPv6ND_NA].S) == ("33:33:00:00:00:01", "ff02::1", 0)


@pytest.mark.parametrize(
    "frame",
    [
        solicitation("fd00::99"),
        solicitation("fd00::12", hlim=254),
        solicitation("fd00::12", code=1),
        solicitation("fd00::12")[:-1] + b"\xff",
        solicitation("fd00::12")[:60],
    ],
    ids=["unknown target", "forwarded", "code", "checksum", "cut off"],
)
def test_solicitations_that_get_no_answer(frame: bytes) -> None:
    assert reply_to(frame) is None


def test_announcements() -> None:
    rarp = bytes(Ether(src=VM, dst="ff:ff:ff:ff:ff:ff", type=0x8035) / ARP(op=3, hwsrc=VM, hwdst=VM))
    unsolicited = IPv6(src="fd00::12", dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt="fd00::12", S=0)
    assert responder.is_announcement(rarp)
    assert responder.is_announcement(request("10.0.0.11"))
    assert responder.is_announcement(bytes(Ether(src=VM, dst="33:33:00:00:00:01") / unsolicited))
    assert not responder.is_announcement(request("10.0.0.12"))
    assert not responder.is_announcement(solicitation("fd00::12"))
    assert not responder.is_announcement(bytes(Ether(src=VM, dst=ASKER) / unsolicited))


def test_link_local_address() -> None:
    assert responder.link_local("02:00:5e:10:00:01") == "fe80::5eff:fe10:1"


@given(st.binary(min_size=14, max_size=120), st.sampled_from([b"\x08\x06", b"\x86\xdd", b"\x80\x35", b"\x08\x00"]))
def test_no_frame_breaks_it(frame: bytes, kind: bytes) -> None:
    frame = frame[:12] + kind + frame[14:]
    responder.is_announcement(frame)
    reply_to(frame)
