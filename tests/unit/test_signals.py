"""A signal ends the command with status 130, whenever it comes; and what has ended already is not ended again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KILL = "os.kill(os.getpid(), signal.{name})"


@pytest.fixture
def held_back() -> Iterator[None]:
    """As ./lab starts Python: with the signals blocked that end a command."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def run(code: str) -> subprocess.CompletedProcess[str]:
    """``lab schema`` in a process of its own, after ``code``."""
    program = (
        "import os, signal, sys\nsys.argv = ['lab', 'schema']\n" + code + "\nimport chimera.cli\nchimera.cli.main()"
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )  # fmt: skip


@pytest.mark.parametrize("number", ENDING)
def test_before_the_command_line_is_there(held_back: None, number: signal.Signals) -> None:
    done = run(KILL.format(name=number.name))
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "lab: interrupted; nothing is left running\n"


@pytest.mark.parametrize("number", ENDING)
def test_after_all_is_said(number: signal.Signals) -> None:
    """Python takes its handlers back before it has ended."""
    done = run(
        f"class Last:\n    def __del__(self, os=os, signal=signal): {KILL.format(name=number.name)}\nlast = Last()"
    )
    assert done.returncode == 0 and done.stdout.startswith("{") and done.stderr == ""


def test_while_an_error_is_told() -> None:
    noisy = f"class Noisy:\n    def write(self, text): {KILL.format(name='SIGTERM')}\n    def flush(self): pass\n"
    done = run(f"{noisy}sys.argv = ['lab', 'schemas']\nsys.stderr = Noisy()\n")
    assert done.returncode == 130


def test_a_second_one_does_not_disturb_the_end() -> None:
    fails = (
        "import chimera.load\n"
        "def schema():\n"
        "    try: {first}\n"
        "    finally: {second}; print('all is gone')\n"
        "chimera.load.schema = schema"
    )
    done = run(fails.format(first=KILL.format(name="SIGINT"), second=KILL.format(name="SIGTERM")))
    assert (done.returncode, done.stdout) == (130, "all is gone\n")
    assert done.stderr == "lab: interrupted; nothing is left running\n"
