"""Every overlay's header as one table: a Scapy layer, drawn as its source draws it.

A format is written once. Scapy builds and dissects by these tables (:mod:`chimera.wire.stacks` says what follows
what), and :mod:`chimera.wire.layers` takes widths and names from them for the walk over captures. Fields whose name
begins with ``reserved`` are sent as zero and not shown; :class:`Optional` ones are there only where a flag says so.
"""

from __future__ import annotations

from typing import Any, ClassVar

from scapy.fields import AnyField, BitField, BitFieldLenField, ConditionalField, StrLenField, XBitField
from scapy.layers.l2 import Ether
from scapy.packet import Packet

Fields = list[AnyField]

VXLAN_PORT = 4789  # RFC 7348 section 5
MPLS_PORT = 6635  # RFC 7510 section 3
LISP_PORT = 4341  # RFC 9300 section 5.3; RFC 9305 shares it
OTV_PORT = 8472  # draft-hasmit-otv-04
TRILL_TYPE = 0x22F3  # RFC 6325 section 3
FABRICPATH_TYPE = 0x8903
MPLS_TYPE = 0x8847  # RFC 3032 section 5; in GRE, too: RFC 4023 section 3.2
BRIDGED_TYPE = 0x6558  # Transparent Ethernet Bridging, RFC 1701
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


FORMATS: tuple[type[Packet], ...] = (VXLAN, OTV, MPLS, ControlWord, GRE, LISP, LISP_GPE, TRILL, FabricPath)

# The number by which another header announces each: (number space, number, format)
CLAIMS: tuple[tuple[str, int, type[Packet]], ...] = (
    ("udp-port", VXLAN_PORT, VXLAN),
    ("udp-port", OTV_PORT, OTV),
    ("udp-port", MPLS_PORT, MPLS),
    ("udp-port", LISP_PORT, LISP),
    ("ip-protocol", MPLS_IN_IP, MPLS),
    ("ip-protocol", GRE_PROTOCOL, GRE),
    ("ethertype", MPLS_TYPE, MPLS),  # and GRE's protocol type
    ("ethertype", TRILL_TYPE, TRILL),
)
