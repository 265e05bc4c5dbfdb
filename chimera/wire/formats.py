"""Every overlay's header: a Scapy layer, drawn as its source draws it, and what the lab does by it.

A format is written once, here: the table, and one entry that says which numbers announce it and what else is peculiar
to it (:class:`~chimera.wire.layers.Layer`). Scapy builds and dissects by the tables (:mod:`chimera.wire.stacks`); the
walk over captures (:mod:`chimera.wire.headers`), traces, counts and hints for Wireshark follow from the entries.

Names of fields mean something. One that begins with ``reserved`` is sent as zero and not shown. ``protocol`` is the
EtherType of what follows; without it that is a VM's Ethernet frame. Behind a ``version`` other than 0 nothing is
understood. ``options`` are as many words of four bytes as their length field says. :class:`Optional` fields are there
only where a flag says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from scapy.fields import AnyField, BitField, BitFieldLenField, ConditionalField, StrLenField, XBitField
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from chimera.wire.layers import BASE, BRIDGED_TYPE, Claim, Field, Layer, Next, Place, decimal, hexadecimal, number, then

Fields = list[AnyField]

VXLAN_PORT = 4789  # RFC 7348 section 5
MPLS_PORT = 6635  # RFC 7510 section 3
LISP_PORT = 4341  # RFC 9300 section 5.3; RFC 9305 shares it
OTV_PORT = 8472  # draft-hasmit-otv-04
GENEVE_PORT = 6081  # RFC 8926 section 3.3
TRILL_TYPE = 0x22F3  # RFC 6325 section 3
FABRICPATH_TYPE = 0x8903
MPLS_TYPE = 0x8847  # RFC 3032 section 5; in GRE, too: RFC 4023 section 3.2
MPLS_IN_IP = 137  # IP protocol, RFC 4023 section 3.1
GRE_PROTOCOL = 47  # IP protocol, RFC 2784 section 2
CONTROL_WORD = bytes(4)  # the one there is where no sequence numbers are used


class Optional(ConditionalField):
    """A field that is there where the field ``flag`` has this value."""

    __slots__ = ["flag", "value"]

    def __init__(self, field: BitField, flag: str, value: int = 1) -> None:
        super().__init__(field, lambda packet: packet.getfieldval(flag) == value)
        self.flag = flag
        self.value = value


class VXLAN(Packet):
    # RFC 7348, section 5
    #
    #  0                   1                   2                   3
    #  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    # +-+-+-+-+-+-+-+-+-----------------------------------------------+
    # |R|R|R|R|I|R|R|R|            Reserved                           |
    # +-+-+-+-+-+-+-+-+-------------------------------+---------------+
    # |                VXLAN Network Identifier (VNI) |   Reserved    |
    # +-----------------------------------------------+---------------+
    """What a VTEP puts before a VM's frame."""

    name = "vxlan"
    fields_desc: ClassVar[Fields] = [
        XBitField("flags", 0x08, 8),
        BitField("reserved", 0, 24),
        BitField("vni", 0, 24),
        BitField("reserved2", 0, 8),
    ]


