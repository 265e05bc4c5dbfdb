"""The launcher's side of a run: a sandbox from its start to its end, and what came out of it into a folder."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from chimera import output, session
from chimera.model.codec import from_json, to_json
from chimera.model.errors import InputError, LabError, SessionError
from chimera.model.result import Result
from chimera.net import rundir, sandbox
from chimera.net.sandbox import Child
from chimera.report.folders import EVENTS, REPORT, RESULT
from chimera.report.html import write_html
from chimera.report.json import write_json
from chimera.session import Experiment, Progress

CAPTURES = "captures"
_numbers = itertools.count(1)
_BY_SIGNAL = 128  # statuses from here on: what a signal ended


def launch(
    experiment: Experiment, *, out: Path | None, below: str = "", record_all: bool, progress: Progress
) -> Result:
    """Run an experiment in a sandbox of its own and write ``result.json``, ``report.html``, ``events.jsonl``, captures.

    They go to ``out/below``, where they are given: ``out`` as the user named it, ``below`` without following links.

    Raises:
        LabError: it ended without a result; the error says why, as far as the session could, and has its exit status.
    """
    assert experiment.script is not None
    session.need_machine(experiment)
    run_dir = rundir.claim(f"run-{os.getpid()}-{next(_numbers)}", rundir.RUN)
    handover = run_dir.path / "result.json"
    reason = run_dir.path / "why"
    shown = out / below if out else Path()
    try:
        run_dir.describe(out=str(shown.absolute()) if out else None, scenario=experiment.script.name)
        with output.staged(out, below, run_dir.name) as partial:
            child = sandbox.launch(
                run_dir,
                lambda: _with_reason(
                    reason, lambda: _inside(experiment, handover, partial, shown, record_all, progress)
                ),
            )
            status = _wait(child)
            if not handover.exists():
                raise _failure(status, reason)
            down_s = time.time() - handover.stat().st_mtime
            result = from_json(handover.read_bytes(), Result)
            result = replace(result, timing=replace(result.timing, down_s=round(down_s, 3)))
            if partial:
                with output.refusals(shown):
                    write_json(result, partial / RESULT)
                    write_html(result, partial / REPORT)
        return result
    finally:
        run_dir.remove()


class Failed(SessionError):
    """The session ended without a result; where it could not say why, what it printed does."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why or f"the run ended without a result, with status {status}")
        self.exit_status = status


def _failure(status: int, reason: Path) -> Failed:
    """Why there is no result: the session's own word, or what it means that it left none."""
    why = reason.read_text(errors="replace") if reason.exists() else None
    if why == "" and status < _BY_SIGNAL:  # its code began, and the process was ended from within
        return Failed(InputError.exit_status, f"the scenario ended the lab's own process (os._exit({status}))")
    return Failed(status or SessionError.exit_status, why or "")


def _wait(child: Child) -> int:
    """Wait for the session; whatever interrupts that, ends it."""
    try:
        return child.wait()
    except BaseException:
        child.kill()
        child.wait()
        raise


def _with_reason(reason: Path, session: Callable[[], int]) -> int:
    """Run ``session``; why it failed goes to the launcher, who tells the user (of a defect, the traceback does).

    Nothing is there until the session's own code runs; then an empty text, until it has something to say.
    """
    reason.touch()
    try:
        return session()
    except LabError as error:
        reason.write_text(str(error), errors="replace")
        return error.exit_status
    except Exception as error:
        reason.write_text(f"{type(error).__name__}: {error}", errors="replace")
        raise


def _inside(
    experiment: Experiment, handover: Path, partial: Path | None, shown: Path, record_all: bool, progress: Progress
) -> int:
    """What the first process of the sandbox does; ``shown`` is what ``partial`` will be."""
    result, instruments = session.run(experiment, progress=progress, record_all=record_all)
    if partial and instruments.recordings:
        with output.refusals(shown / CAPTURES):
            (partial / CAPTURES).mkdir()
            for name, path in instruments.recordings.items():
                shutil.copyfile(path, partial / CAPTURES / f"{name}.pcapng")
        result = replace(result, captures=[f"{CAPTURES}/{name}.pcapng" for name in instruments.recordings])
    if partial:
        with output.refusals(shown):
            shutil.copyfile(session.WORK / EVENTS, partial / EVENTS)
    handover.write_bytes(to_json(result))
    return 0
