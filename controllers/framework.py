"""The places where Ryu and os-ken offer no hook: what they use is replaced by our own.

:func:`install` must run before applications are loaded. It makes every OpenFlow session count its messages,
announces that the controller listens, and reads only the cookies out of flow statistics: reading
whole flows costs 0.2 ms each and fails on actions that the parser does not know.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from typing import Any

import ryu.base.app_manager  # noqa: F401  first: os-ken's controller module and it import each other
from ryu.controller import controller
from ryu.ofproto import ofproto_v1_3 as ofp
from ryu.ofproto import ofproto_v1_3_parser as parser

from chimera.model.control import LISTENER

_HEADER = struct.Struct("!BBHI")
_FLOW_STATS = struct.Struct("!HBxIIHHHH4xQ")  # ofp_flow_stats up to the cookie, OpenFlow 1.3.5 section 7.3.5.2
TYPES = {value: name.removeprefix("OFPT_") for name, value in vars(ofp).items() if name.startswith("OFPT_")}

OnMessage = Callable[[str, str, int], None]  # switch, type, bytes


class Framer:
    """Finds message headers in a byte stream that comes in arbitrary pieces."""

    def __init__(self) -> None:
        self._head = b""
        self._body_left = 0

    def feed(self, data: bytes) -> list[tuple[str, int]]:
        """Types and sizes of the messages whose headers are complete with ``data``."""
        found: list[tuple[str, int]] = []
        view = memoryview(data)
        while view:
            skipped = min(self._body_left, len(view))
            self._body_left -= skipped
            view = view[skipped:]
            missing = _HEADER.size - len(self._head)
            self._head += bytes(view[:missing])
            view = view[missing:]
            if len(self._head) == _HEADER.size:
                _, kind, size, _ = _HEADER.unpack(self._head)
                found.append((TYPES.get(kind, str(kind)), size))
                self._head, self._body_left = b"", max(size - _HEADER.size, 0)
        return found


class Tap:
    """A socket that counts the messages it carries; everything else is the socket's own.

    ``node`` names the switch at the other end, as soon as somebody knows.
    """

    def __init__(self, socket: Any, on_message: OnMessage) -> None:
        self.node = ""
        self._socket = socket
        self._on_message = on_message
        self._framers = {True: Framer(), False: Framer()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def _note(self, data: bytes, outgoing: bool) -> None:
        for kind, size in self._framers[outgoing].feed(data):
            self._on_message(self.node, kind, size)

    def recv(self, size: int) -> bytes:
        """Receive and count."""
        data: bytes = self._socket.recv(size)
        self._note(data, False)
        return data

    def sendall(self, data: bytes) -> None:
        """Send and count."""
        self._note(data, True)
        self._socket.sendall(data)


class _Cookie:
    """A flow's statistics, of which only the cookie is read."""

    @classmethod
    def parser(cls, buffer: bytes, offset: int) -> _Cookie:
        stats = cls()
        stats.length, *_, stats.cookie = _FLOW_STATS.unpack_from(buffer, offset)
        return stats

    length: int
    cookie: int


def install(on_message: OnMessage, on_listening: Callable[[], None]) -> None:
    """Have the framework use the counting server and the short statistics."""

    class Server(controller.StreamServer):
        def __init__(self, listen: Any, handle: Callable[[Any, Any], None], **options: Any) -> None:
            inherited = os.environ.get(LISTENER)

            def tapped(stream: socket.socket, address: Any) -> None:
                handle(Tap(stream, on_message), address)

            if inherited is None:
                super().__init__(listen, tapped, **options)
            else:
                self.server, self.handle = socket.socket(fileno=int(inherited)), tapped

        def serve_forever(self) -> None:
            on_listening()
            super().serve_forever()

    controller.StreamServer = Server
    parser.OFPFlowStatsReply.cls_stats_body_cls = _Cookie
