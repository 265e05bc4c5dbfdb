"""What probes record, before anything is concluded from it.

All times are seconds since the epoch (``CLOCK_REALTIME``, as the kernel stamps packets), as
floats with microsecond resolution; the report shifts them to the start of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProbeRecord:
    """One probe of a stream: when it left, and when (kernel stamp) each answer came back.

    ``answers`` is empty for a lost probe and has more than one element for a duplicated one.
    """

    sequence: int
    sent: float
    answers: tuple[float, ...]


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
    """The longest silence of a stream: last answer before, first answer after.

    ``open`` where no answer followed: ``end`` is then the end of the stream, and the silence at least that long.
    """

    start: float
    end: float
    open: bool = False

    @property
    def ms(self) -> float:
        """Length in milliseconds."""
        return (self.end - self.start) * 1000
