"""Control messages of a lab: all of them counted, single ones kept where they are near a migration.

A lab may stay up for days. What is kept is bounded: counters by type, the last seconds, and what was around migrations.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from chimera.model.record import MigrationRecord

NEAR_S = 1.0  # before a migration and after it
_RECENT_S = 3 * NEAR_S  # a migration that starts now finds what was before it, also where reports are late
_MARKS = 100_000


@dataclass(frozen=True, slots=True)
class Message:
    """A control message as the controller counted it: seconds since the epoch, type, switch, bytes."""

    t: float
    type: str
    node: str
    bytes: int


@dataclass
class ControlLog:
    """What the controller sent and received; ``migrations`` are those of the lab, as they are written."""

    migrations: Sequence[MigrationRecord] = ()
    counts: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    forgotten: int = 0  # near a migration, and more than are kept
    _recent: deque[Message] = field(default_factory=deque)
    _marks: deque[Message] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # who adds is not who asks

    def add(self, messages: Iterable[Message]) -> None:
        """Count messages, and let go of those that no migration will want any more."""
        with self._lock:
            for message in messages:
                self.counts[message.type] += 1
                self.bytes += message.bytes
                self._recent.append(message)
            if self._recent:
                self._settle(until=self._recent[-1].t - _RECENT_S)

    def _settle(self, until: float) -> None:
        """Decide on the messages before ``until``: a migration that had them around it is known by now."""
        spans = self._spans(self._recent[0].t)
        while self._recent and self._recent[0].t < until:
            message = self._recent.popleft()
            if _within(spans, message.t):
                self._marks.append(message)
        while len(self._marks) > _MARKS:
            self._marks.popleft()
            self.forgotten += 1

    def near(self) -> list[Message]:
        """The messages near a migration."""
        with self._lock:
            every = [*self._marks, *self._recent]
        spans = self._spans(every[0].t) if every else []
        return [message for message in every if _within(spans, message.t)]

    def _spans(self, since: float) -> list[tuple[float, float]]:
        """Start and end of what is near a migration, of those that are not over by ``since``."""
        spans = [(r.started - NEAR_S, r.ended + NEAR_S if r.ended else float("inf")) for r in tuple(self.migrations)]
        return [span for span in spans if span[1] >= since]


def _within(spans: Iterable[tuple[float, float]], t: float) -> bool:
    return any(start <= t <= end for start, end in spans)
