"""How commands talk to a running lab: JSON lines over the unix socket in its run directory.

A request is one line, ``{"verb": …, "arguments": {…}}``. Answers are lines of ``{"progress": text}`` while it
goes on and one ``{"result": …}`` or ``{"error": text, "exit": status}`` in the end. The web page to come will
speak the same.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chimera.model.codec import to_json
from chimera.model.errors import LabError, SessionError

Handler = Callable[..., Any]
_REQUEST_LIMIT = 1 << 20


class Server:
    """Serves requests, each connection in a thread of its own.

    ``verbs`` maps a verb to a function, which gets ``progress`` and the request's arguments as keywords.
    """

    def __init__(self, path: Path, verbs: Mapping[str, Handler]) -> None:
        self._verbs = verbs
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
                reply = self._carry_out(lines.readline(_REQUEST_LIMIT), channel)
            except LabError as error:
                reply = {"error": str(error), "exit": error.exit_status}
            except Exception as error:  # a defect must not take the lab down, and must not be hidden
                reply = {"error": f"defect: {type(error).__name__}: {error}", "exit": 70}
            _send(channel, reply)

    def _carry_out(self, line: bytes, channel: socket.socket) -> dict[str, Any]:
        try:
            request = json.loads(line)
            verb, arguments = request["verb"], dict(request.get("arguments", {}))
        except (ValueError, KeyError, TypeError) as error:
            raise SessionError(f"not a request: {error}") from error
        handler = self._verbs.get(verb)
        if handler is None:
            raise SessionError(f"no verb '{verb}': there are {', '.join(self._verbs)}")
        return {"result": handler(progress=lambda text: _send(channel, {"progress": text}), **arguments)}


def _send(channel: socket.socket, reply: dict[str, Any]) -> None:
    try:
        channel.sendall(to_json(reply) + b"\n")
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
        with channel.makefile("r") as lines:
            for line in lines:
                answer = json.loads(line)
                if "progress" in answer:
                    progress(answer["progress"])
                elif "error" in answer:
                    raise RemoteError(answer["error"], int(answer["exit"]))
                else:
                    return answer["result"]
    raise SessionError(f"lab {path.parent.name} ended before it had answered")
