"""What a header is to the walk over a frame (:mod:`chimera.wire.headers`), and the headers that overlays stand on.

A header is one :class:`Layer`: its fields in the order of the RFC's drawing, with their widths in bits; how long it is;
what follows it; the numbers by which others announce it; and what else the lab does by it: what a trace shows, what
Open vSwitch and Wireshark make of it, where it leads a frame. The overlays' own formats are Scapy layers
(:mod:`chimera.wire.formats`), and theirs are derived from those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from scapy.packet import Packet

Claim = tuple[str, int]  # a number space and a number in it
Next = str | Claim  # a header by its name, or by what announces it; "" where the rest is payload
Place = tuple[str, bool]  # where a header leads a frame, and whether that is a distribution tree
Show = Callable[[int], str]

BRIDGED_TYPE = 0x6558  # EtherType of Ethernet within: Transparent Ethernet Bridging, RFC 1701


def decimal(value: int) -> str:
    """As people count."""
    return str(value)


def hexadecimal(value: int) -> str:
    """As types and flags are written."""
    return f"{value:#x}"


def _mac(value: int) -> str:
    return value.to_bytes(6, "big").hex(":")


def _ipv4(value: int) -> str:
    return str(IPv4Address(value))


def _ipv6(value: int) -> str:
    return str(IPv6Address(value))


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its width in bits, and how a reader wants to see it. Without a name it is reserved.

    It is there where the field called ``flag``, if any, has the value ``value``.
    """

    name: str
    bits: int
    show: Show = decimal
    flag: str = ""
    value: int = 1


@dataclass(frozen=True, slots=True)
class Layer:
    """One header.

    ``fields`` cover what is always there, which ``minimum`` bytes hold, and what flags announce. ``length(frame, at)``
    is the whole header's length (options included; less than ``minimum`` where it is malformed).
    ``following(frame, at)`` is the next header. ``claims`` are what announces this one: ``ethertype``, ``ip-protocol``,
    ``udp-port``, and ``frame`` for an EtherType behind which a header that stands in Ethernet's place is recognised.
    ``variant(frame, at)`` names the header that is really there, where two share a number.

    ``shown`` are the fields by which a reader tells one frame from another; ``group`` is a flag and the prefix of the
    fields that mean nothing where it is set. ``limit`` is the field that ends a frame's way, and what it is called.
    ``tunnel_id`` is the field that a tunnel port of Open vSwitch gives to flows as ``tun_id``. ``toward(frame, at)`` is
    where the header leads a frame, as tunnel endpoint or edge. ``tenant(frame, at)`` is for headers that carry VMs' IP
    packets without their Ethernet: the identifier in which addresses are meant. ``tags`` says that a VM's frame within
    gets an 802.1Q tag. ``decode_as(frame, at, following)`` is the value for Wireshark's ``-d`` without which it
    misreads what stands here, and ``check_sequence`` that it takes the last four bytes for one. ``table`` is the Scapy
    layer, if any.
    """

    name: str
    fields: tuple[Field, ...]
    following: Callable[[bytes, int], Next]
    claims: tuple[Claim, ...] = ()
    length: Callable[[bytes, int], int] | None = None
    variant: Callable[[bytes, int], str] | None = None
    shown: tuple[str, ...] = ()
    group: tuple[str, str] | None = None
    limit: tuple[str, str] | None = None
    tunnel_id: str = ""
    toward: Callable[[bytes, int], Place] | None = None
    tenant: Callable[[bytes, int], int | None] | None = None
    tags: bool = False
    decode_as: Callable[[bytes, int, str], str] | None = None
    check_sequence: bool = False
    table: type[Packet] | None = None

    @property
    def minimum(self) -> int:
        """Bytes that are there whatever the flags say."""
        always = sum(f.bits for f in self.fields if not f.flag)
        flags = {f.flag for f in self.fields if f.flag}
        return (always + sum(min(self._bits(flag, 0), self._bits(flag, 1)) for flag in flags)) // 8

    def _bits(self, flag: str, value: int) -> int:
        return sum(f.bits for f in self.fields if f.flag == flag and f.value == value)


def number(frame: bytes, at: int) -> int:
    """Two bytes."""
    return frame[at] << 8 | frame[at + 1]


def _after_ethertype(offset: int) -> Callable[[bytes, int], Next]:
    return lambda frame, at: ("ethertype", number(frame, at + offset))


def _after_ipv4(frame: bytes, at: int) -> Next:
    later_fragment = number(frame, at + 6) & 0x1FFF
    return "" if later_fragment else ("ip-protocol", frame[at + 9])


def _after_ipv6(frame: bytes, at: int) -> Next:
    return "ip-protocol", frame[at + 6]


def _after_udp(frame: bytes, at: int) -> Next:
    return "udp-port", number(frame, at + 2)


def _ends(_frame: bytes, _at: int) -> Next:
    return ""


def then(name: str) -> Callable[[bytes, int], Next]:
    """Always the same header."""
    return lambda _frame, _at: name


