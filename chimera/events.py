"""The one stream of what happens in a lab (:mod:`chimera.model.events`): bounded, and read at each reader's own pace.

Who tells never waits: events go into a ring, and readers fetch them by their cursor. A reader that is slower than the
ring is long finds a :class:`~chimera.model.events.Dropped` in the place of what it has missed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from msgspec.structs import replace

from chimera.model.codec import to_json
from chimera.model.events import Dropped, Event, Progress, event_from_json, is_progress

KEPT = 20_000
_PATIENCE_S = 2.0  # for a terminal that takes nothing, when everything else has ended

E = TypeVar("E", bound=Event)


class Stream:
    """The latest ``size`` events of a lab, for any number of threads."""

    def __init__(self, size: int = KEPT, clock: Callable[[], float] = time.time) -> None:
        self._ring: deque[Event] = deque(maxlen=size)
        self._clock = clock
        self._cursor = 0
        self._changed = threading.Condition()

    def tell(self, event: E) -> E:
        """Add an event, and return it with its number, and with the time where it had none."""
        with self._changed:
            self._cursor += 1
            told = replace(event, cursor=self._cursor, t=event.t or self._clock())
            self._ring.append(told)
            self._changed.notify_all()
        return told

    def say(self, text: str) -> None:
        """Tell what the lab is busy with."""
        self.tell(Progress(text))

    @property
    def cursor(self) -> int:
        """The number of the latest event; 0 where there is none."""
        return self._cursor

    def read(self, after: int = 0, wait_s: float | None = 0.0) -> list[Event]:
        """The events after a cursor; where there are none, wait for one, at most so long (None: for ever).

        The list is empty where none came.
        """
        with self._changed:
            if self._cursor <= after and wait_s != 0.0:
                self._changed.wait_for(lambda: self._cursor > after, wait_s)
            count = max(min(self._cursor - after, len(self._ring)), 0)
            found = list(islice(reversed(self._ring), count))[::-1]
        missed = found[0].cursor - after - 1 if found else 0
        return [Dropped(missed, t=found[0].t, cursor=found[0].cursor - 1), *found] if missed else found

    def follow(self, after: int = 0) -> Iterator[Event]:
        """The events after a cursor, and those that come, for ever."""
        while True:
            found = self.read(after, None)
            yield from found
            after = found[-1].cursor

    def before(self, t: float) -> int:
        """The cursor after which events begin that happened at ``t`` or later."""
        with self._changed:
            first = next((event for event in self._ring if event.t >= t), None)
            return self._cursor if first is None else first.cursor - 1


class Follower:
    """A thread that does something with every event of a stream, until the block ends.

    What it cannot do any more (its terminal or disk is gone) it leaves, and the lab goes on.
    """

    def __init__(self, stream: Stream, act: Callable[[Event], object]) -> None:
        self._stream, self._act = stream, act
        self._ended = False
        self._done = 0
        self._moved = threading.Condition()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="events")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.catch_up()
        self._ended = True

    def catch_up(self) -> bool:
        """Return when it has done what there is to do, or does nothing for a while (False)."""
        until = self._stream.cursor
        with self._moved:
            while self._done < until and self._thread.is_alive():
                before = self._done
                self._moved.wait(_PATIENCE_S)
                if self._done == before:
                    return False
        return self._done >= until

    def _follow(self) -> None:
        try:
            for event in self._stream.follow():
                if self._ended:
                    return
                self._act(event)
                self._reach(event.cursor)
        except (OSError, ValueError):
            self._ended = True  # a closed file is a ValueError
        self._reach(self._done)

    def _reach(self, cursor: int) -> None:
        with self._moved:
            self._done = cursor
            self._moved.notify_all()


def shown(stream: Stream, progress: Callable[[str], None]) -> Follower:
    """Show progress, for as long as the block runs."""
    return Follower(stream, lambda event: progress(event.text) if is_progress(event) else None)


class Journal:
    """A file with every event of a stream, one JSON object a line, written while the block runs."""

    def __init__(self, stream: Stream, path: Path) -> None:
        self._path = path
        self._follower = Follower(stream, self._write)

    def __enter__(self) -> Self:
        self._file = open(self._path, "wb")
        self._follower.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._follower.__exit__(kind, error, trace)
        self._file.close()

    def _write(self, event: Event) -> None:
        self._file.write(to_json(event) + b"\n")

    def text(self) -> bytes:
        """What is in the file, with every event until now."""
        self._follower.catch_up()
        self._file.flush()
        whole, end, _ = self._path.read_bytes().rpartition(b"\n")
        return whole + end

    def read(self) -> list[Event]:
        """Every event until now."""
        return [event_from_json(line) for line in self.text().splitlines()]
