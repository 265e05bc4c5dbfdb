"""``report.html``: one file that says what happened, shows it, and says how each number came about.

It needs no network and no script: the script only lets a reader zoom and point. A content security policy in the page
forbids everything else, so that a result edited by hand cannot make it load or run anything.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from chimera.model.codec import to_json
from chimera.model.result import Migration, Result
from chimera.output import write_text
from chimera.report import tables
from chimera.report.core import loop_figure, paths_figure
from chimera.report.figures import byte_count, chosen, count, decimal, flows, moved, ms, unit
from chimera.report.lanes import DETAILS, Detail
from chimera.report.latency import latency_chart
from chimera.report.markup import Child, Markup, number, tag
from chimera.report.method import DEFINITIONS
from chimera.report.stack import added_headers, stack_figure
from chimera.report.story import Headline, headlines, sentence, unfit
from chimera.report.timeline import timelines
from chimera.report.topology_map import MOMENT_STYLES, map_figure, stylesheet

LARGEST_PAGE = 1_900_000  # bytes; the promise is 2 MB
LANES = (24, 72)  # vantage points up to which the first and the second level of detail are tried
LARGEST_DATA = 700_000  # bytes of embedded, encoded JSON

LANE_KEY = Markup(
    '<p class="soft lane-key"><span class="swatch s-answered"></span> probe answered '
    '<span class="swatch s-lost"></span> probe lost (stands lower) '
    '<span class="swatch s-gap"></span> silence, from the last answer before to the first one after. '
    "Near it every probe has a tick, further away a bar stands for many; they stand where they were sent. "
    "0 is the moment the VM was frozen, or the start of the migration where it was not.</p>"
)

Section = tuple[str, str, Child]  # anchor, heading, content


def render(result: Result) -> str:
    """The page; drawn with less detail where there is much to draw."""
    download = _download(result)
    lanes = sum(len(m.vantage_points) for m in result.migrations)
    for level, most_lanes in zip(DETAILS[:-1], LANES, strict=True):
        if lanes <= most_lanes:
            page = _page(result, level, download)
            if len(page.encode(errors="replace")) <= LARGEST_PAGE:
                return page
    return _page(result, DETAILS[-1], download)


def write_html(result: Result, path: Path | str) -> None:
    """The page to ``path``, whole or not at all."""
    write_text(render(result), Path(path))


def document(title: str, body: Child, script: str = "") -> str:
    """A whole HTML document with the package's style, and a policy that lets nothing in but what is in it."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(stylesheet("colors.css", "style.css", "map.css", "bars.css"))),
    )
    scripts = tag("script", Markup(script)) if script else None
    return f"<!doctype html>\n{tag('html', head, tag('body', body, scripts), lang='en')}\n"


def banner(warning: str) -> Markup | None:
    """What has to be known before any figure is read."""
    return tag("p", warning, class_="banner", role="note") if warning else None


def _page(result: Result, level: Detail, download: Markup) -> str:
    sections = [section for section in _sections(result, level, download) if section[2]]
    toc = tag("nav", [tag("a", heading, href=f"#{anchor}") for anchor, heading, _ in sections], aria_label="Contents")
    main = [tag("section", tag("h2", heading, id=anchor), body) for anchor, heading, body in sections]
    title = f"{result.lab.scenario} over {result.lab.overlay} on {result.lab.topology}"
    return document(f"{title} · Chimera Lab", [_header(result, title), toc, tag("main", main)], stylesheet("script.js"))


def _header(result: Result, title: str) -> Markup:
    held = sum(e.passed for e in result.expectations)
    verdict = None
    if result.expectations:
        text = f"{'✓' if result.passed else '✗'} {held} of {len(result.expectations)} expectations hold"
        verdict = tag("p", text, class_=f"verdict {'good' if result.passed else 'bad'}")
    lab = result.lab
    options = chosen(lab)
    about = " · ".join(filter(None, [options, f"{lab.datapath} datapath", f"Chimera Lab {lab.version}", lab.started]))
    return tag("header", tag("p", about, class_="soft"), tag("h1", title), verdict, banner(unfit(result)))


def _sections(result: Result, level: Detail, download: Markup) -> Iterator[Section]:
    yield "summary", "What the VM’s users noticed" if result.migrations else "What happened", _summary(result)
    yield "notes", "Observations", _notes(result)
    yield "expectations", "Expectations", tables.expectations(result.expectations) if result.expectations else None
    yield "map", "Topology and paths", _map(result)
    for index, migration in enumerate(result.migrations, 1):
        heading = f"Migration {index}: {migration.vm} from {migration.source} to {migration.destination}"
        yield f"migration-{index}", heading, _migration(migration, result, level)
    for index, loop in enumerate(result.loops, 1):
        name = "A loop in the core" if len(result.loops) == 1 else f"Loop {index} in the core"
        yield f"loop-{index}", name, loop_figure(loop, result.map)
    yield "entropy", "Equal-cost paths used", paths_figure(result.entropy) if result.entropy else None
    yield "wire", "On the wire", _wire(result)
    yield "control", "Control plane, BUM traffic and state", _control(result)
    yield "links", "Links: configured and measured", tables.links(result.links) if result.links else None
    yield "method", "How each number was obtained", _method()
    machine = tables.machine(result.machine) if result.machine else None
    yield "lab", "The lab", [tables.lab(result), machine, download]


def _notes(result: Result) -> Markup | None:
    return tag("ul", [tag("li", note) for note in result.notes]) if result.notes else None


