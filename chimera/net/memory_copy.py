"""The bytes of a migration: a TCP connection between two hypervisors, over the underlay.

Each message is a type (1 byte) and a length (8 bytes, network order), then that many bytes; the
receiver answers each with ``A`` (accepted) or ``R`` (refused) and nothing more. Types: ``R`` reserve (the
VM's name and memory), ``P`` pages, ``F`` final pages, ``C`` commit (the VM runs at the destination).
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import sys
import termios
import threading
from collections.abc import Callable

from chimera.model.errors import SessionError
from chimera.net import kernel, netns

PORT = 8000  # where vMotion listens, too
_HEADER = struct.Struct("!cQ")
_CHUNK = 1 << 20
_PAGES = os.urandom(_CHUNK)  # incompressible, as memory of a busy guest is
_STALL_S = 3.0
_TCP_USER_TIMEOUT = 18
_SO_MAX_PACING_RATE = 47


class Receiver:
    """The destination hypervisor's side; ``admit`` says whether there is room for (VM, bytes)."""

    def __init__(self, hypervisor: str, address: str, admit: Callable[[str, int], bool]) -> None:
        with kernel.inside(netns.path(hypervisor)):
            self._listener = socket.create_server((address, PORT), backlog=16)
        self._admit = admit
        threading.Thread(target=self._accept, daemon=True, name=f"receiver {hypervisor}").start()

    def close(self) -> None:
        """Accept no more."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                channel, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(channel,), daemon=True).start()

    def _serve(self, channel: socket.socket) -> None:
        memory = bytearray(_CHUNK)
        with channel:
            _tune(channel)
            try:
                while header := _receive(channel, _HEADER.size):
                    kind, length = _HEADER.unpack(header)
                    accepted = True
                    if kind == b"R":
                        request = json.loads(_receive(channel, length))
                        accepted = self._admit(request["vm"], request["memory_bytes"])
                    else:
                        _drain(channel, length, memory)
                    channel.sendall(b"A" if accepted else b"R")
            except (OSError, ValueError):
                return  # the sender notices; here nothing was changed yet


class Sender:
    """The source hypervisor's side of one migration.

    Every method raises OSError when the network fails; nothing here waits longer than about three seconds
    without progress.
    """

    def __init__(self, hypervisor: str, source: str, destination: str, pace_mbps: float) -> None:
        with kernel.inside(netns.path(hypervisor)):
            self._channel = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        _tune(self._channel)
        if pace_mbps:
            self._channel.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, int(pace_mbps * 125_000))
        try:
            self._channel.bind((source, 0))
            self._channel.connect((destination, PORT))
        except OSError:
            self._channel.close()
            raise
        self._sent = 0

    @property
    def arrived(self) -> int:
        """Bytes of the last pages that the other side has acknowledged; all of them unless :meth:`pages` failed."""
        return max(0, self._sent - _unacknowledged(self._channel))

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def reserve(self, vm: str, memory_bytes: int) -> None:
        """Ask for room. Raises SessionError where the destination has none."""
        if not self._say(b"R", json.dumps({"vm": vm, "memory_bytes": memory_bytes}).encode()):
            raise SessionError(f"the destination has no room for {vm} ({memory_bytes >> 20} MB)")

    def pages(self, length: int, *, final: bool = False) -> None:
        """Send that many bytes of memory and wait until the other side has them."""
        self._sent = 0
        self._channel.sendall(_HEADER.pack(b"F" if final else b"P", length))
        while self._sent < length:
            self._sent += self._channel.send(memoryview(_PAGES)[: min(length - self._sent, _CHUNK)])
        self._answer()

    def commit(self) -> None:
        """Tell the destination that the VM is its own now."""
        self._say(b"C", b"")

    def _say(self, kind: bytes, body: bytes) -> bool:
        self._channel.sendall(_HEADER.pack(kind, len(body)) + body)
        return self._answer()

    def _answer(self) -> bool:
        """The other side's answer, which comes when it has everything; as long as something moves, it is waited for."""
        answer, waiting = None, _unacknowledged(self._channel)
        while answer is None:
            try:
                answer = self._channel.recv(1)
            except TimeoutError:
                before, waiting = waiting, _unacknowledged(self._channel)
                if waiting == before:
                    raise
        if not answer:
            raise ConnectionResetError("the destination closed the connection")
        return answer == b"A"


def _unacknowledged(channel: socket.socket) -> int:
    """Bytes that were sent and that the other side has not acknowledged yet (tcp(7), SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(channel, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def _tune(channel: socket.socket) -> None:
    channel.settimeout(_STALL_S)
    channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    channel.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, int(_STALL_S * 1000))


def _receive(channel: socket.socket, length: int) -> bytes:
    """Exactly ``length`` bytes, or none where the stream ended in between messages."""
    channel.settimeout(None)
    data = b""
    while len(data) < length:
        chunk = channel.recv(length - len(data))
        if not chunk:
            return b""
        data += chunk
    return data


def _drain(channel: socket.socket, length: int, memory: bytearray) -> None:
    while length > 0:
        got = channel.recv_into(memory, min(length, len(memory)))
        if not got:
            raise OSError("the sender ended in the middle of a message")
        length -= got
