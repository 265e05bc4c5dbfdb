"""What a service is: a process that belongs to a node, declared as data. :mod:`chimera.net.services` runs it.

::

    Service("r1", "zebra", ("/usr/lib/frr/zebra", "-f", "zebra.conf", "-z", "zserv.api"), namespace="r1",
            user="frr", folder=Path("/run/frr/r1"), ready=Listens(Path("/run/frr/r1/zserv.api")), restart=Restart())
"""

from __future__ import annotations

import errno
import pwd
import select
import socket
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from chimera import namespaces
from chimera.model.service import titled
from chimera.net import netns
from chimera.net.logs import Log

_CONNECT_S = 1.0
_SOON_S = 0.01


class Running(Protocol):
    """What can be seen of a process that is to become ready."""

    service: Service
    log: Log
    log_start: int  # where in the log its own words begin

    @property
    def stdout(self) -> IO[bytes] | None:
        """Its standard output, where that is its owner's."""


class Readiness:
    """How to know that a service is ready; this one is as soon as it runs."""

    def again_s(self, process: Running) -> float | None:
        """After how long to look again, where nothing tells that it is worth it."""
        return None

    def changes(self, process: Running) -> Path | None:
        """A folder: something that changes in it makes it worth looking again."""
        return None

    def met(self, process: Running) -> bool:
        """Whether it is ready now."""
        return True


class Says(Readiness):
    """It prints a line on its standard output, which is its owner's."""

    def met(self, process: Running) -> bool:
        """Read the line, where there is one."""
        assert process.stdout is not None, f"{process.service}: its standard output is nobody's to read"
        poll = select.poll()
        poll.register(process.stdout, select.POLLIN)
        return bool(poll.poll(0)) and bool(process.stdout.readline())


@dataclass(frozen=True)
class Makes(Readiness):
    """It makes a file."""

    path: Path

    def changes(self, process: Running) -> Path | None:
        """Where the file will be."""
        return self.path.parent

    def met(self, process: Running) -> bool:
        """The file is there."""
        return self.path.exists()


@dataclass(frozen=True)
class Listens(Readiness):
    """It listens on a unix socket."""

    path: Path

    def again_s(self, process: Running) -> float | None:
        """Soon where there is a socket: that it listens from now on changes nothing in the folder."""
        return _SOON_S if self.path.exists() else None

    def changes(self, process: Running) -> Path | None:
        """Where the socket will be."""
        return self.path.parent

    def met(self, process: Running) -> bool:
        """It can be connected to."""
        with socket.socket(socket.AF_UNIX) as channel:
            channel.setblocking(False)
            return channel.connect_ex(str(self.path)) in (0, errno.EAGAIN)


@dataclass(frozen=True)
class Accepts(Readiness):
    """It accepts TCP connections in its node's namespace."""

    port: int
    address: str = "127.0.0.1"

    def again_s(self, process: Running) -> float | None:
        """Nothing tells."""
        return 2 * _SOON_S

    def met(self, process: Running) -> bool:
        """A connection is accepted."""
        space = process.service.namespace
        with namespaces.inside(namespaces.path(space)) if space else nullcontext(), socket.socket() as channel:
            channel.settimeout(_CONNECT_S)
            return channel.connect_ex((self.address, self.port)) == 0


@dataclass(frozen=True)
class Logs(Readiness):
    """It writes a line with ``text`` to its log."""

    text: str

    def changes(self, process: Running) -> Path | None:
        """Where its log is."""
        return process.log.path.parent

    def met(self, process: Running) -> bool:
        """The line is among those it has written since it started."""
        return self.text in process.log.since(process.log_start).text


@dataclass(frozen=True)
class Answers(Readiness):
    """A command succeeds in its node's namespace."""

    argv: tuple[str, ...]

    def again_s(self, process: Running) -> float | None:
        """Nothing tells, and it costs a process."""
        return 5 * _SOON_S

    def met(self, process: Running) -> bool:
        """The command's exit status is 0."""
        return netns.succeeds(process.service.namespace, self.argv)


@dataclass(frozen=True)
class Restart:
    """A service that ends on its own is started again: at most ``times`` in ``within_s`` seconds.

    It waits ``first_s`` before that, and twice as long each time, up to ``most_s``.
    """

    times: int = 5
    within_s: float = 60.0
    first_s: float = 0.1
    most_s: float = 5.0

    def wait_s(self, failures: int) -> float | None:
        """How long to wait after so many failures within the time; None: no more."""
        return min(self.first_s * 2 ** (failures - 1), self.most_s) if failures <= self.times else None


@dataclass(frozen=True)
class Service:
    """A process that belongs to a node.

    ``node`` is a node's or a link's name, or :data:`~chimera.model.service.THE_LAB`; ``namespace`` is the network
    namespace that it runs in, by default the sandbox's own. What it prints goes to ``log``, by default a file of the
    supervisor's; a daemon that writes a log file of its own names that. With ``stdin`` or ``stdout`` these are pipes
    that are its owner's. ``folder`` is made for it, and belongs to ``user``. One that is ``transient`` ends with its
    work, is nobody's to start again, and gets a number where another of its name runs at the node. ``package`` is what
    to install where there is no such program.
    """

    node: str
    name: str
    argv: tuple[str, ...]
    namespace: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Readiness = Readiness()
    patience_s: float = 10.0  # without it being ready (chimera.deadline)
    grace_s: float = 5.0  # between being told to end, and being killed
    restart: Restart | None = None
    user: str = ""
    folder: Path | None = None
    log: Path | None = None
    stdin: bool = False
    stdout: bool = False
    transient: bool = False
    package: str = ""

    def __str__(self) -> str:
        return titled(self.node, self.name)

    def owner(self) -> tuple[int, int]:
        """Numbers of its user, and of that user's group; KeyError where there is none."""
        found = pwd.getpwnam(self.user)
        return found.pw_uid, found.pw_gid

    def command(self) -> list[str]:
        """What to execute: in its namespace, as its user."""
        argv = list(self.argv)
        if self.user:
            uid, gid = self.owner()
            argv = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--init-groups", "--", *argv]
        return netns.command(self.namespace, argv)
