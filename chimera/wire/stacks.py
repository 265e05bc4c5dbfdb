"""Which format stands on which, for Scapy: with this module imported, whole frames build and dissect.

``Ether() / IP() / UDP() / MPLS(label=5) / ControlWord() / Ether()`` fills in ports and types, and :func:`parse` reads
such a frame back. Where Scapy has a layer of its own for a port or type, the project's comes first.
"""

from __future__ import annotations

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv46
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, bind_top_down

from chimera.wire.formats import FORMATS, LAYERS, LISP, LISP_GPE, LISP_PORT, MPLS
from chimera.wire.headers import walk
from chimera.wire.layers import BRIDGED_TYPE

_DYNAMIC_PORTS = 49152  # where the source ports of tunnels begin: RFC 7348 section 4.2.3, RFC 7510 section 3

_TABLES = [layer.table for layer in FORMATS if layer.table]
_FIELDS = {table: {field.name for field in table.fields_desc} for table in _TABLES}
_TYPED = [table for table in _TABLES if "protocol" in _FIELDS[table]]  # which say what follows by an EtherType
_LOWER: dict[str, tuple[tuple[type[Packet], str], ...]] = {
    "udp-port": ((UDP, "dport"),),
    "ip-protocol": ((IP, "proto"), (IPv6, "nh")),
    "ethertype": ((Ether, "type"), (Dot1Q, "type"), *((table, "protocol") for table in _TYPED)),
    "frame": (),  # nothing stands in front
}


def _stands_on(lower: type[Packet], upper: type[Packet], **fields: int) -> None:
    """``upper`` behind ``lower`` where its fields say so, before whatever Scapy would take it for."""
    lower.payload_guess = [(fields, upper), *lower.payload_guess]
    ports = {"sport": _DYNAMIC_PORTS} if lower is UDP else {}
    bind_top_down(lower, upper, **fields, **ports)


def _bind() -> None:
    for upper, claims in ((layer.table, layer.claims) for layer in FORMATS if layer.table):
        for space, number in claims:
            for lower, field in _LOWER[space]:
                _stands_on(lower, upper, **{field: number})
    for table in _TABLES:
        if table not in (*_TYPED, MPLS, LISP, LISP_GPE):
            _stands_on(table, Ether)
    bind_top_down(MPLS, MPLS, bottom=0)  # what follows is for MPLS itself to see
    bind_top_down(UDP, LISP_GPE, sport=_DYNAMIC_PORTS, dport=LISP_PORT)  # and LISP sees which of the two it is
    _stands_on(LISP, IPv46)
    for number, inner in ((1, IP), (2, IPv6), (3, Ether)):
        _stands_on(LISP_GPE, inner, next=number)
    for table in _TYPED:
        for number, inner in ((0x0800, IP), (0x86DD, IPv6), (BRIDGED_TYPE, Ether)):
            _stands_on(table, inner, protocol=number)


_bind()


def parse(frame: bytes) -> Packet:
    """A frame as Scapy layers; a header that stands where the outer Ethernet's would comes first."""
    first = LAYERS[next(walk(frame), ("eth", 0, 0))[0]]
    return (first.table or Ether)(frame)
