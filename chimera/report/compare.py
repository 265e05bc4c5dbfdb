"""Several results side by side: a row for each figure, a column for each overlay, best and worst marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chimera.model.result import Result
from chimera.report.figures import NOT_MEASURED, byte_count, decimal, largest, moved, ms, total, unit
from chimera.report.html import document
from chimera.report.json import write_text
from chimera.report.markup import Markup, tag
from chimera.report.tables import table

Value = float | None


class Measure(NamedTuple):
    """A figure to compare: how to take it from a result, how to write it; ``better`` -1 where less is better, 1 where
    more is, 0 where neither is."""

    name: str
    take: Callable[[Result], Value]
    write: Callable[[Value], str]
    better: int = -1


class Cell(NamedTuple):
    """A figure of one result, and how it stands among the others: ``best``, ``worst`` or empty."""

    text: str
    standing: str = ""


class Row(NamedTuple):
    """One figure over all results."""

    name: str
    cells: list[Cell]


def _paths(result: Result, when: Callable[[str], bool], figure: str) -> Value:
    return largest(getattr(p, figure) for p in result.paths if when(p.when))


def _before(when: str) -> bool:
    return when == "before"


def _after(when: str) -> bool:
    return when != "before"


MEASURES = (
    Measure("migrations that succeeded", lambda r: len(moved(r)) if r.migrations else None, decimal, 1),
    Measure("outage, worst", lambda r: largest(m.outage_ms for m in moved(r)), ms),
    Measure("stun, longest", lambda r: largest(m.stun_ms for m in moved(r)), ms),
    Measure("network outage, worst", lambda r: largest(m.network_outage_ms for m in moved(r)), ms),
    Measure("probes lost", lambda r: total(m.probes_lost for m in r.migrations), decimal),
    Measure("probes duplicated", lambda r: total(m.probes_duplicated for m in r.migrations), decimal),
    Measure("misdelivered", lambda r: total(m.misdelivered for m in r.migrations), decimal),
    Measure(
        "TCP sessions that survived",
        lambda r: total(float(m.tcp_survived) for m in r.migrations if m.tcp_survived is not None),
        decimal,
        1,
    ),
    Measure("WAN crossings before, most", lambda r: _paths(r, _before, "wan_crossings"), decimal),
    Measure("WAN crossings after, most", lambda r: _paths(r, _after, "wan_crossings"), decimal),
    Measure("round trip before, longest", lambda r: _paths(r, _before, "rtt_ms"), ms),
    Measure("round trip after, longest", lambda r: _paths(r, _after, "rtt_ms"), ms),
    Measure("overhead a frame", lambda r: r.wire.overhead_bytes, byte_count),
    Measure("BUM frames on the WAN", lambda r: r.bum.wan_frames, decimal),
    Measure("control messages", lambda r: sum(r.control.messages.values()) if r.control.messages else None, decimal),
    Measure("control traffic", lambda r: r.control.bytes if r.control.messages else None, byte_count),
    Measure("flows, all nodes", lambda r: total(s.flows for s in r.state.values()), decimal),
    Measure("lab up in", lambda r: r.timing.up_s, lambda v: unit(v, "s")),
    Measure("expectations that fail", lambda r: sum(not e.passed for e in r.expectations), decimal),
)


def compare(results: Sequence[Result]) -> list[Row]:
    """The rows that at least one result has a figure for; best and worst are marked where results differ."""
    rows = []
    for measure in MEASURES:
        values = [measure.take(result) for result in results]
        if any(v is not None for v in values):
            rows.append(Row(measure.name, _cells(measure, values)))
    return rows


def _cells(measure: Measure, values: Sequence[Value]) -> list[Cell]:
    known = [v for v in values if v is not None]
    low, high = min(known), max(known)
    if low == high or not measure.better:
        return [Cell(measure.write(v)) for v in values]
    best, worst = (low, high) if measure.better < 0 else (high, low)
    standing = {best: "best", worst: "worst"}
    return [Cell(measure.write(v), standing.get(v, "") if v is not None else "") for v in values]


def columns(results: Sequence[Result]) -> list[str]:
    """A name for each result: its overlay, and what else tells the results apart; a number where nothing does."""
    fields = ("topology", "scenario", "datapath")
    keys = sorted({key for r in results for key in r.lab.options})
    told = [name for name in fields if len({getattr(r.lab, name) for r in results}) > 1]
    varied = [key for key in keys if len({r.lab.options.get(key) for r in results}) > 1]
    names = []
    for lab in (r.lab for r in results):
        options = [f"{key}={lab.options[key]}" for key in varied if key in lab.options]
        names.append(" ".join([lab.overlay, *options, *(getattr(lab, name) for name in told)]))
    return [f"{name} #{names[: i + 1].count(name)}" if names.count(name) > 1 else name for i, name in enumerate(names)]


def print_comparison(results: Sequence[Result], console: Console) -> None:
    """The table to ``console``; ``+`` marks the best and ``-`` the worst, so that it reads without colour too."""
    drawn = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    drawn.add_column("", no_wrap=True)
    for name in columns(results):
        drawn.add_column(Text(name), justify="right", overflow="fold")
    marks = {"best": ("+", "green"), "worst": ("-", "red"), "": (" ", "")}
    for row in compare(results):
        cells = [Text(f"{cell.text} {marks[cell.standing][0]}", style=marks[cell.standing][1]) for cell in row.cells]
        drawn.add_row(row.name, *cells)
    console.print(drawn)
    console.print(Text(f"+ best, - worst, {NOT_MEASURED} not measured", style="dim"))


def render_comparison(results: Sequence[Result]) -> str:
    """The table as an HTML page of its own."""
    rows = [(tag("span", row.name, class_="whole"), *map(_html_cell, row.cells)) for row in compare(results)]
    title = "The same experiment, over each overlay"
    names = ["", *columns(results)]
    about = tag("p", f"▲ best, ▼ worst, {NOT_MEASURED} not measured.", class_="soft")
    drawn = table("Figures of each run", names, rows, range(1, len(names)))
    return document(f"{title} · Chimera Lab", [tag("header", tag("h1", title)), tag("main", about, drawn)])


def _html_cell(cell: Cell) -> Markup:
    mark = {"best": " ▲", "worst": " ▼", "": ""}[cell.standing]
    return tag("span", cell.text + mark, class_=cell.standing or None)


def write_comparison(results: Sequence[Result], path: Path | str) -> None:
    """The page to ``path``, whole or not at all."""
    write_text(render_comparison(results), Path(path))
