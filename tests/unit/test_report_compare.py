"""Results beside each other: who is best, what is no difference, and a page and a table that say so."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import report_samples as samples
from rich.console import Console
from test_report_html import NASTY, Page, nasty

from chimera.model.comparison import Comparison, Run
from chimera.model.errors import InputError
from chimera.model.result import Loop, PathReport, Result
from chimera.report.answers import answers, most_equal_paths
from chimera.report.columns import Column, names
from chimera.report.compare import render_comparison
from chimera.report.compare_terminal import print_comparison
from chimera.report.figures import decimal, ms
from chimera.report.findings import alike, beside, ranked
from chimera.report.folders import read_columns, read_comparison_json, write_comparison_json
from chimera.report.html import write_html
from chimera.report.json import write_json
from chimera.report.marks import Figure, Measure, Row, row
from chimera.report.measures import groups, path_grain


def standings(results: list[Result | None], name: str, heading: str = "Migration 1") -> list[str]:
    """How each result stands in the row of that name."""
    found = [m for g in groups(results) if g.heading.startswith(heading) for m in g.measures if m.name == name]
    return [cell.standing for cell in row(found[0], results).cells]


def runs() -> list[Result | None]:
    return [samples.vmotion(), samples.vmotion("vlan", "flood", 40), samples.vmotion("vxlan", "flood", 12)]


# -- marks -------------------------------------------------------------------------------------


def test_best_and_worst_are_marked_and_equals_are_not() -> None:
    assert standings(runs(), "outage, worst") == ["best", "worst", ""]
    assert standings(runs(), "stun") == ["", "", ""]


def test_beside_a_run_on_a_busy_machine_nothing_is_best_or_worst() -> None:
    first, *others = (result for result in runs() if result)
    mixed = [samples.busy(first), *others]
    marked = [c.standing for g in groups(mixed) for m in g.measures for c in row(m, mixed).cells if c.standing]
    assert marked == []
    columns = [Column(f"o{n}", result) for n, result in enumerate(mixed)]
    warning = "The machine was too busy for o0 (other processes used 61 % of its 2 processors; 12.0 %"
    text = printed(columns, 400)
    assert warning in text and text.count("▲") == text.count("▼") == 1, "in the legend"
    page = Page(render_comparison(columns)).text
    assert warning in page and page.count("▲") == page.count("▼") == 1, "in the legend"
    assert "Least:" not in page and "Not ranked: the machine was too busy" in page
    assert " more" not in page[page.index("FabricPath or TRILL") : page.index("What was measured", 5000)]


def test_what_differs_by_less_than_two_probes_is_the_same() -> None:
    close = [samples.vmotion(), samples.vmotion("otv", "x", 0.5), samples.vmotion("vlan", "x", 30)]
    assert standings([*close], "outage, worst") == ["best", "best", "worst"]
    assert standings([*close[:2]], "outage, worst") == ["", ""]


def test_what_was_not_measured_is_neither_best_nor_worst() -> None:
    rolled_back = replace(samples.aborted(), lab=replace(samples.aborted().lab, overlay="otv"))
    results = [samples.vmotion(), rolled_back, None, samples.vmotion("vlan", slower=9)]
    assert standings(results, "outage, worst") == ["best", "", "", "worst"]
    assert standings(results, "completed") == ["best", "worst", "", "best"]


def test_what_lies_between_and_as_near_to_both_is_not_marked() -> None:
    values = {"a": 1.0, "b": 2.5, "c": 4.0}
    results = [replace(samples.bare(), lab=replace(samples.bare().lab, overlay=name)) for name in values]
    measure = Measure("x", lambda r: Figure(values[r.lab.overlay]), grain=2.0)
    assert [cell.standing for cell in row(measure, results).cells] == ["best", "", "worst"]


def test_runs_of_the_same_experiment_say_what_a_difference_is() -> None:
    """Three runs of vxlan that are 8 ms apart: otv, 5 ms from the nearest, is not told from them."""
    results = [*(samples.vmotion("vxlan", slower=x) for x in (0, 4, 8)), samples.vmotion("otv", slower=13)]
    measure = answers(results)["outage"]
    assert row(measure, results).grain == pytest.approx(8)
    assert "no difference measured" in beside(13.8 + 13, 13.8 + 8, row(measure, results).grain, ms)
    assert row(measure, results[-2:]).grain == pytest.approx(2)


def test_the_worst_vantage_point_is_named() -> None:
    (heading,) = [g for g in groups([samples.vmotion()]) if g.heading.startswith("Migration 1")]
    (cell,) = row(next(m for m in heading.measures if m.name == "network outage, worst"), [samples.vmotion()]).cells
    assert (cell.text, cell.of) == ("13.8\u00a0ms", "client")


def test_a_round_trip_is_as_exact_as_it_repeats_within_a_run() -> None:
    paths = [PathReport("a", "b", when, rtt, 0, hops) for when, rtt, hops in (
        ("before", 1.0, ["a", "hv1", "b"]), ("away", 9.0, ["a", "hv2", "b"]), ("after", 1.3, ["a", "hv1", "b"]),
    )]  # fmt: skip
    result = replace(samples.bare(), paths=paths)
    assert path_grain([result], lambda p: p.rtt_ms) == pytest.approx(0.3)
    assert path_grain([replace(result, paths=paths[:2])], lambda p: p.rtt_ms) == pytest.approx(0.9), (
        "a tenth: once each"
    )


def test_migrations_that_are_many_are_one_group() -> None:
    many = replace(samples.vmotion(), migrations=samples.vmotion().migrations * 5)
    headings = [group.heading for group in groups([many])]
    assert "All migrations (up to 10)" in headings
    assert not any(heading.startswith("Migration 1") for heading in headings)


def test_state_is_counted_where_it_is() -> None:
    measures = {(g.heading, m.name): m for g in groups([samples.over("vlan")]) for m in g.measures}

    def value(place: str, name: str) -> float | None:
        return measures[f"State at the end: {place}", name].take(samples.over("vlan")).value

    assert value("core switches", "all together") == 3 * 21, "r1, r2 and r3: no hypervisor is plugged into them"
    assert value("edge switches", "all together") == 2 * 21
    assert value("hypervisors", "most on one node") == 49, "mappings are flows and not counted twice"


def test_nothing_is_said_of_a_wan_that_is_not_there() -> None:
    one_site = replace(samples.vmotion(), map=samples.fabric_map(2, 2))
    assert "WAN crossings, there and back" not in [group.heading for group in groups([one_site])]


# -- findings ----------------------------------------------------------------------------------


def found(values: list[float | None], grain: float = 0.0) -> Row:
    return Row("x", [], values, grain)


@pytest.mark.parametrize(
    ("values", "grain", "said"),
    [
        ([4, 50, 50], 0, "Least: a (4). Most: b and c (50)."),
        ([4, 4, 4], 0, "The same for all 3: 4."),
        ([4, 5, None], 2, "No difference measured: between 4 and 5, and less than 2 is no difference here."),
        ([4, 5, 50], 2, "Least: a and b (4 to 5; no difference measured between them). Most: c (50)."),
        ([None, 7, None], 0, "b: 7."),
        ([None, None, None], 0, "Not measured."),
    ],
)
def test_who_has_least_and_most(values: list[float | None], grain: float, said: str) -> None:
    assert ranked(["a", "b", "c"], found(values, grain), decimal) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(24.0, "26 less"), (50.0, "the same"), (51.0, "no difference measured"), (90.0, "40 more"), (None, "")],
)
def test_beside_a_reference(value: float | None, said: str) -> None:
    assert beside(value, 50.0, 2.0, decimal) == said


@pytest.mark.parametrize(("leaves", "ways"), [(4, 2), (1, 1)])
def test_equal_cost_paths_of_a_map(leaves: int, ways: int) -> None:
    assert most_equal_paths(samples.fabric_map(4, 1, leaves)) == ways
    assert most_equal_paths(samples.dual_dc_map()) == 1


def test_the_move_that_stretched_a_path_most() -> None:
    measures = answers([samples.vmotion()])
    assert measures["crossings"].take(samples.vmotion()).value == 2
    stretch = measures["stretch"].take(samples.vmotion())
    assert (stretch.value, stretch.of) == (pytest.approx(20.42), "app → web, after migration 1")


# -- names -------------------------------------------------------------------------------------


def test_columns_say_what_tells_the_results_apart() -> None:
    assert names([samples.vmotion(), samples.vmotion("vlan", "flood"), samples.vmotion("vxlan", "flood")]) == [
        "vxlan mode=controller", "vlan mode=flood", "vxlan mode=flood",
    ]  # fmt: skip
    other = replace(samples.vmotion(), lab=replace(samples.vmotion().lab, topology="rack"))
    assert names([samples.vmotion(), other]) == ["vxlan dual-dc", "vxlan rack"]


def test_an_option_that_only_one_overlay_has_tells_nothing_apart() -> None:
    assert names([samples.over("mpls"), replace(samples.over("vlan"), lab=samples.bare().lab)])[0].startswith("mpls")
    plain = replace(samples.bare(), lab=replace(samples.bare().lab, overlay="lisp"))
    assert "mode" not in " ".join(names([samples.vmotion(), plain]))


# -- the terminal ------------------------------------------------------------------------------


def printed(columns: list[Column], width: int) -> str:
    out = io.StringIO()
    print_comparison(columns, Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_overlay_is_there_at_every_width(width: int) -> None:
    columns = samples.comparison()
    text = printed(columns, width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text and "…" not in text
    assert sum("Expectations" in line for line in text.splitlines()) == {60: 5, 80: 4, 200: 1}[width]
    assert text.count("overhead a frame") == text.count("Expectations")
    for column in columns:
        assert column.overlay in text


def test_the_terminal_marks_without_colour() -> None:
    text = printed([Column("vxlan", samples.vmotion()), Column("vlan", samples.vmotion("vlan", slower=40))], 80)
    outage = next(line for line in text.splitlines() if "outage, worst" in line)
    assert outage.split() == ["outage,", "worst", "52.2", "ms", "▲", "92.2", "ms", "▼"]


def test_the_terminal_says_why_an_overlay_failed() -> None:
    text = printed(samples.comparison(), 120)
    assert "✗ no result" in text and "✗ failed" in text
    assert "✗ mpls wire=ip: this overlay's frames need an eBPF translator" in text
    assert "fabricpath: network outage at most one WAN round trip plus 1 ms  22.8 ms > 21 ms" in text


def test_what_has_not_run_has_not_failed() -> None:
    columns = [Column("vxlan", samples.vmotion()), Column("otv", failure="has not run yet", ran=False)]
    text = printed(columns, 80)
    assert "– not run" in text and "– otv: has not run yet" in text and "✗" not in text
    assert "✗ 1 of 2 runs passed, 1 not run" in Page(render_comparison(columns)).text


def test_nothing_but_failures_is_a_table_of_failures() -> None:
    assert "✗ vxlan: why" in printed([Column("vxlan", failure="why")], 80)
    assert "why" in Page(render_comparison([Column("vxlan", failure="why")])).text


# -- the page ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_comparison(samples.comparison()))


def test_identifiers_are_unique_and_links_lead_somewhere(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    hrefs = {str(a["href"]) for a in page.all("a")}
    assert {h[1:] for h in hrefs if h.startswith("#")} <= set(ids)
    reports = {f"{name.replace(' ', '-')}/report.html" for name in samples.FRONTS}
    assert {h for h in hrefs if not h.startswith("#")} == reports


def test_every_table_has_a_caption_and_scoped_headings(page: Page) -> None:
    assert len(page.all("caption")) == len(page.all("table")) > 8
    assert all(th["scope"] in ("col", "row", "rowgroup") for th in page.all("th"))
    assert not page.all("script")


def test_the_page_marks_in_words_too(page: Page) -> None:
    words = [a["aria-label"] for name, a in page.elements if name == "span" and a.get("role") == "img"]
    assert set(words) == {"best", "worst"}


def test_the_page_says_why_an_overlay_failed(page: Page) -> None:
    assert "clang is not installed" in page.text
    assert "✗ 8 of 10 runs passed" in page.text


def test_every_question_of_the_essay_is_asked_and_answered_as_far_as_it_was_measured(page: Page) -> None:
    essay = page.text[page.text.index("An essay of 2012") : page.text.index("All that is in front")]
    assert "figures for 5 of 7 of its questions" in essay
    assert essay.count("Not measured: no overlay of this lab carries it yet.") == 2
    assert "26\u00a0bytes less" in essay and "34\u00a0bytes less" in essay, "trill and fabricpath beside vxlan"
    otv = essay[essay.index("Is it more than VXLAN by another name?") :]
    assert "no difference measured" in otv[: otv.index("VXLAN on physical switches")]


def test_what_came_after_the_essay_is_asked_and_not_counted_as_its_question() -> None:
    vxlan = samples.over("vxlan")
    geneve = replace(vxlan, lab=replace(vxlan.lab, overlay="geneve"))
    text = Page(render_comparison([Column("vxlan", vxlan), Column("geneve", geneve)])).text
    later = text[text.index("Geneve on the hypervisor (it came after the essay)") :]
    assert later[: later.index("Not measured in these runs")].count("the same") == 4
    assert "figures for 1 of 7 of its questions" in text


def test_without_its_rival_a_question_says_so() -> None:
    text = Page(render_comparison([Column("vxlan", samples.over("vxlan")), Column("vlan", samples.over("vlan"))])).text
    assert "vxlan mode=flood was not run here" in text
    assert "Not measured: fabricpath and trill were not run here." in text


def test_what_this_topology_cannot_show_is_said() -> None:
    bare = [
        Column(name, replace(samples.over(name), entropy=None, wire=samples.bare().wire)) for name in ("vlan", "otv")
    ]
    text = Page(render_comparison(bare)).text
    assert "Not measured: on this topology there is one path between two hypervisors at most." in text
    assert "Not measured: no frame of a VM was captured" in text
    assert "Not measured: this scenario makes no loop" in text


def test_a_loop_is_drawn() -> None:
    loop = Loop("r1", "r1-r2", "hv1", "hop count", 31, 40, 29.0, 30, bystanders_sent=900, bystanders_lost=0)
    text = Page(render_comparison([Column("trill", replace(samples.over("trill"), loops=[loop]))])).text
    assert "30, hop count 31 at the first sighting" in text and "trill: 0 of 900" in text


def test_the_overhead_is_drawn_to_scale(page: Page) -> None:
    frames = [a["style"] for name, a in page.elements if name == "div" and a.get("class") == "frame"]
    assert frames == ["--whole:64"] * 9
    own = [a["title"] for name, a in page.elements if a.get("class") == "segment"]
    assert own == ["eth, 14\u00a0bytes"] * 8, "LISP leaves the VM's Ethernet header behind"


def test_one_run_is_one_run(page: Page) -> None:
    assert "One run is one run" in page.text
    twice = Page(render_comparison([Column("vxlan #1", samples.vmotion()), Column("vxlan #2", samples.vmotion())])).text
    assert "Up to 2\u00a0runs of the same experiment" in twice


def test_what_the_runs_share_is_said_and_what_they_do_not() -> None:
    first, second = samples.vmotion(), samples.vmotion("vlan")
    assert alike([first, second]) == (
        "All have the same scenario, topology, impairments, datapath, kernel and version of the lab; delay lines begin "
        "with the same seed in every run."
    )
    elsewhere = replace(second, lab=replace(second.lab, kernel="6.1"), links=[])
    assert alike([first, elsewhere]).startswith("These runs differ in more than the overlay: impairments and kernel.")
    assert "seed" not in alike([replace(first, lab=replace(first.lab, impairment="netem"))])


def test_names_cannot_inject_markup() -> None:
    hostile = Page(render_comparison([Column(NASTY, nasty(), link=NASTY), Column(NASTY, failure=NASTY)]))
    assert not hostile.all("script") and not hostile.all("img")
    assert not [a for _, attributes in hostile.elements for a in attributes if a.startswith("on")]


def test_the_least_results_make_a_page() -> None:
    columns = [Column("vlan", samples.bare()), Column("aborted", samples.aborted())]
    assert "ping" in render_comparison(columns[:1])
    assert Page(render_comparison(columns)).text


# -- results on disk ---------------------------------------------------------------------------


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """What ``--overlay vlan,vxlan,mpls --out D`` leaves where mpls fails."""
    folder = tmp_path / "D"
    for name in ("vlan", "vxlan"):
        write_json(samples.over(name), folder / name / "result.json")
        write_html(samples.over(name), folder / name / "report.html")
    entries = [Run("vlan", "vlan", {}, "vlan"), Run("vxlan", "vxlan", {}, "vxlan"),
               Run("mpls wire=ip", "mpls", {"wire": "ip"}, "", "no result", "no clang", 3)]  # fmt: skip
    write_comparison_json(Comparison("vmotion", "dual-dc", "0", runs=entries), folder / "compare.json")
    return folder


def test_a_whole_comparison_is_read_with_its_failures(results: Path, tmp_path: Path) -> None:
    columns = read_columns([results], tmp_path / "page.html")
    assert [(c.name, c.failure, c.link) for c in columns] == [
        ("vlan", "", "D/vlan/report.html"), ("vxlan", "", "D/vxlan/report.html"), ("mpls wire=ip", "no clang", ""),
    ]  # fmt: skip
    assert read_columns([results], results / "compare.html")[0].link == "vlan/report.html"


def test_single_results_and_folders_of_results_are_read(results: Path) -> None:
    (results / "compare.json").unlink()
    assert [c.name for c in read_columns([results])] == ["vlan", "vxlan"]
    assert [c.link for c in read_columns([results / "vlan", results / "vxlan" / "result.json"])] == ["", ""]


def test_the_same_twice_is_numbered(results: Path) -> None:
    assert [c.name for c in read_columns([results / "vlan", results / "vlan"])] == ["vlan #1", "vlan #2"]


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no result in it"):
        read_columns([tmp_path])
    (tmp_path / "compare.json").write_text("{}")
    with pytest.raises(InputError, match="is not a comparison of this lab"):
        read_columns([tmp_path])


def test_a_link_is_an_address(tmp_path: Path) -> None:
    folder = tmp_path / "a b?#"
    write_json(samples.bare(), folder / "result.json")
    (folder / "report.html").write_text("x")
    assert read_columns([folder], tmp_path / "x.html")[0].link == "a%20b%3F%23/report.html"


def test_results_of_before_render(tmp_path: Path) -> None:
    """What a field was added to since is in old files without it."""
    (tmp_path / "result.json").write_bytes(
        b'{"lab": {"scenario": "s", "topology": "t", "overlay": "vlan", "datapath": "d", "version": "0"},'
        b' "timing": {"up_s": 1, "run_s": 1, "down_s": 1}, "state": {"hv1": {"flows": 3}},'
        b' "bum": {"wan_frames": 3}, "wire": {"stack": ["eth"], "overhead_bytes": 4}}'
    )
    assert "s on t" in Page(render_comparison(read_columns([tmp_path]))).text


def test_a_comparison_survives_its_file(results: Path) -> None:
    found = read_comparison_json(results / "compare.json")
    assert [run.outcome for run in found.runs] == ["passed", "passed", "no result"]
    assert found.runs[2].options == {"wire": "ip"} and found.exit_status == 3


@pytest.mark.parametrize(
    ("statuses", "status"), [((0, 0), 0), ((0, 3), 3), ((0, 1), 1), ((1, 3), 1), ((70, 3), 1), ((), 0)]
)
def test_the_exit_status_is_what_is_wrong(statuses: tuple[int, ...], status: int) -> None:
    found = [Run("x", "x", exit_status=each) for each in statuses]
    assert Comparison("s", "t", "v", runs=found).exit_status == status
