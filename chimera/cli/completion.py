"""``lab completion``: a completion script for a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script for SHELL.

    \b
    Example:  lab completion bash > /etc/bash_completion.d/lab
    """
    from chimera.cli import lab

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(lab, {}, "lab", "_LAB_COMPLETE").source())
