"""Tables of the verbs that look at a running lab."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 200  # columns, where there is no terminal: nothing is folded that grep should find in one line


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table under a title; columns without any value, and tables without any row, are left out.

    Figures stand right, everything else left.
    """
    found = [list(row) for row in rows]
    kept = [i for i, _ in enumerate(columns) if any(row[i] not in ("", None) for row in found)]
    if not kept:
        return
    drawn = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", show_edge=False)
    for index in kept:
        figures = all(isinstance(row[index], int | float) for row in found)
        drawn.add_column(columns[index], justify="right" if figures else "left", overflow="fold", header_style="dim")
    for row in found:
        drawn.add_row(*(Text("" if row[i] is None else str(row[i])) for i in kept))
    terminal = sys.stdout.isatty()
    Console(width=None if terminal else _PIPE_WIDTH, highlight=False).print(drawn, "")
