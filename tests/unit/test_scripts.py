"""Scenario scripts: found, loaded, and what is said of one that cannot be."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import report_samples as samples

from chimera import share
from chimera.load import load_topology
from chimera.model.errors import InputError, MigrationAborted
from chimera.model.result import Result
from chimera.model.settings import MIGRATION_SETTINGS
from chimera.model.underlay import Forwarding
from chimera.scenario.lab import Expect
from chimera.scenario.migration import Settings
from chimera.scenario.precopy import Limits
from chimera.scenario.scripts import find_script, migration_settings, scripts
from chimera.underlay.plan import plan


def refusal(folder: Path, text: str) -> str:
    """What is said of a script; paths are written without their folder."""
    (folder / "mine.py").write_text(text)
    with pytest.raises(InputError) as refused:
        find_script(str(folder / "mine.py"))
    return str(refused.value).replace(f"{folder}/", "")


@pytest.mark.parametrize("path", scripts(), ids=lambda p: p.stem)
def test_every_shipped_scenario_loads_and_says_what_it_is(path: Path) -> None:
    script = find_script(path.stem)
    assert script.name == path.stem
    assert script.summary.endswith((".", ":"))
    script.load()


@pytest.mark.parametrize("name", ["mine.py", "mine", "mine.txt"])
def test_a_path_works_where_a_name_does_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('"""Mine."""\nSETTINGS = {"n": 2}\ndef run(lab): ...\n')
    script = find_script(str(tmp_path / name))
    assert (script.name, script.summary, script.defaults) == ("mine", "Mine.", {"n": "2"})


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(InputError) as refused:
        find_script("vmotoin")
    names = ", ".join(p.stem for p in scripts())
    assert str(refused.value) == (
        f"there is no scenario 'vmotoin'\n    allowed: {names}, or a path\n    fix: did you mean 'vmotion'?"
    )


RUN = "def run(lab): ...\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ndef run(lab:\n", "mine.py:2:8: not valid Python: '(' was never closed\n    def run(lab:"),
        ("def run(lab): ...\nreturn 3\n", "mine.py:2:1: not valid Python: 'return' outside function"),
        ("x = '\0'\n", ": not valid Python: "),
        ("(" * 100_000, ": not valid Python: "),
        ("# " + "x" * 500_000, "mine.py:1:1: larger than 500 kB"),
        ("", "mine.py:1:1: this is not a scenario: it defines no run(lab)\n    fix: def run(lab: Lab) -> None: …"),
        ("def f():\n    def run(lab): ...\n", "mine.py:1:1: this is not a scenario"),
        ("\nrun = 3\n", "mine.py:2:7: run is not a function"),
        ("async def run(lab): ...\n", "mine.py:1:1: run is called, not awaited"),
        ("def run(): ...\n", "mine.py:1:1: run is called with 1 argument, and takes 0\n    fix: def run(lab"),
        ("def run(lab, vm): ...\n", "mine.py:1:1: run is called with 1 argument, and takes 2"),
        ("def run(lab, *, vm): ...\n", "mine.py:1:1: run is called with 1 argument, and takes 2"),
        (f"{RUN}def check(result): ...\n", "mine.py:2:1: check is called with 2 arguments, and takes 1"),
        (f"SETTINGS = 3\n{RUN}", "mine.py:1:12: SETTINGS maps names to defaults, written out\n    fix: SETTINGS = {"),
        (f"SETTINGS = dict(vm='')\n{RUN}", "mine.py:1:12: SETTINGS maps names to defaults, written out"),
        (f"N = 3\nSETTINGS = {{'n': N}}\n{RUN}", "mine.py:2:18: SETTINGS is read without running the script"),
        (f"SETTINGS = {{'n': []}}\n{RUN}", "mine.py:1:18: the default of 'n' cannot be written on a command line"),
        (f"SETTINGS = {{3: 4}}\n{RUN}", "mine.py:1:13: the name of a setting must be a text"),
        (f"SETTINGS = {{**{{}}}}\n{RUN}", "the name of a setting must be a text"),
    ],
)
def test_a_bad_script_is_refused_with_file_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "from elsewhere import run",
        "from elsewhere import *",
        "import functools\nrun = functools.partial(print)",
        "def run(lab, vm=None, *rest, pace=3, **more): ...",
        "def run(*lab): ...",
        "try:\n    from elsewhere import run\nexcept ImportError:\n    def run(lab): ...",
        "SETTINGS: dict[str, object] = {'a': '', 'b': 1, 'c': -0.5, 'd': True}\ndef run(lab): ...",
    ],
)
def test_what_only_running_it_would_tell_is_left_to_that(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    find_script(str(tmp_path / "mine.py"))


def test_a_script_that_is_read_is_not_run(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(f'"""Mine."""\nimport pathlib\npathlib.Path({str(tmp_path / "ran")!r}).touch()\n{RUN}')
    assert find_script(str(mine)).summary == "Mine."
    assert {path.name for path in tmp_path.iterdir()} == {"mine.py"}, "and no bytecode is left beside it"
    find_script(str(mine)).load()
    assert {path.name for path in tmp_path.iterdir()} == {"mine.py", "ran"}


RACK = load_topology("rack", [share.folder("topologies")])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"\n\nimport nosuchmodule\n{RUN}",
            "mine.py:3:1: this scenario cannot be loaded: ModuleNotFoundError: No module named 'nosuchmodule'\n"
            "    import nosuchmodule",
        ),
        (
            f"def f():\n    return 1 / 0\n\nf()\n{RUN}",
            "mine.py:2:12: this scenario cannot be loaded: ZeroDivisionError: division by zero\n    return 1 / 0",
        ),
        (f"import sys\nsys.exit(4)\n{RUN}", "mine.py:2:1: this scenario cannot be loaded: SystemExit: 4"),
        (f"import json\n\njson.loads('{{')\n{RUN}", "mine.py:3:1: this scenario cannot be loaded: JSONDecodeError"),
        (f"import os\nos._exit(0)\n{RUN}", "mine.py: this scenario ended its process (os._exit(0))\n    fix: return"),
        (f"{RUN}class Stop(BaseException): ...\nraise Stop(1)", "mine.py:3:1: this scenario cannot be loaded: Stop: 1"),
        ("def f(): return 3\nrun = f()\n", "mine.py:1:1: this is not a scenario: run is not a function"),
        (f"{RUN}def possible(topology, underlay):\n    topology.no", "mine.py:3:5: possible() failed: AttributeError"),
    ],
)
def test_what_fails_before_anything_starts_shows_the_scripts_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    script = find_script(str(tmp_path / "mine.py"))
    with pytest.raises(InputError) as refused:
        script.rehearse(RACK, plan(RACK, Forwarding.ROUTED))
    assert str(refused.value).replace(f"{tmp_path}/", "").startswith(said)


def test_a_rehearsal_prints_nothing_and_leaves_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(f"import sys\nprint('loud')\nsys.modules['left'] = sys\n{RUN}")
    find_script(str(tmp_path / "mine.py")).rehearse(RACK, plan(RACK, Forwarding.ROUTED))
    assert capfd.readouterr() == ("", "")
    assert "left" not in sys.modules


LINES = """
import threading
def run(lab):
    if lab == "exit":
        raise SystemExit(0)
    if lab == "lab":
        raise MigrationAborted("the WAN is down")
    lab.notes[3] = "x"
