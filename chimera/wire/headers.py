"""Headers as tables, and the walk over a frame that they drive.

A header is one :class:`Layer`: its fields in the order of the RFC's drawing, with their
widths in bits; how long it is; what follows it; and the numbers by which others announce it. A new wire
format is one entry of :data:`LAYERS`. Nothing here raises on any bytes: the walk ends
where a header does not fit, or where nothing is known about what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from chimera.model.result import Header

Show = Callable[[int], str]
Step = tuple[str, int, int]  # layer, where it begins, its length


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
    """A field: its width in bits, and how a reader wants to see it. Without a name it is reserved."""

    name: str
    bits: int
    show: Show = _decimal


@dataclass(frozen=True, slots=True)
class Layer:
    """One header.

    ``fields`` cover the fixed part, which ``minimum`` bytes hold. ``length(frame, at)`` is the whole
    header's length (options included; less than ``minimum`` where it is malformed). ``following(frame, at)``
    names the next layer; ``""`` where the rest is payload. ``claims`` are pairs of a number space
    (``ethertype``, ``ip-protocol``, ``udp-port``) and the number that announces this header there.
    """

    name: str
    fields: tuple[Field, ...]
    following: Callable[[bytes, int], str]
    claims: tuple[tuple[str, int], ...] = ()
    length: Callable[[bytes, int], int] | None = None

    @property
    def minimum(self) -> int:
        """Bytes of the fixed part."""
        return sum(f.bits for f in self.fields) // 8


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
    return announced("udp-port", _number(frame, at + 2))


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

VXLAN = Layer(
    # RFC 7348, section 5
    #
    # +-+-+-+-+-+-+-+-+-----------------------------------------------+
    # |R|R|R|R|I|R|R|R|            Reserved                           |
    # +-+-+-+-+-+-+-+-+-------------------------------+---------------+
    # |                VXLAN Network Identifier (VNI) |   Reserved    |
    # +-----------------------------------------------+---------------+
    "vxlan",
    (Field("flags", 8, _hexadecimal), Field("", 24), Field("vni", 24), Field("", 8)),
    _then("eth"),
    (("udp-port", 4789),),
)

LAYERS: dict[str, Layer] = {
    layer.name: layer for layer in (ETH, VLAN, ARP, RARP, IPV4, IPV6, UDP, TCP, ICMP, ICMPV6, VXLAN)
}
_ANNOUNCED = {claim: layer.name for layer in LAYERS.values() for claim in layer.claims}
_MINIMUM = {layer.name: layer.minimum for layer in LAYERS.values()}


def announced(space: str, number: int) -> str:
    """The layer that ``number`` announces in a number space; ``""`` where the table has none."""
    return _ANNOUNCED.get((space, number), "")


def walk(frame: bytes, name: str = "eth") -> Iterator[Step]:
    """The headers of a frame from the outside in, as far as they are known and whole."""
    at = 0
    while name:
        layer, minimum = LAYERS[name], _MINIMUM[name]
        if at + minimum > len(frame):
            return
        length = layer.length(frame, at) if layer.length else minimum
        if length < minimum or at + length > len(frame):
            return
        yield name, at, length
        name = layer.following(frame, at)
        at += length


def _fields(layer: Layer, data: bytes) -> dict[str, str]:
    """The named fields of a header whose bytes are ``data``."""
    whole, left = int.from_bytes(data, "big"), len(data) * 8
    found: dict[str, str] = {}
    for field in layer.fields:
        left -= field.bits
        if field.name:
            found[field.name] = field.show(whole >> left & ((1 << field.bits) - 1))
    return found


def dissect(frame: bytes) -> list[Header]:
    """Every header of an Ethernet frame, outermost first, with its fields as text."""
    return [
        Header(name, length, _fields(LAYERS[name], frame[at : at + _MINIMUM[name]])) for name, at, length in walk(frame)
    ]


@dataclass(frozen=True, slots=True)
class Carried:
    """A VM's frame as the underlay carries it.

    ``overhead_bytes`` is what encapsulation adds. ``headers`` are the names of the layers in front of and
    including the VM's Ethernet header. ``outer_destination`` is the tunnel endpoint's address where there is a tunnel
    over IP, ``vlan`` the outer tag's VLAN ID where the frame is only tagged.
    """

    overhead_bytes: int
    frame: bytes
    headers: tuple[str, ...]
    outer_destination: str = ""
    vlan: int | None = None


def _address(frame: bytes, step: Step) -> str:
    name, at, _ = step
    if name == "ip":
        return str(IPv4Address(frame[at + 16 : at + 20]))
    return str(IPv6Address(frame[at + 24 : at + 40]))


def carried(frame: bytes) -> Carried | None:
    """The VM's frame within an underlay's frame; ``None`` where it is the underlay's own (ARP, TCP of a migration …).

    A VM's frame is what stands behind a tunnel's header, or carries an 802.1Q tag. With a tunnel it is returned as
    it is; without, the outer tag is taken off.
    """
    steps = list(walk(frame))
    inner = max((i for i, (name, _, _) in enumerate(steps) if name == "eth"), default=0)
    if inner > 0:
        at = steps[inner][1]
        outer = next((s for s in steps[:inner] if s[0] in ("ip", "ipv6")), None)
        names = tuple(name for name, _, _ in steps[: inner + 1])
        return Carried(at, frame[at:], names, _address(frame, outer) if outer else "")
    if len(steps) > 1 and steps[1][0] == "vlan":
        return Carried(4, frame[:12] + frame[16:], ("eth", "vlan"), vlan=_number(frame, 14) & 0xFFF)
    return None


def inner(frame: bytes) -> tuple[int, bytes]:
    """Bytes of encapsulation and the VM's frame; ``(0, frame)`` where nothing is encapsulated."""
    found = carried(frame)
    return (found.overhead_bytes, found.frame) if found else (0, frame)
