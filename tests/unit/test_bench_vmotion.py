"""What ``lab bench vmotion`` makes of several results."""

from __future__ import annotations

from dataclasses import replace

import pytest
import report_samples as samples
from click.testing import CliRunner

from chimera.bench import vmotion as bench
from chimera.bench.vmotion import Row, rows
from chimera.cli import common, lab
from chimera.model.result import Result


def adding(first: float | None, resolution: float | None = 1.5) -> Result:
    """A run whose first vantage point noticed that the network added so much, with its sign."""
    whole = samples.vmotion()
    move, *others = whole.migrations
    point, *rest = move.vantage_points
    point = replace(point, network_outage_ms=first, resolution_ms=resolution)
    return replace(whole, migrations=[replace(move, vantage_points=[point, *rest]), *others])


def first(*results: Result) -> Row:
    return rows("vxlan", list(results))[0]


def test_network_outages_keep_their_sign_and_their_spread() -> None:
    found = first(adding(-0.9), adding(0.4), adding(7.2))
    assert (found.vantage, found.least_ms, found.network_outage_ms, found.worst_ms) == ("peer", -0.9, 0.4, 7.2)
    assert (found.resolution_ms, found.machine_stall_ms, found.runs, found.unfit) == (1.5, 1.1, 3, 0)
    assert not found.wrong and not found.failed


def test_one_run_below_what_its_measurement_allows_is_wrong() -> None:
    found = first(adding(-1.6), adding(0.4), adding(7.2))
    assert found.wrong and found.failed and found.faults == ["a measurement is wrong or missing"]


def test_the_table_fits_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [replace(row, overlay="fabricpath", unfit=1) for row in rows("vxlan", [adding(-1234.5), adding(1234.5)])]
    monkeypatch.setattr(common, "need_root", lambda: None)
    monkeypatch.setattr(bench, "vmotion", lambda runs, experiments, progress: found)
    done = CliRunner(env={"COLUMNS": "80"}).invoke(lab, ["bench", "vmotion", "--runs", "2"])
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert max(map(len, lines[: 1 + len(found)])) <= 80 and "…" not in lines[1].replace(" … ", " ")
    assert "-1234.5 … +1234.5 1.5" in lines[1]
    assert "fabricpath, 1: web, hv1 → hv4, peer: a measurement is wrong or missing" in lines
    assert "the machine was too busy during 1 of 2 runs of fabricpath" in lines


def test_what_was_not_measured_is_no_figure() -> None:
    found = first(adding(None, None))
    assert (found.network_outage_ms, found.least_ms, found.worst_ms) == (None, None, None)
    assert found.wrong and found.failed
    assert first(adding(None, None), adding(3.0)).network_outage_ms == 3.0


def test_runs_on_a_busy_machine_are_counted() -> None:
    assert first(samples.busy(adding(1.0)), adding(2.0)).unfit == 1


def test_a_migration_that_was_given_up_has_no_part_in_it_and_fails() -> None:
    found = first(adding(3.0), samples.aborted())
    assert (found.network_outage_ms, found.tcp_survived, found.runs) == (3.0, 1, 2)
    assert found.failed
