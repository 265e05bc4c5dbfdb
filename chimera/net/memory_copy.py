"""The bytes of a migration: a TCP connection between two hypervisors, over the underlay.

Each message is a type (1 byte) and a length (8 bytes, network order), then that many bytes; the receiver answers each
with ``A`` (accepted) or ``R`` (refused) and nothing more. Types:

==== ========= ===================================================================================
R    reserve   first and once: the VM's memory in bytes (8 bytes), then its name
P    pages     as many bytes of memory as the message says, at most as many as were reserved
F    final     the same, while the VM is stunned
C    commit    empty: the VM runs at the destination
==== ========= ===================================================================================

A receiver listens where anybody on the underlay may connect, so it takes nothing on trust: who may reserve is the
caller's knowledge (:class:`Receiver`), nothing is read that was not announced within bounds, and what a connection
reserved goes with it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Collection, Iterator

from chimera import namespaces
from chimera.deadline import ready, slowness, steps
from chimera.model.errors import SessionError

PORT = 8000  # where vMotion listens, too
STALL_S = 3.0  # a connection on which nothing moves for this long (chimera.deadline) is given up …
LONGEST_STALL_S = 300.0  # … where round trips are long later, but no later than this
_HEADER = struct.Struct("!cQ")
_MEMORY = struct.Struct("!Q")
_LONGEST_REQUEST = _MEMORY.size + 255  # bytes
_CHUNK = 1 << 20
_PAGES = os.urandom(_CHUNK)  # incompressible, as memory of a busy guest is
_SO_MAX_PACING_RATE = 47
_ROUND_TRIP, _ROUND_TRIP_AT = struct.Struct("=II"), 68  # tcpi_rtt and tcpi_rttvar of struct tcp_info, microseconds
_PROBES = 5
# The receiver must not be the less patient of the two: on an overloaded machine nothing may arrive for half a minute.
_KEEPALIVE = {
    socket.TCP_KEEPIDLE: int(LONGEST_STALL_S) // _PROBES,  # seconds
    socket.TCP_KEEPINTVL: int(LONGEST_STALL_S) // _PROBES,
    socket.TCP_KEEPCNT: _PROBES,
}

Release = Callable[[], None]
Admit = Callable[[str, str, int], Release | None]  # peer's address, VM, bytes of memory


class Receiver:
    """The destination hypervisor's side: serves a listening socket until that is closed.

    ``peers`` are the addresses that may connect at all, ``most`` is how many connections there may be at a time.
    ``admit`` reserves memory for a VM of a peer and returns what ends the reservation, or None where it refuses.
    """

    def __init__(self, listener: socket.socket, peers: Collection[str], admit: Admit, most: int) -> None:
        self._listener, self._peers, self._admit = listener, peers, admit
        self._free = threading.Semaphore(most)
        threading.Thread(target=self._accept, daemon=True, name="memory receiver").start()

    def _accept(self) -> None:
        while self._listener.fileno() >= 0:
            self._free.acquire()  # until then connections wait where the kernel keeps them
            try:
                channel, (peer, _) = self._listener.accept()
            except OSError:  # of this connection (accept(2)), or of a listener that was closed
                self._free.release()
                continue
            if peer in self._peers:
                name = f"memory from {peer}"
                threading.Thread(target=self._serve, args=(channel, peer), daemon=True, name=name).start()
            else:
                channel.close()
                self._free.release()

    def _serve(self, channel: socket.socket, peer: str) -> None:
        with channel:
            try:
                _keep_alive(channel)
                self._converse(channel, peer)
            except (OSError, ValueError):
                pass  # the sender notices; here nothing was changed yet
            finally:
                self._free.release()

    def _converse(self, channel: socket.socket, peer: str) -> None:
        """One migration's messages. Raises ValueError for what is no such message, OSError where the stream ends."""
        vm, memory_bytes = _reservation(channel)
        release = self._admit(peer, vm, memory_bytes)
        if release is None:
            channel.sendall(b"R")
            return
        try:
            channel.sendall(b"A")
            memory = bytearray(_CHUNK)
            while True:
                kind, length = _HEADER.unpack(_receive(channel, _HEADER.size))
                if kind not in (b"P", b"F", b"C") or length > (0 if kind == b"C" else memory_bytes):
                    raise ValueError(f"message {kind!r} of {length} bytes")
                _drain(channel, length, memory)
                channel.sendall(b"A")
        finally:
            release()


