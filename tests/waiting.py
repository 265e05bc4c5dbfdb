"""Waiting, in tests, for what happens by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], timeout_s: float = 20, step_s: float = 0.002) -> Any:
    """The first true value of a condition, which is looked at every ``step_s``; fails where there is none in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(step_s)
    return value
