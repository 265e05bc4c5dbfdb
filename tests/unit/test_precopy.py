"""Pre-copy: rounds get shorter until what is left fits, or there is a reason to stop."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.scenario.precopy import Guest, Limits, dirtied, last_pages_ms, verdict

MB = 1 << 20
LIMITS = Limits(downtime_ms=30, max_rounds=5)


def rounds(guest: Guest, bytes_per_s: float, limits: Limits = LIMITS) -> tuple[list[int], str]:
    """What each round sent, and why there was no further one, on a network of that speed."""
    sent, left = [], guest.memory_bytes
    while True:
        sent.append(left)
        seconds = left / bytes_per_s
        left = dirtied(guest, seconds)
        if reason := verdict(limits, len(sent), sent[-1], seconds, left):
            return sent, reason


def test_each_round_sends_what_the_one_before_left_dirty() -> None:
    sent, reason = rounds(Guest(64 * MB, 10 * MB), 50 * MB)
    assert sent == [64 * MB, pytest.approx(12.8 * MB, abs=1), pytest.approx(2.56 * MB, abs=1)]
    assert reason == "what is left fits into 30 ms"  # 0.512 MB at 50 MB/s are 10 ms


def test_an_idle_guest_needs_one_round() -> None:
    assert rounds(Guest(64 * MB, 0), 50 * MB) == ([64 * MB], "what is left fits into 30 ms")


def test_a_guest_that_outruns_the_network_is_not_chased() -> None:
    sent, reason = rounds(Guest(64 * MB, 60 * MB), 50 * MB)
    assert len(sent) == 1
    assert reason == "the guest writes faster than the network carries"


def test_a_guest_almost_as_fast_as_the_network_ends_at_the_limit_of_rounds() -> None:
    sent, reason = rounds(Guest(64 * MB, 45 * MB), 50 * MB)
    assert len(sent) == 5
    assert reason == "5 rounds are the limit"


def test_a_guest_cannot_dirty_more_than_it_has() -> None:
    assert dirtied(Guest(64 * MB, 1000 * MB), 10) == 64 * MB
    assert dirtied(Guest(64 * MB, 10 * MB), 0.5) == 5 * MB


def test_the_last_pages_take_as_long_as_the_last_round_was_fast() -> None:
    assert last_pages_ms(sent_bytes=50 * MB, seconds=1.0, left_bytes=MB) == pytest.approx(20)
    assert last_pages_ms(sent_bytes=0, seconds=0.0, left_bytes=0) == 0


@pytest.mark.parametrize(("left", "reason"), [(30, "what is left fits into 30 ms"), (31, "")])
def test_the_downtime_that_is_allowed_is_the_line(left: int, reason: str) -> None:
    assert verdict(LIMITS, 1, sent_bytes=1000, seconds=1.0, left_bytes=left) == reason


def test_the_limit_of_rounds_counts_the_one_that_just_ended() -> None:
    assert verdict(LIMITS, 4, 1000, 1.0, 500) == ""
    assert verdict(LIMITS, 5, 1000, 1.0, 500) == "5 rounds are the limit"


@given(st.integers(0, 1 << 40), st.floats(0, 1e12), st.floats(1e3, 1e12), st.integers(1, 50))
def test_it_always_ends_and_rounds_always_shrink(memory: int, dirty: float, speed: float, most: int) -> None:
    sent, _ = rounds(Guest(memory, dirty), speed, Limits(max_rounds=most))
    assert len(sent) <= most
    assert all(b < a for a, b in pairwise(sent))
