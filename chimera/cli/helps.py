"""Every ``--help`` in one file: ``./lab`` answers from it on a machine where nothing is installed yet.

``python -m chimera.cli.helps`` writes it anew after a change of any help.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

FILE = Path(__file__).with_name("help.txt")
_COLUMNS = 100


def texts() -> str:
    """The helps of ``lab`` and of every verb below it, each from its ``Usage:`` line on."""
    from chimera.cli import lab

    return "\n".join(_helps(_context(lab, "lab", None)))


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(command, parent, name, **{**command.context_settings, "terminal_width": _COLUMNS})


def _helps(context: click.Context) -> Iterator[str]:
    yield context.get_help().rstrip() + "\n"
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command
            yield from _helps(_context(command, name, context))


if __name__ == "__main__":
    FILE.write_text(texts(), encoding="utf-8")
