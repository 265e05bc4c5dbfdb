"""The page: whole, self-contained, small, and deaf to markup in names."""

from __future__ import annotations

import base64
import gzip
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import report_samples as samples

from chimera.model.codec import from_json
from chimera.model.result import Entropy, Loop, Map, MapNode, Mark, PathReport, Result, Series
from chimera.report.html import LARGEST_PAGE, render
from chimera.report.markup import _VOID

NASTY = "</script><script>alert('x')</script><img src=x onerror=alert(1)>\"' onload=\"alert(2)"


class Page(HTMLParser):
    """Elements with their attributes; fails where tags do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name not in _VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == name]


RESULTS = {"vmotion": samples.vmotion(), "aborted": samples.aborted(), "bare": samples.bare()}


@pytest.fixture(scope="module", params=RESULTS)
def page(request: pytest.FixtureRequest) -> Page:
    return Page(render(RESULTS[request.param]))


def test_every_page_has_one_title_and_ordered_headings(page: Page) -> None:
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_identifiers_are_unique_and_links_lead_somewhere(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(str(a["href"])[1:] in ids for a in page.all("a") if str(a["href"]).startswith("#"))


def test_a_loop_and_flows_on_equal_cost_paths_have_sections_of_their_own() -> None:
    found = replace(
        samples.bare(), loops=[Loop("r1", "wan", "hv1", "hop count", 31, 200, 30.0, 31, 200, 0, 900, 0, True)],
        entropy=Entropy("peer", "web", 100, 2, 2, {"spine1": 53, "spine2": 47}), map=samples.vmotion().map,
    )  # fmt: skip
    text = render(found)
    assert "No VM was moved" not in text and "What the VM’s users noticed" not in text
    assert "31\u00a0crossings" in text and "hop count 31" in text and "0 of 900" in text
    assert "53\u00a0flows" in text and "used 2 of 2\u00a0equal-cost paths" in text
    assert "loop-way" not in render(samples.vmotion()).partition("<body>")[2]


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    for name, attributes in page.elements:
        assert "src" not in attributes, name
        assert str(attributes.get("href", "#")).startswith(("#", "data:application/gzip"))
    assert "@import" not in page.text and "url(" not in page.text


def test_every_drawing_says_what_it_is(page: Page) -> None:
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))


def test_what_the_users_noticed_comes_first() -> None:
    page = Page(render(samples.vmotion()))
    words = page.text[page.text.index("What the VM’s users noticed") :]
    assert "52.2\u00a0ms" in words[:700]
    headings = [str(a.get("id")) for a in page.all("h2")]
    assert headings == [
        "summary", "notes", "expectations", "map", "migration-1", "migration-2", "wire", "control", "links", "method",
        "lab",
    ]  # fmt: skip


def test_a_bare_result_has_no_empty_sections() -> None:
    headings = [a.get("id") for a in Page(render(samples.bare())).all("h2")]
    assert headings == ["summary", "method", "lab"]


def test_an_aborted_migration_says_so() -> None:
    text = Page(render(samples.aborted())).text
    assert "Rolled back: link r1-r2 was cut in pre-copy round 2. The VM went on at hv1." in text
    assert "✗ 1 of 2 expectations hold" in text


def test_a_run_on_a_busy_machine_says_so_in_its_head() -> None:
    text = Page(render(samples.busy(samples.vmotion()))).text
    assert text.index("The machine was too busy for this run: other") < text.index("What the VM’s users noticed")
    assert "no: other processes used 61 % of its 2 processors; 12.0 %" in text
    assert "too busy for this run" not in Page(render(samples.vmotion())).text


def test_network_outages_have_a_sign_and_say_how_exact_they_are() -> None:
    page = Page(render(samples.impossible(samples.vmotion())))
    assert page.text.count("−8.4\u00a0ms ✗ ± 1.5") == 1 and "13.8\u00a0ms ± 1.5" in page.text
    assert "outage − stun" in page.text and "machine stall" in page.text


def nasty() -> Result:
    """A result edited by somebody who means no good: in every text."""
    whole = samples.vmotion()
    move = whole.migrations[0]
    point = replace(move.vantage_points[0], name=NASTY, relation=NASTY)
    phases = [replace(p, name=f"{p.name} {NASTY}", detail=NASTY) if p.name != "stun" else p for p in move.phases]
    move = replace(move, vm=NASTY, source=NASTY, aborted=NASTY, phases=phases, vantage_points=[point])
    return replace(
        whole,
        lab=replace(whole.lab, scenario=NASTY, overlay=NASTY, topology=NASTY, version=NASTY, options={NASTY: NASTY}),
        migrations=[move],
        paths=[PathReport(NASTY, "web", NASTY, 1.0, 1.0, [NASTY, "hv1", "web"])],
        map=Map([NASTY], [MapNode(NASTY, NASTY, NASTY, NASTY, "", NASTY, NASTY)], []),
        notes=[NASTY], marks=[Mark(move.started_s, NASTY)], captures=[NASTY],
        expectations=[replace(whole.expectations[0], name=NASTY, detail=NASTY)],
        control=replace(whole.control, messages={NASTY: 1}, marks=[replace(whole.control.marks[0], type=NASTY)]),
        state={NASTY: whole.state["hv1"]}, links=[replace(whole.links[0], link=NASTY, how=NASTY, asked={NASTY: 1.0})],
        wire=replace(
            whole.wire, link=NASTY, headers=[replace(whole.wire.headers[0], name=NASTY, fields={NASTY: NASTY})]
        ),
    )  # fmt: skip


def test_names_cannot_inject_markup() -> None:
    page = Page(render(nasty()))
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]


def test_the_script_is_the_only_one_the_policy_allows() -> None:
    policy = next(m["content"] for m in Page(render(samples.bare())).all("meta") if "http-equiv" in m)
    assert policy is not None
    assert policy.startswith("default-src 'none'") and "script-src 'sha256-" in policy


def embedded(text: str) -> Result:
    found = re.search(r'href="data:application/gzip;base64,([^"]+)"', text)
    assert found is not None
    return from_json(gzip.decompress(base64.b64decode(found[1])), Result)


def test_the_data_are_in_the_page() -> None:
    assert embedded(render(samples.vmotion())) == samples.vmotion()


def test_a_typical_page_is_small() -> None:
    assert len(render(samples.vmotion()).encode()) < 600_000


def test_a_huge_run_still_fits() -> None:
    """Forty VMs evacuated, three vantage points each, half of all probes lost here and there."""
    move = samples.migration(1, 2.2, "hv1", "hv4")
    points = []
    for point in move.vantage_points:
        assert point.series is not None
        rtt = [None if i % 2 else t for i, t in enumerate(point.series.rtt_ms)]
        points.append(replace(point, series=Series(point.series.sent_s, rtt)))
    text = render(replace(samples.vmotion(), migrations=[replace(move, vantage_points=points)] * 40))
    assert len(text.encode()) < LARGEST_PAGE
    assert "without the single probes" in text
    assert all(v.series is None for m in embedded(text).migrations for v in m.vantage_points)


def test_the_same_result_gives_the_same_page() -> None:
    assert render(samples.vmotion()) == render(samples.vmotion())
