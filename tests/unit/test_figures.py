"""Conditions of lab files, held against figures of a result."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.model.result import Bum, LabInfo, Migration, NodeState, PathReport, Result, Timing
from chimera.scenario.figures import holds

MOVE = Migration("web1", "hv1", "hv3", 0.0, 1.0, 40.0, 60.5, 20.5, 900, 5, 0, 0, True)
RESULT = Result(
    LabInfo("vmotion", "dual-dc", "vxlan", "userspace", "1"),
    Timing(2.0, 9.0, 0.1),
    migrations=[MOVE, replace(MOVE, outage_ms=70.0, network_outage_ms=30.0)],
    paths=[PathReport("web4", "web1", "before", 20.1, 2.0)],
    bum=Bum(wan_frames=12),
    state={"hv1": NodeState(flows=40), "hv2": NodeState(flows=50)},
)


@pytest.mark.parametrize(
    ("figure", "condition", "passed", "detail"),
    [
        ("timing.up_s", "<= 2", True, "2.0"),
        ("timing.up_s", "< 2", False, "2.0"),
        ("timing.up_s", "> 1.5", True, "2.0"),
        ("timing.up_s", ">= 2.5", False, "2.0"),
        ("bum.wan_frames", "!= 12", False, "12"),
        ("bum.wan_frames", "== 12", True, "12"),
        ("migrations.network_outage_ms", "<= 30", True, "20.5, 30.0"),
        ("migrations.network_outage_ms", "<= 29", False, "20.5, 30.0"),  # one of two does not hold
        ("migrations.tcp_survived", "== true", True, "True, True"),
        ("migrations.tcp_survived", "== false", False, "True, True"),
        ("migrations.probes_duplicated", "== false", True, "0, 0"),
        ("paths.wan_crossings", "== 2", True, "2.0"),
        ("state.hv1.flows", "< 50", True, "40"),
    ],
)
def test_a_condition_is_about_every_value_of_a_figure(figure: str, condition: str, passed: bool, detail: str) -> None:
    assert holds(RESULT, figure, condition) == (passed, detail)


@pytest.mark.parametrize("condition", ["== 0", "!= 0", "< 1e9", "== false"])
@pytest.mark.parametrize("figure", ["migrations.outage", "state.hv9.flows", "links.got.delay_ms", "bum.wan_frames.x"])
def test_a_figure_that_is_not_there_meets_no_condition(figure: str, condition: str) -> None:
    assert holds(RESULT, figure, condition) == (False, "not measured")


@pytest.mark.parametrize("condition", ["<= 30", "== false", "!= true"])
def test_a_figure_that_was_not_measured_meets_no_condition(condition: str) -> None:
    unmeasured = replace(RESULT, migrations=[MOVE, replace(MOVE, outage_ms=None, tcp_survived=None)])
    assert not holds(unmeasured, "migrations.outage_ms", condition)[0]
    assert not holds(unmeasured, "migrations.tcp_survived", condition)[0]
    assert holds(unmeasured, "migrations.tcp_survived", condition)[1] == "True, None"


def test_text_is_no_figure() -> None:
    assert not holds(RESULT, "migrations.vm", "!= 0")[0]
