"""Agents in a real lab: the example protocol of the unit tests, over real sockets and links that are cut."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_support import PROJECT, needs_lab
from running_lab import RunningLab, up

pytestmark = needs_lab

OVERLAY = PROJECT / "tests/unit/hello_overlay.py"
PORT, HOLD_S = 4343, 1.0
HYPERVISORS = {"hv1", "hv2", "hv3", "hv4"}  # hv1 and hv2 are at one site, hv3 and hv4 at the other


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with up("dual-dc", "--overlay", str(OVERLAY)) as lab:
        yield lab


def neighbours(lab: RunningLab, node: str) -> set[str]:
    """Whom a node's agent believes to be there."""
    known: set[str] = set()
    for note in lab.json("inspect", node)["agents"]["notes"]:
        (known.add if note["what"] == "found" else known.discard)(note["detail"])
    return known


def events(lab: RunningLab, kind: str) -> list[dict[str, Any]]:
    """Those of a kind, of the stream."""
    every = [json.loads(line) for line in lab("events", "--json").stdout.splitlines()]
    return [event for event in every if event["kind"] == kind]


def eventually(holds: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Whether something comes true; loops ask the lab, which takes its time."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            return False
    return True


def all_found(lab: RunningLab) -> bool:
    return all(neighbours(lab, node) == HYPERVISORS - {node} for node in HYPERVISORS)


def send(lab: RunningLab, source: str, target: str, payload: str) -> None:
    """A datagram to an agent's port, from another program on a hypervisor."""
    code = (
        "import socket,sys; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
        "s.sendto(sys.argv[2].encode(), (sys.argv[1], int(sys.argv[3])))"
    )
    vtep = lab.inspect()["vtep"]
    lab.exec(source, "python3", "-c", code, vtep[target], payload, str(PORT))


def test_hellos_are_real_packets_and_find_everybody(running: RunningLab, tmp_path: Path) -> None:
    assert eventually(lambda: all_found(running))
    captured = tmp_path / "wan.pcapng"
    running("capture", "wan", "--seconds", "1", "--out", str(captured))
    assert b'{"from": "hv1"}' in captured.read_bytes()
    assert b'{"from": "hv4"}' in captured.read_bytes()


def test_a_cut_link_parts_the_sites_and_each_side_notices_by_its_timers(running: RunningLab) -> None:
    assert eventually(lambda: all_found(running))
    running("link", "wan", "cut")
    try:
        assert eventually(lambda: neighbours(running, "hv1") == {"hv2"} and neighbours(running, "hv3") == {"hv4"})
    finally:
        running("link", "wan", "restore")
    assert eventually(lambda: all_found(running))


def test_a_stopped_hypervisors_agent_is_missed_and_returns(running: RunningLab) -> None:
    assert eventually(lambda: all_found(running))
    running("stop", "hv2")
    try:
        assert eventually(lambda: neighbours(running, "hv1") == {"hv3", "hv4"})
        assert running.json("inspect", "hv2")["agents"]["states"] == {"hv2": "stopped"}
    finally:
        running("start", "hv2")
    assert eventually(lambda: all_found(running))


def test_an_agent_that_fails_begins_again_and_takes_nothing_with_it(running: RunningLab) -> None:
    assert eventually(lambda: all_found(running))
    before = running.json("inspect", "hv3")["agents"]["notes"]
    send(running, "hv2", "hv1", json.dumps({"from": "poison"}))

    def begun_again() -> bool:
        found = running.json("inspect", "hv1")["agents"]
        return found["states"] == {"hv1": "running"} and len(found["notes"]) >= 2 * (len(HYPERVISORS) - 1)

    assert eventually(begun_again)  # it has found everybody anew
    after = running.json("inspect", "hv3")["agents"]["notes"]
    assert {note["detail"] for note in after[len(before) :]} <= {"hv1"}  # others it never missed
    assert running.ping("web1", "web4").lost == 0


def received(counters: dict[str, int]) -> dict[str, int]:
    """Without what was not sent: an agent may begin before its node has its routes."""
    return {what: times for what, times in counters.items() if ": not sent: " not in what}


def test_what_is_malformed_is_counted_at_the_node_it_came_to(running: RunningLab) -> None:
    send(running, "hv2", "hv4", "no JSON")
    send(running, "hv2", "hv4", json.dumps({"from": "mallory"}))
    counters = {"hv4: malformed": 1, "hv4: from a stranger": 1}
    assert eventually(lambda: received(running.json("inspect", "hv4")["agents"]["counters"]) == counters)

    def told() -> dict[str, int]:
        """The same from the stream."""
        batches = [event["counts"]["hv4"] for event in events(running, "agents-counted") if "hv4" in event["counts"]]
        return {f"hv4: {what}": times for batch in batches for what, times in batch.items()}

    assert eventually(lambda: received(told()) == counters)


def test_what_agents_do_is_in_the_stream_of_events(running: RunningLab) -> None:
    noted = [event for event in events(running, "agent-noted") if event["node"] == "hv1"]
    assert noted and noted == running.json("inspect", "hv1")["agents"]["notes"][: len(noted)]
    changes = [event for event in events(running, "agent-changed") if event["node"] == "hv1"]
    states = [event["state"] for event in changes if event["state"] != "waiting"]  # for its address, at first
    assert states == ["running", "failed", "running"], "its failure above"
    (failed,) = [event for event in changes if event["state"] == "failed"]
    assert failed["detail"].startswith("RuntimeError: poisoned")
    (refused,) = running.state()["refused"]
    assert refused.startswith("the agent of hv1 failed and begins again: RuntimeError: poisoned")
