"""The only thing a lab leaves visible outside its sandbox: a run directory, held by a lock.

``/run/chimera/NAME`` holds ``lock`` (flock(2), released by the kernel with the session's last
breath), ``session.json`` (its kind, host PID, what was started) and, where it is a lab that stays up, ``api.sock``. A
directory whose lock can be taken is stale: its session ended without saying goodbye, and :func:`sweep` removes it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from chimera.model.errors import DeadlineError, InputError, MachineError, SessionError, did_you_mean
from chimera.output import PARTIAL

T = TypeVar("T")

ROOT = Path("/run/chimera")
LAB, RUN, BENCH = "up", "run", "bench"  # kinds: a lab that stays up and can be talked to, and what ends by itself
_TRIES = 50
_FREE_S, _AGAIN_S = 30.0, 0.01
_LOOKED_AT_S = 0.002  # other commands hold a lock this long to see whether a session does


@dataclass
class RunDir:
    """A run directory this process owns for as long as ``lock`` is open."""

    path: Path
    lock: int
    kind: str

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.path.name

    @property
    def socket(self) -> Path:
        """The session's API socket."""
        return self.path / "api.sock"

    def describe(self, **facts: Any) -> None:
        """Write what other commands need to know, replacing what was there in one step."""
        temporary = self.path / "session.json.new"
        temporary.write_text(json.dumps({"kind": self.kind, **facts}))
        temporary.replace(self.path / "session.json")

    def remove(self) -> None:
        """Delete the directory, then let go of the lock."""
        _clear(self.path)
        os.close(self.lock)


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a lab.

    Raises:
        InputError: with what can.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", name):
        raise InputError(
            f"'{name}' is not a usable name for a lab\n"
            f"    allowed: letters, digits, '.', '_' and '-', the first a letter or digit; at most 41"
        )


def claim(name: str, kind: str) -> RunDir:
    """Make the run directory of a new lab, run or bench called ``name``.

    Raises:
        InputError: the name is taken by a running lab, or is not fit for a directory.
    """
    check_name(name)
    sweep()
    path = ROOT / name
    for _ in range(_TRIES):
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = _try_lock(path)
        except (FileNotFoundError, FileExistsError):
            continue  # another command swept the directory, or the one above, before it was locked
        if lock is not None:
            claimed = RunDir(path, lock, kind)
            claimed.describe()
            return claimed
        time.sleep(_LOOKED_AT_S)
    if path.exists():
        raise InputError(
            f"a lab called '{name}' is already running; 'lab down {name}' ends it, --name gives another name"
        )
    raise SessionError(f"{path}: other commands keep removing it")


def running() -> list[str]:
    """Names of everything whose session is alive: labs, runs, benches."""
    return sorted(path.name for path in _folders() if not _stale(path))


def labs() -> list[str]:
    """Names of the labs that stay up: those that the verbs of a running lab are about."""
    return [name for name in running() if _kind(ROOT / name) == LAB]


def find(name: str | None) -> Path:
    """The run directory of a lab that is up; without a name, of the only one.

    Raises:
        InputError: there is none, or more than one to choose from.
    """
    names = labs()
    if name is None and len(names) == 1:
        return ROOT / names[0]
    if name in names:
        return ROOT / str(name)
    listed = ", ".join(names) or "none"
    if name is None:
        text = (
            "no lab is running; start one with 'lab up'"
            if not names
            else f"several labs are running ({listed}): say which"
        )
        raise InputError(text)
    if name in running():
        raise InputError(f"'{name}' is not a lab that stays up: it ends by itself, or with Ctrl-C where it was started")
    raise InputError(
        " ".join(filter(None, (f"no lab called '{name}' is running (running: {listed})", did_you_mean(name, names))))
    )


def facts(path: Path) -> dict[str, Any]:
    """What the session wrote about itself."""
    try:
        found = json.loads((path / "session.json").read_text())
    except (OSError, ValueError) as error:
        raise SessionError(f"lab {path.name}: it is still starting, or ended just now") from error
    return dict(found)


def _kind(path: Path) -> str:
    try:
        return str(facts(path).get("kind", ""))
    except SessionError:
        return ""  # it ended just now


