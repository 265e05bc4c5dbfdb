"""One experiment over several overlays, one after the other, each in a sandbox of its own.

What differs between the runs is the overlay: topology, scenario, settings and the seeds of delay lines (a link's
number) are the same. A run that ends without a result is a column that says why, and the next one starts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from chimera import __version__, output
from chimera.launch import launch
from chimera.model.comparison import Comparison, Run
from chimera.model.errors import InputError, LabError
from chimera.model.result import Result
from chimera.report.columns import Column
from chimera.report.compare import write_comparison
from chimera.report.folders import COMPARISON, write_comparison_json
from chimera.session import Experiment, Progress

PAGE = "compare.html"
_WAITS, _INTERRUPTED = "has not run yet", "not run: the comparison was interrupted"


@dataclass(frozen=True)
class Leg:
    """An overlay to run: its experiment, or why it cannot carry this one (``refusal``)."""

    overlay: str
    options: dict[str, str] = field(default_factory=dict)
    experiment: Experiment | None = None
    refusal: str = ""

    @property
    def name(self) -> str:
        """The overlay and what is set for it: ``mpls wire=gre``."""
        return " ".join([self.overlay, *(f"{key}={value}" for key, value in self.options.items())])

    @property
    def folder(self) -> str:
        """Where its result goes, below ``--out``; overlays' names and settings need no quoting."""
        return self.name.replace(" ", "-")


@dataclass(frozen=True)
class Finished:
    """A leg that has ended: how, with what, and after how many seconds."""

    run: Run
    result: Result | None
    seconds: float

    @property
    def column(self) -> Column:
        """It in the comparison."""
        link = f"{self.run.folder}/report.html" if self.run.folder else ""
        return Column(self.run.name, self.result, self.run.reason, link)


Choice = tuple[str, Mapping[str, str]]  # an overlay, and what is set for it alone
Prepare = Callable[[str, Mapping[str, str]], Experiment]


def legs(choices: Iterable[Choice], prepare: Prepare) -> list[Leg]:
    """Every overlay with its experiment; nothing is started.

    Raises:
        InputError: none of them can run; where all of them say the same, with that.
    """
    found = [_leg(overlay, options, prepare) for overlay, options in choices]
    if not any(leg.experiment for leg in found):
        reasons = {leg.refusal for leg in found}
        raise InputError(reasons.pop() if len(reasons) == 1 else "\n".join(f"{x.name}: {x.refusal}" for x in found))
    return found


def _leg(overlay: str, options: Mapping[str, str], prepare: Prepare) -> Leg:
    try:
        return Leg(overlay, dict(options), prepare(overlay, options))
    except InputError as error:
        return Leg(overlay, dict(options), refusal=str(error))


def tour(
    planned: Sequence[Leg],
    *,
    out: Path | None,
    record_all: bool,
    settings: Mapping[str, str],
    began: Callable[[int, Leg], Progress],
    ended: Callable[[Finished], None],
) -> tuple[Comparison, list[Finished]]:
    """Run every leg and write a folder for each below ``out``, and after each one the comparison of those there are.

    ``began`` is told of every leg that starts and gives what hears of its progress. Whatever interrupts a leg ends
    all; the comparison then says which were not run.
    """
    comparison = _comparison(planned, settings)
    finished: list[Finished] = []
    try:
        for number, leg in enumerate(planned):
            finished.append(_run(leg, out, record_all, began(number, leg)))
            comparison = _with(comparison, planned, finished, _WAITS)
            _write(comparison, finished, out)
            ended(finished[-1])
    except BaseException:
        if finished:
            _write(_with(comparison, planned, finished, _INTERRUPTED), finished, out)
        raise
    return comparison, finished


def _run(leg: Leg, out: Path | None, record_all: bool, progress: Progress) -> Finished:
    begin = time.monotonic()
    blank = Run(leg.name, leg.overlay, leg.options)
    if leg.experiment is None:
        return Finished(replace(blank, outcome="no result", reason=leg.refusal, exit_status=1), None, 0.0)
    try:
        result = launch(leg.experiment, out=out, below=leg.folder, record_all=record_all, progress=progress)
    except LabError as error:
        failed = replace(blank, outcome="no result", reason=str(error), exit_status=error.exit_status)
        return Finished(failed, None, time.monotonic() - begin)
    outcome, status = ("passed", 0) if result.passed else ("failed", 1)
    run = replace(blank, folder=leg.folder if out else "", outcome=outcome, exit_status=status)
    return Finished(run, result, time.monotonic() - begin)


def _comparison(planned: Sequence[Leg], settings: Mapping[str, str]) -> Comparison:
    experiment = next(leg.experiment for leg in planned if leg.experiment)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    scenario = experiment.script.name if experiment.script else ""
    return Comparison(scenario, experiment.topology.name, __version__, started, dict(settings))


def _with(comparison: Comparison, planned: Sequence[Leg], finished: Sequence[Finished], why: str) -> Comparison:
    """The comparison with those that have ended, and a word on those that have not."""
    waiting = [
        Run(leg.name, leg.overlay, leg.options, outcome="not run", reason=why, exit_status=130)
        for leg in planned[len(finished) :]
    ]
    return replace(comparison, runs=[*(each.run for each in finished), *waiting])


def _write(comparison: Comparison, finished: Sequence[Finished], out: Path | None) -> None:
    if out is None:
        return
    columns = [each.column for each in finished]
    columns += [Column(run.name, failure=run.reason, ran=False) for run in comparison.runs[len(finished) :]]
    with output.staged(out, "", f"comparison-{os.getpid()}") as partial:
        assert partial is not None
        with output.refusals(out):
            write_comparison_json(comparison, partial / COMPARISON)
            write_comparison(columns, partial / PAGE)
