"""A migration's memory over loopback: slow is not stalled, stalled is noticed, and strangers get nothing."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from chimera import deadline
from chimera.model.errors import SessionError
from chimera.net import memory_copy
from chimera.net.memory_copy import Receiver, Release, Sender

STALL_S = 0.3
MB = 1 << 20


@pytest.fixture(autouse=True)
def a_machine_of_usual_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine's speed does is held by ``test_deadline.py``; here others may keep it as busy as they like."""
    monkeypatch.setattr(deadline.steps, "__kwdefaults__", {"clock": time.monotonic, "slow": lambda: 1.0})
    monkeypatch.setattr(memory_copy, "slowness", lambda: 1.0)


# -- the sender


@contextmanager
def connected(stall_s: float = STALL_S) -> Iterator[tuple[Sender, socket.socket]]:
    """A sender that gives up after 0.3 s without progress, and the other end's socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)  # what is under way waits at the sender
        sender = Sender(lambda: socket.create_connection(listener.getsockname()), stall_s=stall_s)
        end, _ = listener.accept()
        with end:
            yield sender, end
        sender.close()


def drain(end: socket.socket, length: int) -> None:
    """Read at most a megabyte a second, then accept."""
    while length > 0:
        length -= len(end.recv(min(length, 100_000)))
        time.sleep(0.1)
    end.sendall(b"A")


def test_a_slow_receiver_is_waited_for_as_long_as_something_moves() -> None:
    """A buffer takes more when a third of it is free, and what is in it in the end has to leave, too."""
    length = 4_000_000
    with connected() as (sender, end):
        reader = threading.Thread(target=drain, args=(end, length + 9))
        reader.start()
        begin = time.monotonic()
        sender.pages(length)
        assert time.monotonic() - begin > 3 * STALL_S
        reader.join()


def test_a_receiver_that_stands_still_is_given_up_and_the_reason_named() -> None:
    with connected() as (sender, _end), pytest.raises(TimeoutError, match=r"answers nothing any more.*for 0\.3 s"):
        sender.pages(100_000)
    with connected() as (sender, _end), pytest.raises(TimeoutError, match=r"takes nothing any more.*for 0\.3 s"):
        sender.pages(100 * MB)


def test_a_path_with_long_round_trips_is_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its retransmissions take as much longer; there is an end to that, too."""
    path = {"smoothed_us": 20_000, "variation_us": 5_000}

    class Channel(socket.socket):
        def getsockopt(self, level: int, option: int, size: int = 0) -> bytes:  # type: ignore[override]
            assert (level, option, size) == (socket.IPPROTO_TCP, socket.TCP_INFO, 76)
            return bytes(68) + struct.pack("=II", *path.values())

    with Channel() as channel:
        sender = Sender(lambda: channel)
        assert sender._slowness() == 1.0
        path["smoothed_us"] = 2_000_000
        assert sender._slowness() * memory_copy.STALL_S == pytest.approx(15 * 2.02)
        path["smoothed_us"] = 4_000_000_000
        assert sender._slowness() * memory_copy.STALL_S == pytest.approx(memory_copy.LONGEST_STALL_S)


def test_the_kernel_has_the_round_trip_where_it_is_looked_for() -> None:
    with connected() as (sender, end):
        sender._send(b"x")
        end.recv(1)
        sender._channel.setblocking(True)
        end.sendall(b"A")
        sender._channel.recv(1)
        info = sender._channel.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 76)
        smoothed_us, variation_us = struct.unpack_from("=II", info, 68)
        assert 0 < smoothed_us < 5_000_000 and 0 < variation_us < 5_000_000


def test_a_destination_that_is_not_there_is_given_up_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_copy, "PORT", _deaf_port())
    sender = Sender(socket.socket, stall_s=STALL_S)
    with pytest.raises(TimeoutError, match=r"127\.0\.0\.1 did not answer: nothing moved for 0\.3 s"):
        sender.connect("127.0.0.1", "127.0.0.1")
    sender.close()


def test_a_connection_that_is_refused_is_given_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(memory_copy, "PORT", listener.getsockname()[1])
    with socket.socket() as channel, pytest.raises(ConnectionRefusedError):
        Sender(lambda: channel).connect("127.0.0.1", "127.0.0.1")


