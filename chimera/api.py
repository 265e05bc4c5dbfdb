"""How commands talk to a running lab: JSON lines over the unix socket in its run directory.

A request is one line, ``{"version": 1, "verb": …, "arguments": {…}}``. Answers are lines of ``{"version": 1, "event":
{…}}`` while it goes on and one ``{…, "result": …}`` or ``{…, "error": text, "exit": status}`` in the end. The web page
to come will speak the same. What a verb can be asked, and what it answers, are the types of
:mod:`chimera.model.verbs`; a request is checked against its type before anything is done.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Never, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from chimera.model.codec import to_json
from chimera.model.errors import InputError, LabError, SessionError
from chimera.model.events import Event, event_from_json
from chimera.model.verbs import VERSION, Events, Request, answer_type

A = TypeVar("A")

_REQUEST_LIMIT = 1 << 20
_NO_ROOM_S = 0.1  # until a descriptor may be free again
_UNTOLD = 1000  # events that wait for who asked; older ones are dropped


class _Asked(msgspec.Struct):
    verb: str
    arguments: Raw = Raw(b"{}")
    version: int = 0


class _Reply(msgspec.Struct, omit_defaults=True):
    version: int = 0
    event: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: str | UnsetType = UNSET
    exit: int = 0


class VersionError(SessionError):
    """A command and a lab of different versions."""

    def __init__(self, lab: str, theirs: int, ours: int) -> None:
        super().__init__(
            f"{lab} speaks version {theirs or '0'} of the API and this command version {ours}: "
            f"the lab was started by another version of Chimera Lab\n"
            f"    fix: use the 'lab' that started it, or end it with 'lab down' and start it again"
        )


# -- the lab's side ------------------------------------------------------------------------------


class Gone(Exception):
    """Whoever asked has gone."""


class Asker:
    """Whoever asked, while what was asked for goes on."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._hung_up = select.poll()
        self._hung_up.register(channel, 0)  # POLLHUP is always reported
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._untold: list[Event] = []
        self._telling: threading.Thread | None = None
        self._over = False

    def tell(self, event: Event) -> Event:
        """Have an event sent by and by: whoever tells does not wait for who reads, or does not."""
        with self._changed:
            self._untold = [*self._untold[1 - _UNTOLD :], event]
            if self._telling is None:
                self._telling = threading.Thread(target=self._tell_all, daemon=True, name="asker")
                self._telling.start()
            self._changed.notify()
        return event

    def _tell_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._untold or self._over)
                events, self._untold = self._untold, []
            if not events:
                return
            try:
                for event in events:
                    self.send(event)
            except Gone:
                return

    def send(self, event: Event) -> None:
        """Send an event, and wait until it is taken.

        Raises:
            Gone: nobody is there any more.
        """
        self.reply(_Reply(VERSION, event=Raw(to_json(event))))

    def reply(self, reply: _Reply) -> None:
        """Send a line. Raises as :meth:`send`."""
        try:
            self._channel.sendall(to_json(reply) + b"\n")
        except OSError as error:
            raise Gone from error

    @property
    def gone(self) -> bool:
        """True where nobody is there any more."""
        return bool(self._hung_up.poll(0))

    def finish(self) -> None:
        """Return when everything that was told has been sent."""
        with self._changed:
            self._over = True
            self._changed.notify()
        if self._telling is not None:
            self._telling.join()


Handler = Callable[[Any, Asker], Any]
Verbs = Mapping[type[Request[Any]], Handler]


class Server:
    """Serves requests, each connection in a thread of its own; ``verbs`` has the function for each type of request."""

    def __init__(self, path: Path, verbs: Verbs) -> None:
        self._verbs = verbs
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        os.chmod(path, 0o600)
        self._listener.listen()

    def serve(self) -> Never:
        """Accept until the process ends."""
        while True:
            try:
                channel, _ = self._listener.accept()
            except OSError:  # of this connection (accept(2)), or no more descriptors
                time.sleep(_NO_ROOM_S)
                continue
            threading.Thread(target=self._answer, args=(channel,), daemon=True).start()

    def _answer(self, channel: socket.socket) -> None:
        with channel, channel.makefile("rb") as lines:
            asker = Asker(channel)
            try:
                reply = self._reply(lines.readline(_REQUEST_LIMIT), asker)
                asker.finish()
                asker.reply(reply)
            except Gone:
                pass  # what was asked for is done all the same

    def _reply(self, line: bytes, asker: Asker) -> _Reply:
        try:
            request = read_request(line, self._verbs)
            return _Reply(VERSION, result=Raw(to_json(self._verbs[type(request)](request, asker))))
        except LabError as error:
            return _Reply(VERSION, error=_text(error), exit=error.exit_status)
        except Gone:
            raise
        except Exception as error:  # a defect must not take the lab down, and must not be hidden
            return _Reply(VERSION, error=f"defect: {type(error).__name__}: {_text(error)}", exit=70)


