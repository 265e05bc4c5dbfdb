"""Run a measurement in a sandbox of its own and hear its figures."""

from __future__ import annotations

import itertools
import json
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from chimera.model.errors import SessionError
from chimera.net import rundir, sandbox

Answer = Callable[[str], Mapping[str, Any]]
_numbers = itertools.count(1)


def isolated(name: str, measure: Callable[[Callable[[Mapping[str, Any]], None]], None]) -> tuple[dict[str, Any], float]:
    """Run ``measure(tell)`` as the first process of a sandbox; what it tells, and the seconds to end it all.

    The sandbox is killed once ``tell`` was called and has been heard; that, until nothing is left, is the time.

    Raises:
        SessionError: it ended without telling anything; it has printed why.
    """
    run_dir = rundir.claim(f"bench-{name}-{os.getpid()}", rundir.BENCH)
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


@contextmanager
def standing(build: Callable[[], Answer]) -> Iterator[Callable[[str], dict[str, Any]]]:
    """A sandbox that stands as long as the block runs, and what to ask it.

    ``build`` runs in it first and returns what answers, a line of text each time. Asking raises SessionError where the
    sandbox has ended; it has printed why.
    """
    run_dir = rundir.claim(f"bench-{os.getpid()}-{next(_numbers)}", rundir.BENCH)
    (asked, asking), (told, telling) = os.pipe(), os.pipe()

    def session() -> int:
        answer = build()
        os.write(telling, b"{}\n")
        with os.fdopen(asked) as questions:
            for line in questions:
                os.write(telling, json.dumps(answer(line.strip())).encode() + b"\n")
        return 0

    try:
        child = sandbox.launch(run_dir, session)
        os.close(asked)
        os.close(telling)
        try:
            with os.fdopen(told) as answers, os.fdopen(asking, "w") as questions:

                def heard(what: str) -> dict[str, Any]:
                    line = answers.readline()
                    if not line:
                        raise SessionError(f"a measurement ended {what}")
                    return dict(json.loads(line))

                def ask(what: str) -> dict[str, Any]:
                    print(what, file=questions, flush=True)
                    return heard(f"at '{what}'")

                heard("before it began")
                yield ask
        finally:
            child.kill()
            child.wait()
    finally:
        run_dir.remove()
