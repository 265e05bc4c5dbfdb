"""Whether a machine was fit for a run: what is too much, and what a kernel does not tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
import report_samples as samples

from chimera.measure.fitness import judge
from chimera.model.result import Machine
from chimera.model.samples import CpuTimes, LineTimes

BEFORE = CpuTimes(at=100.0, processors=2, all=500.0, idle=300.0, interrupts=10.0, stolen=1.0, own=50.0, waited=7.0)
# Twenty seconds later: 40 s of two processors, 10 s of them idle, 2 s on packets, 27 s this lab's.
AFTER = CpuTimes(at=120.0, processors=2, all=540.0, idle=310.0, interrupts=12.0, stolen=1.0, own=77.0, waited=17.0)
LINES = LineTimes(1_000, 400, 3.0), LineTimes(21_000, 450, 3.5)  # what was late before the run is not the run's


def judged(
    after: CpuTimes = AFTER, lines: tuple[LineTimes, LineTimes] = LINES, stall_ms: float | None = 1.4,
    before: CpuTimes = BEFORE,
) -> Machine:  # fmt: skip
    moves = [replace(samples.vmotion().migrations[0], machine_stall_ms=stall) for stall in (None, 1.1, stall_ms)]
    return judge(before, lines[0], after, lines[1], moves)


def test_a_lab_may_fill_the_machine_by_itself() -> None:
    found = judged(replace(AFTER, idle=300.0, own=86.5))
    assert (found.busy_percent, found.foreign_percent, found.unfit) == (100.0, 3.75, [])


def test_the_figures_are_those_between_the_two_moments() -> None:
    assert judged() == Machine(
        processors=2, busy_percent=75.0, foreign_percent=2.5, stolen_percent=0.0, waiting_percent=50.0,
        late_percent=0.25, late_max_ms=3.5, stall_ms=1.4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (judged(replace(AFTER, own=69.9)), "other processes used 20 % of its 2 processors"),
        (judged(replace(AFTER, stolen=3.1, idle=307.9)), "its host gave 5 % of its processors to others"),
        (judged(lines=(LINES[0], LineTimes(21_000, 610, 9.0))), "1.1 % of the frames left their delay line more than"),
        (judged(stall_ms=20.1), "it did not run a prober, or who answers it, for 20 ms"),
    ],
)
def test_too_much_of_one_is_enough(found: Machine, says: str) -> None:
    (reason,) = found.unfit
    assert says in reason


@pytest.mark.parametrize(
    "found",
    [
        judged(replace(AFTER, own=70.0)),
        judged(replace(AFTER, stolen=3.0, idle=308.0)),
        judged(lines=(LINES[0], LineTimes(21_000, 600, 9.0))),
        judged(stall_ms=20.0),
    ],
)
def test_as_much_as_is_allowed_is_no_reason(found: Machine) -> None:
    assert found.unfit == []


def test_every_reason_is_given() -> None:
    assert len(judged(replace(AFTER, own=60.0), stall_ms=500.0).unfit) == 2


def test_what_the_kernel_does_not_tell_is_none_and_no_reason() -> None:
    silent = judged(before=AFTER, after=replace(AFTER, waited=None), lines=(LINES[0], LINES[0]), stall_ms=None)
    assert silent == Machine(processors=2, stall_ms=1.1)


def test_without_migrations_nothing_stalled_that_was_looked_at() -> None:
    assert judge(BEFORE, LINES[0], AFTER, LINES[1], []).stall_ms is None
