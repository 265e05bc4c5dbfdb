"""A sandbox and the process that launched it: who ends with whom, and what a signal meets."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from lab_support import ENVIRONMENT, PROJECT, needs_lab

from chimera.net import rundir, sandbox

pytestmark = needs_lab

LAUNCHER = """
import os, signal, sys, time
from chimera.net import rundir, sandbox

class Interrupted(BaseException): pass

def interrupt(number, frame): raise Interrupted

def session():
    {session}
    os.write(1, b"up\\n")
    time.sleep(300)
    return 0

signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGHUP])
for number in (signal.SIGTERM, signal.SIGHUP): signal.signal(number, interrupt)
fork = os.fork
{fork}
run = rundir.claim(f"t-sandbox-{{os.getpid()}}", rundir.RUN)
try:
    child = sandbox.launch(run, session, detach=True)
    os.write(1, b"%d\\n" % child.pid)
    child.wait()
finally:
    run.remove()
    os.write(1, b"removed\\n")
"""


@contextmanager
def _launched(session: str = "pass", fork: str = "") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A launcher, once its session is up, and a descriptor of the session's process."""
    code = LAUNCHER.format(session=session, fork=fork)
    launcher = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=PROJECT
    )
    assert launcher.stdout
    said = {launcher.stdout.readline().strip() for _ in range(2)}
    assert "up" in said, said
    process = os.pidfd_open(int((said - {"up"}).pop()))
    try:
        yield launcher, process
    finally:
        launcher.kill()
        launcher.wait()
        if not _ends(process, 0):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        launcher.communicate()
        os.close(process)


def _ends(process: int, within_s: float = 20) -> bool:
    return bool(select.select([process], [], [], within_s)[0])


def test_a_session_outlives_the_thread_that_launched_it() -> None:
    run = rundir.claim(f"t-sandbox-{os.getpid()}", rundir.RUN)
    children: list[sandbox.Child] = []
    reading, writing = os.pipe()

    def session() -> int:
        os.write(writing, b"up")
        time.sleep(300)
        return 0

    def launch() -> None:
        children.append(sandbox.launch(run, session))
        assert os.read(reading, 2) == b"up"  # and this thread ends

    try:
        thread = threading.Thread(target=launch)
        thread.start()
        thread.join()
        time.sleep(0.2)
        assert os.waitpid(children[0].pid, os.WNOHANG) == (0, 0), "it ended with the thread"
    finally:
        for child in children:
            child.kill()
            child.wait()
        run.remove()
        os.close(reading)
        os.close(writing)


def test_a_session_ends_with_its_launcher() -> None:
    with _launched() as (launcher, process):
        launcher.kill()
        assert _ends(process)


def test_a_session_that_stays_outlives_its_launcher_and_ends_when_it_is_told() -> None:
    with _launched("sandbox.stay()") as (launcher, process):
        launcher.kill()
        launcher.wait()
        assert not _ends(process, 0.3)
        signal.pidfd_send_signal(process, signal.SIGTERM)
        assert _ends(process)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_in_the_first_moment_does_not_make_the_session_clean_up_for_its_launcher(name: str) -> None:
    """It is the launcher's process until it knows better, with all that the launcher would do when interrupted."""
    fork = f"""
def forked():
    pid = fork()
    if not pid: os.kill(os.getpid(), signal.{name})
    return pid
os.fork = forked
"""
    with _launched(fork=fork) as (launcher, process):
        assert not _ends(process, 0.1)
        launcher.terminate()
        assert _ends(process)
        output, _ = launcher.communicate(timeout=60)
        assert output == "removed\n"
