"""``lab graph``: a topology as a drawing."""

from __future__ import annotations

from pathlib import Path

import click

from chimera.load import load_topology
from chimera.output import write_text
from chimera.report.maps import map_of
from chimera.report.topology_map import render_map
from chimera.share import folder


@click.command()
@click.argument("topology")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the drawing to this file instead of stdout.",
)
def graph(topology: str, out: Path | None) -> None:
    """Draw TOPOLOGY (a name or a path) as SVG: sites, nodes, VMs, and what the links do.

    Example: lab graph dual-dc --out dual-dc.svg
    """
    loaded = load_topology(topology, [folder("topologies")])
    drawing = render_map(map_of(loaded), title=loaded.description or loaded.name)
    if out:
        write_text(drawing, out)
    else:
        click.echo(drawing, nl=False)
