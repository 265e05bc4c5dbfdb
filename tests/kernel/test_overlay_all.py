"""``lab run SCENARIO --overlay …`` over several overlays, on real packets: what runs, what cannot, what crashes."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from lab_support import lab, needs_lab, result, start
from wire_labs import needs_translators

from chimera.overlay import registry

pytestmark = needs_lab

BRIEF = '''
"""One move; and where the physical switch is a bridge, which is over vlan, whatever the test puts here."""

from chimera.scenario import Expect, Lab, Result


def run(lab: Lab) -> None:
    vm = lab.mobile_vm()
    if "tor" in lab.network.switches:
        {over_vlan}
    with lab.tcp_session(vm), lab.watch(vm):
        lab.paths("before")
        lab.migrate(vm, to=lab.hypervisor_elsewhere(vm))


def check(result: Result, expect: Expect) -> None:
    expect("moved", not result.migrations[0].aborted)
'''


def scenario(folder: Path, over_vlan: str = "pass") -> str:
    path = folder / "brief.py"
    path.write_text(BRIEF.format(over_vlan=over_vlan))
    return str(path)


def outcomes(out: Path) -> dict[str, str]:
    """Outcome by name, as ``compare.json`` has them."""
    runs: list[dict[str, Any]] = json.loads((out / "compare.json").read_text())["runs"]
    return {run["name"]: run["outcome"] for run in runs}


def test_two_overlays_pass_beside_each_other(tmp_path: Path) -> None:
    out = tmp_path / "D"
    done = lab("run", scenario(tmp_path), "-t", "rack", "--overlay", "vlan,vxlan", "--json", "--out", str(out))
    printed = json.loads(done.stdout)
    assert {name: found["wire"]["overhead_bytes"] for name, found in printed["results"].items()} == {
        "vlan": 4, "vxlan": 50,
    }  # fmt: skip
    assert printed["results"]["vxlan"] == result(out / "vxlan")
    assert sorted(p.name for p in out.iterdir()) == ["compare.html", "compare.json", "vlan", "vxlan"]
    assert "[2/2] vxlan" in done.stderr and "✓ vlan: 1 of 1" in done.stderr
    first, second = (result(out / name) for name in ("vlan", "vxlan"))
    assert first["map"] == second["map"] and first["lab"]["scenario"] == second["lab"]["scenario"] == "brief"


@needs_translators
def test_all_overlays_have_a_folder_each_and_a_page_together(tmp_path: Path) -> None:
    out = tmp_path / "D"
    lab("run", scenario(tmp_path), "-t", "rack", "--overlay", "all", "--out", str(out), timeout_s=300)
    assert outcomes(out) == dict.fromkeys(registry.OVERLAYS, "passed")
    assert {p.name for p in out.iterdir() if p.is_dir()} == registry.OVERLAYS.keys()
    assert (out / "compare.html").stat().st_size > 10_000


def test_a_crash_and_a_refusal_leave_the_others_running(tmp_path: Path) -> None:
    out = tmp_path / "D"
    path = scenario(tmp_path, "raise RuntimeError('no bridges, please')")
    words = ("--overlay", "vlan,vxlan,vxlan:mode=flood", "--set", "gateway=anycast", "--out", str(out))
    done = lab("run", path, "-t", "rack", *words, check=False)
    assert done.returncode == 1, done.stderr
    assert outcomes(out) == {"vlan": "no result", "vxlan": "passed", "vxlan mode=flood": "no result"}
    assert sorted(p.name for p in out.iterdir()) == ["compare.html", "compare.json", "vxlan"]
    assert "✗ vlan: " in done.stdout and "RuntimeError: no bridges, please" in done.stdout
    assert "✗ vxlan mode=flood: overlay vxlan: gateway=anycast needs mode=controller" in done.stdout
    assert "brief.py" in done.stderr, "a crash shows where"
    page = (out / "compare.html").read_text()
    assert "RuntimeError: no bridges, please" in page and 'href="vxlan/report.html"' in page

    again = lab("compare", str(out), "--out", str(tmp_path / "again.html"))
    assert "✗ vlan: " in again.stdout and "RuntimeError: no bridges, please" in again.stdout
    assert 'href="D/vxlan/report.html"' in (tmp_path / "again.html").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_keeps_what_is_complete(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "D"
    path = scenario(tmp_path, "lab.wait(100)")
    process = start("run", path, "-t", "rack", "--overlay", "vxlan,vlan,vxlan:mode=flood", "--out", str(out))
    assert process.stdout
    said = []
    for line in process.stdout:
        said.append(line)
        if "[2/3] vlan" in line:
            process.send_signal(number)
            break
    rest, _ = process.communicate(timeout=20)
    assert process.returncode == 130, "".join(said) + rest
    assert "1 of 3 overlays had run (vxlan)" in rest
    assert outcomes(out) == {"vxlan": "passed", "vlan": "not run", "vxlan mode=flood": "not run"}
    assert result(out / "vxlan")["migrations"]
    assert not [p for p in tmp_path.rglob("*") if "partial" in p.name]