def _deaf_port() -> int:
    """A port whose queue of connections is full: the kernel drops what else would like to connect."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    _kept.append(listener)
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        _kept.append(filler)
    port: int = listener.getsockname()[1]
    return port


_kept: list[socket.socket] = []


# -- the receiver


@dataclass
class Desk:
    """Who may reserve: this VM of this size, once at a time."""

    vm: str = "web1"
    memory_bytes: int = 4 * MB
    held: set[str] = field(default_factory=set)
    asked: list[tuple[str, str, int]] = field(default_factory=list)

    def admit(self, peer: str, vm: str, memory_bytes: int) -> Release | None:
        self.asked.append((peer, vm, memory_bytes))
        if (vm, memory_bytes) != (self.vm, self.memory_bytes) or vm in self.held:
            return None
        self.held.add(vm)
        return lambda: self.held.discard(vm)


@dataclass
class Served:
    """A receiver to be talked to."""

    address: tuple[str, int]
    desk: Desk

    def client(self, *messages: bytes) -> socket.socket:
        channel = socket.create_connection(self.address, timeout=10)
        for message in messages:
            channel.sendall(message)
        return channel

    def answers(self, *messages: bytes) -> bytes:
        """What a client hears until it is hung up on."""
        with self.client(*messages) as channel:
            return heard(channel)


def heard(channel: socket.socket) -> bytes:
    """Everything until the connection ends."""
    found = b""
    try:
        while chunk := channel.recv(100):
            found += chunk
    except ConnectionResetError:
        pass
    return found


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Starts receivers that are closed in the end."""
    listeners = []

    def start(*, peers: tuple[str, ...] = ("127.0.0.1",), most: int = 8, **desk: object) -> Served:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        made = Served(listener.getsockname(), Desk(**desk))
        Receiver(listener, peers, made.desk.admit, most)
        return made

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def message(kind: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    return kind + struct.pack("!Q", len(body) if length is None else length) + body


def reserve(vm: str = "web1", memory_bytes: int = 4 * MB) -> bytes:
    return message(b"R", struct.pack("!Q", memory_bytes) + vm.encode())


def until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_sender_and_receiver_understand_each_other(serve: Callable[..., Served]) -> None:
    served = serve()
    sender = Sender(lambda: socket.create_connection(served.address))
    sender.reserve("web1", 4 * MB)
    assert served.desk.asked == [("127.0.0.1", "web1", 4 * MB)]
    sender.pages(4 * MB)
    sender.pages(0)
    sender.pages(1000, final=True)
    sender.commit()
    assert served.desk.held == {"web1"}
    sender.close()
    until(lambda: not served.desk.held)


def test_a_reservation_ends_with_its_connection(serve: Callable[..., Served]) -> None:
    served = serve()
    with served.client(reserve()) as first:
        assert first.recv(1) == b"A"
        assert served.answers(reserve()) == b"R", "it is reserved already, by another connection"
        assert served.desk.held == {"web1"}
    until(lambda: not served.desk.held)
    with served.client(reserve()) as again:
        assert again.recv(1) == b"A"


def test_a_refusal_is_the_senders_to_report(serve: Callable[..., Served]) -> None:
    served = serve()
    sender = Sender(lambda: socket.create_connection(served.address))
    with pytest.raises(SessionError, match=r"no room for ghost \(4 MB\)"):
        sender.reserve("ghost", 4 * MB)
    sender.close()


def test_only_known_peers_are_heard(serve: Callable[..., Served]) -> None:
    served = serve(peers=("192.0.2.1",))
    assert served.answers(reserve()) == b""
    assert served.desk.asked == []


HUGE = (1 << 64) - 1


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(message(b"P", length=HUGE), id="pages"),
        pytest.param(message(b"F", b"x"), id="final pages"),
        pytest.param(message(b"C"), id="commit"),
        pytest.param(message(b"R"), id="empty"),
        pytest.param(message(b"R", b"1234567"), id="no name"),
        pytest.param(message(b"R", length=HUGE) + bytes(100), id="endless"),
        pytest.param(message(b"R", length=10_000) + bytes(10_000), id="long"),
        pytest.param(message(b"R", bytes(8) + b"\xff\xfe"), id="no text"),
        pytest.param(message(b"X", b"hello"), id="unknown"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
        pytest.param(bytes(100), id="zeros"),
        pytest.param(os.urandom(64), id="noise"),
    ],
)
def test_what_begins_with_anything_but_a_reservation_is_hung_up_on(serve: Callable[..., Served], said: bytes) -> None:
    served = serve()
    assert served.answers(said) == b""
    assert served.desk.held == set() and served.desk.asked == []


@pytest.mark.parametrize(
    "said",
    [
        message(b"P", length=4 * MB + 1),
        message(b"P", length=HUGE),
        message(b"F", length=HUGE),
        message(b"C", b"x"),
        message(b"X"),
        reserve(),
    ],
    ids=["more than reserved", "endless", "endless final", "commit with a body", "unknown", "twice"],
)
def test_what_does_not_follow_a_reservation_ends_it(serve: Callable[..., Served], said: bytes) -> None:
    served = serve()
    assert served.answers(reserve(), said) == b"A"
    until(lambda: not served.desk.held)


def test_nothing_is_kept_of_what_is_said(serve: Callable[..., Served]) -> None:
    """Before, a client that announced a long reservation made the session hold all that it sent."""
    served = serve()
    with served.client(message(b"R", length=300 * MB)) as channel:
        sent = 0
        try:
            for _ in range(300):
                sent += channel.send(bytes(MB))
        except OSError:
            pass
        assert sent < 100 * MB, "it was hung up on as soon as it had said how long it would be"


def test_who_says_nothing_is_hung_up_on(serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_copy, "STALL_S", STALL_S)
    served = serve()
    with served.client() as silent, served.client(reserve()[:-1]) as hesitant:
        assert heard(silent) == heard(hesitant) == b""


def serving() -> int:
    """How many connections are being served."""
    return sum(thread.name.startswith("memory from") for thread in threading.enumerate())


def test_connections_are_bounded_and_those_beyond_wait_their_turn(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_copy, "STALL_S", 1.0)
    until(lambda: serving() == 0)
    served = serve(most=3)
    crowd = [served.client() for _ in range(20)]
    until(lambda: serving() == 3)
    time.sleep(0.2)
    assert serving() == 3
    for silent in crowd:
        silent.close()
    with served.client(reserve()) as honest:
        assert honest.recv(1) == b"A"


def test_a_connection_that_dies_in_the_queue_does_not_end_the_receiver(serve: Callable[..., Served]) -> None:
    served = serve(most=1)
    for _ in range(5):
        channel = served.client()
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        channel.close()  # with a reset
    assert served.answers(reserve("ghost")) == b"R"


def test_a_receiver_is_no_less_patient_than_its_sender() -> None:
    """Else the kernel resets the connection of a migration that an overloaded machine only holds up."""
    with socket.socket() as channel:
        memory_copy._keep_alive(channel)
        idle, interval, probes = (
            channel.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert channel.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert idle + interval * probes >= memory_copy.LONGEST_STALL_S
