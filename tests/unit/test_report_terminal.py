"""Results in a terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import report_samples as samples
from rich.console import Console

from chimera.model.result import Result
from chimera.report import figures
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
                  "client external client", "14\u00a0BUM frames", "10 → 10.2", "the trombone costs"):  # fmt: skip
        assert words in text


def test_what_was_expected_is_said_before_any_table() -> None:
    text = printed(samples.vmotion())
    assert text.index("\nExpectations") < text.index("\nMigration 1") < text.index("\nLinks: configured and measured")


def test_what_failed_is_marked_without_colour() -> None:
    text = printed(samples.aborted())
    assert "✗ the WAN is back" in text
    assert "rolled back: link r1-r2 was cut" in text


def test_a_run_on_a_busy_machine_says_so_before_any_figure() -> None:
    text = printed(samples.busy(samples.vmotion()))
    assert text.index("! The machine was too busy for this run: other processes used 61 %") < text.index("Migration 1")
    assert "too busy" not in printed(samples.vmotion())


def test_the_machine_and_its_stalls_are_there() -> None:
    text = printed(samples.vmotion(), 120)
    assert "machine stall 1.1\u00a0ms" in text and "network ±1.5" in text
    assert "2\u00a0processors 71\u00a0% busy · 2.4\u00a0% by others · 0.2\u00a0% of delayed frames late" in text


def test_a_silence_shorter_than_the_stun_is_marked() -> None:
    text = printed(samples.impossible(samples.vmotion()), 120)
    assert text.count("−8.4\u00a0ms ✗") == 1


def test_brackets_in_names_are_text() -> None:
    result = replace(samples.bare(), notes=["[bold]loud[/bold] [/]"])
    assert "[bold]loud[/bold] [/]" in printed(result)
