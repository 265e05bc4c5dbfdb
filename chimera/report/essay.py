"""The questions of the essay that the lab is about, each beside the figures of these runs.

A question gets figures and differences, never a verdict: what another run, machine or network would show, one
comparison does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chimera.model.result import Result
from chimera.report.bars import label
from chimera.report.columns import Column
from chimera.report.drawn import Runs
from chimera.report.figures import count, decimal
from chimera.report.findings import beside, listed
from chimera.report.marks import Row, row
from chimera.report.markup import Child, Markup, folded, tag

_SECTIONS = {"core": "state", "hypervisors": "state", "crossings": "stretch"}  # where else than under its own name


_OF = ("entropy",)  # figures that are nothing without what they are a part of


class Question(NamedTuple):
    """A chimera and what the essay asked of it; ``overlays`` carry it here, none where the lab has none yet.

    ``mode`` narrows the overlays to those with that option; ``reference`` is the overlay (and mode) to compare with.
    """

    chimera: str
    asked: str
    overlays: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    mode: str = ""
    reference: tuple[str, str] = ("vxlan", "controller")


QUESTIONS = (
    Question("FabricPath or TRILL on the hypervisor", "Does it buy anything once overlays exist?",
             ("fabricpath", "trill"), ("overhead", "entropy", "core", "flooding", "outage", "loops")),
    Question("MPLS-in-IP on the hypervisor", "Is VM traffic in MPLS in UDP any better than in VXLAN?",
             ("mpls",), ("overhead", "entropy", "hypervisors", "outage")),
    Question("LISP on the hypervisor (ITR/ETR)", "Does inter-data-centre vMotion really become a snap?",
             ("lisp",), ("outage", "crossings", "stretch", "core", "overhead")),
    Question("OTV on the hypervisor", "Is it more than VXLAN by another name?",
             ("otv",), ("overhead", "flooding", "entropy", "outage")),
    Question("VXLAN on physical switches (VTEP termination)",
             "Does it cure the odd traffic patterns that software gateways cause?"),
    Question("OpenFlow on the hypervisor", "Open vSwitch is there; which real problems does a controller solve?",
             ("vxlan",), ("flooding", "outage", "hypervisors", "crossings"), "controller", ("vxlan", "flood")),
    Question("Virtualising physical switches (FlowVisor)",
             "Multi-tenancy, traffic isolation, QoS on slices of one switch: how well?"),
)  # fmt: skip
LATER = (
    Question("Geneve on the hypervisor (it came after the essay)", "Do VMs or the core notice VXLAN's successor?",
             ("geneve",), ("overhead", "entropy", "flooding", "outage")),
)  # fmt: skip


def essay(columns: Sequence[Column]) -> Child:
    """Every question, and what one would ask today, with what these runs have measured of it."""
    questions = (*QUESTIONS, *LATER)
    runs = Runs.of(columns)
    rows = {anchor: row(measure, runs.results) for anchor, measure in runs.measures.items()}
    cards = [_asked(question, number, columns, runs, rows) for number, question in enumerate(questions, 1)]
    silent = [not _spoken_of(question, columns) for question in questions]
    rest = [card for card, unanswered in zip(cards, silent, strict=True) if unanswered]
    return [
        [card for card, unanswered in zip(cards, silent, strict=True) if not unanswered],
        folded(f"Not measured in these runs: {count(len(rest), 'question')}", rest),
    ]


def _spoken_of(question: Question, columns: Sequence[Column]) -> bool:
    """Whether any of these runs was of the question's overlays, with or without a result."""
    return any(column.overlay in question.overlays and column.ran for column in columns)


def _asked(question: Question, number: int, columns: Sequence[Column], runs: Runs, rows: dict[str, Row]) -> Markup:
    heading = tag("h3", question.chimera, id=f"question-{number}")
    return tag("div", heading, tag("p", question.asked, class_="asked"), _answer(question, columns, runs, rows),
               class_="question")  # fmt: skip


def _answer(question: Question, columns: Sequence[Column], runs: Runs, rows: dict[str, Row]) -> Child:
    if not question.overlays:
        return tag("p", "Not measured: no overlay of this lab carries it yet.")
    notes = [
        tag("p", f"{c.name}: {c.verdict}.", class_="bad" if c.ran else "soft")
        for c in columns
        if _failed(c, question.overlays)
    ]
    missing = [name for name in question.overlays if name not in {c.overlay for c in columns}]
    if missing:
        notes.append(tag("p", f"Not measured: {listed(missing)} {'were' if len(missing) > 1 else 'was'} not run here."))
    own = [i for i, r in enumerate(runs.results) if r.lab.overlay in question.overlays and _mode(r, question.mode)]
    if not own:
        return notes
    reference = next((i for i, r in enumerate(runs.results) if _is(r, *question.reference)), None)
    if reference is None:
        overlay, mode = question.reference
        what = f"{overlay} mode={mode}" if question.mode else overlay
        notes.append(tag("p", f"{what} was not run here: there is nothing of it to compare with.", class_="soft"))
    others = [i for i in (reference, _baseline(runs)) if i is not None and i not in own]
    return [notes, _table(question, runs, rows, own, others, reference)]


def _failed(column: Column, overlays: Sequence[str]) -> bool:
    return column.result is None and column.overlay in overlays


def _mode(result: Result, mode: str) -> bool:
    return not mode or result.lab.options.get("mode") == mode


def _is(result: Result, overlay: str, mode: str) -> bool:
    return result.lab.overlay == overlay and result.lab.options.get("mode", mode) == mode


def _baseline(runs: Runs) -> int | None:
    return next((i for i, r in enumerate(runs.results) if r.lab.overlay == "vlan"), None)


def _table(
    question: Question, runs: Runs, rows: dict[str, Row], own: list[int], others: list[int], reference: int | None
) -> Markup:
    """A row for each figure; under a chimera's value, how it stands beside the reference."""
    shown = [*own, *others]
    caption = f"{question.chimera}: figures of these runs"
    if reference is not None:
        caption += f", and the difference from {runs.names[reference]}"
    head = [tag("th", "", scope="col"), *(tag("th", label(runs.names[i]), scope="col", class_="figure") for i in shown)]
    body = []
    there = [a for a in question.figures if any(value is not None for value in rows[a].values)]
    for anchor in (a for a in there if runs.wan or a != "crossings"):
        found, write = rows[anchor], runs.measures[anchor].write
        link = tag("a", found.name, href=f"#{_SECTIONS.get(anchor, anchor)}")
        cells = []
        for i in shown:
            compared = found.fit and reference is not None and i in own and i != reference
            words = beside(found.values[i], found.values[reference or 0], found.grain, write) if compared else ""
            text = f"{found.cells[i].text} {found.cells[i].of}" if anchor in _OF else found.cells[i].text
            cells.append(tag("td", text, words and tag("span", words, class_="of"), class_="figure"))
        body.append(tag("tr", tag("th", link, scope="row"), cells))
    table = tag(
        "table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body), class_="comparison"
    )
    return tag("div", table, class_="scroll", role="region", tabindex=0, aria_label=caption)


def asked_of(columns: Sequence[Column]) -> str:
    """How many of the questions these runs have figures for."""
    names = {column.overlay for column in columns if column.result}
    there = sum(any(name in names for name in question.overlays) for question in QUESTIONS)
    return f"{decimal(there)} of {decimal(len(QUESTIONS))}"
