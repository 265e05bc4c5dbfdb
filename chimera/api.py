"""How commands talk to a running lab: JSON lines over the unix socket in its run directory.

A request is one line, ``{"verb": …, "arguments": {…}}``. Answers are lines of ``{"progress": text}`` while it
goes on and one ``{"result": …}`` or ``{"error": text, "exit": status}`` in the end. The web page to come will
speak the same. What a verb can be asked is declared by its function's parameters, and checked before it is called.
"""

from __future__ import annotations

import inspect
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from chimera.model.codec import to_json
from chimera.model.errors import InputError, LabError, SessionError

Handler = Callable[..., Any]
_REQUEST_LIMIT = 1 << 20


class Verb:
    """A function that can be asked for, and what it can be asked: its parameters, by their types.

    Types may be narrow, ``Literal`` or ``Annotated[float, Meta(ge=0)]`` as msgspec has them. ``progress`` is not for a
    request to give: it leads to whoever asked.
    """

    def __init__(self, name: str, handler: Handler) -> None:
        hints = get_type_hints(handler, include_extras=True)
        fields: list[Any] = [
            (each.name, hints.get(each.name, Any), *(() if each.default is each.empty else (each.default,)))
            for each in inspect.signature(handler).parameters.values()
            if each.name != "progress"
        ]
        self._name, self._handler = name, handler
        self._arguments = msgspec.defstruct(name, fields, forbid_unknown_fields=True)

    def __call__(self, arguments: Mapping[str, Any], progress: Callable[[str], None]) -> Any:
        """Do it.

        Raises:
            InputError: an argument is unknown, missing or not as declared; nothing was done.
        """
        try:
            checked = msgspec.convert(dict(arguments), self._arguments)
        except msgspec.ValidationError as error:
            what = str(error).replace(" - at `$.", " - at `")
            raise InputError(f"{self._name}: {what}\n    allowed: {', '.join(self.allowed()) or 'nothing'}") from error
        given = {name: getattr(checked, name) for name in self._arguments.__struct_fields__}
        return self._handler(progress=progress, **given)

    def allowed(self) -> list[str]:
        """Each argument with what it may be."""
        return list(_described(msgspec.inspect.type_info(self._arguments), ""))


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


class Server:
    """Serves requests, each connection in a thread of its own.

    ``verbs`` maps a verb to a function, which gets ``progress`` and the request's arguments as keywords.
    """

    def __init__(self, path: Path, verbs: Mapping[str, Handler]) -> None:
        self._verbs = {name: Verb(name, handler) for name, handler in verbs.items()}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        os.chmod(path, 0o600)
        self._listener.listen()
        self.done = threading.Event()

    def serve(self) -> None:
        """Accept until :attr:`done` is set by a verb."""
        threading.Thread(target=self._accept, daemon=True, name="api").start()
        self.done.wait()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                channel, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(channel,), daemon=True).start()

    def _answer(self, channel: socket.socket) -> None:
        with channel, channel.makefile("rb") as lines:
            try:
                reply = to_json({"result": self._carry_out(lines.readline(_REQUEST_LIMIT), channel)})
            except LabError as error:
                reply = to_json({"error": _text(error), "exit": error.exit_status})
            except Exception as error:  # a defect must not take the lab down, and must not be hidden
                reply = to_json({"error": f"defect: {type(error).__name__}: {_text(error)}", "exit": 70})
            _send(channel, reply)

    def _carry_out(self, line: bytes, channel: socket.socket) -> Any:
        try:
            request = json.loads(line)
            verb, arguments = str(request["verb"]), dict(request.get("arguments", {}))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SessionError(f"not a request: {error}") from error
        act = self._verbs.get(verb)
        if act is None:
            raise SessionError(f"no verb '{verb}': there are {', '.join(self._verbs)}")
        return act(arguments, lambda text: _send(channel, to_json({"progress": _text(text)})))


def _text(said: object) -> str:
    """As text that UTF-8 can carry: a name on the command line need not be any."""
    return str(said).encode(errors="replace").decode()


def _send(channel: socket.socket, reply: bytes) -> None:
    try:
        channel.sendall(reply + b"\n")
    except OSError:
        pass  # whoever asked has gone; what was asked for is done all the same


class RemoteError(LabError):
    """The lab's own error, with its exit status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.exit_status = status


def ask(path: Path, verb: str, *, progress: Callable[[str], None] = lambda text: None, **arguments: Any) -> Any:
    """Have a running lab do something, and return its answer.

    Raises:
        RemoteError: the lab refused or failed.
        SessionError: the lab is not there any more.
    """
    with socket.socket(socket.AF_UNIX) as channel:
        try:
            channel.connect(str(path))
            channel.sendall(json.dumps({"verb": verb, "arguments": arguments}).encode() + b"\n")
        except OSError as error:
            raise SessionError(f"lab {path.parent.name} does not answer: {error.strerror}") from error
        for answer in _answers(channel):
            if "progress" in answer:
                progress(answer["progress"])
            elif "error" in answer:
                raise RemoteError(answer["error"], int(answer["exit"]))
            else:
                return answer["result"]
    raise SessionError(f"lab {path.parent.name} ended before it had answered")


def _answers(channel: socket.socket) -> Iterator[dict[str, Any]]:
    """What the lab says, until it has said all or died on the way."""
    try:
        with channel.makefile("rb") as lines:
            for line in lines:
                yield json.loads(line)
    except (OSError, ValueError):
        return
