"""pcapng: the header that a capture begins with, and a streaming reader.

``native/capture.c`` appends the packets. Written and read as in draft-ietf-opsawg-pcapng-03, section 4: Section
Header (4.1), Interface Description (4.2), Enhanced Packet (4.3) and Name Resolution (4.5) Blocks.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import BinaryIO

from chimera import __version__
from chimera.model.topology import Port
from chimera.wire.headers import lacks_check_sequence

SECTION, INTERFACE, NAMES, PACKET = 0x0A0D0D0A, 1, 4, 6
BYTE_ORDER_MAGIC = 0x1A2B3C4D
ETHERNET = 1
NANOSECONDS = 9
BLOCK_MAX = 1 << 24
_COMMENT, _IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL, _EPB_FLAGS, _SHB_USERAPPL = 1, 2, 3, 9, 2, 4
_RESPELLED = "received frames are seen as Open vSwitch reads them: a translator has been at them before the capture"
_FCS_BYTES = 4
_FCS_SHIFT = 5  # bits 5 to 8 of a packet's flags: the length of its frame check sequence
_PACKET_FIELDS = 20


@dataclass(frozen=True, slots=True)
class Frame:
    """A captured frame: seconds since the epoch, the bytes kept, the length on the wire.

    ``interface`` is ``node:interface`` as :func:`write_header` was told; ``inbound`` is True where the frame
    arrived there, False where it left, None where the capture does not say. ``translated`` marks a frame that was
    translated between the wire and the capture: neither its bytes nor its length are those of the wire.
    """

    t: float
    data: bytes
    wire_length: int
    interface: str
    inbound: bool | None
    translated: bool = False


@dataclass(frozen=True, slots=True)
class _Interface:
    name: str
    ticks_per_s: float
    translated: bool


# -- writing -------------------------------------------------------------------------------


def _option(code: int, value: bytes, order: str = "=") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes, order: str = "=") -> bytes:
    total = len(body) + 12
    return struct.pack(order + "II", kind, total) + body + struct.pack(order + "I", total)


def _section() -> bytes:
    body = struct.pack("=IHHq", BYTE_ORDER_MAGIC, 1, 0, -1)
    return _block(SECTION, body + _option(_SHB_USERAPPL, f"Chimera Lab {__version__}".encode()) + _option(0, b""))


def _interface(port: Port, peer: Port | None, translated: bool) -> bytes:
    description = f"{port} — {peer}" if peer else str(port)
    options = _option(_IF_NAME, str(port).encode()) + _option(_IF_DESCRIPTION, description.encode())
    if translated:
        options += _option(_COMMENT, _RESPELLED.encode())
    body = struct.pack("=HHI", ETHERNET, 0, 0)
    return _block(INTERFACE, body + options + _option(_IF_TSRESOL, bytes([NANOSECONDS])) + _option(0, b""))


def _names(names: Mapping[str, str]) -> bytes:
    records = b""
    for address, name in names.items():
        packed = ip_address(address.partition("/")[0]).packed
        records += _option(1 if len(packed) == 4 else 2, packed + name.encode() + b"\0")
    return _block(NAMES, records + _option(0, b""))


def write_header(
    path: Path,
    interfaces: Sequence[tuple[Port, Port | None]],
    names: Mapping[str, str],
    translated: Collection[str] = (),
) -> None:
    """Begins a capture file.

    ``interfaces`` are the ports captured, in the order of ``capture --spec``, each with the port at the
    other end of its cable; ``names`` maps IP addresses to node names, which Wireshark then shows.
    ``translated`` are the interfaces (``node:interface``) at which a translator changes received frames before they
    can be captured: the file says so, to its reader here and to Wireshark's.
    """
    blocks = [_section(), *(_interface(port, peer, str(port) in translated) for port, peer in interfaces)]
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
    translated = options.get(_COMMENT) == _RESPELLED.encode()
    return _Interface(name, _ticks_per_s(options.get(_IF_TSRESOL, b"")), translated)


def _read_packet(order: str, body: bytes, interfaces: list[_Interface]) -> Frame:
    if len(body) < _PACKET_FIELDS:
        raise ValueError("a packet block without its fields")
    number, high, low, captured, original = struct.unpack_from(order + "IIIII", body)
    if number >= len(interfaces) or captured > len(body) - _PACKET_FIELDS:
        raise ValueError("a packet block that contradicts its file")
    interface, flags = interfaces[number], _flags(order, body, captured)
    inbound = {1: True, 2: False}.get(flags & 3)
    t = (high << 32 | low) / interface.ticks_per_s
    length = original - (flags >> _FCS_SHIFT & 15)
    data = body[_PACKET_FIELDS : _PACKET_FIELDS + min(captured, length)]
    return Frame(t, data, length, interface.name, inbound, bool(inbound) and interface.translated)


def _flags(order: str, body: bytes, captured: int) -> int:
    """The flags of a packet block: direction, and the length of the frame check sequence; 0 where it has none."""
    tail = body[_PACKET_FIELDS + captured + -captured % 4 :]
    flags = _options(order, tail).get(_EPB_FLAGS, b"") if tail else b""
    return int.from_bytes(flags, "little" if order == "<" else "big")


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


def _interfaces_of(path: Path) -> list[_Interface]:
    found = []
    with path.open("rb") as file:
        for order, kind, body in _blocks(file):
            if kind == PACKET:
                break
            if kind == INTERFACE:
                found.append(_read_interface(order, body))
    return found


def interfaces_of(path: Path) -> list[str]:
    """The names of the interfaces that :func:`write_header` described, in order."""
    return [interface.name for interface in _interfaces_of(path)]


def crossings(path: Path) -> Iterator[Frame]:
    """Each frame that crossed the link of a capture, once, and as it was on the wire.

    Where both ends were captured these are the frames that arrived (what was lost on the way did not cross), except
    where they arrive translated: then those that the other end sent. Where one end was, all that passed there but what
    is translated.
    """
    ends = _interfaces_of(path)
    if len(ends) == 1:
        return (frame for frame in read(path) if not frame.translated)
    at_arrival = {interface.name for interface in ends if not interface.translated}
    at_departure = {a.name for a, b in zip(ends, reversed(ends), strict=True) if b.translated}
    return (frame for frame in read(path) if frame.interface in (at_arrival if frame.inbound else at_departure))


# -- for Wireshark -------------------------------------------------------------------------


def add_check_sequences(path: Path) -> None:
    """Gives frames in a capture the frame check sequence that no interface hands out, where the format wants one.

    Wireshark takes the last four bytes of such a frame for one whether it is there or not, and then finds the VM's
    frame too short. :func:`read` takes it off again.
    """
    changed = False
    sealed = path.with_suffix(".sealed")
    with path.open("rb") as file, sealed.open("wb") as target:
        for order, kind, body in _blocks(file):
            new = _sealed(order, body) if kind == PACKET else body
            changed |= new is not body
            target.write(_block(kind, new, order))
    if changed:
        sealed.replace(path)
    else:
        sealed.unlink()


def _sealed(order: str, body: bytes) -> bytes:
    """A packet block's body with the check sequence of IEEE 802.3 clause 3.2.9, if it wants one and is whole."""
    if len(body) < _PACKET_FIELDS:
        return body
    number, high, low, captured, original = struct.unpack_from(order + "IIIII", body)
    frame, flags = body[_PACKET_FIELDS : _PACKET_FIELDS + captured], _flags(order, body, captured)
    if captured < original or flags >> _FCS_SHIFT & 15 or not lacks_check_sequence(frame):
        return body
    frame += zlib.crc32(frame).to_bytes(_FCS_BYTES, "little")
    head = struct.pack(order + "IIIII", number, high, low, len(frame), len(frame))
    option = _option(_EPB_FLAGS, struct.pack(order + "I", flags | _FCS_BYTES << _FCS_SHIFT), order)
    return head + frame + bytes(-len(frame) % 4) + option + _option(0, b"", order)