class Geneve(Packet):
    # RFC 8926, section 3.4
    #
    #  0                   1                   2                   3
    #  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    # +---+-----------+-+-+-----------+-------------------------------+
    # |Ver|  Opt Len  |O|C|    Rsvd.  |          Protocol Type        |
    # +---+-----------+-+-+-----------+---------------+---------------+
    # |        Virtual Network Identifier (VNI)       |    Reserved   |
    # +-----------------------------------------------+---------------+
    # |                Options, Opt Len times 4 bytes                 |
    # +---------------------------------------------------------------+
    """What a tunnel endpoint puts before a VM's frame; O: a control packet, C: options that must be understood."""

    name = "geneve"
    fields_desc: ClassVar[Fields] = [
        BitField("version", 0, 2),
        BitFieldLenField("opt_length", None, 6, length_of="options", adjust=lambda _packet, length: length // 4),
        BitField("o", 0, 1),
        BitField("c", 0, 1),
        BitField("reserved", 0, 6),
        XBitField("protocol", BRIDGED_TYPE, 16),
        BitField("vni", 0, 24),
        BitField("reserved2", 0, 8),
        StrLenField("options", b"", length_from=lambda packet: packet.opt_length * 4),
    ]


class OTV(Packet):
    # draft-hasmit-otv-04, the encapsulation of data frames
    #
    #  0                   1                   2                   3
    #  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    # +-+-+-+-+-+-+-+-+-----------------------------------------------+
    # |R|R|R|R|I|R|R|R|            Overlay ID                         |
    # +-+-+-+-+-+-+-+-+-------------------------------+---------------+
    # |                Instance ID                    |   Reserved    |
    # +-----------------------------------------------+---------------+
    """What an edge device puts before a frame of an extended VLAN."""

    name = "otv"
    fields_desc: ClassVar[Fields] = [
        XBitField("flags", 0x08, 8),
        BitField("overlay", 0, 24),
        BitField("instance", 0, 24),
        BitField("reserved", 0, 8),
    ]


class MPLS(Packet):
    # RFC 3032, section 2.1; RFC 5462 renamed EXP to TC
    #
    #  0                   1                   2                   3
    #  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    # +---------------------------------------+-----+-+---------------+
    # |                Label                  | TC  |S|      TTL      |
    # +---------------------------------------+-----+-+---------------+
    """A label stack entry."""

    name = "mpls"
    fields_desc: ClassVar[Fields] = [
        BitField("label", 0, 20),
        BitField("tc", 0, 3),
        BitField("bottom", 1, 1),
        BitField("ttl", 64, 8),
    ]

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """Behind the last label an Ethernet pseudowire: with a control word exactly where four zero bytes follow.

        RFC 4448 leaves it to signalling whether there is one; no VM's MAC address begins with four zeros.
        """
        if not self.bottom:
            return MPLS
        return ControlWord if payload[:4] == CONTROL_WORD else Ether


class ControlWord(Packet):
    # RFC 4448, section 4.6; the first nibble is RFC 4385, section 3
    #
    #  0                   1                   2                   3
    #  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    # +-------+-----------------------+-------------------------------+
    # |0 0 0 0|   Reserved            |       Sequence Number         |
    # +-------+-----------------------+-------------------------------+
    """An Ethernet pseudowire's control word; a sequence number of 0 means that none are used."""

    name = "pwcw"
    fields_desc: ClassVar[Fields] = [
        BitField("reserved_nibble", 0, 4),
        BitField("reserved", 0, 12),
        BitField("sequence", 0, 16),
    ]


class GRE(Packet):
    # RFC 2784, section 2, with the key and sequence number of RFC 2890, section 2
    #
    #  0                   1                   2                   3
    #  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    # +-+-+-+-+-----------------+-----+-------------------------------+
    # |C| |K|S|    Reserved0    | Ver |         Protocol Type         |
    # +-+-+-+-+-----------------+-----+-------------------------------+
    # |      Checksum (optional)      |      Reserved1 (optional)     |
    # +-------------------------------+-------------------------------+
    # |                         Key (optional)                        |
    # +---------------------------------------------------------------+
    # |                 Sequence Number (optional)                    |
    # +---------------------------------------------------------------+
    """Generic routing encapsulation; the checksum is as it is given."""

    name = "gre"
    fields_desc: ClassVar[Fields] = [
        BitField("c", 0, 1),
        BitField("reserved", 0, 1),
        BitField("k", 0, 1),
        BitField("s", 0, 1),
        BitField("reserved0", 0, 9),
        BitField("version", 0, 3),
        XBitField("protocol", MPLS_TYPE, 16),
        Optional(XBitField("checksum", 0, 16), "c"),
        Optional(BitField("reserved1", 0, 16), "c"),
        Optional(BitField("key", 0, 32), "k"),
        Optional(BitField("sequence", 0, 32), "s"),
    ]


class LISP(Packet):
    # RFC 9300, section 5.1: from the LISP flags on, behind the outer UDP header
    #
    #  0                   1                   2                   3
    #  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    # +-+-+-+-+-+-+-+-+-----------------------------------------------+
    # |N|L|E|V|I|R|K|K|            Nonce/Map-Version                  |
    # +-+-+-+-+-+-+-+-+-------------------------------+---------------+
    # |                 Instance ID/Locator-Status-Bits               |
    # +---------------------------------------------------------------+
    #
    # V: Source and Dest Map-Version of 12 bits each. I: 24 bits of Instance ID, 8 of Locator-Status-Bits.
    """What an ITR puts before a packet of an EID; ``k`` is the key of RFC 8061."""

    name = "lisp"
    fields_desc: ClassVar[Fields] = [
        BitField("n", 0, 1),
        BitField("l", 0, 1),
        BitField("e", 0, 1),
        BitField("v", 0, 1),
        BitField("i", 1, 1),
        BitField("reserved", 0, 1),
        BitField("k", 0, 2),
        Optional(XBitField("nonce", 0, 24), "v", 0),
        Optional(BitField("source_version", 0, 12), "v"),
        Optional(BitField("dest_version", 0, 12), "v"),
        Optional(BitField("instance", 0, 24), "i"),
        Optional(XBitField("locators8", 0, 8), "i"),
        Optional(XBitField("locators", 0, 32), "i", 0),
    ]

    @classmethod
    def dispatch_hook(cls, _pkt: bytes | None = None, *_args: Any, **_fields: Any) -> type[Packet]:
        """Bytes with the P bit set are LISP-GPE."""
        return LISP_GPE if _pkt and _pkt[0] & 0x04 else cls


class LISP_GPE(Packet):
    # RFC 9305, section 3
    #
    #  0                   1                   2                   3
    #  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    # +-+-+-+-+-+-+-+-+-------------------------------+---------------+
    # |N|L|E|V|I|P|K|K|        Nonce/Map-Version      | Next Protocol |
    # +-+-+-+-+-+-+-+-+-------------------------------+---------------+
    # |                 Instance ID/Locator-Status-Bits               |
    # +---------------------------------------------------------------+
    #
    # V: Source and Dest Map-Version of 8 bits each. Next Protocol: 1 IPv4, 2 IPv6, 3 Ethernet, 4 NSH.
    """LISP that says what it carries."""

    name = "lisp-gpe"
    fields_desc: ClassVar[Fields] = [
        BitField("n", 0, 1),
        BitField("l", 0, 1),
        BitField("e", 0, 1),
        BitField("v", 0, 1),
        BitField("i", 1, 1),
        BitField("p", 1, 1),
        BitField("k", 0, 2),
        Optional(XBitField("nonce", 0, 16), "v", 0),
        Optional(BitField("source_version", 0, 8), "v"),
        Optional(BitField("dest_version", 0, 8), "v"),
        BitField("next", 1, 8),
        Optional(BitField("instance", 0, 24), "i"),
        Optional(XBitField("locators8", 0, 8), "i"),
        Optional(XBitField("locators", 0, 32), "i", 0),
    ]


class TRILL(Packet):
    # RFC 6325, section 3.1: behind EtherType 0x22F3; the inner frame has an 802.1Q tag (section 4.1.1)
    #
    #  0                   1                   2                   3
    #  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    #                                 +---+---+-+---------+-----------+
    #                                 | V | R |M|Op-Length| Hop Count |
    # +-------------------------------+---+---+-+---------+-----------+
    # |  Egress RBridge Nickname      |  Ingress RBridge Nickname     |
    # +-------------------------------+-------------------------------+
    # |                Options, Op-Length times 4 bytes               |
    # +---------------------------------------------------------------+
    """What an ingress RBridge puts before a frame; with ``m`` the egress is a distribution tree's root."""

    name = "trill"
    fields_desc: ClassVar[Fields] = [
        BitField("version", 0, 2),
        BitField("reserved", 0, 2),
        BitField("m", 0, 1),
        BitFieldLenField("op_length", None, 5, length_of="options", adjust=lambda _packet, length: length // 4),
        BitField("hops", 32, 6),
        XBitField("egress", 0, 16),
        XBitField("ingress", 0, 16),
        StrLenField("options", b"", length_from=lambda packet: packet.op_length * 4),
    ]


def _hierarchical(end: str) -> list[BitField]:
    """A FabricPath address; ``outoforder`` is OOO of a destination and DL of a source."""
    return [
        BitField(f"{end}_endnode", 0, 6),
        BitField(f"{end}_local", 1, 1),
        BitField(f"{end}_group", 0, 1),
        BitField(f"{end}_endnode_high", 0, 2),
        BitField(f"reserved_{end}", 0, 1),
        BitField(f"{end}_ooo_dl", 0, 1),
        BitField(f"{end}_switch", 0, 12),
        BitField(f"{end}_subswitch", 0, 8),
        BitField(f"{end}_lid", 0, 16),
    ]


class FabricPath(Packet):
    # Cisco FabricPath, not a public standard: the frame format of Cisco's white paper, bits as Wireshark's
    # packet-cisco-fp-mim.c reads them
    #
    #  0                   1                   2                   3
    #  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    # +-----------+-+-+---+-+-+-----------------------+---------------+
    # |Endnode 5:0|U|I|7:6|R|O|   Switch ID           |  Sub-switch   |  destination; O: out of order
    # +-----------+-+-+---+-+-+-------+-----------+-+-+---+-+-+-------+
    # |       Local ID (LID)          |Endnode 5:0|U|I|7:6|R|D|Switch |  source; D: do not learn
    # +---------------+---------------+-----------+-+-+---+-+-+-------+
    # |ID             |  Sub-switch   |       Local ID (LID)          |
    # +---------------+---------------+-------------------+-----------+
    # |       EtherType 0x8903        |       FTag        |    TTL    |
    # +-------------------------------+-------------------+-----------+
    """What an edge switch puts before a frame: addresses that name switches, and a tag.

    Where ``destination_group`` is set, the destination is a plain group address and its other fields mean nothing.
    """

    name = "fabricpath"
    fields_desc: ClassVar[Fields] = [
        *_hierarchical("destination"),
        *_hierarchical("source"),
        XBitField("type", FABRICPATH_TYPE, 16),
        BitField("ftag", 1, 10),
        BitField("ttl", 32, 6),
    ]


# -- what follows from a table -------------------------------------------------------------------


def _reader(table: type[Packet], name: str) -> Callable[[bytes, int], int] | None:
    """Reads a field in a header's part that is always there; None where the table has no such field."""
    fields: list[Any] = list(table.fields_desc)  # no common type of Scapy's says that they have a size
    names = [field.name for field in fields]
    if name not in names:
        return None
    before = sum(field.size for field in fields[: names.index(name)])
    size = fields[names.index(name)].size
    first, last = before // 8, (before + size + 7) // 8
    shift, mask = last * 8 - before - size, (1 << size) - 1
    return lambda frame, at: int.from_bytes(frame[at + first : at + last], "big") >> shift & mask


def _following(table: type[Packet]) -> Callable[[bytes, int], Next]:
    version, protocol = _reader(table, "version"), _reader(table, "protocol")
    if version is None and protocol is None:
        return then("eth")

    def following(frame: bytes, at: int) -> Next:
        if version and version(frame, at):
            return ""
        return ("ethertype", protocol(frame, at)) if protocol else "eth"

    return following


def _with_options(table: type[Packet], fixed_bytes: int) -> Callable[[bytes, int], int] | None:
    """The length of a header that ends with options."""
    counted = next((f.name for f in table.fields_desc if isinstance(f, BitFieldLenField)), "")
    words = _reader(table, counted)
    return words and (lambda frame, at: fixed_bytes + words(frame, at) * 4)


def _field(field: Any) -> Field:
    """A field of a Scapy layer."""
    name = "" if field.name.startswith("reserved") else field.name
    inside: Any = field.fld if isinstance(field, Optional) else field
    flag, value = (field.flag, field.value) if isinstance(field, Optional) else ("", 1)
    return Field(name, inside.size, hexadecimal if isinstance(inside, XBitField) else decimal, flag, value)


def _format(table: type[Packet], *claims: Claim, **peculiar: Any) -> Layer:
    """A format's entry: what its table says, and what is ``peculiar`` to it (:class:`Layer`'s own names)."""
    fields = tuple(_field(f) for f in table.fields_desc if f.name != "options")
    layer = Layer(str(table().name), fields, _following(table), claims, table=table)
    return replace(layer, **{"length": _with_options(table, layer.minimum), **peculiar})


# -- what is peculiar to each --------------------------------------------------------------------


def _after_mpls(frame: bytes, at: int) -> Next:
    if not frame[at + 2] & 1:
        return "mpls"
    return "pwcw" if frame[at + 4 : at + 8] == CONTROL_WORD else "eth"


def _pseudowire(frame: bytes, at: int, following: str) -> str:
    """Wireshark can but guess whether a control word follows a label, and some MAC addresses mislead it."""
    if following not in ("pwcw", "eth"):
        return ""
    return f"mpls.label=={int.from_bytes(frame[at : at + 3]) >> 4},pweth{'' if following == 'pwcw' else 'no'}cw"


def _gre_length(frame: bytes, at: int) -> int:
    return 4 + (frame[at] & 0b1011_0000).bit_count() * 4


def _after_lisp(frame: bytes, at: int) -> Next:
    return {4: "ip", 6: "ipv6"}.get(frame[at + 8] >> 4, "") if at + 8 < len(frame) else ""


def _after_lisp_gpe(frame: bytes, at: int) -> Next:
    return {1: "ip", 2: "ipv6", 3: "eth"}.get(frame[at + 3], "")


def _lisp_variant(frame: bytes, at: int) -> str:
    """LISP-GPE where the P bit is set (RFC 9305 section 3)."""
    return "lisp-gpe" if at < len(frame) and frame[at] & 4 else "lisp"


def _instance(frame: bytes, at: int) -> int | None:
    """The instance ID, where the I bit says that there is one (RFC 9300 section 5.1)."""
    return int.from_bytes(frame[at + 4 : at + 7]) if frame[at] & 0x08 else None


def _egress_rbridge(frame: bytes, at: int) -> Place:
    return str(number(frame, at + 2)), bool(frame[at] & 0x08)


def _egress_switch(frame: bytes, at: int) -> Place:
    group = bool(frame[at] & 1)
    switch, ftag = number(frame, at + 1) & 0xFFF, number(frame, at + 14) >> 6
    return str(ftag if group else switch), group


_ENDS = ("switch", "subswitch", "lid")

FORMATS: tuple[Layer, ...] = (
    _format(VXLAN, ("udp-port", VXLAN_PORT), shown=("vni",), tunnel_id="vni"),
    _format(Geneve, ("udp-port", GENEVE_PORT), shown=("vni",), tunnel_id="vni"),
    _format(
        OTV,
        ("udp-port", OTV_PORT),
        shown=("overlay", "instance"),
        tunnel_id="instance",
        decode_as=lambda *_: f"udp.port=={OTV_PORT},vxlan",  # Wireshark knows the port for other uses
    ),
    _format(
        MPLS,
        ("udp-port", MPLS_PORT),
        ("ip-protocol", MPLS_IN_IP),
        ("ethertype", MPLS_TYPE),  # and GRE's protocol type
        following=_after_mpls,
        shown=("label", "tc", "bottom", "ttl"),
        decode_as=_pseudowire,
    ),
    _format(ControlWord, shown=("sequence",)),
    _format(GRE, ("ip-protocol", GRE_PROTOCOL), length=_gre_length, shown=("protocol", "key", "sequence")),
    _format(
        LISP,
        ("udp-port", LISP_PORT),
        variant=_lisp_variant,
        following=_after_lisp,
        shown=("instance",),
        tenant=_instance,
    ),
    _format(
        LISP_GPE, following=_after_lisp_gpe, shown=("instance", "next"), tenant=_instance, tunnel_id="instance"
    ),
    _format(
        TRILL,
        ("ethertype", TRILL_TYPE),
        shown=("egress", "ingress", "m", "hops"),
        limit=("hops", "hop count"),
        toward=_egress_rbridge,
        tags=True,
    ),
    _format(
        FabricPath,
        ("frame", FABRICPATH_TYPE),
        shown=(*(f"{end}_{part}" for end in ("source", "destination") for part in _ENDS), "ftag", "ttl"),
        group=("destination_group", "destination"),
        limit=("ttl", "ttl"),
        toward=_egress_switch,
        check_sequence=True,
    ),
)  # fmt: skip


def table_of(layers: tuple[Layer, ...]) -> dict[str, Layer]:
    """Headers by name, in order. Raises ValueError where two have one name, or are announced by one number."""
    by_name: dict[str, Layer] = {}
    claimed: dict[Claim, str] = {}
    for layer in layers:
        if layer.name in by_name:
            raise ValueError(f"two headers are called {layer.name}")
        by_name[layer.name] = layer
        for claim in layer.claims:
            if claim in claimed:
                raise ValueError(f"{claim[0]} {claim[1]} announces {claimed[claim]}, and {layer.name} as well")
            claimed[claim] = layer.name
    return by_name


LAYERS = table_of((*BASE, *FORMATS))
