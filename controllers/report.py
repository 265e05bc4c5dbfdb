"""What the agents' process tells the session, and is told by it: JSON lines over a unix socket.

The session listens, the process connects. Neither waits for the other: lines are kept (up to a bound) while the
session is away, and the control plane never blocks on it.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

Line = dict[str, Any]

_KEPT = 20_000
_RETRY_S = 0.25
_BATCH_S = 0.05


class Reporter:
    """One thread that writes lines.

    With an empty ``path`` there is nobody to tell and every line is dropped. ``on_command`` gets the lines that the
    session sends.
    """

    def __init__(self, path: str, on_command: Callable[[Line], None] = lambda line: None) -> None:
        self._path, self._on_command = path, on_command
        self._received = b""
        self._lines: deque[Line] = deque(maxlen=_KEPT)
        self._marks: deque[Line] = deque(maxlen=_KEPT)
        self._pending = b""
        self._lock = threading.Lock()
        self._wake, self._bell = os.pipe()
        self._socket: socket.socket | None = None

    def tell(self, line: Line) -> None:
        """Say something; returns at once."""
        if self._path:
            with self._lock:
                self._lines.append(line)
            self._ring()

    def mark(self, mark: Line) -> None:
        """Add a control message to the next batch of marks."""
        if self._path:
            with self._lock:
                first = not self._marks
                self._marks.append(mark)
            if first:
                self._ring()

    def run(self) -> None:
        """Report until the process ends."""
        while self._path:
            if self._socket is None and not self._connect():
                time.sleep(_RETRY_S)
                continue
            try:
                self._serve()
            except OSError:
                self._hang_up()

    def _ring(self) -> None:
        os.write(self._bell, b"!")

    def _connect(self) -> bool:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            return False
        connection.setblocking(False)
        self._socket = connection
        return True

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._pending, self._received = None, b"", b""

    def _serve(self) -> None:
        """One session with the other side, until it ends (``OSError``)."""
        assert self._socket is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            selector.register(self._socket, selectors.EVENT_READ)
            batch_at: float | None = time.monotonic()  # what was kept while nobody listened
            while True:
                self._write()
                writing = selectors.EVENT_WRITE if self._pending else 0
                selector.modify(self._socket, selectors.EVENT_READ | writing)
                timeout = None if batch_at is None else max(batch_at - time.monotonic(), 0)
                ready = {key.fileobj for key, events in selector.select(timeout) if events & selectors.EVENT_READ}
                if self._wake in ready:
                    os.read(self._wake, 4096)
                    batch_at = batch_at or time.monotonic() + _BATCH_S
                if self._socket in ready:
                    self._receive(self._socket.recv(4096))
                if batch_at is not None and time.monotonic() >= batch_at:
                    self._take_marks()
                    batch_at = None

    def _receive(self, data: bytes) -> None:
        if not data:
            raise ConnectionResetError(self._path)
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._on_command(json.loads(line))

    def _take_marks(self) -> None:
        with self._lock:
            marks = list(self._marks)
            self._marks.clear()
            if marks:
                self._lines.append({"event": "control", "messages": marks})

    def _write(self) -> None:
        """Send what there is, or what a slow session takes: lines wait then, where their number is bounded."""
        assert self._socket is not None
        while self._pending or self._take_lines():
            try:
                self._pending = self._pending[self._socket.send(self._pending) :]
            except BlockingIOError:
                return

    def _take_lines(self) -> bool:
        with self._lock:
            lines = list(self._lines)
            self._lines.clear()
        self._pending = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return bool(lines)
