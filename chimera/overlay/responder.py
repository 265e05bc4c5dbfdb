"""ARP and neighbour discovery answered at the first hop (RFC 826, RFC 4861 section 7.2.4, RFC 5227).

Frames in, frames out; whom the addresses belong to is the caller's knowledge, so a question is only ever
answered from the asker's own segment.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass

ARP, RARP, IPV6 = 0x0806, 0x8035, 0x86DD
ICMPV6 = 58
NS, NA = 135, 136
ALL_NODES = ipaddress.IPv6Address("ff02::1")

_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_FIXED = (1, 0x0800, 6, 4)  # Ethernet, IPv4, and the lengths of their addresses
_IPV6 = struct.Struct("!IHBB16s16s")
_MINIMUM_FRAME = 60  # without the frame check sequence


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has an address: the interface (empty: any gateway leg), its MAC, and whether it is a router."""

    iface_id: str
    mac: str
    router: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """An ARP request or neighbour solicitation: ``sender`` (:0 address while it probes) asks for ``target``."""

    sender_mac: str
    sender: str
    target: str

    @property
    def probing(self) -> bool:
        """True where the asker has no address yet: duplicate address detection."""
        return self.sender in ("0.0.0.0", "::")


def mac_bytes(mac: str) -> bytes:
    """A colon-separated MAC as six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(mac: bytes) -> str:
    """Six bytes as a colon-separated MAC."""
    return mac.hex(":")


def link_local(mac: str) -> str:
    """The link-local address that a kernel makes from a MAC (modified EUI-64, RFC 4291 appendix A)."""
    octets = mac_bytes(mac)
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier))


def is_announcement(frame: bytes) -> bool:
    """True for a frame by which an interface says where it is: RARP, gratuitous ARP, unsolicited advertisement."""
    _, _, kind = _ETHERNET.unpack_from(frame)
    if kind == RARP:
        return True
    if kind == ARP and len(frame) >= _ETHERNET.size + _ARP.size:
        *_, sender, _, target = _ARP.unpack_from(frame, _ETHERNET.size)
        return bool(sender == target)
    return kind == IPV6 and _icmpv6_type(frame) == NA and frame[0] & 1 == 1


def question(frame: bytes) -> Question | None:
    """What the frame asks, or nothing where it is no valid ARP request or neighbour solicitation."""
    _, _, kind = _ETHERNET.unpack_from(frame)
    if kind == ARP:
        return _arp_question(frame)
    return _solicitation(frame) if kind == IPV6 else None


def _arp_question(frame: bytes) -> Question | None:
    if len(frame) < _ETHERNET.size + _ARP.size:
        return None
    *fixed, operation, sender_mac, sender, _, target = _ARP.unpack_from(frame, _ETHERNET.size)
    if tuple(fixed) != _ARP_FIXED or operation != 1 or sender == target:
        return None
    return Question(mac_text(sender_mac), _ip4(sender), _ip4(target))


def _ip4(address: bytes) -> str:
    return ".".join(map(str, address))


def _icmpv6_type(frame: bytes) -> int:
    """The ICMPv6 type, 0 where the frame has no ICMPv6 right after its IPv6 header."""
    start = _ETHERNET.size + _IPV6.size
    if len(frame) < start + 24 or frame[_ETHERNET.size + 6] != ICMPV6:
        return 0
    return frame[start]


def _solicitation(frame: bytes) -> Question | None:
    """A neighbour solicitation that passes the checks of RFC 4861 section 7.1.1."""
    if _icmpv6_type(frame) != NS:
        return None
    _, length, _, hop_limit, source, destination = _IPV6.unpack_from(frame, _ETHERNET.size)
    start = _ETHERNET.size + _IPV6.size
    message = frame[start : start + length]
    if hop_limit != 255 or length < 24 or len(message) < length or message[1] != 0:
        return None
    if icmpv6_checksum(source, destination, message) != 0:
        return None
    target = ipaddress.IPv6Address(message[8:24])
    if target.is_multicast:
        return None
    return Question(mac_text(frame[6:12]), str(ipaddress.IPv6Address(source)), str(target))


def answer(asked: Question, owners: Mapping[str, Owner], asker: str) -> bytes | None:
    """The reply to send back to ``asker`` (its ``iface-id``), or nothing: target unknown, or the asker itself."""
    owner = owners.get(asked.target)
    if owner is None or owner.iface_id == asker or (owner.router and owner.mac == asked.sender_mac):
        return None
    if ":" in asked.target:
        return advertisement(asked, owner)
    return arp_reply(asked, owner)


def arp_reply(asked: Question, owner: Owner) -> bytes:
    """RFC 826's reply, padded to Ethernet's minimum."""
    mac, asker = mac_bytes(owner.mac), mac_bytes(asked.sender_mac)
    target, sender = (ipaddress.IPv4Address(a).packed for a in (asked.target, asked.sender))
    packet = _ARP.pack(*_ARP_FIXED, 2, mac, target, asker, sender)
    return (_ETHERNET.pack(asker, mac, ARP) + packet).ljust(_MINIMUM_FRAME, b"\0")


def advertisement(asked: Question, owner: Owner) -> bytes:
    """The neighbour advertisement of RFC 4861 section 7.2.4, with the target's link-layer address.

    To a duplicate address detection it goes to all nodes, not solicited.
    """
    mac = mac_bytes(owner.mac)
    target = ipaddress.IPv6Address(asked.target)
    destination = ALL_NODES if asked.probing else ipaddress.IPv6Address(asked.sender)
    to_mac = b"\x33\x33" + destination.packed[12:] if asked.probing else mac_bytes(asked.sender_mac)
    router, solicited, override = owner.router << 31, (not asked.probing) << 30, 1 << 29
    message = struct.pack("!BBHI16sBB6s", NA, 0, 0, router | solicited | override, target.packed, 2, 1, mac)
    checksum = icmpv6_checksum(target.packed, destination.packed, message)
    message = message[:2] + checksum.to_bytes(2) + message[4:]
    header = _IPV6.pack(6 << 28, len(message), ICMPV6, 255, target.packed, destination.packed)
    return _ETHERNET.pack(to_mac, mac, IPV6) + header + message


def icmpv6_checksum(source: bytes, destination: bytes, message: bytes) -> int:
    """The Internet checksum over pseudo-header and message (RFC 4443 section 2.3); 0 verifies a whole message."""
    return checksum(source + destination + struct.pack("!II", len(message), ICMPV6) + message)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
