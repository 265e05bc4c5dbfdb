"""Log files of services: appended to by whoever has them open, and bounded.

The file of a service that says much is cut: what it holds goes to ``NAME.log.1`` in place of what was there, and it
begins anew, empty. The service goes on writing to the file it has open, as with logrotate's ``copytruncate``; for that
it has to have been opened to append, as shells, Open vSwitch and FRR open theirs.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from chimera.model.service import Lines
from chimera.net import kernel

NOTE = "lab: "  # begins lines that the lab itself adds
LIMIT_BYTES = 1 << 20  # of the file; what was before is as long at most


class Log:
    """The log of one service. Positions in it count every byte that was ever written, also those that are gone."""

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.path = path
        self.old = path.with_name(f"{path.name}.1")
        self._limit_bytes = limit_bytes
        self._cut = 0  # where the file begins
        self._lock = threading.Lock()

    def open(self) -> int:
        """A descriptor to append by."""
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    @property
    def end(self) -> int:
        """Where what is written next will begin."""
        with self._lock:
            return self._cut + self._size()

    def note(self, text: str) -> None:
        """Add a line of the lab's own, where there is room for it."""
        try:
            with open(self.path, "a") as file:
                file.write(f"{NOTE}{text}\n")
        except OSError:
            return

    def bound(self) -> None:
        """Cut the file where it has grown beyond its limit; what is written while that goes on may be lost."""
        with self._lock:
            size = self._size()
            if size <= self._limit_bytes:
                return
            with open(self.path, "r+b") as file:
                file.seek(size - self._limit_bytes)
                kept = file.read()
                size = file.tell()
                file.truncate(0)
            self._cut += size
            self.old.write_bytes(kept[-self._limit_bytes :])

    def since(self, start: int, *, unfinished: bool = False) -> Lines:
        """The lines from a position on, as far as they are kept; ``unfinished``: also one that has no end yet."""
        with self._lock:
            current = self._read(self.path, max(start - self._cut, 0))
            first = max(start, self._cut)
            if start < self._cut:
                old = self._read(self.old, 0)
                missing = self._cut - len(old)
                current = old[max(start - missing, 0) :] + current
                first = max(start, missing)
        whole = current if unfinished else current[: current.rfind(b"\n") + 1]
        return Lines(whole.decode(errors="replace"), first + len(whole))

    def last(self, count: int) -> Lines:
        """The last lines."""
        found = self.since(0)
        lines = found.text.split("\n")[:-1]
        return Lines("".join(f"{line}\n" for line in lines[max(len(lines) - count, 0) :]), found.end)

    def remove(self) -> None:
        """Delete the files."""
        self.path.unlink(missing_ok=True)
        self.old.unlink(missing_ok=True)

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    @staticmethod
    def _read(path: Path, start: int) -> bytes:
        try:
            with open(path, "rb") as file:
                file.seek(start)
                return file.read()
        except FileNotFoundError:
            return b""


def news(logs: Mapping[str, Log], after: Mapping[str, int], wait_s: float) -> dict[str, Lines]:
    """What was added to logs after these positions (by name; 0 where there is none), once there is anything.

    Without anything for ``wait_s`` seconds it is nothing.
    """
    deadline = time.monotonic() + wait_s
    with kernel.FolderChanges() as changes:
        poll = select.poll()
        poll.register(changes, select.POLLIN)
        for folder in {log.path.parent for log in logs.values()}:
            changes.add(folder)
        while True:
            found = {name: log.since(after.get(name, 0)) for name, log in logs.items()}
            left_s = deadline - time.monotonic()
            if left_s <= 0 or any(lines.text for lines in found.values()):
                return found
            poll.poll(min(left_s, changes.again_s or left_s) * 1000)
            changes.forget()
