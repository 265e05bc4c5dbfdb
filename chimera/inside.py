"""What ``chimera.Lab`` and ``chimera.run`` start: a fresh interpreter that launches the sandbox, and the lab in it.

The user's process asks over a :class:`~chimera.channel.Channel`; the first message is the order, a :class:`Hold` or a
:class:`Run`. The launcher ends when that process ends or says so (SIGTERM), and takes the sandbox with it.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

from chimera.channel import Channel, answer, serve, tell
from chimera.chosen import choose
from chimera.events import Journal, Stream, shown
from chimera.launch import CAPTURES, launch
from chimera.model.errors import MachineError
from chimera.model.result import Result
from chimera.model.topology import Topology
from chimera.net import rundir, sandbox, userland
from chimera.report.folders import EVENTS
from chimera.session import WORK, Begun, Experiment, Session, begin, bring_up, prepare_topology, so_far


@dataclass(frozen=True)
class Hold:
    """The order for a lab that is asked for its verbs; with ``capture`` every link is captured."""

    topology: Topology
    overlay: str
    settings: Mapping[str, str]
    capture: bool


@dataclass(frozen=True)
class Run:
    """The order for what ``lab run`` does."""

    scenario: str
    topology: str | None
    overlay: str | None
    settings: Mapping[str, str]
    out: Path | None
    capture: bool
    command: str  # what the user's process was started by


class _Ended(BaseException):
    """The user's process has ended, or wants this one to end."""


def main(descriptor: int, parent: int) -> int:
    """Carry out one order from the process ``parent``, over the socket ``descriptor``."""
    _end_with(parent)
    channel = Channel(descriptor)
    try:
        number, asked = channel.receive()
        _, (order,), _ = pickle.loads(asked)
        if isinstance(order, Run):
            answer(channel, number, lambda: _run(order, channel))
            return 0
        try:
            _hold(order, channel, number)
        except Exception as error:
            refused = error
            answer(channel, number, lambda: _raise(refused))
    except (_Ended, EOFError):
        return sandbox.INTERRUPTED
    return 0


def need_root(command: str) -> None:
    """Labs need namespaces, and those need root.

    Raises:
        MachineError: this process is not root's; ``command`` is how it could be.
    """
    if os.geteuid() != 0:
        raise MachineError("starting a lab needs root", f"sudo {command}")