class Sender:
    """The source hypervisor's side of one migration.

    ``open_socket`` gives a socket in the hypervisor's namespace. Every method raises OSError when the network fails,
    which is when nothing moves for ``stall_s`` (:mod:`chimera.deadline`). ``pace_mbps`` 0 sends as fast as the network
    takes it.
    """

    def __init__(
        self, open_socket: Callable[[], socket.socket], pace_mbps: float = 0.0, stall_s: float = STALL_S
    ) -> None:
        self._open_socket, self._pace_mbps, self._stall_s = open_socket, pace_mbps, stall_s
        self._channel = self._new_channel()
        self._sent = 0

    def _new_channel(self) -> socket.socket:
        channel = self._open_socket()
        channel.setblocking(False)
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._pace_mbps:
            channel.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, int(self._pace_mbps * 125_000))
        return channel

    def connect(self, source: str, destination: str) -> None:
        """Open the connection from one VTEP address to another's receiver.

        The kernel gives up a next hop that has not answered ARP for three seconds. Here that only begins anew, and with
        another socket: one that has failed to connect keeps traces of it.
        """
        waiting = steps(self._stall_s)
        while (error := self._attempt(source, destination, waiting)) == errno.EHOSTUNREACH:
            time.sleep(next(waiting, 0.0))  # it may be told at once
            self._channel.close()
            self._channel = self._new_channel()
        if error is None:
            raise TimeoutError(f"{destination} did not answer: nothing moved for {self._stall_s:g} s")
        if error:
            raise OSError(error, os.strerror(error))

    def _attempt(self, source: str, destination: str, waiting: Iterator[float]) -> int | None:
        """How an attempt to connect ended: an errno, 0 where it did well, None where there is no time left."""
        self._channel.bind((source, 0))
        self._channel.connect_ex((destination, PORT))
        poll = select.poll()
        poll.register(self._channel, select.POLLOUT)
        for step_s in waiting:
            if poll.poll(step_s * 1000):
                return self._channel.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return None

    @property
    def arrived(self) -> int:
        """Bytes of the last pages that the other side has acknowledged; all of them unless :meth:`pages` failed."""
        return max(0, self._sent - _unacknowledged(self._channel))

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def reserve(self, vm: str, memory_bytes: int) -> None:
        """Ask for room. Raises SessionError where the destination has none."""
        if not self._say(b"R", _MEMORY.pack(memory_bytes) + vm.encode()):
            raise SessionError(f"the destination has no room for {vm} ({memory_bytes >> 20} MB)")

    def pages(self, length: int, *, final: bool = False, told: Callable[[int], None] = lambda sent: None) -> None:
        """Send that many bytes of memory and wait until the other side has them; ``told`` hears how many have left."""
        self._sent = 0
        self._send(_HEADER.pack(b"F" if final else b"P", length))
        while self._sent < length:
            chunk = min(length - self._sent, _CHUNK)
            self._send(memoryview(_PAGES)[:chunk])
            self._sent += chunk
            told(self._sent)
        self._answer()

    def commit(self) -> None:
        """Tell the destination that the VM is its own now."""
        self._say(b"C", b"")

    def _say(self, kind: bytes, body: bytes) -> bool:
        self._send(_HEADER.pack(kind, len(body)) + body)
        return self._answer()

    def _send(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._channel.send(rest) :]
            except BlockingIOError:
                self._ready(select.POLLOUT, "the destination takes nothing any more")

    def _answer(self) -> bool:
        """The other side's answer, which comes when it has everything."""
        self._ready(select.POLLIN, "the destination answers nothing any more")
        answer = self._channel.recv(1)
        if not answer:
            raise ConnectionResetError("the destination closed the connection")
        return answer == b"A"

    def _ready(self, event: int, failure: str) -> None:
        """Wait until the socket is ready, for as long as the other side goes on acknowledging."""
        if not ready(self._channel, self._stall_s, lambda: _unacknowledged(self._channel), event, self._slowness):
            raise TimeoutError(f"{failure}: nothing moved for {self._stall_s:g} s")

    def _slowness(self) -> float:
        """The machine's, or the path's, where queues of an overloaded machine have made round trips long.

        A path is as slow as to need the whole limit for four retransmissions in a row, each after twice the time.
        """
        info = self._channel.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ROUND_TRIP_AT + _ROUND_TRIP.size)
        smoothed_us, variation_us = _ROUND_TRIP.unpack_from(info, _ROUND_TRIP_AT)
        timeout_s = (smoothed_us + 4 * variation_us) / 1e6  # RFC 6298 section 2
        return max(slowness(), min((1 + 2 + 4 + 8) * timeout_s, LONGEST_STALL_S) / self._stall_s)


def listen(hypervisor: str, address: str) -> socket.socket:
    """A socket on which a hypervisor's receiver listens."""
    with namespaces.inside(namespaces.path(hypervisor)):
        return socket.create_server((address, PORT), backlog=128)


def sending_from(hypervisor: str) -> socket.socket:
    """A socket by which a hypervisor sends."""
    with namespaces.inside(namespaces.path(hypervisor)):
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def _unacknowledged(channel: socket.socket) -> int:
    """Bytes that were sent and that the other side has not acknowledged yet (tcp(7), SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(channel, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def _keep_alive(channel: socket.socket) -> None:
    """Have the kernel notice a sender that is gone without a word; one that is only slow still answers its probes."""
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        channel.setsockopt(socket.IPPROTO_TCP, option, value)


def _reservation(channel: socket.socket) -> tuple[str, int]:
    """The first message: a VM, and its memory in bytes. It comes soon, or not at all."""
    data, wanted = b"", _HEADER.size
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    for step_s in steps(STALL_S):
        if not poll.poll(step_s * 1000):
            continue
        chunk = channel.recv(wanted - len(data))
        if not chunk:
            raise ConnectionResetError("the sender ended the connection")
        data += chunk
        if len(data) == _HEADER.size:
            kind, length = _HEADER.unpack(data)
            if kind != b"R" or not _MEMORY.size < length <= _LONGEST_REQUEST:
                raise ValueError(f"message {kind!r} of {length} bytes before a reservation")
            wanted += length
        if len(data) == wanted:
            body = data[_HEADER.size :]
            return body[_MEMORY.size :].decode(), _MEMORY.unpack_from(body)[0]
    raise TimeoutError(f"no reservation within {STALL_S:g} s")


def _receive(channel: socket.socket, length: int) -> bytes:
    """Exactly ``length`` bytes."""
    data = b""
    while len(data) < length:
        chunk = channel.recv(length - len(data))
        if not chunk:
            raise ConnectionResetError("the sender ended the connection")
        data += chunk
    return data


def _drain(channel: socket.socket, length: int, memory: bytearray) -> None:
    while length > 0:
        got = channel.recv_into(memory, min(length, len(memory)))
        if not got:
            raise ConnectionResetError("the sender ended in the middle of a message")
        length -= got
