"""The sender of a migration's memory: slow is not stalled, and stalled is noticed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chimera.net import memory_copy
from chimera.net.memory_copy import Sender

STALL_S = 0.3


@contextmanager
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Sender, socket.socket]]:
    """A sender over loopback that gives up after 0.3 s without progress, and the other end's socket."""
    monkeypatch.setattr(memory_copy, "_STALL_S", STALL_S)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)  # what is under way waits at the sender
        sender = Sender.__new__(Sender)  # its own way to a socket leads through a namespace
        sender._channel = socket.create_connection(listener.getsockname())
        sender._channel.settimeout(STALL_S)
        end, _ = listener.accept()
        with end:
            yield sender, end
        sender.close()


def drain(end: socket.socket, length: int, pause_s: float) -> None:
    """Read slowly, then accept."""
    while length > 0:
        length -= len(end.recv(min(length, 100_000)))
        time.sleep(pause_s)
    end.sendall(b"A")


def test_a_slow_receiver_is_waited_for_as_long_as_something_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    length = 4_000_000  # much of it waits in the sockets' buffers when the last byte is handed over
    with connected(monkeypatch) as (sender, end):
        reader = threading.Thread(target=drain, args=(end, length + 9, 0.03))
        reader.start()
        begin = time.monotonic()
        sender.pages(length)
        assert time.monotonic() - begin > 2 * STALL_S
        reader.join()


def test_a_receiver_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(monkeypatch) as (sender, _end), pytest.raises(TimeoutError):
        sender.pages(100_000)
