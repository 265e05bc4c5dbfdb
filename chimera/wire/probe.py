"""The probe on the wire and in the recording: ``native/probe.h`` as tables.

UDP payload of a probe, network byte order, always :data:`PROBE_BYTES` bytes::

     0      8      12         16          17        32         40            48       64
     +------+------+----------+-----------+---------+----------+-------------+--------+
     |magic | flow | sequence | direction | zero... | sent, ns | answered, ns| zero...|
     +------+------+----------+-----------+---------+----------+-------------+--------+

``direction`` is 0 in a request and 1 in an answer. A VM's frame that carries one is 106 bytes with
IPv4 and 126 with IPv6, without a frame check sequence.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAGIC = b"CHIMERA1"
PROBE_BYTES = 64
PROBE = struct.Struct(">8sIIB15xQQ16x")
REQUEST, ANSWER = 0, 1

RECORDING_MAGIC = b"CHIMPRB1"
RECORDING_HEADER = struct.Struct("<8sIIQQQ")  # magic, flow, interval_us, started_ns, ended_ns, skipped
RECORDING_RECORD = struct.Struct("<IHHQQ")  # sequence, kind, errno, time_ns, answered_ns
RECORD_SENT, RECORD_ANSWER = 0, 1

_MARK = struct.Struct(">IIB")


@dataclass(frozen=True, slots=True)
class ProbeMark:
    """What tells one probe from another, wherever in the network it is seen."""

    flow: int
    sequence: int
    direction: int


def find_probe(frame: bytes) -> ProbeMark | None:
    """The probe a frame carries at whatever depth of encapsulation; ``None`` where it carries none.

    The magic is looked for as bytes: 64 bits do not occur by chance.
    """
    at = frame.find(MAGIC)
    if at < 0 or at + len(MAGIC) + _MARK.size > len(frame):
        return None
    return ProbeMark(*_MARK.unpack_from(frame, at + len(MAGIC)))


def vm_frame_bytes(ipv6: bool = False) -> int:
    """Length of the Ethernet frame in which a VM sends a probe."""
    return 14 + (40 if ipv6 else 20) + 8 + PROBE_BYTES
