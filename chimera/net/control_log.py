"""Control messages of a lab: all of them counted and told, single ones where they are near a migration.

A lab may stay up for days. What is kept here is bounded: counters by type, and the messages of the last seconds, for
a migration that starts now wants what was just before it, too.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from chimera.model.events import ControlMessage, ControlMessages, Tell, tell_nobody
from chimera.model.record import MigrationRecord

NEAR_S = 1.0  # before a migration and after it
_RECENT_S = 3 * NEAR_S  # a migration that starts now finds what was before it, also where reports are late
_AT_ONCE = 1000  # single messages in an event


@dataclass
class ControlLog:
    """What the controller sent and received; ``migrations`` are those of the lab, as they are written."""

    migrations: Sequence[MigrationRecord] = ()
    tell: Tell = tell_nobody
    counts: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    _recent: deque[ControlMessage] = field(default_factory=deque)  # near no migration that is known
    _lock: threading.Lock = field(default_factory=threading.Lock)  # who adds is not who settles

    def add(self, messages: Iterable[ControlMessage]) -> None:
        """Count messages, tell of them, and let go of those that no migration will want any more."""
        by_node: dict[str, Counter[str]] = defaultdict(Counter)
        size = 0
        with self._lock:
            for message in messages:
                by_node[message.node][message.type] += 1
                size += message.bytes
                self._recent.append(message)
            for counted in by_node.values():
                self.counts.update(counted)
            self.bytes += size
            near = self._take_near()
        if by_node:
            self._tell({node: dict(counted) for node, counted in by_node.items()}, size, near)

    def settle(self) -> None:
        """Tell of what is near a migration, though no message has come since that began."""
        with self._lock:
            near = self._take_near()
        if near:
            self._tell({}, 0, near)

    def _tell(self, counts: dict[str, dict[str, int]], size: int, near: Sequence[ControlMessage]) -> None:
        self.tell(ControlMessages(counts, size, tuple(near[:_AT_ONCE])))
        for start in range(_AT_ONCE, len(near), _AT_ONCE):
            self.tell(ControlMessages({}, 0, tuple(near[start : start + _AT_ONCE])))

    def _take_near(self) -> list[ControlMessage]:
        """Take those near a migration from the recent ones, and forget those that are too old to become so."""
        if not self._recent:
            return []
        spans = self._spans(self._recent[0].t)
        near = [message for message in self._recent if _within(spans, message.t)] if spans else []
        if near:
            self._recent = deque(message for message in self._recent if not _within(spans, message.t))
        while self._recent and self._recent[0].t < self._recent[-1].t - _RECENT_S:
            self._recent.popleft()
        return near

    def _spans(self, since: float) -> list[tuple[float, float]]:
        """Start and end of what is near a migration, of those that are not over by ``since``."""
        spans = [(r.started - NEAR_S, r.ended + NEAR_S if r.ended else float("inf")) for r in tuple(self.migrations)]
        return [span for span in spans if span[1] >= since]


def _within(spans: Iterable[tuple[float, float]], t: float) -> bool:
    return any(start <= t <= end for start, end in spans)