def _end_with(parent: int) -> None:
    """Raise :class:`_Ended` in this thread when the user's process ends, or tells this one to."""

    def end(number: int, frame: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        raise _Ended

    def watch(process: int) -> None:
        select.select([process], [], [])
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the user's process, which decides what it means
    process = os.pidfd_open(parent)
    if os.getppid() != parent:
        raise _Ended
    with _put_off():  # by that thread for good: the signal is this one's, which can put it off
        threading.Thread(target=watch, args=(process,), name="parent", daemon=True).start()


@contextmanager
def _put_off() -> Iterator[None]:
    """Have nothing end this process within the block; what would have, does so after it."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _raise(error: Exception) -> NoReturn:
    raise error


def _run(order: Run, channel: Channel) -> Result:
    experiment = choose(order.scenario, order.topology, order.overlay, order.settings)
    need_root(order.command)
    return launch(experiment, out=order.out, record_all=order.capture, progress=partial(tell, channel))


# -- a lab that is asked -----------------------------------------------------------------------


def _hold(order: Hold, channel: Channel, number: int) -> None:
    """Launch the sandbox, and wait for its end."""
    experiment = prepare_topology(order.topology, order.overlay, settings=order.settings)
    reading, writing = os.pipe()
    with ExitStack() as stack:
        with _put_off():  # else there could be a run directory that nobody removes
            run_dir = rundir.claim(f"python-{os.getppid()}-{os.getpid()}", rundir.RUN)
            stack.callback(run_dir.remove)
        child = sandbox.launch(run_dir, lambda: _session(experiment, order.capture, channel, number, reading))
        try:
            channel.leave()
            os.write(writing, str(child.pid).encode())
            child.wait()
        except BaseException:
            child.kill()
            child.wait()
            raise


def _session(experiment: Experiment, capture: bool, channel: Channel, number: int, told: int) -> int:
    """What the first process of the sandbox does: bring the lab up, and do what it is asked to.

    The order's answer is which process this is, outside; ``told`` is where its launcher says so.
    """
    held: list[Held] = []
    stream = Stream()
    with shown(stream, partial(tell, channel)), Journal(stream, WORK / EVENTS) as journal:

        def up() -> int:
            session = bring_up(experiment, stream)
            held.append(Held(session, begin(session, record_all=capture), journal))
            return int(os.read(told, 16))

        answer(channel, number, up)
        if held:
            serve(channel, held[0].act)
    return 0


class Held:
    """A lab that is up, and what is open in it."""

    def __init__(self, session: Session, begun: Begun, journal: Journal) -> None:
        self._session, self._begun, self._journal = session, begun, journal
        self._numbers = count()
        self._open: dict[int, AbstractContextManager[None]] = {}
        self._moving: dict[int, threading.Thread] = {}
        self._over: tuple[Result, dict[str, str], bytes] | None = None
        self._lock = threading.Lock()

    def act(self, name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        """One call: ``verb`` is the lab's own method, the others are methods below."""
        return getattr(self, name)(*arguments, **keywords)

    def verb(self, name: str, /, *arguments: Any, **keywords: Any) -> Any:
        """A method of :class:`chimera.scenario.Lab`."""
        return getattr(self._session.lab, name)(*arguments, **keywords)

    def value(self, name: str) -> Any:
        """An attribute of it."""
        return getattr(self._session.lab, name)

    def enter(self, name: str, /, *arguments: Any, **keywords: Any) -> int:
        """Begin the block of a method that is a context manager; returns the number to leave it by."""
        block: AbstractContextManager[None] = self.verb(name, *arguments, **keywords)
        block.__enter__()
        number = next(self._numbers)
        self._open[number] = block
        return number

    def leave(self, number: int) -> None:
        """End such a block."""
        self._open.pop(number).__exit__(None, None, None)

    def start_migration(self, vm: str, to: str) -> int:
        """Begin to move a VM; returns the number to wait for it by."""
        number = next(self._numbers)
        self._moving[number] = self.verb("start_migration", vm, to)
        return number

    def join(self, number: int) -> None:
        """Wait for the end of such a migration."""
        self._moving.pop(number).join()

    def location(self) -> dict[str, str]:
        """Where VMs are now."""
        return dict(self._session.network.location)

    def program(self, node: str, argv: Sequence[str]) -> list[str]:
        """A program wrapped so that it runs on a node, for one who is in the sandbox."""
        return userland.command(self._session.experiment.topology, node, argv)

    def result(self, outside_s: float) -> Result:
        """Everything that was measured until now; ``outside_s`` as in :func:`chimera.session.so_far`."""
        with self._lock:
            return self._so_far(outside_s, over=False) if self._over is None else self._over[0]

    def events(self) -> bytes:
        """Everything that happened until now, an event as JSON a line."""
        return self._journal.text()

    def finish(self, outside_s: float) -> tuple[Result, dict[str, str], bytes]:
        """End all recordings: the result, the capture files by link, as paths in the sandbox, and all events."""
        with self._lock:
            if self._over is None:
                result = self._so_far(outside_s, over=True)
                files = {link: str(path) for link, path in self._session.instruments.recordings.items()}
                result = replace(result, captures=[f"{CAPTURES}/{link}.pcapng" for link in files])
                self._over = result, files, self.events()
            return self._over

    def _so_far(self, outside_s: float, *, over: bool) -> Result:
        return so_far(self._session, self._begun, self._journal, over=over, outside_s=outside_s)
