"""A user's own code, run: in a process of its own where its process may come to harm, and its errors as its line."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from chimera.model.errors import InputError, LabError, MachineError, SessionError

_ENGINE = Path(__file__).resolve().parent
_FINE, _DEFECT = 0, 70
_KINDS: dict[int, type[LabError]] = {2: InputError, 3: MachineError}


def apart(act: Callable[[], bytes], code: str) -> bytes:
    """Fork, run ``act`` there, and return what it returned; ``code`` is what an error calls the code that it runs.

    Raises:
        LabError: what ``act`` raised, with its text and exit status.
        InputError: the process was ended from within (``os._exit``, a crash).
    """
    told = os.memfd_create("apart", os.MFD_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _tell(act, told)
    try:
        try:
            _, status = os.waitpid(pid, 0)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        with open(told, "rb", closefd=False) as answer:
            answer.seek(0)
            kind, text = answer.read(1), answer.read()
    finally:
        os.close(told)
    if not kind:
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"os._exit({os.WEXITSTATUS(status)})"
        raise InputError(f"{code} ended its process ({how})\n    fix: return, or raise an exception that says why")
    if kind[0] != _FINE:
        raise _KINDS.get(kind[0], SessionError)(text.decode(errors="replace"))
    return text


def _tell(act: Callable[[], bytes], told: int) -> None:
    """What the child does, to its end."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        try:
            kind, text = _FINE, act()
        except LabError as error:
            kind, text = error.exit_status, str(error).encode(errors="replace")
        except BaseException:
            kind, text = _DEFECT, traceback.format_exc().encode(errors="replace")
        with open(told, "wb", closefd=False) as answer:
            answer.write(bytes([kind]) + text)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)


@contextmanager
def blame(path: Path, what: str) -> Iterator[None]:
    """Runs the code in the file ``path``; whatever it raises becomes an error that shows its line.

    The lab's own errors pass through: they say what they have to say.

    Raises:
        InputError: ``what`` failed, where and why.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__module__.partition(".")[0] == _ENGINE.name:
            raise
        raise InputError(_told(error, path, what)) from error


def _told(error: BaseException, path: Path, what: str) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in frames if frame.filename == str(path)]
    reason = f"{type(error).__name__}: {error}".rstrip(": ")
    if not mine:
        return f"{path}:1:1: {what}: {reason}"
    at = mine[-1]
    text = f"{path}:{at.lineno}:{(at.colno or 0) + 1}: {what}: {reason}\n    {(at.line or '').strip()}"
    last = frames[-1]
    if _ENGINE in Path(last.filename).parents:
        where = f"{Path(last.filename).relative_to(_ENGINE.parent)}:{last.lineno}"
        text += f"\n    raised at {where}: if this line is right, that is a defect of the lab"
    return text
