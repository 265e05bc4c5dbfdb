"""``compare.html``: runs of the same experiment side by side, drawn, asked the essay's questions, and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from chimera.model.result import Result
from chimera.output import write_text
from chimera.report.bars import label
from chimera.report.columns import Column
from chimera.report.drawn import sections
from chimera.report.essay import asked_of, essay
from chimera.report.figures import NOT_MEASURED, byte_count, count, largest, moved, ms, unit
from chimera.report.findings import alike, runs
from chimera.report.html import banner, document
from chimera.report.marks import Cell, Group, row
from chimera.report.markup import Child, Markup, folded, tag
from chimera.report.measures import groups
from chimera.report.method import DEFINITIONS
from chimera.report.story import unfit_runs
from chimera.report.topology_map import stylesheet

Section = tuple[str, str, Child]  # anchor, heading, content


def write_comparison(columns: Sequence[Column], path: Path | str) -> None:
    """The page to ``path``, whole or not at all."""
    write_text(render_comparison(columns), Path(path))


def render_comparison(columns: Sequence[Column]) -> str:
    """The page; it needs no network and has no script."""
    shown = list(_sections(columns))
    title = _title([column.result for column in columns if column.result])
    nav = tag("nav", [tag("a", heading, href=f"#{anchor}") for anchor, heading, _ in shown], aria_label="Contents")
    main = [tag("section", tag("h2", heading, id=anchor), body) for anchor, heading, body in shown]
    style = tag("style", Markup(stylesheet("compare.css")))
    return document(f"{title} · Chimera Lab", [style, _header(columns, title), nav, tag("main", main)])


def _title(results: Sequence[Result]) -> str:
    if not results:
        return "A comparison without results"
    scenario, topology = ({getattr(r.lab, name) for r in results} for name in ("scenario", "topology"))
    overlays = {r.lab.overlay for r in results}
    what = scenario.pop() if len(scenario) == 1 else "several scenarios"
    where = f" on {topology.pop()}" if len(topology) == 1 else " on several topologies"
    return f"{what}{where}, over {f'{len(overlays)} overlays' if len(overlays) > 1 else overlays.pop()}"


def _header(columns: Sequence[Column], title: str) -> Markup:
    good = sum(column.passed for column in columns)
    waiting = sum(not column.ran for column in columns)
    text = f"{'✓' if good == len(columns) else '✗'} {good} of {len(columns)} runs passed"
    text += f", {waiting} not run" if waiting else ""
    labs = [column.result.lab for column in columns if column.result]
    facts = [f"Chimera Lab {labs[0].version}", f"{labs[0].datapath} datapath", labs[0].started] if labs else []
    return tag(
        "header", tag("p", " · ".join(filter(None, facts)), class_="soft"), tag("h1", title),
        tag("p", text, class_=f"verdict {'good' if good == len(columns) else 'bad'}"),
        banner(unfit_runs(columns)),
    )  # fmt: skip


def _sections(columns: Sequence[Column]) -> Iterator[Section]:
    results = [column.result for column in columns if column.result]
    about = tag("p", f"{alike(results)} {runs(results)}", class_="soft") if results else None
    yield "runs", "The runs", [_runs(columns), about]
    if not results:
        return
    figures = groups([column.result for column in columns])
    yield "essay", "The essay’s questions", [tag("p", _about_essay(columns), class_="finding"), essay(columns)]
    yield "drawn", "What was measured", _drawn(columns)
    yield "figures", "All figures", [_about_marks(), _comparison(columns, figures)]
    yield "method", "How each number was obtained", _method()


def _drawn(columns: Sequence[Column]) -> Child:
    found = list(sections(columns))
    measured = [s for s in found if s.measured]
    rest = [(tag("h3", s.heading, id=s.anchor), s.body) for s in found if not s.measured]
    nav = tag("nav", [tag("a", s.heading, href=f"#{s.anchor}") for s in measured], aria_label="Figures")
    return [nav, [(tag("h3", s.heading, id=s.anchor), s.body) for s in measured],
            folded(f"Not measured in these runs: {count(len(rest), 'figure')}", rest)]  # fmt: skip


def _method() -> Markup:
    return tag("dl", [(tag("dt", d.figure), tag("dd", tag("b", d.meaning), " ", d.method)) for d in DEFINITIONS])


def _about_essay(columns: Sequence[Column]) -> str:
    return (
        f"An essay of 2012 listed seven chimeras, pairs of technologies that could be crossed to make VMs mobile and "
        f"tenants separate, and asked which of them are worth anything. These runs have figures for "
        f"{asked_of(columns)} of its questions. A difference that is smaller than the measurement is exact is called "
        f"none; each figure leads to how it was measured."
    )


# -- the runs ----------------------------------------------------------------------------------


def _runs(columns: Sequence[Column]) -> Markup:
    caption = "Every overlay, how it came out, and its own report"
    head = [tag("th", text, scope="col") for text in ("overlay", "outcome", "on the wire")]
    head += [tag("th", text, scope="col", class_="figure") for text in ("network outage, worst", "took")]
    body = [tag("tr", tag("th", _linked(c), scope="row"), _run(c)) for c in columns]
    table = tag("table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body))
    return tag("div", table, class_="scroll", role="region", tabindex=0, aria_label=caption)


def _kind(column: Column) -> str:
    return "good" if column.passed else "bad" if column.ran else "soft"


def _linked(column: Column) -> Markup:
    return tag("a", label(column.name), href=column.link) if column.link else label(column.name)


def _run(column: Column) -> list[Markup]:
    result = column.result
    if result is None:
        words = [
            tag("span", "✗ no result", class_="status bad"),
            tag("br"),
            tag("span", column.failure, class_="reason"),
        ]
        return [
            tag("td", words),
            tag("td", NOT_MEASURED),
            *(tag("td", NOT_MEASURED, class_="figure") for _ in range(2)),
        ]
    failed = [
        tag("div", ": ".join(filter(None, (e.name, e.detail))), class_="soft")
        for e in result.expectations
        if not e.passed
    ]
    wire = result.wire
    stack = f"{'/'.join(wire.stack)}, {byte_count(wire.overhead_bytes)} of overhead" if wire.stack else NOT_MEASURED
    timing = result.timing
    return [
        tag("td", tag("span", f"{column.mark} {column.verdict}", class_=f"status {_kind(column)}"), failed),
        tag("td", stack),
        tag("td", ms(largest(m.network_outage_ms for m in moved(result))), class_="figure"),
        tag("td", unit(timing.up_s + timing.run_s + timing.down_s, "s"), class_="figure"),
    ]


# -- all figures -------------------------------------------------------------------------------


def _about_marks() -> Markup:
    return tag(
        "p",
        f"▲ best and ▼ worst of these runs, {NOT_MEASURED} not measured. Equal is what differs by less than the "
        "measurement is exact: two probe intervals for an outage, and for round trips and throughput what the same run "
        "shows for the same path at another moment. State is what nodes hold when the scenario has ended; "
        "‘flooded’ counts copies on all links between sites.",
        class_="soft",
    )


def _comparison(columns: Sequence[Column], found: Sequence[Group]) -> Markup:
    caption = "A figure a row, an overlay a column"
    head = tag("tr", tag("th", "", scope="col"), [_heading(column) for column in columns])
    bodies = [_group(group, columns) for group in found]
    table = tag("table", tag("caption", caption), tag("thead", head), bodies, class_="comparison")
    return tag("div", table, class_="scroll tall", role="region", tabindex=0, aria_label=caption)


def _heading(column: Column) -> Markup:
    status = tag("span", f"{column.mark} {column.outcome}", class_=f"option {_kind(column)}")
    return tag("th", _linked(column), status, scope="col", class_="figure")


def _group(group: Group, columns: Sequence[Column]) -> Markup:
    results = [column.result for column in columns]
    span = len(columns) + 1
    rows = [row(measure, results) for measure in group.measures]
    body = [
        tag("tr", tag("th", each.name, scope="row"),
            [_cell(c, column) for c, column in zip(each.cells, columns, strict=True)])
        for each in rows
    ]  # fmt: skip
    heading = tag("tr", tag("th", tag("span", group.heading), scope="rowgroup", colspan=span))
    return tag("tbody", heading, body)


def _cell(cell: Cell, column: Column) -> Markup:
    if column.result is None:
        return tag("td", tag("span", column.mark, title=column.outcome, class_=_kind(column)), class_="figure")
    mark = {"best": ("▲", "best"), "worst": ("▼", "worst")}.get(cell.standing)
    shown = [tag("span", f" {mark[0]}", role="img", aria_label=mark[1])] if mark else []
    of = tag("span", cell.of, class_="of") if cell.of else None
    return tag("td", tag("span", cell.text, shown, class_=cell.standing or None), of, class_="figure")
