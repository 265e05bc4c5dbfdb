"""``lab compare``: results beside each other."""

from __future__ import annotations

from pathlib import Path

import click

from chimera.model.errors import InputError


@click.command(short_help="Compare results in one table.")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Also write the comparison as HTML.")
def compare(folders: tuple[Path, ...], out: Path | None) -> None:
    """Compare the results in FOLDERS (each holds a result.json): a figure a row, a result a column.

    \b
    Example:  lab compare results/vlan results/vxlan --out compare.html
    """
    from rich.console import Console

    from chimera.report.compare import print_comparison, write_comparison
    from chimera.report.json import read_json

    results = []
    for folder in folders:
        path = folder / "result.json" if folder.is_dir() else folder
        try:
            results.append(read_json(path))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: no result can be read from it: {error}") from error
    print_comparison(results, Console())
    if out:
        write_comparison(results, out)
