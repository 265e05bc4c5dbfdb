"""``lab run``: one scenario from nothing to its result, and nothing left afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from chimera.cli import common
from chimera.model.errors import InputError


def _complete_overlays(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Names of overlays and ``all``, for the word after the last comma."""
    before, comma, last = typed.rpartition(",")
    names = ["all", *common.complete_overlay(context, parameter, "")]
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]


@click.command()
@click.argument("scenario", shell_complete=common.complete_scenario)
@common.topology_option
@click.option(
    "--overlay",
    "-o",
    default=None,
    metavar="O[,O…]",
    shell_complete=_complete_overlays,
    help="The overlay (default: vxlan), several of them, or 'all'.",
)
@click.option("--wires", is_flag=True, help="Also run every other wire format of each overlay.")
@common.set_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for result.json, report.html, events.jsonl and captures."
)
@click.option("--force", is_flag=True, help="Replace the result that is in the folder.")
@click.option("--capture", is_flag=True, help="Also write one pcapng file per link (needs --out).")
@click.option("--json", "as_json", is_flag=True, help="Print the result alone, as JSON, on stdout.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
def run(
    scenario: str,
    topology: str | None,
    overlay: str | None,
    wires: bool,
    settings: tuple[str, ...],
    out: Path | None,
    force: bool,
    capture: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run SCENARIO: a name in scripts/ or labs/, or the path of a script.

    Exit status: 0 all expectations hold, 1 one does not, 2 the input is wrong, 3 the machine lacks something,
    130 interrupted.

    Several overlays ('--overlay all', '--overlay vlan,vxlan,mpls:wire=gre') run one after the other, each in a
    sandbox of its own, on the same topology with the same settings, and end in one table. Settings that only some
    of them know go to those. --out gets a folder for each, and compare.html. An overlay that fails is shown as
    failing and the others still run; the exit status is 0 if every run passed, 3 if all that is wrong is that the
    machine lacks something for an overlay, else 1.

    \b
    Example:  sudo lab run vmotion --topology dual-dc --overlay vxlan --out results
              sudo lab run vmotion --topology dual-dc --overlay all --wires --out results
    """
    common.need_addresses()  # before what needs many is imported
    if capture and out is None:
        raise InputError("--capture needs a folder to write to\n    fix: add --out DIR")
    chosen = common.parse_settings(settings)
    _check_out(out, force)
    if wires or (overlay and (overlay == "all" or "," in overlay)):
        status = _several(scenario, topology, overlay, wires, chosen, out, force, capture, as_json, quiet)
    else:
        status = _one(scenario, topology, overlay, chosen, out, capture, as_json, quiet)
    if status:
        raise click.exceptions.Exit(status)


def _several(
    scenario: str, topology: str | None, overlays: str | None, wires: bool, settings: dict[str, str],
    out: Path | None, force: bool, capture: bool, as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    from chimera.chosen import choose_several
    from chimera.cli.several import run_several

    planned = choose_several(scenario, topology, overlays, settings, wires=wires)
    _check_out(out, force, (leg.folder for leg in planned))
    common.need_root()
    return run_several(planned, out=out, capture=capture, as_json=as_json, quiet=quiet, settings=settings)


def _one(
    scenario: str, topology: str | None, overlay: str | None, settings: dict[str, str],
    out: Path | None, capture: bool, as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    from chimera.chosen import choose
    from chimera.launch import launch

    experiment = choose(scenario, topology, overlay, settings)
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
    return 0 if result.passed else 1


def _check_out(out: Path | None, force: bool, folders: Iterable[str] = ("",)) -> None:
    """Refuse an output folder that could not be written to, or holds a result, before anything is started.

    ``folders`` are those that the runs will have in it.
    """
    from chimera.launch import CAPTURES
    from chimera.output import check_folder
    from chimera.report.folders import COMPARISON, RESULT

    if out:
        inner = [str(Path(folder, name)) for folder in folders for name in ("", CAPTURES)]
        check_folder(out, *inner, results=() if force else (RESULT, COMPARISON))