def check(result, expect):
    assert result, "nothing came out"
from chimera.model.errors import MigrationAborted
"""


@pytest.mark.parametrize(
    ("lab", "said"),
    [
        ("exit", "mine.py:5:9: this scenario failed: SystemExit: 0\n    raise SystemExit(0)"),
        ("", "mine.py:8:5: this scenario failed: AttributeError: 'str' object has no attribute 'notes'\n    lab."),
    ],
)
def test_an_error_while_it_runs_shows_the_scripts_line(tmp_path: Path, lab: Any, said: str) -> None:
    (tmp_path / "mine.py").write_text(LINES)
    script = find_script(str(tmp_path / "mine.py"))
    with pytest.raises(InputError) as refused:
        script.run(lab)
    assert str(refused.value).replace(f"{tmp_path}/", "").startswith(said)
    with pytest.raises(InputError, match=r"mine\.py:10:\d+: check\(\) failed: AssertionError: nothing came out"):
        script.check(cast(Any, None), Expect())


def test_an_error_of_the_lab_says_what_it_has_to_say(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LINES)
    with pytest.raises(MigrationAborted, match=r"^the WAN is down$"):
        find_script(str(tmp_path / "mine.py")).run(cast(Any, "lab"))


def test_an_error_from_inside_the_lab_names_both_places(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from chimera import share\ndef run(lab):\n    share.folder('nowhere')\n")
    with pytest.raises(InputError) as refused:
        find_script(str(tmp_path / "mine.py")).run(cast(Any, None))
    first, line, inside = str(refused.value).splitlines()
    assert "mine.py:3:5: this scenario failed: ValueError: no folder 'nowhere'" in first
    assert line == "    share.folder('nowhere')"
    assert "raised at chimera/share.py:" in inside and "defect of the lab" in inside


def test_a_folder_is_no_scenario(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no scenario"):
        find_script(str(tmp_path))


def test_settings_take_what_is_theirs_and_leave_the_rest(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text('SETTINGS = {"vm": "", "n": "2"}\ndef run(lab): ...\n')
    given = {"n": "5", "mode": "flood"}
    assert find_script(str(tmp_path / "mine.py")).take_settings(given) == {"vm": "", "n": "5"}
    assert given == {"mode": "flood"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"vm": "vm9"}, "vm: 'vm9' is not a valid value\n    allowed: vm1, vm2, vm3, vm4\n    fix: did you mean 'vm"),
        ({"hypervisor": "tor"}, "hypervisor: 'tor' is not a valid value\n    allowed: hv1, hv2"),
        ({"at_once": "many"}, "at_once: 'many' is not a valid value\n    allowed: a whole number, 0 or more"),
        ({"at_once": "-1"}, "at_once: '-1' is not a valid value"),
        ({"after_s": "soon"}, "after_s: 'soon' is not a valid value\n    allowed: a number, 0 or more"),
        ({"after_s": "nan"}, "after_s: 'nan' is not a valid value"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_starts(
    tmp_path: Path, given: dict[str, str], said: str
) -> None:
    settings = 'SETTINGS = {"vm": "", "hypervisor": "", "at_once": 2, "after_s": 0.5, "word": "x"}'
    (tmp_path / "mine.py").write_text(f"{settings}\ndef run(lab): ...\n")
    script, rack = find_script(str(tmp_path / "mine.py")), load_topology("rack", [share.folder("topologies")])
    script.check_settings(script.defaults, rack)
    script.check_settings({**script.defaults, "vm": "vm1", "hypervisor": "hv2", "after_s": "1", "word": "any"}, rack)
    with pytest.raises(InputError) as refused:
        script.check_settings({**script.defaults, **given}, rack)
    assert str(refused.value).startswith(said)


def test_a_scenario_that_cannot_be_on_a_network_says_so_before_anything_starts() -> None:
    script, rack = find_script("core-loop"), load_topology("rack", [share.folder("topologies")])
    with pytest.raises(InputError, match="topology rack has none"):
        script.rehearse(rack, plan(rack, Forwarding.ROUTED))
    find_script("vmotion").rehearse(rack, plan(rack, Forwarding.ROUTED))


# -- how migrations are done -------------------------------------------------------------------


def test_migration_settings_are_taken_from_what_is_given() -> None:
    given = dict(zip(MIGRATION_SETTINGS, ("none", "0", "12.5", "1"), strict=True), vm="web1")
    assert migration_settings(given) == Settings("none", 0.0, Limits(downtime_ms=12.5, max_rounds=1))
    assert given == {"vm": "web1"}
    assert migration_settings({}) == Settings()


def test_an_announcement_that_is_none_names_a_likely_one() -> None:
    with pytest.raises(InputError) as refused:
        migration_settings({"announce": "gap"})
    assert str(refused.value) == (
        "announce: 'gap' is not a valid value\n    allowed: rarp, garp, none\n    fix: did you mean 'garp'?"
    )


def test_a_wild_announcement_gets_no_empty_fix() -> None:
    with pytest.raises(InputError) as refused:
        migration_settings({"announce": "?"})
    assert str(refused.value) == "announce: '?' is not a valid value\n    allowed: rarp, garp, none"


@pytest.mark.parametrize("value", ["", "fast", "-1", "nan", "inf", "1e9", "0x10"])
@pytest.mark.parametrize("name", ["pace_mbps", "downtime_ms", "max_rounds"])
def test_a_number_that_cannot_be_is_refused(name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"{name}: '{value}' is not a valid value\n    allowed: a number, 0 or more"):
        migration_settings({name: value})


def held(result: Result) -> dict[str, bool]:
    """What the scenario vmotion expects of a result, and how it comes out."""
    expect = Expect()
    find_script("vmotion").check(result, expect)
    return {e.name: e.passed for e in expect.found}


def with_first_vantage(**changes: Any) -> Result:
    whole = samples.vmotion()
    first, *others = whole.migrations
    point, *rest = first.vantage_points
    return replace(whole, migrations=[replace(first, vantage_points=[replace(point, **changes), *rest]), *others])


LONGER = "web, hv1 → hv4: peer waits hardly longer than the stun and a WAN round trip"
SHORTER = "web, hv1 → hv4: peer does not wait shorter than the stun"


def test_vmotion_holds_for_a_good_run() -> None:
    assert all(held(samples.vmotion()).values())


@pytest.mark.parametrize(
    ("changes", "fails"),
    [
        ({"network_outage_ms": 120.0}, [LONGER]),
        ({"network_outage_ms": 120.0, "unobserved_ms": 80.0}, []),  # of the machine, and not known to be the network's
        ({"network_outage_ms": 120.0, "unobserved_ms": 40.0}, [LONGER]),
        ({"network_outage_ms": -1.5}, []),  # within what the two intervals allow
        ({"network_outage_ms": -1.6}, [SHORTER]),
        ({"network_outage_ms": None}, [LONGER]),  # what was not measured holds nothing
    ],
)
def test_vmotion_judges_what_the_network_added(changes: dict[str, Any], fails: list[str]) -> None:
    assert [name for name, passed in held(with_first_vantage(**changes)).items() if not passed] == fails
