"""Messages of rtnetlink(7): the headers that requests, acknowledgements and notices share, and how to walk them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type

ERROR, NEWLINK, DELLINK, NEWADDR, NEWROUTE = 2, 16, 17, 20, 24  # message types
IFF_UP, IFF_RUNNING = 0x1, 0x40
IFLA_IFNAME = 3
_ALIGNMENT = 4


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The messages of a datagram: type, sequence number, and what follows the header; one that is cut off ends it."""
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, _, sequence, _ = HEADER.unpack_from(data, at)
        if not HEADER.size <= length <= len(data) - at:
            return
        yield kind, sequence, data[at + HEADER.size : at + length]
        at += length + -length % _ALIGNMENT


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes of a message: type and value; one that is cut off ends it."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            return
        yield kind, data[at + _ATTRIBUTE.size : at + length]
        at += length + -length % _ALIGNMENT


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute, padded."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % _ALIGNMENT)
