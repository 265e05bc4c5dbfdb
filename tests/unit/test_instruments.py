"""The instruments of a run where a recording program does not do what it should."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from underlays import shipped

from chimera.events import Stream
from chimera.measure.instruments import Instruments
from chimera.model.errors import DeadlineError, SessionError
from chimera.model.underlay import Forwarding
from chimera.underlay.plan import plan


@pytest.mark.parametrize("error", [SessionError("capture failed: disk full"), DeadlineError("capture did not end")])
def test_what_one_recorder_fails_to_do_costs_its_own_figures_alone(error: Exception) -> None:
    def stop() -> Any:
        raise error

    dual, stream = shipped("dual-dc"), Stream()
    made = Instruments(dual, plan(dual, Forwarding.ROUTED), Path("/nonexistent"), dict, tell=stream.tell)
    bad: Any = SimpleNamespace(files={"wan": Path("/nonexistent/wan")}, stop=stop)
    good: Any = SimpleNamespace(files={"wan": Path("/nonexistent/all")}, stop=list)
    made.captures, made.recordings = bad.files, good.files
    made._running = [("The first", bad), ("The second", good)]
    made.finish()
    assert (made.captures, made.recordings) == ({}, good.files)
    assert made.losses == [f"The first is missing, and so is what is measured by it: {error}"]
    assert [event.text for event in stream.read()] == [f"The first failed: {error}", "The second ended: 0 frames"]
    assert not made._ended(bad, "What web1 noticed is missing")
    assert made.losses[1:] == [f"What web1 noticed is missing: {error}"]
