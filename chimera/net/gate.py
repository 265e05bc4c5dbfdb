"""A thread of this process that is inside a sandbox and starts programs there; all else of the process stays outside.

Namespaces belong to threads, so a process that has its own work to do (a notebook with threads, plots and files) can
have one foot in a sandbox: the thread has the sandbox's mounts and network, and what it starts is in the sandbox's PID
namespace, is frozen with its VM, and ends with the lab. To this process it is a child as any other, so that
:class:`subprocess.Popen` works on it as everywhere.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from chimera import namespaces
from chimera.deadline import steps
from chimera.model.errors import MachineError, SessionError
from chimera.net import kernel

T = TypeVar("T")

_KINDS = {"net": namespaces.CLONE_NEWNET, "mnt": kernel.CLONE_NEWNS, "pid": kernel.CLONE_NEWPID}
_REAP_S = 10.0


class Gate:
    """A way into the sandbox whose first process has the PID ``session`` here.

    Raises:
        MachineError: this process may not enter it.
    """

    def __init__(self, session: int) -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._started: list[subprocess.Popen[Any]] = []
        try:
            doors = {name: os.open(f"/proc/{session}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in _KINDS}
        except OSError as error:
            raise MachineError(f"the lab cannot be entered: {error.strerror}", "run Python as root") from error
        entered: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, args=(doors, entered), name="gate", daemon=True)
        self._thread.start()
        try:
            entered.result()
        except OSError as error:
            raise MachineError(f"the lab cannot be entered: {error.strerror}", "run Python as root") from error

    def do(self, act: Callable[[], T]) -> T:
        """Have ``act`` done inside: the paths that it opens are the sandbox's. It may start no thread.

        Raises:
            SessionError: the gate is closed.
        """
        done: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise SessionError("the lab has ended")
            self._tasks.put((act, done))
        return done.result()

    def start(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program inside, as :class:`subprocess.Popen` does."""
        process = self.do(lambda: subprocess.Popen(argv, **options))
        with self._lock:
            self._started = [each for each in self._started if each.poll() is None]
            self._started.append(process)
        return process

    def close(self) -> None:
        """Leave the sandbox; what was started there goes on, until it ends."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._tasks.put(None)
        self._thread.join()

    def reap(self) -> None:
        """Take note of the end of what was started; until then the kernel keeps a sandbox that has ended."""
        with self._lock:
            started, self._started = self._started, []
        for process in started:
            for step_s in steps(_REAP_S):
                try:
                    process.wait(step_s)
                except subprocess.TimeoutExpired:
                    continue
                break

    def _work(self, doors: dict[str, int], entered: Future[None]) -> None:
        try:
            kernel.unshare(kernel.CLONE_FS)
            for name, kind in _KINDS.items():
                namespaces.setns(doors[name], kind)
        except BaseException as error:
            entered.set_exception(error)
            return
        finally:
            for door in doors.values():
                os.close(door)
        entered.set_result(None)
        while task := self._tasks.get():
            act, done = task
            try:
                done.set_result(act())
            except BaseException as error:
                done.set_exception(error)
