"""What the native tools print, as figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chimera.measure.links import link_reports
from chimera.measure.listen import misdelivered, read_heard
from chimera.measure.sessions import read_session
from chimera.model.samples import Window
from chimera.model.topology import Impairment, Link, Port

LINK = Link("wan", Port("r1", "eth0"), Port("r2", "eth0"), Impairment(100, 10, 2, 1), Impairment(delay_ms=5))


def direction(**changed: Any) -> dict[str, Any]:
    known = {"sent": 200, "received": 198, "loss_percent": 1.0, "delay_ms": 10.4, "jitter_ms": 1.1}
    known |= {"delay_p5_ms": 8.2, "delay_p50_ms": 10.1, "delay_p95_ms": 11.8, "bandwidth_mbps": 99.0}
    return known | {"limited_by_sender": False} | changed


def output(forward: dict[str, Any], backward: dict[str, Any]) -> str:
    return json.dumps({"links": [{"a": "n:eth0", "b": "m:eth0", "forward": forward, "backward": backward}]})


def test_asked_and_got_stand_side_by_side() -> None:
    there, back = link_reports(output(direction(), direction(limited_by_sender=True)), [LINK])
    assert (there.direction, back.direction) == ("r1->r2", "r2->r1")
    assert there.asked == {"delay_ms": 10, "jitter_ms": 2, "loss_percent": 1, "bandwidth_mbps": 100}
    assert there.got == {"delay_ms": 10.1, "jitter_ms": 2.0, "loss_percent": 1.0, "bandwidth_mbps": 99.0}
    assert back.asked == {"delay_ms": 5}
    assert back.got["bandwidth_mbps"] is None
    assert "not measured" in back.how and "not measured" not in there.how


def test_a_direction_in_which_nothing_arrived_has_no_delay() -> None:
    dead = {"sent": 200, "received": 0, "loss_percent": 100.0, "delay_ms": None, "jitter_ms": None}
    _, back = link_reports(output(direction(), dead | {"bandwidth_mbps": None, "limited_by_sender": False}), [LINK])
    assert back.got == {"delay_ms": None, "jitter_ms": None, "loss_percent": 100.0, "bandwidth_mbps": None}


@pytest.mark.parametrize("text", ["", "{}", '{"links": [{}]}', '{"links": []}', "[]"])
def test_other_output_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"linkprobe|Expecting|zip|shorter"):
        link_reports(text, [LINK])


def test_strays_count_in_the_window_and_for_the_flow(tmp_path: Path) -> None:
    stray = {"flow": 7, "sequence": 1, "direction": 0, "destination": "02:00:00:00:00:0b"}
    port = {"namespace": "n", "interface": "eth0", "owner": "10.0.0.1", "broadcast": 1, "multicast": 2, "unicast": 3}
    port |= {"dropped": 0, "probes": [], "stray_count": 3}
    strays = [stray | {"time_ns": t * 10**9, "flow": flow} for t, flow in ((1, 7), (2, 7), (2, 8))]
    path = tmp_path / "heard.json"
    path.write_text(json.dumps({"interfaces": [port | {"strays": strays}]}))
    ports = read_heard(path)
    assert misdelivered(ports, Window(1.5, 3)) == 2
    assert misdelivered(ports, Window(0, 3), flows={7}) == 2
    path.write_text("{}")
    with pytest.raises(ValueError, match="probe listen"):
        read_heard(path)


@pytest.mark.parametrize(
    ("changed", "survived"),
    [({}, True), ({"alive": False}, False), ({"intact": False}, False), ({"error": "reset"}, False)],
)
def test_a_session_survives_only_whole(tmp_path: Path, changed: dict[str, Any], survived: bool) -> None:
    known: dict[str, Any] = {"connected": True, "connected_at_ns": 1, "connect_ms": 1.0, "bytes_sent": 9}
    known |= {"bytes_echoed": 9, "intact": True, "alive": True, "longest_stall_ms": 5.0, "longest_stall_end_ns": 2}
    known |= {"recent_stall_ms": 5.0, "checkpoints": 1, "error": ""}
    path = tmp_path / "session.json"
    path.write_text(json.dumps(known | changed))
    assert read_session(path).survived is survived
    path.write_text('{"connected": true}')
    with pytest.raises(ValueError, match="probe tcp-client"):
        read_session(path)
