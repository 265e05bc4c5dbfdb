"""``lab test``: the project's own tests; ``./lab`` has installed what they need before this runs."""

from __future__ import annotations

import os
import sys

import click

from chimera import share
from chimera.model.errors import MachineError


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PYTEST ARGUMENTS]")
def test(arguments: tuple[str, ...]) -> None:
    """Run pytest over the checkout's tests; everything after 'test' goes to pytest, paths count from the checkout.

    Tests that need root, or something this machine lacks, are skipped and say why.

    Example: sudo lab test tests/unit -q
    """
    home = share.checkout()
    if home is None:
        raise MachineError("the tests come with the checkout, not with an installed lab", "git clone, then ./lab test")
    os.chdir(home)
    os.execv(sys.executable, [sys.executable, "-s", "-m", "pytest", *arguments])
