"""A machine that is slow has the same outcome, later; what stands still is given up all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from chimera.deadline import SLOWEST, STEP_S, exceeds, slowness, steps


class Time:
    """A clock that is told how long each step of a wait took."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, waiting: Iterator[float], late: float = 1.0, most: int = 10_000) -> float:
        """Wait to the end, each step taking ``late`` times as long as it should; how long that was."""
        for count, step_s in enumerate(waiting):
            assert count < most, "it waits for ever"
            self.now += step_s * late
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def speed(factor: float) -> Callable[[], float]:
    return lambda: factor


def test_what_stands_still_is_given_up_at_its_limit(time: Time) -> None:
    assert time.wait(steps(3.0, clock=time, slow=speed(1))) == pytest.approx(3.0, abs=0.01)


def test_a_slow_machine_is_waited_for_as_much_longer_as_it_is_slower(time: Time) -> None:
    assert time.wait(steps(3.0, clock=time, slow=speed(10))) == pytest.approx(30.0, abs=0.01)


def test_no_machine_is_waited_for_without_end(time: Time) -> None:
    moments = iter([0.0, 1e6])
    assert slowness(lambda: next(moments)) == SLOWEST
    assert time.wait(steps(3.0, clock=time, slow=speed(SLOWEST))) == pytest.approx(3 * SLOWEST, abs=0.01)


def test_progress_begins_the_wait_anew(time: Time) -> None:
    moved = steps(3.0, progress=lambda: min(time.now, 60.0) // 2.9, clock=time, slow=speed(1))
    assert 60 < time.wait(moved) < 64


def test_time_in_which_the_waiting_process_stood_still_does_not_count(time: Time) -> None:
    """It was stopped, or the machine was: whatever it waits for had no chance to show either."""
    assert time.wait(steps(3.0, clock=time, slow=speed(1)), late=16) == pytest.approx(48.0, abs=0.1)


def test_a_waiter_that_is_woken_for_nothing_does_not_wait_longer(time: Time) -> None:
    assert time.wait(steps(3.0, clock=time, slow=speed(1)), late=0.1) == pytest.approx(3.0, abs=0.01)


def test_the_machine_is_judged_only_when_a_limit_has_passed(time: Time) -> None:
    judged: list[float] = []

    def slow() -> float:
        judged.append(time.now)
        return 2.0

    waiting = steps(1.0, clock=time, slow=slow)
    for _ in range(3):
        time.now += next(waiting)
    assert judged == []
    assert time.wait(waiting) == pytest.approx(2.0, abs=0.01)
    assert judged == [pytest.approx(1.0, abs=0.01), pytest.approx(2.0, abs=0.01)]


def test_a_machine_that_recovers_is_not_waited_for_any_longer(time: Time) -> None:
    factors = iter([5.0, 2.0])
    assert time.wait(steps(1.0, clock=time, slow=lambda: next(factors))) == pytest.approx(5.0, abs=0.01)


def test_no_step_is_longer_than_it_takes_to_notice(time: Time) -> None:
    for step_s in steps(0.3, clock=time, slow=speed(1)):
        assert 0 < step_s <= STEP_S
        time.now += step_s


def test_a_duration_is_judged_by_the_same_measure() -> None:
    assert not exceeds(2.0, 2.0, speed(1))
    assert exceeds(2.1, 2.0, speed(1))
    assert not exceeds(19.0, 2.0, speed(10))
    assert exceeds(21.0, 2.0, speed(10))


def test_this_machine_is_no_faster_than_the_limits_assume() -> None:
    found = [slowness() for _ in range(3)]
    assert all(1.0 <= factor <= SLOWEST for factor in found)
    assert not any(a == b > 1 for a, b in pairwise(found)), "it is measured each time"
