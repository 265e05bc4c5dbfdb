"""What verbs share: options, settings, progress on stderr."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from chimera import share
from chimera.model import numbers
from chimera.model.errors import InputError, MachineError


class Whole(click.IntRange):
    """A whole number in digits that everybody reads alike."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click's, but for what only Python takes for a number."""
        if isinstance(value, str) and numbers.whole(value) is None:
            self.fail(f"'{value}' is not a whole number", param, ctx)
        return super().convert(value, param, ctx)


class Decimal(click.FloatRange):
    """The same with a decimal point."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click's, but for what only Python takes for a number."""
        if isinstance(value, str) and numbers.decimal(value) is None:
            self.fail(f"'{value}' is not a number", param, ctx)
        return super().convert(value, param, ctx)


def complete_topology(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Names of topologies that begin as what was typed, for the shell's completion: their files are not read."""
    return [path.stem for path in sorted(share.folder("topologies").glob("*.yaml")) if path.stem.startswith(typed)]


def complete_scenario(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Names of scenarios and labs that begin as what was typed."""
    scripts = [path.stem for path in share.folder("scripts").glob("[!_]*.py")]
    labs = [path.parent.name for path in share.folder("labs").glob("*/lab.yaml")]
    return [name for name in (*sorted(scripts), *sorted(labs)) if name.startswith(typed)]


def complete_overlay(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Names of overlays that begin as what was typed."""
    from chimera.overlay.registry import OVERLAYS

    return [name for name in OVERLAYS if name.startswith(typed)]

topology_option = click.option(
    "--topology",
    "-t",
    default=None,
    metavar="T",
    shell_complete=complete_topology,
    help="Name or path of a topology (default: dual-dc).",
)
overlay_option = click.option(
    "--overlay", "-o", default=None, metavar="O", shell_complete=complete_overlay, help="The overlay (default: vxlan)."
)
set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting of the scenario, migration, overlay or underlay.",
)
DEFAULT_TOPOLOGY = "dual-dc"
DEFAULT_OVERLAY = "vxlan"
ADDRESSES_MB = 1024  # of one process: its threads' stacks count, and a small lab failed with half of this


def parse_settings(settings: tuple[str, ...]) -> dict[str, str]:
    """``KEY=VALUE`` words as a mapping.

    Raises:
        InputError: a word without ``=``, or a key given twice.
    """
    found: dict[str, str] = {}
    for word in settings:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise InputError(
                f"--set {word}: this is no setting\n    allowed: KEY=VALUE\n    fix: --set {key or 'mode'}=…"
            )
        if key in found:
            raise InputError(f"--set {word}: {key} is set twice")
        found[key] = value
    return found


def need_addresses() -> None:
    """A process of a lab needs room for addresses: with too little a lab comes up in part, and fails anywhere.

    Raises:
        MachineError: there is a limit below what a lab was seen to need.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and soft < ADDRESSES_MB << 20:
        limit = f"a process may have {soft >> 20} MB of addresses here (ulimit -v), and a lab needs {ADDRESSES_MB}"
        raise MachineError(limit, "ulimit -v unlimited")


def need_root() -> None:
    """Labs need namespaces, and those need root.

    Raises:
        MachineError: this is no root.
    """
    need_addresses()
    if os.geteuid() != 0:
        raise MachineError("starting a lab needs root", f"sudo lab {' '.join(sys.argv[1:])}")


def progress(quiet: bool = False) -> Callable[[str], None]:
    """A function that prints what goes on to stderr, with the time since now."""
    start = time.monotonic()
    colour = sys.stderr.isatty()

    def show(text: str) -> None:
        stamp = f"{time.monotonic() - start:7.2f} s"
        if not quiet:
            click.echo(f"{click.style(stamp, dim=True) if colour else stamp}  {text}", err=True)

    return show