_ARP_FIELDS = (
    Field("hardware", 16),
    Field("protocol", 16, hexadecimal),
    Field("", 16),
    Field("operation", 16),
    Field("sender_mac", 48, _mac),
    Field("sender_ip", 32, _ipv4),
    Field("target_mac", 48, _mac),
    Field("target_ip", 32, _ipv4),
)
_ICMP_FIELDS = (Field("type", 8), Field("code", 8), Field("", 16), Field("", 32))

ETH = Layer(
    # Ethernet (IEEE 802.3 clause 3): destination 6, source 6, EtherType 2
    "eth",
    (Field("destination", 48, _mac), Field("source", 48, _mac), Field("type", 16, hexadecimal)),
    _after_ethertype(12),
    (("ethertype", BRIDGED_TYPE),),
    shown=("source", "destination"),
)

VLAN = Layer(
    # 802.1Q tag (IEEE 802.1Q clause 9.6), the two bytes after its TPID and the EtherType behind it
    #
    #  0                   1                   2                   3
    #  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    # +-----+-+-----------------------+-------------------------------+
    # | PCP |D|       VLAN ID         |           EtherType           |
    # +-----+-+-----------------------+-------------------------------+
    "vlan",
    (Field("priority", 3), Field("dei", 1), Field("id", 12), Field("type", 16, hexadecimal)),
    _after_ethertype(2),
    (("ethertype", 0x8100), ("ethertype", 0x88A8)),
    shown=("id",),
)

ARP = Layer("arp", _ARP_FIELDS, _ends, (("ethertype", 0x0806),))  # RFC 826
RARP = Layer("rarp", _ARP_FIELDS, _ends, (("ethertype", 0x8035),))  # RFC 903

IPV4 = Layer(
    # RFC 791, section 3.1
    #
    # +-------+-------+---------------+-------------------------------+
    # |Version|  IHL  |Type of Service|          Total Length         |
    # +-------+-------+---------------+-----+-------------------------+
    # |         Identification        |Flags|     Fragment Offset     |
    # +---------------+---------------+-----+-------------------------+
    # |  Time to Live |    Protocol   |        Header Checksum        |
    # +---------------+---------------+-------------------------------+
    # |                        Source Address                         |
    # +---------------------------------------------------------------+
    # |                      Destination Address                      |
    # +---------------------------------------------------------------+
    "ip",
    (
        Field("version", 4),
        Field("", 4),
        Field("tos", 8, hexadecimal),
        Field("length", 16),
        Field("id", 16, hexadecimal),
        Field("flags", 3, hexadecimal),
        Field("fragment", 13),
        Field("ttl", 8),
        Field("protocol", 8),
        Field("", 16),
        Field("source", 32, _ipv4),
        Field("destination", 32, _ipv4),
    ),
    _after_ipv4,
    (("ethertype", 0x0800), ("ip-protocol", 4)),
    lambda frame, at: (frame[at] & 15) * 4,
    shown=("source", "destination", "ttl"),
    limit=("ttl", "ttl"),
    toward=lambda frame, at: (_ipv4(int.from_bytes(frame[at + 16 : at + 20])), False),
)

IPV6 = Layer(
    # RFC 8200, section 3
    #
    # +-------+---------------+---------------------------------------+
    # |Version| Traffic Class |               Flow Label              |
    # +-------+---------------+-------+---------------+---------------+
    # |         Payload Length        |  Next Header  |   Hop Limit   |
    # +-------------------------------+---------------+---------------+
    # |               Source Address, 16 bytes                        |
    # +---------------------------------------------------------------+
    # |               Destination Address, 16 bytes                   |
    # +---------------------------------------------------------------+
    "ipv6",
    (
        Field("version", 4),
        Field("class", 8, hexadecimal),
        Field("label", 20, hexadecimal),
        Field("length", 16),
        Field("next", 8),
        Field("hops", 8),
        Field("source", 128, _ipv6),
        Field("destination", 128, _ipv6),
    ),
    _after_ipv6,
    (("ethertype", 0x86DD), ("ip-protocol", 41)),
    shown=("source", "destination", "hops"),
    toward=lambda frame, at: (_ipv6(int.from_bytes(frame[at + 24 : at + 40])), False),
)

UDP = Layer(  # RFC 768
    "udp",
    (Field("source", 16), Field("destination", 16), Field("length", 16), Field("checksum", 16, hexadecimal)),
    _after_udp,
    (("ip-protocol", 17),),
    shown=("source", "destination"),
)

TCP = Layer(  # RFC 9293, section 3.1
    "tcp",
    (
        Field("source", 16),
        Field("destination", 16),
        Field("sequence", 32),
        Field("acknowledgment", 32),
        Field("", 8),
        Field("flags", 8, hexadecimal),
        Field("window", 16),
        Field("", 32),
    ),
    _ends,
    (("ip-protocol", 6),),
    lambda frame, at: (frame[at + 12] >> 4) * 4,
)

ICMP = Layer("icmp", _ICMP_FIELDS, _ends, (("ip-protocol", 1),))  # RFC 792
ICMPV6 = Layer("icmpv6", _ICMP_FIELDS, _ends, (("ip-protocol", 58),))  # RFC 4443

BASE = (ETH, VLAN, ARP, RARP, IPV4, IPV6, UDP, TCP, ICMP, ICMPV6)
