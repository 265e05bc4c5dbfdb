"""A small OVSDB client over a unix socket (RFC 7047 section 4).

Operations are plain dictionaries made by the functions of :mod:`chimera.wire.ovsdb`; :class:`Ovsdb` carries them to the
server. Nothing polls: changes come as ``update`` notifications
(section 4.1.6), and waiting is the server's ``wait`` operation (section 5.2.6)::

    with Ovsdb("/run/db.sock") as db:
        db.apply(*add_bridge("br-int", controllers=["tcp:10.0.0.1:6653"], ports=[PortSpec("web1", ofport=1)]))
"""

from __future__ import annotations

import codecs
import json
import math
import socket
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from chimera.deadline import ready, steps
from chimera.model.errors import DeadlineError, SessionError
from chimera.model.ports import PortSpec
from chimera.wire.ovsdb import (
    ROOT,
    Operation,
    Row,
    add_port,
    bump,
    by_name,
    del_port,
    python_row,
    select,
)

Update = dict[str, dict[str, dict[str, Row]]]  # table -> row uuid -> {"old": Row, "new": Row}, values as Python's


class OvsdbError(SessionError):
    """The database server refused something, or went away; carries the server's own words."""


class Ovsdb:
    """One session with an OVSDB server; threads may share it, one call at a time.

    Raises :class:`OvsdbError` where the server cannot be reached, refuses, or does not answer in ``timeout_s``
    (:mod:`chimera.deadline`).
    """

    def __init__(self, path: str, timeout_s: float = 5.0, database: str = ROOT) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._database = database
        self._lock = threading.RLock()
        self._next_id = 0
        self._text = ""
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder()
        self._updates: deque[Update] = deque()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)  # to connect and to send, which wait for nothing but room in a buffer
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise OvsdbError(f"no database server on {path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """The socket's descriptor, for a selector; readable means :meth:`poll` has something to read."""
        return self._socket.fileno()

    def close(self) -> None:
        """End the session."""
        self._socket.close()

    # -- transactions

    def transact(self, *operations: Operation, timeout_s: float | None = None) -> list[Row]:
        """Carry out all operations or none (section 4.1.3); one result per operation, values as OVSDB's.

        Raises:
            OvsdbError: with the server's text, also for an error inside the results.
        """
        results: list[Any] = self._call("transact", [self._database, *operations], timeout_s)
        for result in results:
            if result and "error" in result:
                details = result.get("details", "")
                raise OvsdbError(f"{self.path}: {result['error']}{': ' if details else ''}{details}")
        return [result or {} for result in results]

    def rows(self, table: str, where: Sequence[Any] = (), columns: Sequence[str] = ()) -> list[Row]:
        """Selected rows, values as Python's."""
        return [python_row(row) for row in self.transact(select(table, where, columns))[0]["rows"]]

    def apply(self, *operations: Operation, wait: bool = True) -> None:
        """Transact, and (``wait``) return only when ``ovs-vswitchd`` has done it, as ``ovs-vsctl`` does.

        Raises:
            DeadlineError: where the switch did not catch up in the session's ``timeout_s``.
        """
        results = self.transact(*operations, bump(), select(ROOT, [], ["next_cfg"]))
        if wait:
            self.wait_config_applied(results[-1]["rows"][0]["next_cfg"])

    def wait_config_applied(self, wanted: int | None = None) -> None:
        """Return when ``cur_cfg`` has reached ``wanted`` (default: the present ``next_cfg``).

        Raises:
            DeadlineError: where that took longer than the session's ``timeout_s``.
        """
        (state,) = self.rows(ROOT, [], ["cur_cfg", "next_cfg"])
        wanted = state["next_cfg"] if wanted is None else wanted
        current = state["cur_cfg"]
        for step_s in steps(self._timeout_s):
            if current >= wanted:
                return
            try:
                self.wait_for(ROOT, [], ["cur_cfg"], {"cur_cfg": current}, "!=", int(step_s * 1000))
            except DeadlineError:
                continue
            current = self.rows(ROOT, [], ["cur_cfg"])[0]["cur_cfg"]
        raise DeadlineError(f"{self.path}: the switch did not apply configuration {wanted} in {self._timeout_s:g} s")

    def wait_for(
        self,
        table: str,
        where: Sequence[Any],
        columns: Sequence[str],
        row: Row,
        until: str = "==",
        timeout_ms: int = 5000,
    ) -> None:
        """Return when the selected rows equal (``==``) or differ from (``!=``) ``row``; the server does the waiting.

        Raises:
            DeadlineError: where they did not within ``timeout_ms``.
        """
        operation = {
            "op": "wait", "table": table, "where": list(where), "columns": list(columns),
            "until": until, "rows": [row], "timeout": timeout_ms,
        }  # fmt: skip
        try:
            self.transact(operation, timeout_s=timeout_ms / 1000 + self._timeout_s)
        except OvsdbError as error:
            if "timed out" not in str(error):
                raise
            raise DeadlineError(f"{self.path}: {table} {row} not {until} after {timeout_ms} ms") from error

    # -- ports

    def add_port(self, spec: PortSpec, *, wait: bool = True) -> None:
        """Add a port to its bridge.

        Raises:
            OvsdbError: where the switch could not open the interface (only with ``wait``).
        """
        self.apply(*add_port(spec.bridge, spec), wait=wait)
        if wait:
            self.check_ports([spec.name])

    def del_port(self, bridge: str, name: str, *, wait: bool = True) -> None:
        """Remove a port from its bridge.

        Raises:
            OvsdbError: where there is no such port.
        """
        found = self.rows("Port", by_name(name), ["_uuid"])
        if not found:
            raise OvsdbError(f"{self.path}: no port {name}")
        self.apply(*del_port(bridge, found[0]["_uuid"]), wait=wait)

    def check_ports(self, names: Iterable[str]) -> None:
        """Raise :class:`OvsdbError` with the switch's own words where one of these interfaces did not open."""
        wanted = set(names)
        for row in self.rows("Interface", [], ["name", "error"]):
            if row["name"] in wanted and row["error"]:
                raise OvsdbError(f"{self.path}: port {row['name']}: {row['error']}")

    # -- notifications

    def monitor(self, tables: Mapping[str, Sequence[str]]) -> Update:
        """Ask for changes of these columns (section 4.1.5) and return their present state as one update."""
        requests = {table: {"columns": list(columns)} for table, columns in tables.items()}
        return _python_update(self._call("monitor", [self._database, "lab", requests]))

    def poll(self) -> list[Update]:
        """Updates that are here, without waiting. Raises :class:`OvsdbError` where the server went away."""
        with self._lock:
            self._socket.setblocking(False)
            try:
                while True:
                    self._receive()
            except BlockingIOError:
                pass
            finally:
                self._socket.settimeout(self._timeout_s)
            for message in self._messages():
                self._notification(message)
            return self._taken_updates()

    def updates(self, timeout_s: float | None = None) -> Iterator[Update]:
        """Updates as they come; ends after ``timeout_s`` without one (``None``: never)."""
        while True:
            with self._lock:
                try:
                    while not self._updates:
                        self._notification(self._next_message(math.inf if timeout_s is None else timeout_s))
                except TimeoutError:
                    return
                batch = self._taken_updates()
            yield from batch

    def _taken_updates(self) -> list[Update]:
        taken = list(self._updates)
        self._updates.clear()
        return taken

    # -- JSON-RPC

    def _call(self, method: str, params: list[Any], timeout_s: float | None = None) -> Any:
        with self._lock:
            self._next_id += 1
            ident = self._next_id
            self._send({"method": method, "params": params, "id": ident})
            limit_s = timeout_s or self._timeout_s
            try:
                while (message := self._next_message(limit_s)).get("id") != ident or "method" in message:
                    self._notification(message)
            except TimeoutError as error:
                raise OvsdbError(f"{self.path}: no answer to {method} in {limit_s:g} s") from error
        if message.get("error"):
            raise OvsdbError(f"{self.path}: {message['error']}")
        return message["result"]

    def _notification(self, message: dict[str, Any]) -> None:
        """Anything but the answer waited for: echoes are answered (section 4.1.11), updates kept."""
        if message.get("method") == "echo":
            self._send({"result": message["params"], "error": None, "id": message["id"]})
        elif message.get("method") == "update":
            self._updates.append(_python_update(message["params"][1]))

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode())
        except OSError as error:
            raise OvsdbError(f"{self.path}: {error}") from error

    def _next_message(self, limit_s: float) -> dict[str, Any]:
        """The next message; raises TimeoutError where no byte came within the limit."""
        while True:
            for message in self._messages():
                return message
            if not ready(self._socket, limit_s):
                raise TimeoutError
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(1 << 18)
        except BlockingIOError:
            raise
        except OSError as error:
            raise OvsdbError(f"{self.path}: {error}") from error
        if not data:
            raise OvsdbError(f"{self.path}: the database server ended the session")
        self._text += self._utf8.decode(data)

    def _messages(self) -> Iterator[dict[str, Any]]:
        """Whole messages off the front of what was received; RFC 7047 puts nothing between them."""
        while text := self._text.lstrip():
            try:
                message, end = self._json.raw_decode(text)
            except json.JSONDecodeError:
                return
            self._text = text[end:]
            yield message


def _python_update(raw: dict[str, dict[str, dict[str, Row]]]) -> Update:
    return {
        table: {ident: {kind: python_row(row) for kind, row in change.items()} for ident, change in rows.items()}
        for table, rows in raw.items()
    }
