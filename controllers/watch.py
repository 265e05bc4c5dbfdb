"""Watches the interfaces of every Open vSwitch database: one thread and one selector for all."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from chimera.agents.attachments import Identity, identity
from chimera.wire.ovsdb import Ovsdb, OvsdbError, Update

_COLUMNS = {"Interface": ["name", "external_ids"]}
_RETRY_S, _RETRY_MAX_S = 0.02, 0.5
_ANSWER_S = 2.0


@dataclass
class _Session:
    database: Ovsdb
    names: dict[str, str] = field(default_factory=dict)  # row -> interface


@dataclass(frozen=True, slots=True)
class Rows:
    """News of one database: interfaces with their identity, or ``None`` where it is gone.

    ``complete`` marks the whole content at the start of a session; ``reachable`` is false, and nothing else is
    told, where there was no database to talk to.
    """

    switch: str
    identities: Mapping[str, Identity | None]
    complete: bool = False
    reachable: bool = True


class Watch:
    """Tells every change of interfaces' identities to ``tell``, and starts anew where a database comes back."""

    def __init__(self, paths: Mapping[str, str], tell: Callable[[Rows], None]) -> None:
        self._paths = paths
        self._tell = tell
        self._selector = selectors.DefaultSelector()
        self._missing = dict.fromkeys(paths, True)  # switch -> not yet told that it is
        self._retry_s = _RETRY_S

    def run(self) -> None:
        """Watch until the process ends."""
        retry_at = 0.0
        while True:
            if self._missing and time.monotonic() >= retry_at:
                started = [self._start(switch) for switch in list(self._missing)]
                self._retry_s = _RETRY_S if any(started) else min(2 * self._retry_s, _RETRY_MAX_S)
                retry_at = time.monotonic() + self._retry_s
            timeout = max(retry_at - time.monotonic(), 0) if self._missing else None
            if not self._selector.get_map() and timeout is None:
                return  # nothing to watch, ever
            for key, _ in self._selector.select(timeout):
                self._read(*key.data)

    def _start(self, switch: str) -> bool:
        try:
            database = Ovsdb(self._paths[switch], timeout_s=_ANSWER_S)
            try:
                content = database.monitor(_COLUMNS)
            except OvsdbError:
                database.close()
                raise
        except OvsdbError:
            if self._missing[switch]:
                self._tell(Rows(switch, {}, reachable=False))
                self._missing[switch] = False
            return False
        del self._missing[switch]
        session = _Session(database)
        self._tell(Rows(switch, _identities(session, content), complete=True))
        self._selector.register(database, selectors.EVENT_READ, (switch, session))
        self._read(switch, session)  # an update that came together with the answer rings no selector
        return True

    def _read(self, switch: str, session: _Session) -> None:
        try:
            for update in session.database.poll():
                self._tell(Rows(switch, _identities(session, update)))
        except OvsdbError:
            self._selector.unregister(session.database)
            session.database.close()
            self._missing[switch] = False  # its ports are where they were, as far as anyone knows


def _identities(session: _Session, update: Update) -> dict[str, Identity | None]:
    """Identities by interface. A row that goes and one that comes may bear one name: what comes counts."""
    found: dict[str, Identity | None] = {}
    changes = update.get("Interface", {})
    for row, change in changes.items():
        if "new" not in change:
            found[session.names.pop(row, "")] = None
    for row, change in changes.items():
        if "new" in change:
            session.names[row] = change["new"]["name"]
            found[change["new"]["name"]] = identity(change["new"]["external_ids"])
    found.pop("", None)
    return found
