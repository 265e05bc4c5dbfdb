"""The stream of events of real labs: a run's file agrees with its result, and a lab that is up tells as it happens."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_support import ENVIRONMENT, LAB, PROJECT, lab, needs_lab, quick_dual_dc, result
from running_lab import RunningLab, up

pytestmark = needs_lab

Event = dict[str, Any]


def written(folder: Path) -> list[Event]:
    """A run's events."""
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def of_kind(events: list[Event], kind: str, **fields: Any) -> list[Event]:
    """Those of a kind that have these values."""
    return [e for e in events if e["kind"] == kind and all(e[name] == value for name, value in fields.items())]


# -- a run ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A move to the other data centre and back, over an overlay whose control plane advertises hosts, too."""
    folder = tmp_path_factory.mktemp("events")
    lab("run", "vmotion", "--topology", quick_dual_dc(folder), "--overlay", "vxlan", "--out", str(folder / "r"))
    return folder / "r"


@pytest.mark.smoke
def test_a_runs_events_have_their_order_and_the_results_times(run: Path) -> None:
    events, found = written(run), result(run)
    assert [e["cursor"] for e in events] == [*range(1, len(events) + 1)]
    (origin,) = of_kind(events, "lab-up")
    assert origin["up_s"] == found["timing"]["up_s"] and origin["topology"] == found["lab"]["topology"]
    since = lambda t: pytest.approx(t - origin["t"], abs=1e-4)  # noqa: E731
    assert len(found["migrations"]) == 2
    for number, move in enumerate(found["migrations"], start=1):
        mine = [e for e in events if e.get("migration") == number]
        assert {e["vm"] for e in mine} == {move["vm"]}
        started, *between, ended = mine
        assert (started["kind"], ended["kind"], ended["aborted"]) == ("migration-started", "migration-ended", "")
        assert (started["source"], started["destination"], ended["at"]) == (
            move["source"], move["destination"], move["destination"],
        )  # fmt: skip
        assert move["started_s"] == since(started["t"])
        phases = of_kind(between, "migration-phase")
        copied = [f"precopy {round_['number']}" for round_ in move["rounds"]]
        assert [p["phase"] for p in phases] == ["reserve", *copied, "stun", "move", "resume", "announce"]
        assert all(p["completed"] for p in phases)
        times = [t for p in phases for t in (p["start"], p["t"])]
        assert times == sorted(times) and started["t"] <= times[0] and times[-1] <= ended["t"]
        shown = [(p["name"], p["start_s"], p["end_s"]) for p in move["phases"]]
        assert shown == [(p["phase"], since(p["start"]), since(p["t"])) for p in phases]
        rounds = of_kind(between, "precopy-round")
        names = ("number", "megabytes", "seconds", "mbps")
        assert [[r[n] for n in names] for r in rounds] == [[r[n] for n in names] for r in move["rounds"]]
        located = of_kind(events, "interface-located", interface=move["vm"], node=move["destination"])
        assert any(started["t"] <= e["t"] <= ended["t"] for e in located), (
            "by the control plane, before it was announced"
        )


def test_and_agree_with_everything_else_in_it(run: Path) -> None:
    events, found = written(run), result(run)
    checks = [(e["name"], e["passed"], e["detail"]) for e in of_kind(events, "checked")]
    assert checks == [(e["name"], e["passed"], e["detail"]) for e in found["expectations"]] != []
    assert {e["of"]: e["values"] for e in of_kind(events, "counters")} == found["state"]
    (origin,) = of_kind(events, "lab-up")
    batches = of_kind(events, "control-messages")
    near = sorted((round(m[0] - origin["t"], 5), *m[1:]) for batch in batches for m in batch["near"])
    shown = sorted((m["t_s"], m["type"], m["node"], m["bytes"]) for m in found["control"]["marks"])
    assert len(shown) > 5 and [m for m in shown if m not in near] == []
    for kind, count in found["control"]["messages"].items():
        told = sum(by_type.get(kind, 0) for batch in batches for by_type in batch["counts"].values())
        assert count <= told <= count + 50, f"{kind}: what came after the result was made is told, too"
    captures = of_kind(events, "capture-started"), of_kind(events, "capture-ended")
    assert [e["what"] for e in captures[0]] and len(captures[0]) == len(captures[1])
    assert lab("events", str(run), "--json").stdout == (run / "events.jsonl").read_text()


