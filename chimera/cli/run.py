"""``lab run``: one scenario from nothing to its result, and nothing left afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import click

from chimera.cli import common
from chimera.model.errors import InputError


@click.command(short_help="Run a scenario and report what the VM's users noticed.")
@click.argument("scenario", shell_complete=common.complete_scenario)
@common.topology_option
@common.overlay_option
@common.set_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder for result.json, report.html and captures.")
@click.option("--capture", is_flag=True, help="Also write one pcapng file per link (needs --out).")
@click.option("--json", "as_json", is_flag=True, help="Print the result alone, as JSON, on stdout.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
def run(
    scenario: str,
    topology: str | None,
    overlay: str | None,
    settings: tuple[str, ...],
    out: Path | None,
    capture: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run SCENARIO: a name in scripts/ or labs/, or the path of a script.

    Exit status: 0 all expectations hold, 1 one does not, 2 the input is wrong, 3 the machine lacks something,
    130 interrupted.

    \b
    Example:  sudo lab run vmotion --topology dual-dc --overlay vxlan --out results
    """
    from chimera import session
    from chimera.cli.chosen import choose
    from chimera.launch import launch

    if capture and out is None:
        raise InputError("--capture needs a folder to write to\n    fix: add --out DIR")
    _check_out(out)
    experiment = choose(scenario, topology, overlay, common.parse_settings(settings))
    common.need_root()
    result = launch(experiment, out=out, record_all=capture, progress=common.progress(quiet))
    if as_json:
        from chimera.model.codec import to_json

        click.echo(to_json(result, indent=2).decode())
    else:
        from rich.console import Console

        from chimera.report.terminal import print_result

        print_result(result, Console())
        if out:
            click.echo(f"report: {out / 'report.html'}")
        else:
            click.echo("add --out DIR for the report as a page, with plots and the map")
    if session.failed(result):
        raise click.exceptions.Exit(1)


def _check_out(out: Path | None) -> None:
    """Refuse an output folder that could not be written to, before anything is started."""
    if out is None:
        return
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: this is a file\n    allowed: a folder, which may be new")
    nearest = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    if not nearest.is_dir():
        raise InputError(f"--out {out}: {nearest} is a file, there can be no folder in it")
    if not os.access(nearest, os.W_OK):
        raise InputError(f"--out {out}: {nearest} cannot be written to")
