"""``lab run`` from nothing to a result, on real packets: the scenarios that come with the lab, briefly."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab_support import ENVIRONMENT, LAB, PROJECT, lab, needs_lab, result

pytestmark = needs_lab


@pytest.mark.smoke
def test_vmotion_prints_one_json_document_and_writes_it(tmp_path: Path) -> None:
    done = lab("run", "vmotion", "--topology", "rack", "--json", "--out", str(tmp_path / "r"))
    printed = json.loads(done.stdout)
    assert printed == result(tmp_path / "r")
    assert [m["aborted"] for m in printed["migrations"]] == ["", ""]
    for move in printed["migrations"]:
        assert move["tcp_survived"] is True
        assert move["probes_duplicated"] == 0 and move["misdelivered"] == 0
        assert move["probes_sent"] > 100 and move["stun_ms"] > 0
    assert printed["wire"]["stack"][:5] == ["eth", "ip", "udp", "vxlan", "eth"]
    assert printed["wire"]["overhead_bytes"] == 50
    assert all(e["passed"] for e in printed["expectations"])
    page = (tmp_path / "r" / "report.html").read_text()
    assert page.startswith("<!") and len(page) < 2_000_000


def test_wan_cut_leaves_the_vm_where_it_was(tmp_path: Path) -> None:
    lab("run", "wan-cut", "--quiet", "--out", str(tmp_path / "r"))
    found = result(tmp_path / "r")
    (move,) = found["migrations"]
    assert move["aborted"] and move["stun_ms"] == 0
    assert any(f"runs at {move['source']}" in note for note in found["notes"])
    assert 0 < move["precopy_s"] < 60 and [r["number"] for r in move["rounds"]] == [1]
    assert 0 < move["rounds"][0]["megabytes"] < 64, "what had arrived when the WAN failed"
    assert {v["relation"] for v in move["vantage_points"]} == {"remote", "neighbour", "client"}
    remote, neighbour = (next(v for v in move["vantage_points"] if v["relation"] == r) for r in ("remote", "neighbour"))
    assert remote["outage_ms"] > 1000, "it is beyond the WAN"
    assert move["outage_ms"] >= remote["outage_ms"] > neighbour["outage_ms"]
    said = [mark["text"] for mark in found["marks"]]
    assert [text for text in said if "link wan" in text] == ["link wan cut", "link wan restored"]


@contextmanager
def busy_machine(longest_s: int = 60) -> Iterator[None]:
    """Twice as many endless loops as there are processors, for as long as the block runs."""
    loops = [
        subprocess.Popen(["timeout", str(longest_s), "sh", "-c", "while :; do :; done"])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.terminate()
            loop.wait()


def test_a_run_on_a_busy_machine_says_so(tmp_path: Path) -> None:
    topology = tmp_path / "rack.yaml"
    text = (PROJECT / "topologies" / "rack.yaml").read_text()
    topology.write_text(text.replace("{hypervisor: hv1}", "{hypervisor: hv1, memory: 8 MB}"))
    with busy_machine():
        done = lab("run", "evacuate", "--topology", str(topology), "--out", str(tmp_path / "r"), check=False)
    assert done.returncode in (0, 1), done.stderr
    machine = result(tmp_path / "r")["machine"]
    assert machine["foreign_percent"] > 20
    assert any(f"other processes used {machine['foreign_percent']:.0f} %" in reason for reason in machine["unfit"])
    assert "! The machine was too busy for this run: " in done.stdout
    assert "The machine was too busy for this run: " in (tmp_path / "r" / "report.html").read_text()


def test_evacuate_empties_a_hypervisor(tmp_path: Path) -> None:
    lab("run", "evacuate", "--topology", "rack", "--quiet", "--out", str(tmp_path / "r"))
    found = result(tmp_path / "r")
    assert sorted(m["vm"] for m in found["migrations"]) == ["vm1", "vm2"]
    assert all(m["destination"] == "hv2" and not m["aborted"] for m in found["migrations"])
    assert any("0 remain" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("vmotion", "--set", "mod=flood"), ["unknown setting", "mod"]),
        (("vmotion", "--set", "mode=flod"), ["did you mean 'flood'?"]),
        (("vmotion", "--set", "vm"), ["KEY=VALUE"]),
        (("vmotion", "--set", "vm=web9", "--topology", "rack"), ["vm: 'web9' is not a valid value", "vm1, vm2"]),
        (("evacuate", "--set", "at_once=many"), ["at_once", "many"]),
        (("evacuate", "--set", "hypervisor=hv9"), ["hv9"]),
        (("wan-cut", "--set", "after_s=soon"), ["after_s", "soon"]),
        (("vmotio",), ["did you mean 'vmotion'?"]),
        (("vmotion", "--overlay", "vxlam"), ["did you mean 'vxlan'?"]),
        (("vmotion", "--topology", "dual-cd"), ["did you mean 'dual-dc'?"]),
        (("vmotion", "--capture"), ["--out"]),
    ],
)
def test_wrong_input_starts_nothing(tmp_path: Path, words: tuple[str, ...], says: list[str]) -> None:
    done = lab("run", *words, check=False, timeout_s=60)
    assert done.returncode == 2, done.stderr
    assert all(text in done.stderr for text in says), done.stderr
    assert "up in" not in done.stderr and "Traceback" not in done.stderr and done.stdout == ""


ODD = """
name: odd
switches: {tor: {}}
hypervisors: {all: {}, mgmt: {}}
gateways: {default: {}}
tenants: {red: {segments: {web: {gateway: auto}}}}
vms:
  from: {hypervisor: all, memory: 1 MB}
  dev: {hypervisor: mgmt}
  to: {hypervisor: mgmt}
  eth1: {hypervisor: mgmt}
