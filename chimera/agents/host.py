"""One agent with what belongs to it: its timers, and what its switches should hold. The same in a lab and simulated."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import count

from chimera.model.control import CancelTimer, Effect, Event, Hold, SetTimer, SwitchDown, SwitchUp, TimerFired
from chimera.overlay.agent import Agent
from chimera.overlay.programs import Batch, Programs


class Host:
    """Steps one agent and keeps what it asks for: timers run out here, programs become batches here.

    ``begin`` makes an agent that knows nothing; a host that has failed begins another one.
    """

    def __init__(self, node: str, begin: Callable[[], Agent]) -> None:
        self.node = node
        self.agent = begin()
        self.programs = Programs()
        self._timers: dict[str, tuple[float, int]] = {}
        self._queue: list[tuple[float, int, str]] = []
        self._number = count()

    def step(self, event: Event, now: float) -> Iterator[Effect]:
        """Have something happen; gives the effects that somebody else is to carry out, in their order."""
        if isinstance(event, SwitchUp):
            self.programs.connected(event.switch, event.held)
        elif isinstance(event, SwitchDown):
            self.programs.disconnected(event.switch)
        for effect in self.agent.step(event, now):
            match effect:
                case Hold():
                    self.programs.hold(effect)
                case SetTimer(name, after_s):
                    self._timers[name] = at = now + after_s, next(self._number)
                    heapq.heappush(self._queue, (*at, name))
                case CancelTimer(name):
                    self._timers.pop(name, None)
                case _:
                    yield effect

    def due(self) -> float | None:
        """When the next timer fires; None where none runs."""
        while self._queue and self._timers.get(self._queue[0][2]) != self._queue[0][:2]:
            heapq.heappop(self._queue)  # set again since, or cancelled
        return self._queue[0][0] if self._queue else None

    def fire(self, now: float) -> Iterator[Effect]:
        """Fire the timers that have run out by now; those that are set meanwhile, too."""
        while (at := self.due()) is not None and at <= now:
            *_, name = heapq.heappop(self._queue)
            del self._timers[name]
            yield from self.step(TimerFired(name), now)

    def batches(self) -> list[Batch]:
        """What is to be asked of switches now."""
        return self.programs.batches()
