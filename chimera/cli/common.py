"""What verbs share: options, settings, progress on stderr."""

from __future__ import annotations

import ast
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from chimera import share
from chimera.model import numbers
from chimera.model.errors import InputError, MachineError

if TYPE_CHECKING:
    from chimera.model.events import Event


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


def complete_setting(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """``KEY=`` for every setting of migrations, topologies, overlays and the scenario; values where they are few."""
    from chimera.model.settings import MIGRATION_SETTINGS, TOPOLOGY_SETTINGS
    from chimera.overlay.registry import OVERLAYS

    options = {option.name: option.allowed for overlay in OVERLAYS.values() for option in overlay.options}
    key, equals, value = typed.partition("=")
    if equals:
        return [f"{key}={known}" for known in options.get(key, ()) if known.startswith(value)]
    own = _settings_of(str(context.params.get("scenario") or ""))
    known_keys = dict.fromkeys([*own, *MIGRATION_SETTINGS, *options, *TOPOLOGY_SETTINGS])
    return [f"{name}=" for name in known_keys if name.startswith(typed)]


def _settings_of(scenario: str) -> list[str]:
    """The keys of a script's SETTINGS, from its text alone: to load what reads scripts takes longer than one waits."""
    path = share.folder("scripts") / f"{scenario}.py"
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []
    values = [each.value for each in body if isinstance(each, ast.Assign) and _is_called(each.targets[0], "SETTINGS")]
    keys = [key for value in values if isinstance(value, ast.Dict) for key in value.keys]
    return [key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]


def _is_called(target: ast.expr, name: str) -> bool:
    return isinstance(target, ast.Name) and target.id == name


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
    shell_complete=complete_setting,
    help="A setting of the scenario, migration, overlay or underlay.",
)
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
                f"--set {word}: not a valid setting\n    allowed: KEY=VALUE\n    fix: --set {key or 'mode'}=…"
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
        MachineError: the user is not root.
    """
    need_addresses()
    if os.geteuid() != 0:
        raise MachineError("starting a lab needs root", f"sudo lab {' '.join(sys.argv[1:])}")


def show_events(quiet: bool = False) -> Callable[[Event], None]:
    """A function that prints those of a lab's events that say how far it is."""
    from chimera.model.events import is_progress

    show = progress(quiet)
    return lambda event: show(event.text) if is_progress(event) else None


def progress(quiet: bool = False) -> Callable[[str], None]:
    """A function that prints what goes on to stderr, with the time since now."""
    start = time.monotonic()
    colour = sys.stderr.isatty()

    def show(text: str) -> None:
        stamp = f"{time.monotonic() - start:7.2f} s"
        if not quiet:
            click.echo(f"{click.style(stamp, dim=True) if colour else stamp}  {text}", err=True)

    return show
