"""Calls from a user's Python process to the process that holds its lab: many at a time, over one socket.

Both ends are started by one user from one installation and trust each other: what is called and what comes back are
pickles of the engine's own types. Nothing else is connected; commands talk to a lab through :mod:`chimera.api`.
"""

from __future__ import annotations

import itertools
import os
import pickle
import socket
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Any

from chimera.model.errors import LabError, SessionError

PROGRESS = 0  # the number of what answers no call
Act = Callable[[str, Sequence[Any], Mapping[str, Any]], Any]


class Channel:
    """One end: messages in order, whole, from any thread."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._socket = socket.socket(fileno=descriptor)
        self._connection = Connection(self._socket.dup().detach())
        self._sending = threading.Lock()

    def send(self, message: object) -> None:
        """Send a message; OSError where the other end is gone."""
        with self._sending:
            self._connection.send(message)

    def receive(self) -> Any:
        """The next message, of a caller its number and the pickled call; EOFError where there will be none."""
        try:
            return self._connection.recv()
        except ConnectionError as error:
            raise EOFError from error

    def close(self) -> None:
        """Let go of this end; a :meth:`receive` that waits in another thread ends, where no other process has it."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other end was faster
        self._socket.close()  # the connection is left to who may be reading from it

    def leave(self) -> None:
        """Close it in this process alone, where no thread uses it: another one, which was forked, goes on."""
        self._socket.close()
        self._connection.close()


class Caller:
    """The end that asks. ``told`` gets the progress, ``ended`` is called once when the other end is gone."""

    def __init__(self, channel: Channel, told: Callable[[str], None], ended: Callable[[], None]) -> None:
        self._channel, self._told, self._ended = channel, told, ended
        self._numbers = itertools.count(PROGRESS + 1)
        self._waiting: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._over = False
        threading.Thread(target=self._read, name="lab", daemon=True).start()

    def call(self, name: str, /, *arguments: Any, **keywords: Any) -> Any:
        """Have something done at the other end, and return what came of it.

        Raises:
            SessionError: the other end is gone.
            Exception: what was raised there; of an error that is not the lab's own, a note says where.
        """
        answer: Future[Any] = Future()
        number, asked = next(self._numbers), pickle.dumps((name, arguments, keywords))
        with self._lock:
            if self._over:
                raise SessionError("the lab has ended")
            self._waiting[number] = answer
        try:
            self._channel.send((number, asked))
        except OSError as error:
            raise SessionError("the lab has ended") from error
        return answer.result()

    def close(self) -> None:
        """Ask no more."""
        self._channel.close()

    def _read(self) -> None:
        try:
            while True:
                number, failed, value = self._channel.receive()
                if number == PROGRESS:
                    self._tell(value)
                    continue
                with self._lock:
                    answer = self._waiting.pop(number)
                if failed:
                    answer.set_exception(value)
                else:
                    answer.set_result(value)
        except EOFError:
            pass
        finally:
            with self._lock:
                self._over = True
                waiting, self._waiting = self._waiting, {}
            for answer in waiting.values():
                answer.set_exception(SessionError("the lab ended before it had answered"))
            self._ended()

    def _tell(self, text: str) -> None:
        """What the user's own function does wrong with progress is shown, and harms nobody."""
        try:
            self._told(text)
        except Exception:
            traceback.print_exc()


def tell(channel: Channel, text: str) -> None:
    """Progress, to whoever asks at the other end."""
    _send(channel, (PROGRESS, False, text))


def serve(channel: Channel, act: Act) -> None:
    """Answer calls, each in a thread of its own, until the other end is gone."""
    while True:
        try:
            number, asked = channel.receive()
        except EOFError:
            return
        work = (channel, number, lambda asked=asked: act(*pickle.loads(asked)))
        threading.Thread(target=answer, args=work, daemon=True).start()


def answer(channel: Channel, number: int, act: Callable[[], Any]) -> None:
    """Do what was asked for, and send what came of it: a value, or the error."""
    try:
        message = (number, False, act())
        pickle.dumps(message)
    except BaseException as error:
        message = (number, True, portable(error))
    _send(channel, message)


def portable(error: BaseException) -> BaseException:
    """An error that can be raised in another process; one that is not the lab's own says where it comes from."""
    if not isinstance(error, LabError):
        error.add_note("in the lab's own process:\n" + "".join(traceback.format_tb(error.__traceback__)))
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        return SessionError(f"{type(error).__name__}: {error}")
    return copy if isinstance(copy, type(error)) else SessionError(str(error))


def _send(channel: Channel, message: object) -> None:
    try:
        channel.send(message)
    except OSError:
        pass  # whoever asked has gone
