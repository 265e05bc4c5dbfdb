"""``lab validate``, ``schema`` and ``list``: about files, without root."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chimera import share

if TYPE_CHECKING:
    from chimera.load import LabFile


@click.command()
@click.argument("file")
def validate(file: str) -> None:
    """Check FILE (a path, or a name in topologies/ or labs/), and say all that is wrong with it.

    Exit status 2 where something is.

    \b
    Example:  lab validate topologies/dual-dc.yaml
    """
    from chimera.load import load_lab, load_topology

    path = Path(file)
    lab = path if path.name == "lab.yaml" or (path / "lab.yaml").is_file() else share.folder("labs") / file / "lab.yaml"
    if lab.exists():
        found = load_lab(lab)
        _check_lab(found)
        click.echo(f"{file}: lab '{found.title}' is valid")
        return
    topology = load_topology(file, [share.folder("topologies")])
    counts = (
        (len(topology.sites), "site"), (len(topology.nodes), "node"),
        (len(topology.vms), "VM"), (len(topology.links), "link"),
    )  # fmt: skip
    words = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)
    click.echo(f"{file}: topology '{topology.name}' is valid: {words}")


def _check_lab(lab: LabFile) -> None:
    from chimera.chosen import check_lab
    from chimera.model.errors import InputError, TopologyError

    try:
        check_lab(lab)
    except TopologyError:
        raise
    except InputError as error:
        raise InputError(f"{lab.path}: {error}") from error


@click.command()
@click.argument("kind", type=click.Choice(["topology", "lab"]), default="topology")
def schema(kind: str) -> None:
    """Print the JSON Schema of topology (default) or lab files, for editors.

    \b
    Example:  lab schema > topology.schema.json
    """
    from chimera import load

    click.echo(json.dumps(load.lab_schema() if kind == "lab" else load.schema(), indent=2))


@click.command("list")
@click.argument("what", type=click.Choice(["topologies", "overlays", "scenarios", "labs"]), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(what: str | None, as_json: bool) -> None:
    """List what there is to choose from.

    \b
    Example:  lab list overlays
    """
    chosen = {kind: LISTS[kind]() for kind in ([what] if what else LISTS)}
    if as_json:
        click.echo(json.dumps(chosen, indent=2))
        return
    for kind, rows in chosen.items():
        click.echo(click.style(kind, bold=True) if what is None else "", nl=what is None)
        width = max((len(name) for name, _ in rows), default=0)
        for name, text in rows:
            click.echo(f"  {name:<{width}}  {text}")


def _topologies() -> list[tuple[str, str]]:
    from chimera.load import list_topologies

    return [(name, text) for name, text, _ in list_topologies([share.folder("topologies")])]


def _overlays() -> list[tuple[str, str]]:
    from chimera.overlay.registry import OVERLAYS

    rows = []
    for overlay in OVERLAYS.values():
        options = "; ".join(f"{o.name}={'|'.join(o.allowed)} (default {o.default})" for o in overlay.options)
        rows.append((overlay.name, f"{overlay.summary}{f' [{options}]' if options else ''}"))
    return rows


def _scenarios() -> list[tuple[str, str]]:
    from chimera.scenario.scripts import find_script, scripts

    return [(path.stem, _said(lambda file: find_script(str(file)).summary, path)) for path in scripts()]


def _labs() -> list[tuple[str, str]]:
    from chimera.load import load_lab

    files = sorted(share.folder("labs").glob("*/lab.yaml"))
    return [(path.parent.name, _said(lambda file: load_lab(file).title, path)) for path in files]


def _said(read: Callable[[Path], str], path: Path) -> str:
    """What a file says of itself, or why it cannot be read: one bad file does not hide the others."""
    from chimera.model.errors import InputError

    try:
        return read(path)
    except InputError as error:
        return f"(cannot be read: {str(error).splitlines()[0]})"


LISTS = {"topologies": _topologies, "overlays": _overlays, "scenarios": _scenarios, "labs": _labs}
