"""``lab test``: the project's own tests; ``./lab`` has installed what they need before this runs."""

from __future__ import annotations

import os
import sys

import click

from chimera import share
from chimera.model.errors import MachineError

_WORKERS_A_CPU = 2  # labs mostly wait
_MOST_WORKERS = 8


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[--fast] [PYTEST ARGUMENTS]")
def test(arguments: tuple[str, ...]) -> None:
    """Run pytest over the checkout's tests; everything after 'test' goes to pytest, paths count from the checkout.

    Several run at a time, two for each CPU; '-n 0' runs one after the other, which is what a debugger needs. With
    '--fast' only what a developer runs after every edit: the unit tests and a few labs, in less than two minutes.
    Tests that need root, or something this machine lacks, are skipped and say why.

    \b
    Example:  sudo lab test --fast
              sudo lab test tests/unit -q
    """
    home = share.checkout()
    if home is None:
        raise MachineError("the tests come with the checkout, not with an installed lab", "git clone, then ./lab test")
    os.chdir(home)
    workers = min(_WORKERS_A_CPU * len(os.sched_getaffinity(0)), _MOST_WORKERS)
    os.execv(sys.executable, [sys.executable, "-s", "-m", "pytest", "-n", str(workers), *arguments])
