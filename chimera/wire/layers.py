"""Headers as tables that drive the walk over a frame (:mod:`chimera.wire.headers`).

A header is one :class:`Layer`: its fields in the order of the RFC's drawing, with their
widths in bits; how long it is; what follows it; and the numbers by which others announce it. The overlays' formats
are Scapy layers (:mod:`chimera.wire.formats`) from which theirs are derived.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from scapy.fields import XBitField
from scapy.packet import Packet

from chimera.wire import formats

Show = Callable[[int], str]


def _decimal(value: int) -> str:
    return str(value)


def _hexadecimal(value: int) -> str:
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
    show: Show = _decimal
    flag: str = ""
    value: int = 1


@dataclass(frozen=True, slots=True)
class Layer:
    """One header.

    ``fields`` cover what is always there, which ``minimum`` bytes hold, and what flags announce. ``length(frame, at)``
    is the whole header's length (options included; less than ``minimum`` where it is malformed).
    ``following(frame, at)`` names the next layer; ``""`` where the rest is payload. ``claims`` are pairs of a number
    space (``ethertype``, ``ip-protocol``, ``udp-port``) and the number that announces this header there.
    """

    name: str
    fields: tuple[Field, ...]
    following: Callable[[bytes, int], str]
    claims: tuple[tuple[str, int], ...] = ()
    length: Callable[[bytes, int], int] | None = None

    @property
    def minimum(self) -> int:
        """Bytes that are there whatever the flags say."""
        always = sum(f.bits for f in self.fields if not f.flag)
        flags = {f.flag for f in self.fields if f.flag}
        return (always + sum(min(self._bits(flag, 0), self._bits(flag, 1)) for flag in flags)) // 8

    def _bits(self, flag: str, value: int) -> int:
        return sum(f.bits for f in self.fields if f.flag == flag and f.value == value)


def _number(frame: bytes, at: int) -> int:
    return frame[at] << 8 | frame[at + 1]


def _after_ethertype(offset: int) -> Callable[[bytes, int], str]:
    return lambda frame, at: announced("ethertype", _number(frame, at + offset))


def _after_ipv4(frame: bytes, at: int) -> str:
    later_fragment = _number(frame, at + 6) & 0x1FFF
    return "" if later_fragment else announced("ip-protocol", frame[at + 9])


def _after_ipv6(frame: bytes, at: int) -> str:
    return announced("ip-protocol", frame[at + 6])


def _after_udp(frame: bytes, at: int) -> str:
    found = announced("udp-port", _number(frame, at + 2))
    return "lisp-gpe" if found == "lisp" and frame[at + 8 : at + 9] and frame[at + 8] & 4 else found  # RFC 9305: P bit


def _ends(_frame: bytes, _at: int) -> str:
    return ""


def _then(name: str) -> Callable[[bytes, int], str]:
    return lambda _frame, _at: name


_ARP_FIELDS = (
    Field("hardware", 16),
    Field("protocol", 16, _hexadecimal),
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
    (Field("destination", 48, _mac), Field("source", 48, _mac), Field("type", 16, _hexadecimal)),
    _after_ethertype(12),
    (("ethertype", formats.BRIDGED_TYPE),),
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
    (Field("priority", 3), Field("dei", 1), Field("id", 12), Field("type", 16, _hexadecimal)),
    _after_ethertype(2),
    (("ethertype", 0x8100), ("ethertype", 0x88A8)),
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
        Field("tos", 8, _hexadecimal),
        Field("length", 16),
        Field("id", 16, _hexadecimal),
        Field("flags", 3, _hexadecimal),
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
        Field("class", 8, _hexadecimal),
        Field("label", 20, _hexadecimal),
        Field("length", 16),
        Field("next", 8),
        Field("hops", 8),
        Field("source", 128, _ipv6),
        Field("destination", 128, _ipv6),
    ),
    _after_ipv6,
    (("ethertype", 0x86DD), ("ip-protocol", 41)),
)

UDP = Layer(  # RFC 768
    "udp",
    (Field("source", 16), Field("destination", 16), Field("length", 16), Field("checksum", 16, _hexadecimal)),
    _after_udp,
    (("ip-protocol", 17),),
)

TCP = Layer(  # RFC 9293, section 3.1
    "tcp",
    (
        Field("source", 16),
        Field("destination", 16),
        Field("sequence", 32),
        Field("acknowledgment", 32),
        Field("", 8),
        Field("flags", 8, _hexadecimal),
        Field("window", 16),
        Field("", 32),
    ),
    _ends,
    (("ip-protocol", 6),),
    lambda frame, at: (frame[at + 12] >> 4) * 4,
)

ICMP = Layer("icmp", _ICMP_FIELDS, _ends, (("ip-protocol", 1),))  # RFC 792
ICMPV6 = Layer("icmpv6", _ICMP_FIELDS, _ends, (("ip-protocol", 58),))  # RFC 4443


# -- the overlays' formats -----------------------------------------------------------------------


def _after_mpls(frame: bytes, at: int) -> str:
    if not frame[at + 2] & 1:
        return "mpls"
    return "pwcw" if frame[at + 4 : at + 8] == formats.CONTROL_WORD else "eth"


def _after_gre(frame: bytes, at: int) -> str:
    return "" if frame[at + 1] & 7 else announced("ethertype", _number(frame, at + 2))


def _after_lisp(frame: bytes, at: int) -> str:
    return {4: "ip", 6: "ipv6"}.get(frame[at + 8] >> 4, "") if at + 8 < len(frame) else ""


def _after_lisp_gpe(frame: bytes, at: int) -> str:
    return {1: "ip", 2: "ipv6", 3: "eth"}.get(frame[at + 3], "")


def _after_trill(frame: bytes, at: int) -> str:
    return "" if frame[at] >> 6 else "eth"


_FOLLOWING: dict[type[Packet], Callable[[bytes, int], str]] = {
    formats.MPLS: _after_mpls,
    formats.GRE: _after_gre,
    formats.LISP: _after_lisp,
    formats.LISP_GPE: _after_lisp_gpe,
    formats.TRILL: _after_trill,
}  # the others carry Ethernet and nothing else


def _gre_length(frame: bytes, at: int) -> int:
    return 4 + (frame[at] & 0b1011_0000).bit_count() * 4


def _trill_length(frame: bytes, at: int) -> int:
    return 6 + (_number(frame, at) >> 6 & 31) * 4


_LENGTH = {formats.GRE: _gre_length, formats.TRILL: _trill_length}  # the others' never changes


def _derived_field(field: Any) -> Field:
    """A field of a Scapy layer; ``Any`` because Scapy's fields have no common type that says what is used here."""
    name = "" if field.name.startswith("reserved") else field.name
    optional = isinstance(field, formats.Optional)
    flag, value, inside = (field.flag, field.value, field.fld) if optional else ("", 1, field)
    return Field(name, inside.size, _hexadecimal if isinstance(inside, XBitField) else _decimal, flag, value)


def _derived(table: type[Packet]) -> Layer:
    """A format of :mod:`chimera.wire.formats` as the walk needs it."""
    fields = tuple(_derived_field(f) for f in table.fields_desc if f.name != "options")
    claims = tuple((space, number) for space, number, claimed in formats.CLAIMS if claimed is table)
    return Layer(str(table().name), fields, _FOLLOWING.get(table, _then("eth")), claims, _LENGTH.get(table))


LAYERS: dict[str, Layer] = {
    layer.name: layer
    for layer in (
        ETH, VLAN, ARP, RARP, IPV4, IPV6, UDP, TCP, ICMP, ICMPV6, *(_derived(table) for table in formats.FORMATS)
    )
}  # fmt: skip
_ANNOUNCED = {claim: layer.name for layer in LAYERS.values() for claim in layer.claims}
_MINIMUM = {layer.name: layer.minimum for layer in LAYERS.values()}


def announced(space: str, number: int) -> str:
    """The layer that ``number`` announces in a number space; ``""`` where the table has none."""
    return _ANNOUNCED.get((space, number), "")
