"""pcapng files: our header, a packet appended by hand, other writers' variants, and any bytes at all."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.measure.recorder import _end
from chimera.model.topology import Link, Port
from chimera.wire.pcapng import add_check_sequences, crossings, interfaces_of, read, write_header

HV = Port("hv1", "eth0")
LEAF = Port("leaf1", "eth2")


def block(order: str, kind: int, body: bytes) -> bytes:
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def packet(data: bytes, ticks: int, interface: int = 0, flags: int | None = 1, order: str = "=") -> bytes:
    body = struct.pack(order + "IIIII", interface, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data) + 100)
    body += data + bytes(-len(data) % 4)
    if flags is not None:
        body += struct.pack(order + "HHIHH", 2, 4, flags, 0, 0)
    return block(order, 6, body)


def exact(data: bytes, ticks: int) -> bytes:
    """A packet that was captured whole, with its direction."""
    body = struct.pack("=IIIII", 0, 0, ticks, len(data), len(data)) + data + bytes(-len(data) % 4)
    return block("=", 6, body + struct.pack("=HHIHH", 2, 4, 1, 0, 0))


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "link.pcapng"
    write_header(path, [(HV, LEAF), (LEAF, HV)], {"10.0.0.1/24": "hv1", "fd00::1": "hv1"})
    return path


def append(path: Path, *blocks: bytes) -> None:
    path.write_bytes(path.read_bytes() + b"".join(blocks))


def test_a_fresh_capture_names_its_interfaces_and_holds_no_frame(capture: Path) -> None:
    assert interfaces_of(capture) == ["hv1:eth0", "leaf1:eth2"]
    assert list(read(capture)) == []


def test_frames_come_with_time_length_interface_and_direction(capture: Path) -> None:
    append(
        capture, packet(b"abcde", 1_500_000_001_250_000_000), packet(b"", 1, 1, flags=2), packet(b"x", 2, flags=None)
    )
    first, second, third = read(capture)
    assert (first.data, first.wire_length, first.interface, first.inbound) == (b"abcde", 105, "hv1:eth0", True)
    assert first.t == pytest.approx(1_500_000_001.25)
    assert (second.interface, second.inbound) == ("leaf1:eth2", False)
    assert third.inbound is None


def test_each_crossing_counts_once_where_both_ends_are_captured(capture: Path) -> None:
    append(
        capture, packet(b"request", 1, 0, flags=2), packet(b"request", 2, 1, flags=1), packet(b"lost", 3, 1, flags=2)
    )
    assert [f.data for f in crossings(capture)] == [b"request"]


def test_with_one_end_everything_that_passed_there_crossed(tmp_path: Path) -> None:
    path = tmp_path / "one-end"
    write_header(path, [(HV, None)], {})
    append(path, packet(b"out", 1, 0, flags=2), packet(b"in", 2, 0, flags=1))
    assert [f.data for f in crossings(path)] == [b"out", b"in"]


def test_a_translated_frame_is_seen_as_it_left_the_other_end(tmp_path: Path) -> None:
    path = tmp_path / "both-ends"
    write_header(path, [(HV, LEAF), (LEAF, HV)], {}, translated={"hv1:eth0"})
    sent = packet(b"sent by hv", 1, 0, flags=2) + packet(b"sent by hv", 2, 1, flags=1)
    received = packet(b"on the wire", 3, 1, flags=2) + packet(b"translated", 4, 0, flags=1)
    append(path, sent, received)
    assert [(f.data, f.interface) for f in crossings(path)] == [
        (b"sent by hv", "leaf1:eth2"),
        (b"on the wire", "leaf1:eth2"),
    ]
    assert [f.data for f in read(path) if f.translated] == [b"translated"]


def test_where_only_the_translated_end_was_captured_what_arrived_there_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "one-end"
    write_header(path, [(HV, LEAF)], {}, translated=["hv1:eth0"])
    append(path, packet(b"sent", 1, 0, flags=2), packet(b"translated", 2, 0, flags=1))
    assert [f.data for f in crossings(path)] == [b"sent"]


@pytest.mark.parametrize(
    ("translated", "end"), [((), LEAF), (["leaf1:eth2"], HV), (["hv1:eth0"], LEAF), (["hv1:eth0", "leaf1:eth2"], LEAF)]
)
def test_one_end_is_the_one_that_shows_the_wire(translated: list[str], end: Port) -> None:
    assert _end(Link("l", HV, LEAF), translated) == end


def test_fabricpath_gets_the_check_sequence_that_wireshark_takes_off(capture: Path) -> None:
    """The check sequence of a whole frame, itself included, is always the same remainder (IEEE 802.3 3.2.9)."""
    frame, other = b"\2" * 12 + b"\x89\x03" + b"tag and frame", b"\2" * 12 + b"\x08\x00" + b"anything"
    append(capture, *(exact(data, n + 1) for n, data in enumerate((frame, other))), packet(frame, 3))
    before, size = list(read(capture)), capture.stat().st_size
    add_check_sequences(capture)
    assert list(read(capture)) == before
    assert [p.name for p in capture.parent.iterdir()] == [capture.name]
    whole = capture.read_bytes()
    assert len(whole) == size + 4
    at = whole.index(frame)
    assert zlib.crc32(whole[at : at + len(frame) + 4]) == 0x2144DF1C


def test_a_capture_without_fabricpath_is_left_alone(capture: Path) -> None:
    append(capture, packet(b"anything" * 4, 1))
    before = capture.read_bytes()
    add_check_sequences(capture)
    assert capture.read_bytes() == before and len(list(capture.parent.iterdir())) == 1


def test_a_packet_that_is_still_being_written_is_not_there_yet(capture: Path) -> None:
    append(capture, packet(b"whole", 1), packet(b"torn", 2)[:-5])
    assert [f.data for f in read(capture)] == [b"whole"]


def test_the_other_byte_order_and_microseconds_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "big-endian"
    section = block(">", 0x0A0D0D0A, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1))
    path.write_bytes(section + block(">", 1, struct.pack(">HHI", 1, 0, 0)) + packet(b"data", 2_500_000, order=">"))
    (frame,) = read(path)
    assert (frame.t, frame.data, frame.inbound) == (2.5, b"data", True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: b"GIF89a__" + whole,
        lambda whole: whole + packet(b"", 0, interface=9),
        lambda whole: whole + struct.pack("=II", 6, 7) + bytes(20),
    ],
)
def test_what_cannot_be_is_a_value_error(capture: Path, spoil: Callable[[bytes], bytes]) -> None:
    capture.write_bytes(spoil(capture.read_bytes()))
    with pytest.raises(ValueError, match=r"pcapng|block"):
        list(read(capture))


@settings(deadline=None)  # a busy machine is no defect
@given(st.data())
def test_any_damage_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    write_header(path, [(HV, LEAF)], {"10.0.0.1": "hv1"})
    whole = bytearray(path.read_bytes() + packet(b"abcdefgh", 5))
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=6)):
        whole[at] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    try:
        list(read(path))
    except ValueError as error:
        assert str(error)
