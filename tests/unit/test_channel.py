"""Calls over a socket: many at once, errors as they were raised, and an end that comes too early."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from chimera.channel import Caller, Channel, portable, serve, tell
from chimera.model.errors import InputError, MachineError, Place, Problem, SessionError, TopologyError


class Far:
    """The other end, in a thread of this process, and what came of it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.told: list[str] = []
        self.left = threading.Event()
        self.go = threading.Event()
        self.channel = Channel(theirs.detach())
        self.caller = Caller(Channel(ours.detach()), self.told.append, self.left.set)
        threading.Thread(target=serve, args=(self.channel, self.act), daemon=True).start()

    def act(self, name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        return getattr(self, name)(*arguments, **keywords)

    def double(self, number: int, *, plus: int = 0) -> int:
        tell(self.channel, f"doubling {number}")
        return 2 * number + plus

    def wait(self) -> str:
        assert self.go.wait(10)
        return "waited"

    def refuse(self, error: BaseException) -> None:
        raise error

    def unsayable(self) -> object:
        return threading.Lock()


@pytest.fixture
def far() -> Iterator[Far]:
    made = Far()
    yield made
    made.caller.close()
    assert made.left.wait(10)


def test_a_call_has_its_value_and_progress_comes_before(far: Far) -> None:
    assert far.caller.call("double", 4, plus=1) == 9
    assert far.told == ["doubling 4"]


def test_a_call_that_takes_long_holds_up_no_other(far: Far) -> None:
    found: list[str] = []
    waiting = threading.Thread(target=lambda: found.append(far.caller.call("wait")))
    waiting.start()
    assert far.caller.call("double", 2) == 4 and not found
    far.go.set()
    waiting.join(10)
    assert found == ["waited"]


def test_large_values_come_whole_from_many_threads(far: Far) -> None:
    found: list[bool] = []

    def ask(letter: bytes) -> None:
        text = letter * 300_000
        found.append(far.caller.call("double", 0) == 0 and far.caller.call("echo", text) == text)

    far.echo = lambda text: text  # type: ignore[attr-defined]
    threads = [threading.Thread(target=ask, args=(bytes([65 + n]),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [True] * 8


@pytest.mark.parametrize(
    "error",
    [
        InputError("no VM 'web9'\n    allowed: web1"),
        MachineError("no tun", "modprobe tun"),
        KeyError("x"),
        SystemExit(3),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_what_was_raised(far: Far, error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        far.caller.call("refuse", error)
    assert str(raised.value) == str(error)


def test_an_error_that_is_not_the_labs_own_says_where_it_comes_from(far: Far) -> None:
    with pytest.raises(AttributeError) as raised:
        far.caller.call("no_such_verb")
    assert "in act" in raised.value.__notes__[0]
    with pytest.raises(InputError) as refused:
        far.caller.call("refuse", InputError("no"))
    assert not hasattr(refused.value, "__notes__")


def test_what_cannot_be_sent_is_an_error_of_its_call_alone(far: Far) -> None:
    with pytest.raises(TypeError, match="pickle"):
        far.caller.call("unsayable")
    with pytest.raises(TypeError, match="pickle"):
        far.caller.call("double", threading.Lock())
    assert far.caller.call("double", 1) == 2


class OfTheCallers:
    """What the other end does not have."""

    def __reduce__(self) -> tuple[Any, ...]:
        return __import__, ("no_such_module",)


def test_what_the_other_end_cannot_read_is_an_error_of_its_call_alone(far: Far) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        far.caller.call("double", OfTheCallers())
    assert far.caller.call("double", 1) == 2


def test_progress_that_its_user_cannot_take_holds_up_nothing(far: Far, capsys: pytest.CaptureFixture[str]) -> None:
    def told(text: str) -> None:
        raise LookupError(text)

    far.caller._told = told
    assert far.caller.call("double", 1) == 2
    assert "LookupError: doubling 1" in capsys.readouterr().err


def test_an_error_that_cannot_be_made_again_keeps_its_text() -> None:
    problems = TopologyError([Problem(Place("a.yaml", 1, 2), "vms", "unknown key")])
    found = portable(problems)
    assert isinstance(found, SessionError) and "a.yaml:1:2: vms: unknown key" in str(found)


def test_whoever_waits_when_the_other_end_goes_is_told(far: Far) -> None:
    threading.Timer(0.1, far.channel.close).start()
    with pytest.raises(SessionError, match="ended before it had answered"):
        far.caller.call("wait")
    assert far.left.wait(10)
    with pytest.raises(SessionError, match="the lab has ended"):
        far.caller.call("double", 1)
    far.go.set()


def test_whoever_leaves_a_channel_has_nothing_of_it_open() -> None:
    """A launcher that kept it open would keep the user from seeing that the lab has ended."""
    before = sorted(os.listdir("/proc/self/fd"))
    ours, theirs = socket.socketpair()
    channel = Channel(theirs.detach())
    channel.leave()
    assert ours.recv(1) == b""
    ours.close()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_the_end_of_a_process_is_seen_though_it_said_nothing() -> None:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if not pid:
        ours.close()
        theirs.recv(1)
        os._exit(0)
    theirs.close()
    left = threading.Event()
    caller = Caller(Channel(ours.detach()), lambda text: None, left.set)
    begin = time.monotonic()
    with pytest.raises(SessionError):
        caller.call("anything")
    assert left.wait(10) and time.monotonic() - begin < 10
    os.waitpid(pid, 0)
