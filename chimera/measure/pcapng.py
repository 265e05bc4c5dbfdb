"""pcapng: the header that a capture begins with, and a streaming reader.

``native/capture.c`` appends the packets. Written and read as in draft-ietf-opsawg-pcapng-03, section 4: Section
Header (4.1), Interface Description (4.2), Enhanced Packet (4.3) and Name Resolution (4.5) Blocks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import BinaryIO

from chimera import __version__
from chimera.model.topology import Port

SECTION, INTERFACE, NAMES, PACKET = 0x0A0D0D0A, 1, 4, 6
BYTE_ORDER_MAGIC = 0x1A2B3C4D
ETHERNET = 1
NANOSECONDS = 9
BLOCK_MAX = 1 << 24
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL, _EPB_FLAGS, _SHB_USERAPPL = 2, 3, 9, 2, 4


@dataclass(frozen=True, slots=True)
class Frame:
    """A captured frame: seconds since the epoch, the bytes kept, the length on the wire.

    ``interface`` is ``node:interface`` as :func:`write_header` was told; ``inbound`` is True where the frame
    arrived there, False where it left, None where the capture does not say.
    """

    t: float
    data: bytes
    wire_length: int
    interface: str
    inbound: bool | None


@dataclass(frozen=True, slots=True)
class _Interface:
    name: str
    ticks_per_s: float


# -- writing -------------------------------------------------------------------------------


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes) -> bytes:
    total = len(body) + 12
    return struct.pack("=II", kind, total) + body + struct.pack("=I", total)


def _section() -> bytes:
    body = struct.pack("=IHHq", BYTE_ORDER_MAGIC, 1, 0, -1)
    return _block(SECTION, body + _option(_SHB_USERAPPL, f"Chimera Lab {__version__}".encode()) + _option(0, b""))


def _interface(port: Port, peer: Port | None) -> bytes:
    description = f"{port} — {peer}" if peer else str(port)
    options = _option(_IF_NAME, str(port).encode()) + _option(_IF_DESCRIPTION, description.encode())
    body = struct.pack("=HHI", ETHERNET, 0, 0)
    return _block(INTERFACE, body + options + _option(_IF_TSRESOL, bytes([NANOSECONDS])) + _option(0, b""))


def _names(names: Mapping[str, str]) -> bytes:
    records = b""
    for address, name in names.items():
        packed = ip_address(address.partition("/")[0]).packed
        records += _option(1 if len(packed) == 4 else 2, packed + name.encode() + b"\0")
    return _block(NAMES, records + _option(0, b""))


def write_header(path: Path, interfaces: Sequence[tuple[Port, Port | None]], names: Mapping[str, str]) -> None:
    """Begins a capture file.

    ``interfaces`` are the ports captured, in the order of ``capture --spec``, each with the port at the
    other end of its cable; ``names`` maps IP addresses to node names, which Wireshark then shows.
    """
    blocks = [_section(), *(_interface(port, peer) for port, peer in interfaces)]
    if names:
        blocks.append(_names(names))
    path.write_bytes(b"".join(blocks))


# -- reading -------------------------------------------------------------------------------


def _blocks(file: BinaryIO) -> Iterator[tuple[str, int, bytes]]:
    """Byte order, type and body of each block.

    Ends at a block that is not whole: the writer was killed, or still writes.

    Raises:
        ValueError: where the file is not pcapng, or a block's length cannot be.
    """
    order = ""
    while len(head := file.read(8)) == 8:
        if head[:4] == b"\n\r\r\n":
            magic = file.read(4)
            order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(magic, "")
            file.seek(-len(magic), 1)
        if not order:
            raise ValueError("not a pcapng file")
        kind, total = struct.unpack(order + "II", head)
        if total < 12 or total % 4 or total > BLOCK_MAX:
            raise ValueError(f"a block of {total} bytes in a pcapng file")
        rest = file.read(total - 8)
        if len(rest) < total - 8:
            return
        yield order, kind, rest[:-4]


def _options(order: str, data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from(order + "HH", data, at)
        if code == 0:
            break
        found.setdefault(code, data[at + 4 : at + 4 + length])
        at += 4 + length + -length % 4
    return found


def _ticks_per_s(resolution: bytes) -> float:
    value = resolution[0] if resolution else 6
    return float(2 ** (value & 0x7F) if value & 0x80 else 10**value)


def _read_interface(order: str, body: bytes) -> _Interface:
    options = _options(order, body[8:])
    name = options.get(_IF_NAME, b"").decode(errors="replace")
    return _Interface(name, _ticks_per_s(options.get(_IF_TSRESOL, b"")))


def _read_packet(order: str, body: bytes, interfaces: list[_Interface]) -> Frame:
    if len(body) < 20:
        raise ValueError("a packet block without its fields")
    number, high, low, captured, original = struct.unpack_from(order + "IIIII", body)
    if number >= len(interfaces) or captured > len(body) - 20:
        raise ValueError("a packet block that contradicts its file")
    interface = interfaces[number]
    tail = body[20 + captured + -captured % 4 :]
    flags = _options(order, tail).get(_EPB_FLAGS, b"") if tail else b""
    direction = int.from_bytes(flags, "little" if order == "<" else "big") & 3
    inbound = {1: True, 2: False}.get(direction)
    t = (high << 32 | low) / interface.ticks_per_s
    return Frame(t, body[20 : 20 + captured], original, interface.name, inbound)


def read(path: Path) -> Iterator[Frame]:
    """The frames of a capture in the order of the file, one at a time.

    Each interface's frames are in order of time; frames of two interfaces may be some 50 ms out of order.

    Raises:
        ValueError: where the file is not pcapng or contradicts itself.
    """
    interfaces: list[_Interface] = []
    with path.open("rb") as file:
        for order, kind, body in _blocks(file):
            if kind == PACKET:
                yield _read_packet(order, body, interfaces)
            elif kind == INTERFACE:
                interfaces.append(_read_interface(order, body))
            elif kind == SECTION:
                interfaces.clear()


def interfaces_of(path: Path) -> list[str]:
    """The names of the interfaces that :func:`write_header` described, in order."""
    names = []
    with path.open("rb") as file:
        for order, kind, body in _blocks(file):
            if kind == PACKET:
                break
            if kind == INTERFACE:
                names.append(_read_interface(order, body).name)
    return names


def crossings(path: Path) -> Iterator[Frame]:
    """Each frame that crossed the link of a capture, once.

    Where both ends were captured these are the frames that arrived (what was lost on the way did not cross); where one
    end was, all that passed there.
    """
    both_ends = len(interfaces_of(path)) > 1
    return (frame for frame in read(path) if frame.inbound or not both_ends)
