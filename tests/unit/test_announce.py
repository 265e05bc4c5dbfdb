"""Announcements, read by scapy, which knows nothing of how they were made."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.l2 import ARP, Ether

from chimera.wire.announce import announcement

MAC, IP = "02:00:00:00:00:2a", "10.1.0.11"


def test_rarp_asks_for_its_own_address_as_rfc_903_says() -> None:
    frame = announcement("rarp", MAC, f"{IP}/24")
    outer, body = Ether(frame), ARP(frame[14:])
    assert (outer.dst, outer.src, outer.type) == ("ff:ff:ff:ff:ff:ff", MAC, 0x8035)
    assert (body.hwtype, body.ptype, body.hwlen, body.plen) == (1, 0x0800, 6, 4)
    assert body.op == 3  # request reverse
    assert (body.hwsrc, body.hwdst) == (MAC, MAC)  # its own address: both "sender" and "target" hardware
    assert (body.psrc, body.pdst) == ("0.0.0.0", "0.0.0.0")


def test_gratuitous_arp_is_an_arp_announcement_of_rfc_5227() -> None:
    outer = Ether(announcement("garp", MAC, IP))
    assert (outer.dst, outer.src, outer.type) == ("ff:ff:ff:ff:ff:ff", MAC, 0x0806)
    body = outer[ARP]
    assert body.op == 1  # section 3: a request, not a reply
    assert body.hwsrc == MAC and body.hwdst == "00:00:00:00:00:00"
    assert body.psrc == body.pdst == IP


@pytest.mark.parametrize("kind", ["rarp", "garp"])
def test_a_frame_has_the_smallest_length_of_ethernet_and_zeros_behind(kind: str) -> None:
    frame = announcement(kind, MAC, IP)
    assert len(frame) == 60
    assert frame[14 + struct.calcsize("!HHBBH6s4s6s4s") :] == bytes(18)


def test_another_kind_is_refused() -> None:
    with pytest.raises(KeyError):
        announcement("none", MAC, IP)
