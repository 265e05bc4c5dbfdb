"""What a lab file expects: which figures there are, and what holds of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import report_samples as samples
from click.testing import CliRunner

from chimera.chosen import labs
from chimera.cli.files import validate
from chimera.load import LabFile
from chimera.model.errors import InputError
from chimera.model.figures import refusal
from chimera.model.result import Bum, LabInfo, NodeState, PathReport, Result, Timing
from chimera.scenario.figures import holds
from chimera.scenario.scripts import find_script
from chimera.session import prepare


@pytest.mark.parametrize(
    "figure",
    ["migrations.tcp_survived", "migrations.vantage_points.outage_ms", "paths.wan_crossings", "bum.wan_frames",
     "wire.overhead_bytes", "control.messages.FLOW_MOD", "state.hv1.flows", "timing.up_s", "links.got.delay_ms"],
)  # fmt: skip
def test_figures_there_are(figure: str) -> None:
    assert refusal(figure) is None


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        ("migrations.tcp_survied", "did you mean 'tcp_survived'?"),
        ("network_outage_ms", "lab, timing, links, migrations"),
        ("timing.up_s.more", "nothing below it"),
        ("migrations.vm", "figure 'migrations.vm' is not a number"),
        ("bum", "figure 'bum' is not a number"),
        ("state.hv1.flow", "did you mean 'flows'?"),
        ("paths.hops.more", "nothing below it"),
        ("", "no figure ''"),
    ],
)
def test_figures_there_are_not(figure: str, said: str) -> None:
    assert said in "\n".join(refusal(figure) or ())


RESULT = Result(
    LabInfo("s", "t", "o", "userspace", "0"),
    Timing(1, 2, 3),
    paths=[PathReport("a", "b", "before", 10.0, 2.0), PathReport("a", "c", "after", None, 4.0)],
    bum=Bum(wan_frames=None, broadcast=3),
    state={"hv1": NodeState(flows=7)},
)


@pytest.mark.parametrize(
    ("figure", "condition", "passed", "values"),
    [
        ("paths.wan_crossings", "<= 4", True, "2.0, 4.0"),
        ("paths.wan_crossings", "<= 2", False, "2.0, 4.0"),  # of every element
        ("paths.rtt_ms", ">= 0", False, "10.0, None"),  # not measured: meets nothing
        ("bum.wan_frames", "== 0", False, "None"),
        ("bum.broadcast", "!= 0", True, "3"),
        ("state.hv1.flows", "> 6", True, "7"),
        ("state.hv2.flows", ">= 0", False, "not measured"),
        ("migrations.stun_ms", "== 0", False, "not measured"),  # there were none
        ("machine.stall_ms", "<= 20", False, "not measured"),
    ],
)
def test_a_condition_holds_of_all_values_or_not_at_all(figure: str, condition: str, passed: bool, values: str) -> None:
    assert holds(RESULT, figure, condition) == (passed, values)


def test_what_the_machine_did_can_be_expected() -> None:
    whole = samples.busy(samples.vmotion())
    for figure in ("migrations.machine_stall_ms", "migrations.vantage_points.machine_stall_ms", "machine.stall_ms"):
        assert refusal(figure) is None
        assert holds(whole, figure, "<= 20")[0] and not holds(whole, figure, "<= 1")[0]
    assert refusal("migrations.vantage_points.unobserved_ms") is None
    assert holds(whole, "machine.foreign_percent", "<= 20") == (False, "61.0")


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.name)
def test_the_guided_labs_could_run(lab: LabFile) -> None:
    prepare(lab.topology, lab.overlay, scenario=lab.scenario, settings=lab.set, expectations=lab.expect)
    assert find_script(lab.scenario).summary and lab.description
    guide = (lab.path.parent / "guide.md").read_text()
    assert f"lab run {lab.name} " in guide and "## Questions" in guide


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("overlay: vxlam", "did you mean 'vxlan'?"),
        ("scenario: vmotio", "did you mean 'vmotion'?"),
        ("topology: racks", "did you mean 'rack'?"),
        ("set: {mode: flod}", "did you mean 'flood'?"),
        ("set: {vm: web1}", "vm: 'web1' is not a valid value"),
        ("expect: {migrations.stun: 0}", "did you mean 'stun_ms'?"),
    ],
)
def test_a_lab_is_valid_only_where_it_could_run(tmp_path: Path, line: str, said: str) -> None:
    keys = {"title": "Mine", "topology": "rack", "overlay": "vxlan", "scenario": "vmotion"}
    name, _, value = line.partition(": ")
    file = tmp_path / "lab.yaml"
    file.write_text("".join(f"{k}: {v}\n" for k, v in keys.items()))
    assert CliRunner().invoke(validate, [str(file)]).output == f"{file}: lab 'Mine' is valid\n"
    file.write_text("".join(f"{k}: {v}\n" for k, v in {**keys, name: value}.items()))
    with pytest.raises(InputError) as refused:
        CliRunner().invoke(validate, [str(file)], catch_exceptions=False)
    assert said in str(refused.value)


def test_there_are_guided_labs() -> None:
    assert len(labs()) >= 4
