"""Overlay after overlay, with runs that are made up: what fails, what is written when, and what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples

from chimera import tour
from chimera.chosen import choose_several
from chimera.cli import several
from chimera.model.errors import InputError, MachineError, SessionError
from chimera.model.result import Result
from chimera.report.json import write_json
from chimera.session import Experiment, Progress
from chimera.tour import Finished, Leg

Outcome = Result | BaseException


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Outcome]:
    """What the run of each overlay comes to; good results where the test says nothing else."""
    outcomes: dict[str, Outcome] = {}

    def launch(experiment: Experiment, *, out: Path | None, below: str, record_all: bool, progress: Progress) -> Result:
        name = experiment.overlay.name
        progress(f"running {name}")
        found = outcomes.get(name, samples.over(name))
        if isinstance(found, BaseException):
            raise found
        if out:
            write_json(found, out / below / "result.json")
        return found

    monkeypatch.setattr(tour, "launch", launch)
    return outcomes


def planned(overlays: str = "vlan,vxlan,otv", **settings: str) -> list[Leg]:
    return choose_several("vmotion", "dual-dc", overlays, settings)


def run(legs: list[Leg], out: Path | None = None, **options: bool) -> int:
    given = {"capture": False, "as_json": False, "quiet": False, **options}
    return several.run_several(legs, out=out, settings={}, **given)


def compared(out: Path) -> dict[str, tuple[str, str]]:
    """Outcome and reason by name, as ``compare.json`` has them."""
    return {r["name"]: (r["outcome"], r["reason"]) for r in json.loads((out / "compare.json").read_text())["runs"]}


def test_all_pass(runs: dict[str, Outcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "D"
    assert run(planned(), out) == 0
    assert sorted(p.name for p in out.iterdir()) == ["compare.html", "compare.json", "otv", "vlan", "vxlan"]
    assert set(compared(out).values()) == {("passed", "")}
    said = capsys.readouterr()
    assert said.out.rstrip().endswith(f"comparison: {out}/compare.html")
    heads = [line.partition(" s  ")[2] for line in said.err.splitlines() if "[" in line]
    assert [head.partition(":")[0] for head in heads] == ["[1/3] vlan", "[2/3] vxlan", "[3/3] otv"]
    assert heads[0] == "[1/3] vlan: the first of 3" and "so far, about" in heads[1]
    assert "✓ vxlan: 3 of 3\u00a0expectations hold, network outage at most 13.8\u00a0ms" in said.err
    assert "running" not in said.err, "what goes on within a run is for a terminal"


def test_without_a_folder_there_is_the_table_only(runs: dict[str, Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(planned(), quiet=True) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "overhead a frame" in said.out and "add --out DIR" in said.out


@pytest.mark.parametrize(
    ("failure", "status"),
    [(MachineError("no eBPF", "modprobe x"), 3), (SessionError("it broke"), 1), (samples.aborted(), 1)],
)
def test_one_fails_and_the_others_run(
    runs: dict[str, Outcome], tmp_path: Path, capsys: pytest.CaptureFixture[str], failure: Outcome, status: int
) -> None:
    runs["vxlan"] = failure
    assert run(planned(), tmp_path) == status
    found = compared(tmp_path)
    assert found["vlan"] == found["otv"] == ("passed", "")
    assert found["vxlan"] == (("failed", "") if isinstance(failure, Result) else ("no result", str(failure)))
    assert (tmp_path / "vxlan" / "result.json").exists() is isinstance(failure, Result)
    assert "✗ vxlan" in capsys.readouterr().out
    assert ("vxlan/report.html" in (tmp_path / "compare.html").read_text()) is isinstance(failure, Result)


def test_what_the_machine_lacks_counts_only_where_nothing_else_is_wrong(runs: dict[str, Outcome]) -> None:
    runs |= {"vlan": MachineError("no eBPF"), "vxlan": SessionError("it broke")}
    assert run(planned(), quiet=True) == 1
    runs |= {"vxlan": MachineError("no eBPF"), "otv": MachineError("no eBPF")}
    assert run(planned(), quiet=True) == 3


def test_an_overlay_that_cannot_run_this_is_not_started(runs: dict[str, Outcome], tmp_path: Path) -> None:
    assert run(planned("vxlan,vxlan:mode=flood", gateway="anycast"), tmp_path) == 1
    assert "gateway=anycast needs mode=controller" in compared(tmp_path)["vxlan mode=flood"][1]


def test_reasons_that_differ_are_all_said() -> None:
    def prepare(overlay: str, options: Any) -> Experiment:
        raise InputError(f"no {overlay}")

    with pytest.raises(InputError, match=r"^a: no a\nb: no b$"):
        tour.legs([("a", {}), ("b", {})], prepare)


def test_interrupted_it_says_what_is_complete(
    runs: dict[str, Outcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs["vxlan"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(planned(), tmp_path)
    assert compared(tmp_path) == {
        "vlan": ("passed", ""),
        "vxlan": ("not run", "not run: the comparison was interrupted"),
        "otv": ("not run", "not run: the comparison was interrupted"),
    }
    assert f"1 of 3 overlays had run (vlan); what is complete is in {tmp_path}" in capsys.readouterr().err
    assert "interrupted" in (tmp_path / "compare.html").read_text()


def test_interrupted_in_the_first_nothing_is_written(runs: dict[str, Outcome], tmp_path: Path) -> None:
    runs["vlan"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(planned(), tmp_path / "D")
    assert not (tmp_path / "D").exists()


def test_the_page_is_there_as_soon_as_there_is_something_on_it(runs: dict[str, Outcome], tmp_path: Path) -> None:
    seen: list[dict[str, tuple[str, str]]] = []

    def ended(finished: Finished) -> None:
        seen.append(compared(tmp_path))

    tour.tour(
        planned(), out=tmp_path, record_all=False, settings={}, began=lambda n, leg: lambda text: None, ended=ended
    )
    assert seen[0] == {"vlan": ("passed", ""), **dict.fromkeys(("vxlan", "otv"), ("not run", "has not run yet"))}
    assert seen[2]["otv"] == ("passed", "")


def test_json_is_one_object_of_results_by_overlay(runs: dict[str, Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    runs["vxlan"] = MachineError("no eBPF")
    assert run(planned(), as_json=True, quiet=True) == 3
    printed = json.loads(capsys.readouterr().out)
    assert list(printed["results"]) == ["vlan", "otv"]
    assert printed["results"]["otv"]["wire"]["overhead_bytes"] == 50
    assert [r["exit_status"] for r in printed["comparison"]["runs"]] == [0, 3, 0]


def test_what_is_to_come_is_estimated_from_what_ran() -> None:
    legs, now = planned("vlan,vxlan,otv,vxlan:mode=flood", gateway="anycast"), 0.0
    watch = several.Watch(legs, True, lambda: now)
    watch.ended(Finished(samples_run("vlan"), samples.over("vlan"), 40.0))
    now = 41.0
    assert watch.times() == "41 s so far, about 1 min 20 s to go", "two to run, and one that cannot"


def samples_run(name: str) -> Any:
    return tour.Run(name, name)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (48, "48 s"), (59.7, "1 min 0 s"), (200, "3 min 20 s")])
def test_durations(seconds: float, text: str) -> None:
    assert several.duration(seconds) == text
