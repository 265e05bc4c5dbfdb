"""``lab compare``: results beside each other."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Also write the comparison as HTML.")
def compare(folders: tuple[Path, ...], out: Path | None) -> None:
    """Compare the results in FOLDERS: a figure a row, a result a column.

    Each folder holds a result.json, or is the --out of 'lab run SCENARIO --overlay all' (overlays that failed are
    shown as failing), or holds such folders.

    \b
    Example:  lab compare results/vlan results/vxlan --out compare.html
    """
    from rich.console import Console

    from chimera.report.compare import write_comparison
    from chimera.report.compare_terminal import print_comparison
    from chimera.report.folders import read_columns

    columns = read_columns(folders, out)
    print_comparison(columns, Console())
    if out:
        write_comparison(columns, out)
