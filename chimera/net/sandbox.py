"""One lab, one sandbox: a mount, PID and network namespace whose first process is the session.

When that process ends, for whatever reason, the kernel ends every process in the sandbox and
removes every interface and mount: there is nothing to clean up. The launching process keeps only
the PID of the session; if it ends, the session ends with it, unless it was told to stay. That holds for
the process: the thread that launched may end before.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from chimera import namespaces
from chimera.model.errors import LabError, MachineError
from chimera.net import kernel
from chimera.net.rundir import RunDir

INTERRUPTED = 130
_DEFECT = 70  # EX_SOFTWARE
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_staying = threading.Event()


@dataclass
class Child:
    """The session's process, as the launcher sees it."""

    pid: int

    def wait(self) -> int:
        """Wait for the session and return its exit status; 128 + n if signal n ended it."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)

    def kill(self) -> None:
        """End the session and with it everything in the sandbox."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def launch(run: RunDir, session: Callable[[], int], *, detach: bool = False) -> Child:
    """Fork, and run ``session`` as the first process of a new sandbox; its value is the exit status.

    With ``detach`` the session gets a session of its own in the terminal's sense too, and outlives
    the launcher once it has called :func:`stay`.

    Raises:
        MachineError: this kernel or container allows no namespaces.
    """
    launcher = os.pidfd_open(os.getpid())
    try:
        kernel.unshare(kernel.CLONE_NEWPID)
    except OSError as error:
        os.close(launcher)
        raise MachineError(
            f"no new PID namespace: {error.strerror}",
            "sudo lab …" if os.geteuid() else "run the container with --privileged",
        ) from error
    sys.stdout.flush()
    sys.stderr.flush()
    # A signal that came to the session before it has handlers of its own would unwind what the launcher was doing.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    child = Child(os.fork())
    if not child.pid:
        _be_session(run, session, detach, launcher, mask)
    try:
        os.close(launcher)
        _stay_in_own_pid_namespace()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    except BaseException:
        child.kill()
        child.wait()
        raise
    return child


def _be_session(
    run: RunDir, session: Callable[[], int], detach: bool, launcher: int, mask: set[signal.Signals | int]
) -> NoReturn:
    """What the forked process does, to its end."""
    status = _DEFECT
    try:
        # The launcher decides what Ctrl-C, a closed terminal and the rest mean; it kills this process, which ends the
        # sandbox at once. What this process starts has its own defaults, but for Ctrl-C.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, frame: None)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        status = _first_process(run, session, detach, launcher)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        status = error.exit_status
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _stay_in_own_pid_namespace() -> None:
    """Undo for our later children what unshare(2) did for the first one."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespaces.setns(own, kernel.CLONE_NEWPID)
    finally:
        os.close(own)


def enter(session_pid: int, act: Callable[[], object]) -> Child:
    """Fork, and run ``act`` as one more process inside the sandbox of a running session.

    It ends with the sandbox, and with us.
    """
    kinds = {"pid": kernel.CLONE_NEWPID, "net": namespaces.CLONE_NEWNET, "mnt": kernel.CLONE_NEWNS}
    try:
        doors = {name: os.open(f"/proc/{session_pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in kinds}
        namespaces.setns(doors["pid"], kernel.CLONE_NEWPID)  # for children
    except OSError as error:
        raise MachineError(f"the lab cannot be entered: {error.strerror}", "sudo lab …") from error
    sys.stdout.flush()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    pid = os.fork()
    if pid:
        _stay_in_own_pid_namespace()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return Child(pid)
    try:
        kernel.die_with_parent(signal.SIGKILL)
        namespaces.setns(doors["net"], namespaces.CLONE_NEWNET)
        namespaces.setns(doors["mnt"], kernel.CLONE_NEWNS)
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        act()
        os._exit(0)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(error.exit_status)
    except OSError as error:
        print(f"lab: {error.strerror}: {error.filename or ''}", file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(_DEFECT)


def stay() -> None:
    """Go on when the launcher ends (``lab up``); from now on SIGTERM ends the session."""
    _staying.set()
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))


def _first_process(run: RunDir, session: Callable[[], int], detach: bool, launcher: int) -> int:
    if detach:
        os.setsid()
    try:
        furnish(run.path)
    except OSError as error:
        raise MachineError(
            f"the sandbox could not be set up: {error}", "run as root; in a container, with --privileged"
        ) from error
    threading.Thread(target=_end_with, args=(launcher,), daemon=True, name="launcher").start()
    return session()


def _end_with(launcher: int) -> None:
    """End this process, and with it the sandbox, when the process behind the descriptor has ended.

    PR_SET_PDEATHSIG would do it when the thread ends that forked us.
    """
    watched = select.poll()
    watched.register(launcher, select.POLLIN)
    watched.poll()
    if not _staying.is_set():
        os._exit(INTERRUPTED)


def furnish(run_path: Path) -> None:
    """Give the sandbox its own mounts: /run (with namespaces and sockets), /proc, /sys and bpffs.

    The run directory stays visible at the same path inside, everything else in /run is private memory.
    """
    kernel.unshare(kernel.CLONE_NEWNS | namespaces.CLONE_NEWNET)
    _make_private()
    outside = os.open(run_path, os.O_PATH | os.O_CLOEXEC)
    try:
        kernel.mount("tmpfs", "/run", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
        run_path.mkdir(parents=True)
        kernel.mount(f"/proc/self/fd/{outside}", str(run_path), "", kernel.MS_BIND)
    finally:
        os.close(outside)
    plain = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("proc", "/proc", "proc", plain)
    kernel.mount("sysfs", "/sys", "sysfs", plain)
    try:
        kernel.mount("bpf", "/sys/fs/bpf", "bpf", plain)
    except OSError:
        pass  # no bpffs: overlays that need a translator say so themselves
    for folder in ("/run/netns", "/run/ovs", "/run/lab"):
        os.makedirs(folder, exist_ok=True)
    _hide_host_switch()


def _make_private() -> None:
    """Keep our mounts from the host: privately re-mount everything, also where / is no mount point (chroot)."""
    try:
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
        return
    except OSError:
        pass
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        try:
            kernel.mount("none", point, "", kernel.MS_PRIVATE)
        except OSError:
            continue  # below a root that this chroot cannot name: not reachable from here either


def _hide_host_switch() -> None:
    """Nothing in the sandbox may reach the host's Open vSwitch through its default socket."""
    os.environ["OVS_RUNDIR"] = "/run/ovs"
