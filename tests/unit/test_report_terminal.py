"""Results in a terminal, and beside each other."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import report_samples as samples
from rich.console import Console

from chimera.model.result import Result
from chimera.report import figures
from chimera.report.compare import columns, compare, print_comparison, render_comparison, write_comparison
from chimera.report.terminal import print_result


def printed(result: Result, width: int = 80, colour: bool = False) -> str:
    out = io.StringIO()
    print_result(
        result,
        Console(file=out, width=width, force_terminal=colour or None, color_system="standard" if colour else None),
    )
    return out.getvalue()


@pytest.mark.parametrize("result", [samples.vmotion(), samples.aborted(), samples.bare()])
@pytest.mark.parametrize("width", [60, 80])
def test_narrow_terminals_and_pipes(result: Result, width: int) -> None:
    text = printed(result, width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text and "…" not in text
    outages = {figures.ms(v.outage_ms) for m in result.migrations for v in m.vantage_points}
    assert all(outage in text for outage in outages)


def test_colour_only_on_a_terminal() -> None:
    assert "\x1b[" in printed(samples.vmotion(), colour=True)


def test_the_figures_are_there() -> None:
    text = printed(samples.vmotion(), 120)
    for words in ("web, hv1 → hv4", "52.2\u00a0ms", "TCP survived: yes", "✓ two migrations",
                  "50\u00a0bytes of overhead",
                  "client external client", "14\u00a0BUM frames", "10.2\u00a0ms", "the trombone costs"):  # fmt: skip
        assert words in text


def test_what_failed_is_marked_without_colour() -> None:
    text = printed(samples.aborted())
    assert "✗ the WAN is back" in text
    assert "rolled back: link r1-r2 was cut" in text


def test_brackets_in_names_are_text() -> None:
    result = replace(samples.bare(), notes=["[bold]loud[/bold] [/]"])
    assert "[bold]loud[/bold] [/]" in printed(result)


def runs() -> list[Result]:
    return [samples.vmotion(), samples.vmotion("vlan", "flood", 40), samples.vmotion("vxlan", "flood", 12)]


def test_best_and_worst_are_marked_and_equals_are_not() -> None:
    rows = {row.name: row.cells for row in compare(runs())}
    assert [c.standing for c in rows["outage, worst"]] == ["best", "worst", ""]
    assert {c.standing for c in rows["stun, longest"]} == {""}


def test_what_was_not_measured_is_neither_best_nor_worst() -> None:
    rows = {
        row.name: row.cells
        for row in compare([samples.vmotion(), samples.aborted(), samples.vmotion("vlan", slower=9)])
    }
    assert [(c.text, c.standing) for c in rows["outage, worst"]] == [
        ("52.2\u00a0ms", "best"), ("–", ""), ("61.2\u00a0ms", "worst"),
    ]  # fmt: skip
    assert [c.standing for c in rows["migrations that succeeded"]] == ["best", "worst", "best"]


def test_columns_say_what_tells_the_results_apart() -> None:
    assert columns(runs()) == ["vxlan mode=controller", "vlan mode=flood", "vxlan mode=flood"]
    assert columns([samples.vmotion(), samples.vmotion()]) == ["vxlan #1", "vxlan #2"]
    other = replace(samples.vmotion(), lab=replace(samples.vmotion().lab, topology="rack"))
    assert columns([samples.vmotion(), other]) == ["vxlan dual-dc", "vxlan rack"]


def test_the_comparison_reads_without_colour(tmp_path: Path) -> None:
    out = io.StringIO()
    print_comparison(runs(), Console(file=out, width=80))
    outage = next(line for line in out.getvalue().splitlines() if line.startswith("outage, worst"))
    assert outage.split() == ["outage,", "worst", "52.2", "ms", "+", "92.2", "ms", "-", "64.2", "ms"]
    write_comparison(runs(), tmp_path / "compare.html")
    page = (tmp_path / "compare.html").read_text()
    assert "52.2\u00a0ms ▲" in page and "92.2\u00a0ms ▼" in page
    assert render_comparison([]) != ""
