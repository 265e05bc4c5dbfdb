"""Runs services: starts them in parallel, knows when they are ready, notices at once when they end, restarts them.

States and what leads from one to another::

    started ──ready──> ready ──stop──────────────> ended
                        │  ^
              on its own│  │ready                  (no restart, or too many: it stays failed)
                        v  │
                     failed ──after a while──> restarted

One thread waits for the ends of all processes, by their pidfds (pidfd_open(2)); it ends with the last of them. Who
starts services waits for them itself. Only a service that failed has a thread of its own, until it is ready again.

A supervisor ends nothing when it ends itself: in a lab it lives in the first process of the sandbox, with which the
kernel ends everything.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from chimera.deadline import steps
from chimera.model.errors import DeadlineError, LabError, MachineError, SessionError
from chimera.model.service import STOPPED, ServiceState, State
from chimera.net import kernel
from chimera.net.logs import NOTE, Log
from chimera.net.service import Service

LOGS = Path("/run/lab/logs")
_OWN = "_lab"  # the folder of the lab's own services: neither a node nor a link can have this name
_BOUND_S = 2.0  # between two looks at how long logs are
_KEPT_FAILURES = 1000
_SHOWN_LINES = 12
_KILLED_S = 10.0  # a process that was killed ends as soon as the kernel has its memory back

Hook = Callable[[], None]
Changed = Callable[["Process"], object]


def nothing() -> None:
    """A hook where there is nothing to do."""


@dataclass(eq=False)
class Process:
    """A service as it runs, or ran last; :class:`Supervisor` makes and changes it.

    ``lost`` and ``again`` are what its node does when the service has ended, and when it is ready after it had; the
    second is part of being ready, and may raise :class:`LabError`.
    """

    service: Service
    log: Log
    lost: Hook = nothing
    again: Hook = nothing
    state: State = State.ENDED
    detail: str = ""
    since: float = 0.0  # seconds since the epoch
    restarts: int = 0
    log_start: int = 0
    _wanted: bool = True  # nobody stopped it
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_FAILURES))  # when it failed (monotonic)
    _program: subprocess.Popen[bytes] | None = None
    _pidfd: int = -1
    _reaped: threading.Event = field(default_factory=threading.Event)  # the program has ended, and that is known
    _recovery: threading.Event = field(default_factory=threading.Event)  # set: whoever is to start it again need not
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def program(self) -> subprocess.Popen[bytes]:
        """The operating system's side of it."""
        assert self._program is not None, f"{self.service} was never started"
        return self._program

    @property
    def running(self) -> bool:
        """True while there is a process."""
        if self._program is None or self._program.returncode is not None:
            return False
        try:  # reaping it is for the thread that waits for ends
            return os.waitid(os.P_PID, self._program.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    @property
    def pid(self) -> int | None:
        """Its PID, None where it does not run."""
        return self.program.pid if self.running else None

    @property
    def stdin(self) -> IO[bytes] | None:
        """Its standard input, where that is its owner's."""
        return self.program.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        """Its standard output, where that is its owner's."""
        return self.program.stdout

    def said(self, lines: int = _SHOWN_LINES) -> str:
        """The end of what it wrote to its log since it started; nothing where that cannot be read."""
        try:
            text = self.log.since(self.log_start, unfinished=True).text
        except OSError:
            return ""
        own = [line for line in text.splitlines() if not line.startswith(NOTE)]
        return "\n".join(own[-lines:]).strip()

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens where it has ended."""
        self.program.send_signal(number)

    def shown(self) -> ServiceState:
        """As the lab shows it."""
        service = self.service
        return ServiceState(
            service.node, service.name, self.state, self.detail, self.pid, self.since, self.restarts
        )  # fmt: skip


class Supervisor:
    """The services of one lab.

    ``changed`` is called with a process whose state has just changed. It is not to wait for anything.
    """

    def __init__(self, changed: Changed = lambda process: None, logs: Path = LOGS) -> None:
        self.changed = changed
        self._logs = logs
        self._processes: dict[tuple[str, str], Process] = {}
        self._watched: dict[int, Process] = {}  # those that run, by pidfd
        self._poll: select.epoll | None = None  # while its thread runs
        self._lock = threading.Lock()  # of the tables; a process's own lock is taken before it, never after

    # -- what there is ---------------------------------------------------------------------------

    def all(self) -> list[Process]:
        """Every service, in the order in which they were first started."""
        with self._lock:
            return list(self._processes.values())

    def of(self, node: str) -> dict[str, Process]:
        """The services of a node, by name."""
        return {process.service.name: process for process in self.all() if process.service.node == node}

    def troubled(self, off: Collection[str]) -> list[Process]:
        """What is not as it should be, or was not: stopped, failed or restarted; of nodes that are not ``off``."""
        on = (process for process in self.all() if process.service.node not in off)
        return [p for p in on if p.state in (State.ENDED, State.FAILED, State.RESTARTED) or p.restarts]

    # -- starting --------------------------------------------------------------------------------

    def start(self, service: Service, *, lost: Hook = nothing, again: Hook = nothing) -> Process:
        """Start a service and return when it is ready. Raises as :meth:`launch` and :meth:`wait_ready`."""
        process = self.launch(service, lost=lost, again=again)
        self.wait_ready([process])
        return process

    def launch(
        self, service: Service, *, pass_fds: Collection[int] = (), lost: Hook = nothing, again: Hook = nothing
    ) -> Process:
        """Start a service and return at once: :meth:`wait_ready` is to follow, for one or for many together.

        Raises:
            MachineError: there is no such program.
            SessionError: it runs already.
        """
        _check(service)
        process = self._entry(service)
        with _between_programs(process):
            process._recovery.set()
            process.lost, process.again = lost, again
            self._begin(process, State.STARTED, pass_fds)
        return process

    def start_again(self, process: Process) -> None:
        """Start what had ended, with all that its node does then.

        Raises as :meth:`launch` and :meth:`wait_ready`, and where its node cannot do its part.
        """
        with _between_programs(process):
            process._recovery.set()
            self._begin(process, State.STARTED)
        self._finish_start(process)

    def wait_ready(self, processes: Iterable[Process]) -> None:
        """Return when all of them are ready.

        Raises:
            SessionError: one ended instead; its own words are in the text.
            DeadlineError: one did not get ready in its time.
        """
        every = list(processes)
        try:
            self._await(every)
            for process in every:
                self._is_ready(process)
        except LabError:
            self._forget(p for p in every if p.service.transient and not p.running)
            raise

    def _entry(self, service: Service) -> Process:
        """The place of a service in the table; a transient one gets a name that is free."""
        with self._lock:
            name, number = service.name, 1
            while service.transient and (service.node, name) in self._processes:
                number += 1
                name = f"{service.name}-{number}"
            service = replace(service, name=name)
            process = self._processes.get((service.node, name))
            if process is None:
                process = Process(service, Log(service.log or self._logs / (service.node or _OWN) / f"{name}.log"))
                self._processes[service.node, name] = process
            elif not process.running:
                process.service = service
            return process

    def _begin(self, process: Process, state: State, pass_fds: Collection[int] = ()) -> None:
        """Run the program; the caller has the process's lock."""
        service = process.service
        _furnish(service, process.log)
        process.log_start, log = process.log.end, process.log.open()
        try:
            process._program = subprocess.Popen(
                service.command(), env={**os.environ, **service.environment},
                stdin=subprocess.PIPE if service.stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE if service.stdout else log, stderr=log,
                pass_fds=tuple(pass_fds), start_new_session=True,  # what is typed at a terminal is not for it
            )  # fmt: skip
        finally:
            os.close(log)
        process._wanted = True
        process._reaped = threading.Event()
        self._change(process, state)
        self._watch(process)

    def _finish_start(self, process: Process) -> None:
        """Wait until it is ready, with what its node does then; what cannot be done ends it."""
        self._await([process])
        try:
            process.again()
        except BaseException:
            self._kill(process)
            raise
        self._is_ready(process)

    def _is_ready(self, process: Process) -> None:
        with process._lock:
            if process.running:
                self._change(process, State.READY)
            elif not _done(process):
                raise SessionError(f"{process.service} ended as soon as it was ready{_because(process)}")

    def _await(self, processes: Iterable[Process]) -> None:
        """Return when all are ready, or raise; what is late is killed."""
        waiting = list(processes)
        limit_s = max((process.service.patience_s for process in waiting), default=0.0)
        with ExitStack() as stack:
            poll, changes = self._signs(waiting, stack)  # before the first look: nothing is missed
            for step_s in steps(limit_s, lambda: len(waiting)):  # noqa: B023 - as it is then
                looked_at, waiting = waiting, _unready(waiting)
                if not waiting:
                    return
                for process in looked_at:
                    if process.stdout and process not in waiting:
                        poll.unregister(process.stdout)  # what it says from now on is no sign
                again_s = (process.service.ready.again_s(process) for process in waiting)
                unseen_s = changes.again_s if changes else None
                poll.poll(min([step_s, *filter(None, [unseen_s, *again_s])]) * 1000)
                if changes:
                    changes.forget()
        waiting = _unready(waiting)
        for process in waiting:
            self._kill(process)
        if waiting:
            late = waiting[0].service
            raise DeadlineError(f"{late} did not get ready within {late.patience_s:g} s{_because(waiting[0])}")

    def _signs(self, waiting: Iterable[Process], stack: ExitStack) -> tuple[select.poll, kernel.FolderChanges | None]:
        """What tells that it is worth looking whether they are ready."""
        poll, changes = select.poll(), None
        for process in waiting:
            if folder := process.service.ready.changes(process):
                if changes is None:
                    changes = stack.enter_context(kernel.FolderChanges())
                    poll.register(changes, select.POLLIN)
                changes.add(folder)
            if process.stdout:
                poll.register(process.stdout, select.POLLIN)
            end = self._second_pidfd(process)
            if end is not None:
                stack.callback(os.close, end)
                poll.register(end, select.POLLIN)
        return poll, changes

    def _second_pidfd(self, process: Process) -> int | None:
        """The thread that waits for ends closes its own."""
        with self._lock:
            return os.dup(process._pidfd) if self._watched.get(process._pidfd) is process else None

    # -- ending ----------------------------------------------------------------------------------

    def stop(self, *processes: Process, kill: bool = False) -> None:
        """End services and return when they have; what does not in its time is killed, with ``kill`` at once.

        What has failed is not started again.
        """
        ended = [process for process in processes if self._tell_to_end(process, kill)]
        for process in ended:
            if not _over_within(process, process.service.grace_s):
                self._kill(process)
            process.lost()
        for process in processes:
            _wait_noticed(process)
            with process._lock:
                if process.state is not State.ENDED and not process._wanted:
                    self._change(process, State.ENDED, STOPPED)
        self._forget(process for process in processes if process.service.transient)

    def finish(self, process: Process) -> bytes:
        """End a service whose standard output is its owner's, and return what it still printed there.

        Raises:
            SessionError: it failed; its own words are in the text.
            DeadlineError: it did not end, and was killed.
        """
        limit_s = process.service.grace_s
        self._tell_to_end(process, kill=False)
        for step_s in steps(limit_s):
            try:
                output, _ = process.program.communicate(timeout=step_s)
            except subprocess.TimeoutExpired:
                continue  # what it has printed until now is kept for the next call
            break
        else:
            self.stop(process, kill=True)
            raise DeadlineError(f"{process.service} did not end within {limit_s:g} s")
        why = _because(process)
        self.stop(process)
        if process.program.returncode:
            raise SessionError(f"{process.service} failed{why}")
        return output

    def _tell_to_end(self, process: Process, kill: bool) -> bool:
        """Whether there was anything to tell."""
        with process._lock:
            process._wanted = False
            process._recovery.set()
            if not process.running:
                return False
            process.signal(signal.SIGKILL if kill else signal.SIGTERM)
            return True

    def _kill(self, process: Process) -> None:
        process.signal(signal.SIGKILL)
        if not _over_within(process, _KILLED_S):
            raise DeadlineError(f"{process.service} was killed {_KILLED_S:g} s ago, and is still there")

    def _forget(self, processes: Iterable[Process]) -> None:
        for process in processes:
            key = process.service.node, process.service.name
            with self._lock:
                if self._processes.get(key) is process:  # else its name is another's by now, and so is the log's
                    del self._processes[key]
                    process.log.remove()

    # -- the ends of processes -------------------------------------------------------------------

    def _watch(self, process: Process) -> None:
        """Notice when it ends."""
        pidfd = os.pidfd_open(process.program.pid)
        with self._lock:
            process._pidfd = pidfd
            self._watched[pidfd] = process
            if self._poll is None:
                self._poll = select.epoll()
                threading.Thread(target=self._wait_for_ends, args=(self._poll,), daemon=True, name="services").start()
            self._poll.register(pidfd, select.EPOLLIN)

    def _wait_for_ends(self, poll: select.epoll) -> None:
        """The thread that notices the ends of all processes, until there are none."""
        while True:
            for pidfd, _ in poll.poll(_BOUND_S):
                with self._lock:
                    process = self._watched.pop(pidfd)
                    poll.unregister(pidfd)
                    os.close(pidfd)
                process.program.wait()
                self._notice(process)
            for process in self.all():
                try:
                    process.log.bound()
                except OSError:
                    continue  # the disk is full: the next look may do better
            with self._lock:
                if not self._watched:
                    self._poll = None
                    poll.close()
                    return

    def _notice(self, process: Process) -> None:
        """A process has ended: whatever that leads to, the ends of others are noticed, too."""
        try:
            self._has_ended(process)
        except Exception as error:  # no file or thread to be had, or a defect
            process.log.note(f"its end could not be dealt with: {error}")
            self._change(process, State.FAILED, f"its end could not be dealt with: {error}")
        finally:
            process._reaped.set()

    def _has_ended(self, process: Process) -> None:
        with process._lock:
            if not process._wanted:
                self._change(process, State.ENDED, STOPPED)
            elif _done(process):
                self._change(process, State.ENDED, "done")
                self._forget([process])
            elif process.state is State.READY:
                self._failed(process)
            elif process.state is State.STARTED:  # whoever started it waits, and is told
                self._change(process, State.FAILED, _how(process))

    def _failed(self, process: Process) -> None:
        """It ended on its own: say so, and have it started again where its node wants that."""
        service, how = process.service, _how(process)
        process.log.note(f"{service} ended: {how}")
        wait_s = self._admit_failure(process, how)
        process._recovery = called_off = threading.Event()
        threading.Thread(
            target=self._recover, args=(process, wait_s, called_off), daemon=True, name=f"restart {service}"
        ).start()

    def _admit_failure(self, process: Process, why: str) -> float | None:
        """Put it on record, and return how long to wait before it is started again; None: it is not."""
        restart, now = process.service.restart, time.monotonic()
        process._recent.append(now)
        wait_s = None
        if restart:
            recent = sum(now - then <= restart.within_s for then in process._recent)
            wait_s = restart.wait_s(recent)
            many = f"it is not started again after {recent} failures in {restart.within_s:g} s"
            why += f"; {many}" if wait_s is None else f"; it starts again in {wait_s:g} s"
        self._change(process, State.FAILED, why)
        return wait_s

    def _recover(self, process: Process, wait_s: float | None, called_off: threading.Event) -> None:
        """What follows a failure, in a thread of its own."""
        try:
            process.lost()
        except Exception as error:  # whatever it is: the service is started again all the same
            process.log.note(f"what follows its end could not be done: {error}")
        while wait_s is not None and not called_off.wait(wait_s):
            try:
                with process._lock:
                    if called_off.is_set():
                        return
                    process.restarts += 1
                    self._begin(process, State.RESTARTED)
                self._finish_start(process)
                return
            except Exception as error:  # a defect, too, is a failure, and must not leave it "restarted" for ever
                with process._lock:
                    if called_off.is_set():
                        return
                    wait_s = self._admit_failure(process, str(error))

    def _change(self, process: Process, state: State, detail: str = "") -> None:
        with process._lock:
            process.state, process.detail, process.since = state, detail, time.time()
            try:
                self.changed(process)
            except OSError:
                pass  # whoever was told has gone


def _wait_noticed(process: Process) -> None:
    """Where it has ended, return when that has been dealt with: whoever waits for ends tells of it, and nobody else."""
    if process._program is not None and not process.running:
        process._reaped.wait(_KILLED_S)


@contextmanager
def _between_programs(process: Process) -> Iterator[None]:
    """Its lock, while it does not run and the end of what ran before is known.

    Raises:
        SessionError: it runs.
    """
    _wait_noticed(process)
    with process._lock:
        if process.running:
            raise SessionError(f"{process.service} is running already")
        yield


def _check(service: Service) -> None:
    """Refuse what this machine has not got."""
    missing = "" if shutil.which(service.argv[0]) else f"{service.argv[0]} is not installed"
    try:
        service.command()
    except KeyError:
        missing = f"there is no user '{service.user}'"
    if missing:
        raise MachineError(missing, f"apt-get install {service.package}" if service.package else "")


def _furnish(service: Service, log: Log) -> None:
    """The folders that it needs, its user's where it has one."""
    log.path.parent.mkdir(parents=True, exist_ok=True)
    if service.folder:
        service.folder.mkdir(parents=True, exist_ok=True)
    if service.user:
        os.close(log.open())
        for path in filter(None, (service.folder, log.path)):
            os.chown(path, *service.owner())


def _unready(processes: Iterable[Process]) -> list[Process]:
    """Those that are not ready yet.

    Raises:
        SessionError: one has ended.
    """
    waiting = []
    for process in processes:
        running = process.running  # before the look: what it did last counts
        if process.service.ready.met(process):
            continue
        if not running:
            process._reaped.wait(_KILLED_S)
            raise SessionError(f"{process.service} ended before it was ready{_because(process)}")
        waiting.append(process)
    return waiting


def _over_within(process: Process, limit_s: float) -> bool:
    return any(process._reaped.wait(step_s) for step_s in steps(limit_s))


def _done(process: Process) -> bool:
    """Whether it has ended with its work."""
    return process.service.transient and process.program.returncode == 0


def _how(process: Process) -> str:
    """How a program ended, in words."""
    status = process.program.returncode
    if status < 0:
        return f"killed by {_signal_name(-status)}"
    return f"exit status {status}{_last_line(process)}"


def _signal_name(number: int) -> str:
    """Those between SIGRTMIN and SIGRTMAX have none (signal(7))."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(process: Process) -> str:
    said = process.said(1)
    return f": {said}" if said else ""


def _because(process: Process) -> str:
    """What a program said last, or how it ended, to end a sentence with."""
    if said := process.said():
        return f": {said}"
    return "" if process.program.returncode is None else f": {_how(process)}"
