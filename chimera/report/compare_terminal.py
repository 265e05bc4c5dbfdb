"""A comparison in a terminal: as many overlays beside each other as fit, and the others below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chimera.report.columns import Column
from chimera.report.figures import NOT_MEASURED
from chimera.report.marks import Group, Row, row
from chimera.report.measures import groups
from chimera.report.story import unfit_runs

MARKS = {"best": ("▲", "green"), "worst": ("▼", "red"), "": (" ", "")}  # read without colour, too
_INDENT = "  "
_GAP = 2


def print_comparison(columns: Sequence[Column], console: Console) -> None:
    """The table, and under it why an overlay has no figures."""
    results = [column.result for column in columns]
    found = [(group, [row(measure, results) for measure in group.measures]) for group in groups(results)]
    if found:
        first = _first(found, console.width)
        for shown in _blocks(columns, found, console.width, first):
            console.print(_table(columns, found, shown, first))
            console.print()
        if warning := unfit_runs(columns):
            console.print(Text(f"! {warning}", style="bold red"))
        console.print(Text(f"▲ best, ▼ worst, {NOT_MEASURED} not measured; one run each says no more than that of it",
                           style="dim"))  # fmt: skip
    for column in columns:
        if column.result is None:
            console.print(Text.assemble((f"{column.mark} {column.name}", "bold red"), f": {column.failure}"))
        for expectation in column.result.expectations if column.result else ():
            if not expectation.passed:
                text = f"{column.name}: {expectation.name}"
                console.print(Text.assemble((f"✗ {text}", "red"), (f"  {expectation.detail}", "dim")))


Found = Sequence[tuple[Group, Sequence[Row]]]


def _first(found: Found, width: int) -> int:
    """How wide the column of names is: as wide as they are, but not half of a narrow terminal."""
    return min(max(len(_INDENT + r.name) for _, rows in found for r in rows), max(24, width * 2 // 5))


def _blocks(columns: Sequence[Column], found: Found, width: int, first: int) -> Iterator[list[int]]:
    """Numbers of the columns that go beside each other."""
    rows = [r for _, rows in found for r in rows]
    block: list[int] = []
    used = first + _GAP
    for index, column in enumerate(columns):
        cells = [max(len(r.cells[index].text), len(r.cells[index].of) if r.of else 0) + 2 for r in rows]
        wide = max([*map(len, _lines(column)), *cells]) + _GAP
        if block and used + wide > width:
            yield block
            block, used = [], first + _GAP
        block.append(index)
        used += wide
    yield block


def _lines(column: Column) -> list[str]:
    """A column's heading: the overlay, each setting on a line of its own, and how it came out."""
    return [*column.name.split(" "), "✓" if column.passed else f"{column.mark} {column.outcome}"]


def _table(columns: Sequence[Column], found: Found, shown: Sequence[int], first: int) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("", overflow="fold", width=first)
    for index in shown:
        column = columns[index]
        heading = Text("\n".join(_lines(column)), style="" if column.passed or not column.ran else "red")
        table.add_column(heading, justify="right", overflow="fold")
    for group, rows in found:
        table.add_row(Text(group.heading, style="bold"))
        for each in rows:
            table.add_row(Text(_INDENT + each.name), *(_cell(each, i, columns[i]) for i in shown))
            if each.of and any(each.cells[i].of for i in shown):
                named = (Text(f"{each.cells[i].of}  ", style="dim") for i in shown)
                table.add_row(Text(_INDENT * 2 + each.of, style="dim"), *named)
    return table


def _cell(each: Row, index: int, column: Column) -> Text:
    cell = each.cells[index]
    mark, style = MARKS[cell.standing]
    return Text(f"{cell.text} {mark}" if column.result else "", style=style)
