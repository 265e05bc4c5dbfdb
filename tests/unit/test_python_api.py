"""``import chimera``: what is public, what is refused before anything starts, and pages that say what is there."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import chimera
from chimera.lab import Lab
from chimera.model.errors import InputError, MachineError, SessionError
from chimera.model.settings import MIGRATION_SETTINGS, TOPOLOGY_SETTINGS
from chimera.net import netns
from chimera.scenario import lab as scenario
from chimera.scenario import reference
from chimera.scenario.reading import read_script
from chimera.session import prepare

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
RACK = {
    "name": "mine",
    "switches": {"tor": {}},
    "hypervisors": {"hv[1-2]": {"uplink": "tor"}},
    "vms": {"vm1": {"hypervisor": "hv1"}, "vm2": {"hypervisor": "hv2"}},
}


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*words: object, **options: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(netns, "start", start)


# -- the package -------------------------------------------------------------------------------


def test_what_is_public_is_there_and_nothing_else() -> None:
    for name in chimera.__all__:
        assert getattr(chimera, name).__name__ == name and name in dir(chimera)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = chimera.nothing  # type: ignore[attr-defined]
    assert (PROJECT / "chimera" / "py.typed").is_file()


def test_the_command_line_loads_none_of_it() -> None:
    code = "import sys, chimera.cli; print([m for m in sys.modules if m in ('chimera.lab', 'mininet', 'msgspec')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert done.stdout == "[]\n"


def test_every_verb_of_a_scenario_is_one_of_a_lab_with_its_words() -> None:
    verbs = {n: v for n, v in vars(scenario.Lab).items() if inspect.isfunction(v) and not n.startswith("_")}
    assert len(verbs) > 20
    for name, verb in verbs.items():
        here = getattr(Lab, name)
        assert inspect.signature(here) == inspect.signature(verb), name
        assert here.__doc__, name
        assert here is not verb or name in ("vm", "wait", "wan_links"), f"{name} would run here and not in the lab"


# -- topologies --------------------------------------------------------------------------------


def test_a_topology_may_be_named_written_or_built(tmp_path: Path) -> None:
    text = (PROJECT / "topologies/rack.yaml").read_text()
    (tmp_path / "rack.yaml").write_text(text.replace("name: rack", "name: mine"))
    assert chimera.topology("dual-dc").name == "dual-dc"
    assert chimera.topology(tmp_path / "rack.yaml").name == chimera.topology(str(tmp_path / "rack.yaml")).name == "mine"
    assert chimera.topology(text) == chimera.topology("rack")
    assert chimera.topology(RACK) == chimera.topology(**RACK)
    assert [h.name for h in chimera.topology(RACK).hypervisors] == ["hv1", "hv2"]


def test_what_is_wrong_in_a_topology_is_said_as_of_a_file() -> None:
    with pytest.raises(InputError, match=r"topology\(\):\d+:\d+: vms\.vm1\.hypervisor: .*\n.*\n?.*hv1, hv2"):
        chimera.topology({**RACK, "vms": {"vm1": {"hypervisor": "hv7"}}})
    with pytest.raises(InputError, match="did you mean 'dual-dc'"):
        chimera.topology("dual-cd")
    with pytest.raises(InputError, match="not both"):
        chimera.topology("rack", vms={})
    with pytest.raises(InputError, match="not JSON serializable\n    allowed: texts, numbers"):
        chimera.topology({**RACK, "vms": {"vm1": object()}})


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (("dual-cd", "vxlan"), {}),
        (("rack", "vxlam"), {}),
        (("rack", "vxlan"), {"mode": "flod"}),
        (("rack", "vxlan"), {"mod": "flood"}),
        (("rack", "vxlan"), {"underlay_mtu": "9"}),
        (("rack", "vxlan"), {"announce": "loudly"}),
    ],
)
def test_wrong_words_are_refused_with_the_command_lines_text(words: tuple[str, str], settings: dict[str, str]) -> None:
    with pytest.raises(InputError) as there:
        prepare(*words, settings=settings)
    with pytest.raises(InputError) as here:
        chimera.Lab(*words, **settings)  # type: ignore[arg-type]
    assert str(here.value) == str(there.value)


def test_settings_are_python_values() -> None:
    lab = chimera.Lab("rack", "mpls", control_word=False, underlay_mtu=1700, pace_mbps=12.5)
    assert lab._experiment.options["control_word"] == "off" and lab._experiment.underlay.mtu == 1700
    assert lab.migration.pace_mbps == 12.5
    with pytest.raises(InputError, match="announce: None is not a valid value\n    allowed: a text, a number"):
        chimera.Lab("rack", announce=None)


def test_a_lab_that_is_not_up_says_so() -> None:
    lab = chimera.Lab("rack")
    assert not lab.running and repr(lab) == "<Lab rack over vxlan, not up>"
    for act in (lambda: lab.migrate("vm1", "hv2"), lab.result, lambda: lab.net, lambda: lab.watch("vm1").__enter__()):
        with pytest.raises(SessionError, match="the lab is not up\n    fix: use it as 'with"):
            act()
    assert lab.vm("vm1").name == "vm1" and lab.topology.name == "rack"
    with pytest.raises(InputError, match="no VM 'vm9'\n    allowed: vm1"):
        lab.vm("vm9")
    with pytest.raises(AttributeError, match="in the lab's own process"):
        _ = lab.network
    lab.down()
    assert lab in {lab}


def test_without_root_it_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["mine.py"])
    with pytest.raises(MachineError, match=rf"starting a lab needs root\n  to fix: sudo {sys.executable} mine.py"):
        chimera.Lab("rack").up()
    with pytest.raises(MachineError), chimera.Lab("rack"):
        raise AssertionError("the block was entered")


def test_a_run_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="capture needs a folder"):
        chimera.run("vmotion", capture=True)
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(InputError, match="is there already: a result is not replaced"):
        chimera.run("vmotion", out=tmp_path)
    with pytest.raises(InputError, match="is not a valid value"):
        chimera.run("vmotion", vm=["web1"])


# -- pages -------------------------------------------------------------------------------------


def test_the_page_on_scenarios_has_every_verb_as_its_docstring_is() -> None:
    """``python -m chimera.scenario.reference`` writes it anew."""
    text = (DOCS / "scenarios.md").read_text()
    assert reference.renewed(text) == text
    for name, item in vars(scenario.Lab).items():
        if not name.startswith("_") and (inspect.isfunction(item) or isinstance(item, property)):
            assert re.search(rf"\*\*`(with )?lab\.{name}\b", text), name
    assert ":meth:" not in text and "``" not in text.replace("```", "")


def test_a_page_without_a_place_for_them_is_no_page() -> None:
    with pytest.raises(ValueError, match="the verbs, from their docstrings"):
        reference.renewed("# Scenarios\n")


def test_the_page_on_scenarios_shows_one_that_is_one(tmp_path: Path) -> None:
    text = (DOCS / "scenarios.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    found = read_script(tmp_path / "mine.py")
    assert found.summary in code and found.settings.keys() == {"vm", "pause_s"}
    for setting in (*MIGRATION_SETTINGS, *TOPOLOGY_SETTINGS):
        assert f"| `{setting}` |" in text


def test_the_page_on_python_names_all_that_is_public() -> None:
    text = (DOCS / "python.md").read_text()
    for name in ("Lab", "run", "topology", "InputError", "MachineError", "LabError", "MigrationAborted"):
        assert name in text, name
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        compile(code, "docs/python.md", "exec")
