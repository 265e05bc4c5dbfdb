"""The experiment the lab exists for, in the ways it can go: what must hold whatever the machine's speed.

``test_vmotion_wires.py`` has the overlays as they are by default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab_support import lab, needs_lab, quick_dual_dc, result

pytestmark = needs_lab

OVERLAYS = {
    "vlan": ("--overlay", "vlan"),
    "flood": ("--overlay", "vxlan", "--set", "mode=flood"),
    "anycast": ("--overlay", "vxlan", "--set", "gateway=anycast"),
}


@pytest.fixture(scope="module", params=OVERLAYS, ids=str)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """One run of vmotion over an overlay: its name, and its result."""
    folder = tmp_path_factory.mktemp(request.param)
    out: Path = folder / "r"
    words = ("--topology", quick_dual_dc(folder), "--quiet", "--out", str(out), *OVERLAYS[request.param])
    done = lab("run", "vmotion", *words, check=False, timeout_s=300)
    assert done.returncode in (0, 1), done.stderr  # 1: slower than expected, which a busy machine may be
    assert (out / "report.html").exists(), done.stderr
    assert (out / "report.html").stat().st_size < 2_000_000
    return request.param, result(out)


def test_both_ways_and_every_user_keeps_the_vm(run: tuple[str, dict[str, Any]]) -> None:
    _, found = run
    assert [(m["source"], m["destination"], m["aborted"]) for m in found["migrations"]] == [
        ("hv1", "hv3", ""),
        ("hv3", "hv1", ""),
    ]
    for move in found["migrations"]:
        assert move["tcp_survived"] is True
        assert move["probes_duplicated"] == 0
        assert {v["relation"] for v in move["vantage_points"]} == {"remote", "neighbour", "client"}
        assert all(v["outage_ms"] > 0 and v["probes_sent"] > 50 for v in move["vantage_points"])


def test_the_stun_is_part_of_every_silence_and_the_rest_has_a_sign(run: tuple[str, dict[str, Any]]) -> None:
    _, found = run
    for move in found["migrations"]:
        assert 0 < move["stun_ms"] < (move["phases"][-1]["end_s"] - move["started_s"]) * 1000
        for seen in move["vantage_points"]:
            assert seen["resolution_ms"] == 1.5
            assert seen["stun_ms"] == move["stun_ms"]
            assert seen["network_outage_ms"] == pytest.approx(seen["outage_ms"] - seen["stun_ms"], abs=0.0011)
            assert seen["network_outage_ms"] >= -seen["resolution_ms"], "nearer or farther, a silence holds its stun"
            assert seen["unobserved_ms"] >= 0 and 0.5 <= seen["machine_stall_ms"] <= move["machine_stall_ms"]
    assert not any("measurement is wrong" in note for note in found["notes"])


def test_the_run_says_what_the_machine_did_meanwhile(run: tuple[str, dict[str, Any]]) -> None:
    machine = run[1]["machine"]
    assert 0 < machine["busy_percent"] <= 100 and 0 <= machine["foreign_percent"] <= machine["busy_percent"]
    assert machine["processors"] >= 1
    assert machine["stall_ms"] == max(m["machine_stall_ms"] for m in run[1]["migrations"])
    if run[1]["lab"]["impairment"] == "delay line":
        assert 0 <= machine["late_percent"] <= 100 and machine["late_max_ms"] > 0


def test_only_learning_switches_misdeliver_and_flood(run: tuple[str, dict[str, Any]]) -> None:
    name, found = run
    if name == "anycast":
        assert [m["misdelivered"] for m in found["migrations"]] == [0, 0]
        assert found["bum"]["broadcast"] == found["bum"]["multicast"] == 0
        assert found["bum"]["unknown_unicast"] < 20, "a slow machine may let a few go where the VM has just been"
    else:
        assert found["bum"]["broadcast"] > 0, "an announcement is a broadcast that crosses the WAN"
        assert any("flooded copies" in note for note in found["notes"]), "what is worse is explained"


def test_the_wire_is_what_the_overlay_says(run: tuple[str, dict[str, Any]]) -> None:
    name, found = run
    expected = (["eth", "vlan"], 4) if name == "vlan" else (["eth", "ip", "udp", "vxlan", "eth"], 50)
    assert (found["wire"]["stack"], found["wire"]["overhead_bytes"]) == expected


def test_a_central_gateway_trombones_and_an_anycast_one_does_not(run: tuple[str, dict[str, Any]]) -> None:
    name, found = run
    paths = {(p["from"], p["when"]): p for p in found["paths"]}
    assert paths["laptop", "before"]["wan_crossings"] == 2
    away = paths["laptop", "at hv3"]
    assert away["wan_crossings"] == (2 if name == "anycast" else 4)
    assert ("gw1" in away["hops"]) is (name != "anycast")
    assert paths["web4", "before"]["wan_crossings"] == 2 and paths["web4", "at hv3"]["wan_crossings"] == 0


def test_impaired_links_give_what_was_asked(run: tuple[str, dict[str, Any]]) -> None:
    _, found = run
    wan = [report for report in found["links"] if report["link"] == "wan"]
    assert {report["direction"] for report in wan} == {"r1->r2", "r2->r1"}
    for report in wan:
        assert report["asked"]["delay_ms"] == 10
        assert 9.9 <= report["got"]["delay_ms"] <= 13