def session_pid(path: Path) -> int:
    """The host's PID of a session.

    Raises:
        SessionError: it has none yet, or none any more.
    """
    pid = facts(path).get("pid")
    if not isinstance(pid, int):
        raise SessionError(f"lab {path.name}: it is still starting")
    return pid


def is_held_by(path: Path, pid: int) -> bool:
    """True where the lock of a run directory is held and the process of that PID has it open.

    PIDs are used again; nothing may be ended because of a number in an old file.
    """
    try:
        if _stale(path):
            return False
        lock = os.stat(path / "lock")
    except FileNotFoundError:
        return False
    return any(os.path.samestat(found, lock) for found in _each_open(pid, os.stat))


def lost() -> dict[int, str]:
    """Names by PID of labs that stay up and whose run directory somebody removed: only their processes are left.

    Such a session is the first process of a PID namespace, leads a session in the terminal's sense, and has the lock
    that was in the directory open.
    """
    gone = re.compile(re.escape(f"{ROOT}/") + r"([^/]+)/lock \(deleted\)")
    sandboxes = (int(pid) for pid in os.listdir("/proc") if pid.isdecimal() and _leads_sandbox(int(pid)))
    opened = ((pid, gone.fullmatch(target)) for pid in sandboxes for target in _each_open(pid, os.readlink))
    return {pid: found[1] for pid, found in opened if found}


def _leads_sandbox(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return bool(re.search(r"^NSpid:\t\d+\t(\d+\t)*1$", status, re.MULTILINE)) and os.getsid(pid) == pid
    except OSError:
        return False  # it ended just now


def _each_open(pid: int, look: Callable[[str], T]) -> Iterator[T]:
    """What ``look`` finds for each file a process has open; nothing of a process that ended, or is not ours to see."""
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        try:
            yield look(f"{folder}/{name}")
        except OSError:
            continue


def wait_free(path: Path) -> None:
    """Wait until no session holds a run directory: the one that was killed has ended so far that its name is free.

    Raises:
        DeadlineError: it is held for ever.
    """
    deadline = time.monotonic() + _FREE_S
    while not _stale(path):
        if time.monotonic() > deadline:
            raise DeadlineError(f"lab {path.name} was killed {_FREE_S:g} s ago and still holds its name")
        time.sleep(_AGAIN_S)


def sweep() -> list[str]:
    """Remove what sessions that died left behind; returns their names."""
    swept = []
    for path in _folders():
        try:
            lock = _try_lock(path)
        except FileNotFoundError:
            continue
        if lock is not None:
            _clear(path)
            os.close(lock)
            swept.append(path.name)
    return swept


def _folders() -> Iterator[Path]:
    try:
        found = sorted(ROOT.iterdir())
    except FileNotFoundError:
        return
    yield from (p for p in found if p.is_dir())


def _try_lock(path: Path) -> int | None:
    """The locked file, or None where a live process holds it.

    Raises:
        FileNotFoundError: it is being removed.
        MachineError: it belongs to root, and this process does not.
    """
    try:
        fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise MachineError(f"lab {path.name} belongs to root", "run the command with sudo") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(path / "lock").st_ino == os.fstat(fd).st_ino:
            return fd
    except BlockingIOError:
        os.close(fd)
        return None
    except FileNotFoundError:
        os.close(fd)
        raise
    os.close(fd)
    raise FileNotFoundError(path)


def _stale(path: Path) -> bool:
    try:
        fd = _try_lock(path)
    except FileNotFoundError:
        return True
    if fd is None:
        return False
    os.close(fd)
    return True


def _clear(path: Path) -> None:
    """Remove a run directory and whatever half-written output it names."""
    try:
        out = json.loads((path / "session.json").read_text()).get("out")
    except (OSError, ValueError, AttributeError):
        out = None
    for folder in (Path(out), *Path(out).parents) if out else ():
        shutil.rmtree(folder / f"{PARTIAL}{path.name}", ignore_errors=True)
    shutil.rmtree(path, ignore_errors=True)
    try:
        ROOT.rmdir()  # the last one out leaves nothing
    except OSError:
        pass