def _summary(result: Result) -> Child:
    cards = tag("div", [_card(h) for h in headlines(result)], class_="cards")
    return [tag("p", sentence(result), class_="lead"), cards, tables.migrations(result) if result.migrations else None]


def _card(headline: Headline) -> Markup:
    mark = {True: " ✓", False: " ✗", None: ""}[headline.good]
    class_ = {True: "value-text good", False: "value-text bad", None: "value-text"}[headline.good]
    return tag(
        "div",
        tag("div", headline.label, class_="label"),
        tag("div", headline.value + mark, class_=class_),
        tag("div", headline.detail, class_="soft"),
        class_="card",
    )


def _map(result: Result) -> Child:
    if not result.map.nodes:
        return tables.paths(result) if result.paths else None
    grouped = flows(result.paths)
    drawing, width = map_figure(result.map, list(grouped.values()), result.migrations)
    dashed = "A dashed VM is one that was moved there. " if moved(result) else ""
    about = tag("p", f"{dashed}Links between sites run above them.", class_="soft")
    return [_flow_map(result, drawing, width), about, tables.paths(result) if result.paths else None]


def _flow_map(result: Result, drawing: Markup, width: float) -> Markup:
    """The map under a row of radio buttons, one a flow; the style sheet shows the checked one's layer."""
    inputs, legends, rules = [], [], []
    for index, ((source, target), found) in enumerate(flows(result.paths).items()):
        inputs += [
            tag("input", type="radio", name="flow", id=f"flow-{index}", checked=index == 0),
            tag("label", f"{source} → {target}", for_=f"flow-{index}"),
        ]
        legend = [
            tag("li", tag("span", str(n + 1), class_=f"key m{n % MOMENT_STYLES}"), f" {p.when}: {ms(p.rtt_ms)}, "
                f"{decimal(p.wan_crossings)} WAN crossings") for n, p in enumerate(found)
        ]  # fmt: skip
        legends.append(tag("div", tag("ul", legend, class_="legend"), class_=f"layer flow-{index}"))
        rules.append(f"#flow-{index}:checked ~ * .flow-{index} {{ display: revert; }}")
    stage = tag(
        "div", drawing, class_="scroll map-scroll", tabindex=0, role="region", aria_label="Map of the topology",
        style=f"--natural:{number(width)}px",
    )  # fmt: skip
    caption = tag("legend", "Show the way of") if inputs else None
    style = tag("style", Markup("\n".join(rules)))
    return tag("fieldset", style, caption, inputs, tag("div", legends), stage, class_="flows")


def _migration(migration: Migration, result: Result, level: Detail) -> Child:
    outcome = (
        f"Rolled back: {migration.aborted}. The VM went on at {migration.source}."
        if migration.aborted
        else f"Moved in {unit(migration.precopy_s, 's')} of pre-copy and {ms(migration.stun_ms)} of stun."
    )
    charts = timelines(migration, result.control, result.marks, level)
    latency = latency_chart(migration, level)
    return [
        tag("p", outcome, class_="lead"),
        [tag("p", f"Warning: {warning}.") for warning in migration.warnings],
        tables.vantage_points(migration) if migration.vantage_points else None,
        tag("h3", "Timeline"), LANE_KEY, charts[0],
        [tag("h3", "Around the stun"), charts[1:]] if charts[1:] else None,
        [tag("h3", "Round trips"), latency] if latency else None,
        tag("details", tag("summary", "Phases and pre-copy rounds as tables"),
            tables.phases(migration) if migration.phases else None,
            tables.rounds(migration) if migration.rounds else None),
    ]  # fmt: skip


def _wire(result: Result) -> Child:
    wire = result.wire
    if not wire.stack and not wire.headers:
        return None
    added = added_headers(wire.headers, wire.overhead_bytes)
    seen = f"Captured on {wire.link}" if wire.link else "Captured"
    about = (
        f"{seen}, {count(wire.frames, 'frame')} looked at. The overlay adds {byte_count(wire.overhead_bytes)} to each."
    )
    return [tag("p", about, class_="lead"), stack_figure(wire), tables.headers(wire, added) if wire.headers else None]


def _control(result: Result) -> Child:
    shown = [
        result.control.messages and tables.control(result.control),
        (result.bum.wan_frames is not None or result.bum.undecoded) and tables.bum(result.bum),
        tables.state(result.state) if result.state else None,
    ]
    present = [part for part in shown if part]
    return tag("div", present, class_="columns") if present else None


def _method() -> Markup:
    return tag(
        "dl",
        [(tag("dt", d.figure), tag("dd", tag("b", d.meaning), " ", d.method)) for d in DEFINITIONS],
    )  # fmt: skip


def _download(result: Result) -> Markup:
    """The result itself as a link; without the probes' series where they would make the page too large."""
    data, all_of_it = _packed(result), True
    if len(data) > LARGEST_DATA:
        data, all_of_it = _packed(_without_series(result)), False
    rest = "" if all_of_it else " (without the single probes, which the result.json beside this page has)"
    link = tag("a", "result.json.gz", href=f"data:application/gzip;base64,{data}", download="result.json.gz", id="data")
    return tag("p", "Everything above as data: ", link, rest, ".")


def _packed(result: Result) -> str:
    return base64.b64encode(gzip.compress(to_json(result), 6, mtime=0)).decode()


def _without_series(result: Result) -> Result:
    stripped = [
        replace(m, vantage_points=[replace(v, series=None) for v in m.vantage_points]) for m in result.migrations
    ]
    return replace(result, migrations=stripped)
