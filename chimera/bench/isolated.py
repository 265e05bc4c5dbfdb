"""Run a measurement in a sandbox of its own and hear its figures."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Mapping
from typing import Any

from chimera.model.errors import SessionError
from chimera.net import rundir, sandbox


def isolated(name: str, measure: Callable[[Callable[[Mapping[str, Any]], None]], None]) -> tuple[dict[str, Any], float]:
    """Run ``measure(tell)`` as the first process of a sandbox; what it tells, and the seconds to end it all.

    The sandbox is killed once ``tell`` was called and has been heard; that, until nothing is left, is the time.

    Raises:
        SessionError: it ended without telling anything; it has printed why.
    """
    run_dir = rundir.claim(f"bench-{name}-{os.getpid()}")
    reading, writing = os.pipe()

    def tell(figures: Mapping[str, Any]) -> None:
        os.write(writing, json.dumps(figures).encode() + b"\n")
        select.select([], [], [], 60)  # until we are ended

    def session() -> int:
        measure(tell)
        return 0

    try:
        child = sandbox.launch(run_dir, session)
        os.close(writing)
        try:
            with os.fdopen(reading) as told:
                line = told.readline()
        finally:
            begin = time.monotonic()
            child.kill()
            child.wait()
            stop_s = time.monotonic() - begin
    finally:
        run_dir.remove()
    if not line:
        raise SessionError(f"the measurement {name} failed")
    return json.loads(line), stop_s
