"""How long the lab waits: seconds of this machine's own, counted from the last progress.

Every wait of the lab that can be given up goes through :func:`steps`, and :func:`exceeds` judges durations alike. A
limit is written in seconds of the machine on which limits were chosen. Three things keep a machine that is slow, busy
or emulated from ending a wait that would have succeeded:

- progress begins the wait anew;
- a step during which the waiting process itself was not run counts as long as it should have been;
- when a limit has passed, a fixed piece of work is timed, and the limit grows by as much as that took longer. Where
  things go well this costs nothing.

What makes no progress is given up after ``limit_s`` on an idle machine, and after ``limit_s * SLOWEST`` on any.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from typing import Protocol

STEP_S = 0.25
SLOWEST = 20.0  # what is slower than this is given up like anything that stands still
_WORK = 200_000
_WORK_S = 0.015  # how long the work takes on the machine on which the limits were chosen


class Pollable(Protocol):
    """What has a file descriptor."""

    def fileno(self) -> int:
        """The descriptor."""


def slowness(clock: Callable[[], float] = time.monotonic) -> float:
    """How many times longer a piece of work takes here and now than where the limits were chosen: 1 to ``SLOWEST``."""
    begin, total = clock(), 0
    for number in range(_WORK):
        total = (total * 31 + number) & 0xFFFFFF
    return min(max((clock() - begin) / _WORK_S, 1.0), SLOWEST)


def exceeds(spent_s: float, limit_s: float, slow: Callable[[], float] = slowness) -> bool:
    """Whether a duration is beyond a limit, and would be on a machine of usual speed."""
    return spent_s > limit_s and spent_s > limit_s * slow()


def _none() -> None:
    """A wait in which nothing shows progress."""


def steps(
    limit_s: float,
    progress: Callable[[], object] = _none,
    *,
    clock: Callable[[], float] = time.monotonic,
    slow: Callable[[], float] = slowness,
) -> Iterator[float]:
    """How long to wait next, in seconds, again and again; ends when nothing has moved for ``limit_s``.

    ``progress`` returns a value that differs when something has moved. The caller waits for as long as it is told or
    until something happens, and leaves the loop when it has what it waits for::

        for step_s in steps(3.0):
            if process.wait_for(step_s):
                return
        raise DeadlineError(…)
    """
    spent_s, allowed_s, mark = 0.0, limit_s, progress()
    while True:
        step_s = min(STEP_S, max(allowed_s - spent_s, 0.001))
        begin = clock()
        yield step_s
        spent_s += min(clock() - begin, step_s)
        if (moved := progress()) != mark:
            spent_s, allowed_s, mark = 0.0, limit_s, moved
        elif spent_s >= allowed_s and spent_s >= (allowed_s := limit_s * slow()):
            return


def ready(
    file: Pollable,
    limit_s: float,
    progress: Callable[[], object] = _none,
    event: int = select.POLLIN,
    slow: Callable[[], float] = slowness,
) -> bool:
    """True when a file can be read, or whatever else ``event`` says; False when nothing has moved for the limit."""
    poll = select.poll()
    poll.register(file, event)
    return any(poll.poll(step_s * 1000) for step_s in steps(limit_s, progress, slow=slow))