"""
LOOK = """
from chimera.model.ports import INTERFACES
from chimera.net import netns

def run(lab):
    lab.paths("now")
    for node in ("all", "mgmt", "default"):
        links = netns.run(node, ["ip", "-o", "link"]).splitlines()
        found = {line.split(": ")[1].partition("@")[0] for line in links}
        legs = {name for name in found if name[0] == "g" and name[1:].isdigit()}
        lab.note(f"{node}: {sorted(found - INTERFACES.keys() - legs)}")
"""


def test_names_that_are_not_reserved_work_and_those_that_hypervisors_use_are(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(ODD)
    (tmp_path / "look.py").write_text(LOOK)
    lab("run", str(tmp_path / "look.py"), "-q", "-t", str(tmp_path / "odd.yaml"), "--out", str(tmp_path / "r"))
    found = result(tmp_path / "r")
    assert [n for n in found["notes"] if n.startswith(("all:", "mgmt:", "default:"))] == [
        "all: ['from']", "mgmt: ['dev', 'eth1', 'to']", "default: []",
    ]  # fmt: skip
    assert found["state"].keys() >= {"all", "mgmt", "default"}
    assert all({"from", "to"} <= path.keys() for path in found["paths"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lab.nowhere", "mine.py:2:5: this scenario failed: AttributeError: 'Lab' object has no attribute 'nowhere'"),
        ("raise SystemExit(0)", "mine.py:2:5: this scenario failed: SystemExit: 0\n    raise SystemExit(0)"),
        ("import os; os._exit(0)", "the scenario ended the lab's own process (os._exit(0))"),
    ],
)
def test_what_fails_in_a_scenario_is_said_in_few_words(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(f"def run(lab):\n    {line}\n")
    done = lab("run", str(tmp_path / "mine.py"), "-q", "-t", "rack", "--out", str(tmp_path / "r"), check=False)
    assert done.returncode == 2
    assert said in done.stderr and len(done.stderr.splitlines()) <= 3
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("megabytes", [40, 90, 130, 300, 500])
def test_with_too_few_addresses_nothing_starts(megabytes: int) -> None:
    limit = f'ulimit -v {megabytes << 10} && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", limit, "sh", *LAB, "run", "vmotion", "-q", "-t", "rack"],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=60, cwd=PROJECT,
    )  # fmt: skip
    assert done.returncode == 3
    assert "ulimit -v unlimited" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(not shutil.which("tshark"), reason="not installed: tshark")
def test_captures_are_one_readable_file_per_link(tmp_path: Path) -> None:
    lab("run", "evacuate", "--topology", "rack", "--quiet", "--capture", "--out", str(tmp_path / "r"))
    found = result(tmp_path / "r")
    files = sorted((tmp_path / "r" / "captures").iterdir())
    assert [f.name for f in files] == ["hv1--tor.pcapng", "hv2--tor.pcapng"]
    assert sorted(found["captures"]) == [f"captures/{f.name}" for f in files]
    for file in files:
        argv = ["tshark", "-r", str(file), "-T", "fields", "-e", "frame.protocols", "-e", "_ws.malformed"]
        lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
        assert not [line for line in lines if line.split("\t")[1]]
        assert len([line for line in lines if ":udp:vxlan:eth:" in line]) > 100