def test_an_aborted_migration_and_what_aborted_it(tmp_path: Path) -> None:
    topology = tmp_path / "dual-dc.yaml"
    topology.write_text((PROJECT / "topologies" / "dual-dc.yaml").read_text())
    lab("run", "wan-cut", "--topology", str(topology), "--quiet", "--out", str(tmp_path / "r"))
    events, found = written(tmp_path / "r"), result(tmp_path / "r")
    (move,), (ended,) = found["migrations"], of_kind(events, "migration-ended")
    assert ended["aborted"] == move["aborted"] != "" and ended["at"] == move["source"]
    assert [p["phase"] for p in of_kind(events, "migration-phase", completed=False)] == ["precopy 1"]
    cut, restored = of_kind(events, "link-changed")
    assert (cut["state"], restored["state"]) == ("cut", "restored") and cut["t"] < ended["t"] < restored["t"]
    (origin,) = of_kind(events, "lab-up")
    marks = {m["text"]: m["t_s"] for m in found["marks"]}
    assert marks["link wan cut"] == pytest.approx(cut["t"] - origin["t"], abs=1e-4)


# -- a lab that is up ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rack() -> Iterator[RunningLab]:
    with up("rack") as running:
        yield running


def since(running: RunningLab, cursor: int) -> list[Event]:
    done = running("events", "--json", "--since", str(cursor))
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_done_to_a_lab_is_told(rack: RunningLab) -> None:
    before = rack.state()["cursor"]
    source = rack.whereabouts("vm1")
    destination = "hv2" if source == "hv1" else "hv1"
    rack("migrate", "vm1", destination)
    rack("link", "hv1--tor", "cut")
    rack("link", "hv1--tor", "restore")
    rack("stop", "hv2")
    rack("start", "hv2")
    rack("stop", "controller")
    rack("start", "controller")
    rack("capture", "hv1--tor", "--seconds", "0.1", "--out", "/dev/null")
    done = ("migration-started", "migration-ended", "link-changed", "node-changed", "service-changed")
    done += ("capture-started", "capture-ended")
    every = since(rack, before)
    told = [e for e in every if e["kind"] in done and e.get("service", "agents") in ("", "agents")]
    said = [(e["kind"], e.get("state") or e.get("at") or e.get("destination")) for e in told]
    assert said == [
        ("migration-started", destination), ("migration-ended", destination),
        ("link-changed", "cut"), ("link-changed", "restored"),
        ("node-changed", "stopped"), ("node-changed", "started"),
        ("service-changed", "ended"), ("service-changed", "started"), ("service-changed", "ready"),
        ("capture-started", None), ("capture-ended", None),
    ]  # fmt: skip
    services = {"ovsdb-server", "ovs-vswitchd"}  # without power they end, with it they start
    for state in ("ended", "started", "ready"):
        assert {e["service"] for e in of_kind(every, "service-changed", node="hv2", state=state)} == services
    where = {e["interface"]: e["node"] for e in since(rack, 0) if e["kind"] == "interface-located"}
    assert where["vm1"] == rack.whereabouts("vm1")
    shown = rack("events", "--since", str(before)).stdout
    assert f"migrating vm1: {source} → {destination}\n" in shown and "link hv1--tor cut\n" in shown
    rack("migrate", "vm1", source)


def test_a_controller_that_ends_by_itself_is_told(rack: RunningLab) -> None:
    before = rack.state()["cursor"]
    rack.exec("hv1", "kill", "-9", rack.exec("hv1", "pgrep", "-n", "-f", "[-]m controllers").strip())
    rack("start", "controller")
    changes = of_kind(since(rack, before), "service-changed", node="", service="agents")
    assert [e["state"] for e in changes] == ["failed", "started", "ready"]
    assert changes[0]["detail"] == "killed by SIGKILL"


def test_events_come_as_they_happen_and_end_with_the_lab() -> None:
    with up("dual-dc") as running:
        following = subprocess.Popen(
            [*LAB, "events", "-l", running.name, "--follow", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=ENVIRONMENT, cwd=PROJECT,
        )  # fmt: skip
        assert following.stdout
        try:
            running("link", "wan", "set", "--delay", "40", "--direction", "forward")
            events = (json.loads(line) for line in following.stdout)
            changed = next(event for event in events if event["kind"] == "link-changed")
            assert (changed["link"], changed["state"]) == ("wan", "changed")
            assert changed["forward"] == {**changed["backward"], "delay_ms": 40}
            lab("down", running.name)
            _, err = following.communicate(timeout=20)
        finally:
            following.kill()
            following.wait()
        assert (following.returncode, err) == (0, "")
