"""Nothing that a scenario or a guided lab expects is unable to fail.

For each there is a result that meets it, results that do not, and results in which nothing was measured: those meet
nothing.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import report_samples as samples
from msgspec import structs

from chimera.chosen import labs
from chimera.load import LabFile
from chimera.model.result import Bum, Entropy, Expectation, Loop, Migration, Result
from chimera.scenario import Expect
from chimera.scenario.figures import holds
from chimera.scenario.scripts import find_script, scripts


def moved(result: Result, **changes: Any) -> Result:
    """The result with every migration changed, its vantage points as far as they have such figures."""
    moves = []
    for move in result.migrations:
        seen = [replace(v, **{k: w for k, w in changes.items() if hasattr(v, k)}) for v in move.vantage_points]
        moves.append(replace(move, **{"vantage_points": seen, **changes}))
    return replace(result, migrations=moves)


BARE = samples.bare()
DONE = replace(
    samples.vmotion(), bum=Bum(5, 0, 0, 5, 0), paths=[p for p in samples.paths() if (p.wan_crossings or 0) <= 2]
)
OTHER = Migration("app", "hv1", "hv2", 3.0, 0.4, 31.0, None, None, None, None, None, None, None)  # nobody probed it
LEFT = replace(DONE, migrations=[DONE.migrations[0], OTHER])
STAYED = replace(samples.aborted(), paths=[])
CIRCLED = Loop("r1", "r1-r2", "hv1", "hop count", 31, 200, 30.0, 31, 200, 0, 900, 0, True)
LOOPED = replace(BARE, loops=[CIRCLED])
SPREAD = replace(BARE, entropy=Entropy("peer", "web", 100, 2, 2, {"spine1": 53, "spine2": 47}))

GOOD = {"vmotion": DONE, "evacuate": LEFT, "wan-cut": STAYED, "core-loop": LOOPED, "entropy": SPREAD}

UNKNOWN: dict[str, Any] = dict.fromkeys(("probes_sent", "probes_lost", "probes_duplicated", "misdelivered", "leaked"))


def unlooped(**changes: Any) -> Result:
    return replace(BARE, loops=[replace(CIRCLED, **changes)])


def spread(*by_path: int) -> Result:
    counted = {f"spine{n}": flows for n, flows in enumerate(by_path, 1)}
    return replace(BARE, entropy=Entropy("peer", "web", 100, 2, len(counted) or None, counted))


NOTHING_MEASURED = {
    "vmotion": [BARE, moved(BARE), moved(DONE, vantage_points=[], tcp_survived=None, **UNKNOWN)],
    "evacuate": [BARE, replace(LEFT, migrations=[OTHER, OTHER])],
    "wan-cut": [BARE],
    "core-loop": [BARE, unlooped(frames=0, crossings_median=None, crossings_most=None, started_at=None, limit="")],
    "entropy": [BARE, spread()],
}
WRONG = {
    "vmotion": [
        moved(DONE, tcp_survived=False), moved(DONE, probes_duplicated=1), moved(DONE, misdelivered=2),
        moved(DONE, leaked=1),
        moved(DONE, network_outage_ms=900.0), moved(DONE, network_outage_ms=-9.0, resolution_ms=2.0),
        moved(DONE, aborted="no room", stun_ms=0.0),
        replace(DONE, wire=replace(DONE.wire, overhead_bytes=54)), replace(DONE, bum=Bum(9, 9, 0, 0, 0)),
        replace(DONE, paths=[structs.replace(p, wan_crossings=4.0) for p in DONE.paths]),
    ],
    "evacuate": [
        moved(LEFT, aborted="no room"), moved(LEFT, probes_duplicated=1), moved(LEFT, tcp_survived=False),
    ],
    "wan-cut": [
        moved(STAYED, aborted=""), moved(STAYED, stun_ms=12.0), moved(STAYED, probes_duplicated=1),
        moved(STAYED, misdelivered=1),
    ],
    "core-loop": [
        unlooped(crossings_median=1.0, crossings_most=1), unlooped(crossings_most=90), unlooped(bystanders_lost=3),
        unlooped(reachable_after=False),
    ],
    "entropy": [spread(100), spread(99)],
}  # fmt: skip


def checked(name: str, result: Result) -> list[Expectation]:
    """What a scenario says of a result."""
    expect = Expect()
    find_script(name).check(result, expect)
    return expect.found


def claims(found: list[Expectation]) -> set[str]:
    """What was expected, without whom or which way it was about."""
    return {re.sub(r"^.*?: |\b(web|app|peer|client|hv\d)\b", "", e.name) for e in found}


def test_there_are_samples_for_every_scenario() -> None:
    assert GOOD.keys() == WRONG.keys() == NOTHING_MEASURED.keys() == {path.stem for path in scripts()}


@pytest.mark.parametrize("name", GOOD)
def test_every_claim_of_a_scenario_can_fail(name: str) -> None:
    met = checked(name, GOOD[name])
    assert met and [e for e in met if not e.passed] == []
    refuted = [e for result in (*WRONG[name], *NOTHING_MEASURED[name]) for e in checked(name, result) if not e.passed]
    assert claims(met) <= claims(refuted)


@pytest.mark.parametrize("name", GOOD)
def test_a_scenario_that_measured_nothing_does_not_pass(name: str) -> None:
    for result in NOTHING_MEASURED[name]:
        found = checked(name, result)
        assert [e for e in found if not e.passed], found


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.name)
def test_every_expectation_of_a_guided_lab_can_fail(lab: LabFile) -> None:
    assert lab.expect
    for figure, condition in lab.expect.items():
        assert holds(GOOD[lab.scenario], figure, condition)[0], figure
        assert not all(holds(result, figure, condition)[0] for result in WRONG[lab.scenario]), figure


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.name)
def test_what_was_not_measured_meets_no_expectation_of_a_guided_lab(lab: LabFile) -> None:
    for figure, condition in lab.expect.items():
        assert not holds(BARE, figure, condition)[0], figure
    for result in NOTHING_MEASURED[lab.scenario]:
        assert not all(holds(result, figure, condition)[0] for figure, condition in lab.expect.items())
