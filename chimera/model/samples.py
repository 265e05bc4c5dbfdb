"""What probes record, before anything is concluded from it.

All times are seconds since the epoch (``CLOCK_REALTIME``, as the kernel stamps packets), as
floats with microsecond resolution; the report shifts them to the start of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProbeRecord:
    """One probe of a stream: when it left, when (kernel stamp) each answer came back, and when the VM gave it.

    ``answers`` is empty for a lost probe and has more than one element for a duplicated one. ``given`` has the VM's
    time of each answer, in the same order; it is empty where that is not known.
    """

    sequence: int
    sent: float
    answers: tuple[float, ...]
    given: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ProbeStream:
    """All probes from one vantage point towards one VM, in order of sequence number.

    ``relation`` says what the vantage point is: ``remote`` (a VM at another site),
    ``neighbour`` (a VM on the same hypervisor), ``client`` (external) or ``local`` (same site).
    """

    flow: int
    vantage: str
    target: str
    relation: str
    interval_ms: float
    records: Sequence[ProbeRecord]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, both ends included; seconds since the epoch."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Gap:
    """A silence of a stream (last answer before, first answer after), or a pause of a heartbeat.

    ``open`` where nothing followed: ``end`` is then the end of the recording, and the silence at least that long.
    """

    start: float
    end: float
    open: bool = False

    @property
    def ms(self) -> float:
        """Length in milliseconds."""
        return (self.end - self.start) * 1000


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """When the process that answers probes inside a VM ran, as it saw that itself.

    It notes the time at least every ``interval_ms`` from ``start`` to ``end``, except in the ``pauses``, which are
    those longer than two intervals, in order.
    """

    vm: str
    interval_ms: float
    start: float
    end: float
    pauses: Sequence[Gap]


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """What the machine's processors had done at a moment, in seconds of one processor since it started.

    ``at`` is a monotonic clock. ``all`` is what there was, ``idle`` what nobody used, ``interrupts`` what the kernel
    spent on packets and devices, ``stolen`` what the host of a virtual machine gave to others; ``own`` is what the
    processes of this lab used. ``waited`` is for how many seconds at least one process was ready and had no processor,
    None where the kernel does not say.
    """

    at: float
    processors: int
    all: float
    idle: float
    interrupts: float
    stolen: float
    own: float
    waited: float | None


@dataclass(frozen=True, slots=True)
class LineTimes:
    """What the delay lines had done at a moment: frames that left, those that left late, and the longest lateness."""

    frames: int
    late: int
    longest_ms: float