def read_request(line: bytes, verbs: Verbs) -> Request[Any]:
    """The request in a line.

    Raises:
        SessionError: it is none, or one of another version.
        InputError: an argument is unknown, missing or not as declared.
    """
    try:
        asked = msgspec.json.decode(line, type=_Asked)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SessionError(f"not a request: {error}") from error
    if asked.version != VERSION:
        raise VersionError("the lab", VERSION, asked.version)
    kind = next((kind for kind in verbs if kind.verb == asked.verb), None)
    if kind is None:
        raise SessionError(f"no verb '{_text(asked.verb)}': there are {', '.join(kind.verb for kind in verbs)}")
    try:
        return msgspec.json.decode(asked.arguments, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        what = str(error).replace(" - at `$.", " - at `")
        raise InputError(f"{kind.verb}: {what}\n    allowed: {', '.join(allowed(kind)) or 'nothing'}") from error


def allowed(request: type[Request[Any]]) -> list[str]:
    """Each argument of a request with what it may be."""
    return list(_described(msgspec.inspect.type_info(request), ""))


def _described(kind: msgspec.inspect.Type, name: str) -> Iterator[str]:
    match kind:
        case msgspec.inspect.StructType(fields=fields):
            for field in fields:
                yield from _described(field.type, f"{name}.{field.name}" if name else field.name)
        case msgspec.inspect.UnionType(types=types):
            yield from (text for each in types if not isinstance(each, msgspec.inspect.NoneType)
                        for text in _described(each, name))  # fmt: skip
        case msgspec.inspect.LiteralType(values=values):
            yield f"{name} ({' | '.join(map(str, values))})"
        case msgspec.inspect.FloatType(ge=low, le=high) if low is not None and high is not None:
            yield f"{name} ({low:g} to {high:g})"
        case _:
            words = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "dict": "object"}
            yield f"{name} ({words.get(type(kind).__name__.removesuffix('Type').lower(), 'anything')})"


def _text(said: object) -> str:
    """As text that UTF-8 can carry: a name on the command line need not be any."""
    return str(said).encode(errors="replace").decode()


# -- a command's side ----------------------------------------------------------------------------


class RemoteError(LabError):
    """The lab's own error, with its exit status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.exit_status = status


def ask(path: Path, request: Request[A], heard: Callable[[Event], object] = lambda event: None) -> A:
    """Have a running lab do something, and return its answer; ``heard`` gets the events on the way.

    Raises:
        RemoteError: the lab refused or failed.
        VersionError: the lab speaks another version.
        SessionError: the lab is not there any more.
    """
    for reply in _conversation(path, request):
        if not isinstance(reply.event, UnsetType):
            heard(event_from_json(bytes(reply.event)))
        elif not isinstance(reply.result, UnsetType):
            return msgspec.json.decode(reply.result, type=answer_type(type(request)))
    raise SessionError(f"lab {path.parent.name} ended before it had answered")


def follow(path: Path, request: Events) -> Iterator[Event]:
    """The events of a running lab as they come; the lab's end is theirs. Raises as :func:`ask`."""
    for reply in _conversation(path, request):
        if not isinstance(reply.event, UnsetType):
            yield event_from_json(bytes(reply.event))


def _conversation(path: Path, request: Request[Any]) -> Iterator[_Reply]:
    """What the lab says to a request, until it has said all or died on the way."""
    try:
        line = msgspec.json.encode(_Asked(request.verb, Raw(msgspec.json.encode(request)), VERSION))
    except UnicodeEncodeError as error:
        raise InputError(f"{request.verb}: '{_text(error.object)}' is not text in UTF-8") from error
    with socket.socket(socket.AF_UNIX) as channel:
        try:
            channel.connect(str(path))
            channel.sendall(line + b"\n")
        except OSError as error:
            raise SessionError(f"lab {path.parent.name} does not answer: {error.strerror}") from error
        for reply in _replies(channel):
            if reply.version != VERSION:
                raise VersionError(f"lab {path.parent.name}", reply.version, VERSION)
            if not isinstance(reply.error, UnsetType):
                raise RemoteError(reply.error, reply.exit)
            yield reply


def _replies(channel: socket.socket) -> Iterator[_Reply]:
    try:
        with channel.makefile("rb") as lines:
            for line in lines:
                yield msgspec.json.decode(line, type=_Reply)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return
