"""What a report says of figures that are worse than they could be, and that it says nothing of others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from chimera.measure import explain
from chimera.model.result import Bum, Migration, PathReport, Vantage, Wire

SEEN = Vantage("web4", "remote", 40.0, 60.0, 20.0, 900, 5, 0, 0, 1.0, 1.0, 1.06)
MOVE = Migration("web1", "hv1", "hv3", 0.0, 1.0, 40.0, 60.0, 20.0, 900, 5, 0, 0, True, vantage_points=[SEEN])
SLOW = replace(MOVE, vantage_points=[SEEN, replace(SEEN, name="laptop", outage_ms=1240.0, network_outage_ms=1200.4)])
STRAIGHT = PathReport("web4", "web1", "before", 20.1, 2.0, ["web4", "hv3", "r2", "r1", "hv1", "web1"])
LONG = structs.replace(STRAIGHT, when="after", wan_crossings=4.0, rtt_ms=40.25)
CONTROLLER, FLOOD = {"mode": "controller"}, {"mode": "flood"}
WIRES = {"vxlan": Wire(["eth", "ip", "udp", "vxlan", "eth"], 50), "vlan": Wire(["eth", "vlan"], 4)}


def notes(
    overlay: str,
    options: dict[str, str],
    moves: list[Migration],
    paths: list[PathReport],
    bum: Bum,
    wire: Wire | None = None,
) -> list[str]:
    return explain.notes(overlay, options, moves, paths, bum, wire or WIRES[overlay])


def test_nothing_out_of_the_ordinary_needs_no_words() -> None:
    assert notes("vxlan", CONTROLLER, [MOVE], [STRAIGHT], Bum(0)) == []
    assert notes("vxlan", CONTROLLER, [], [], Bum(None)) == []
    assert notes("vlan", {}, [MOVE], [STRAIGHT], Bum(0)) == []


def test_flooded_copies_are_counted_by_kind() -> None:
    (note,) = notes("vlan", {}, [], [], Bum(12, broadcast=5, unknown_unicast=7))
    assert note.startswith("12 flooded copies crossed between sites (5 broadcast, 7 unknown unicast): ")


def test_what_could_not_be_decoded_is_said_and_not_counted() -> None:
    """An unknown wire format is no link without flooding."""
    (note,) = notes("vxlan", CONTROLLER, [], [], Bum(undecoded=31))
    assert note.startswith("31 frames crossed between sites in a format that the lab does not decode: ")
    unknown = Wire(["eth", "ip", "udp", "unknown"], 54, link="wan")
    (note,) = notes("vxlan", CONTROLLER, [], [], Bum(0), unknown)
    assert note.startswith("On wan the VMs' frames are in a format that the lab does not decode: behind eth / ip")


def test_frames_in_another_format_than_the_overlays_are_no_silent_matter() -> None:
    (note,) = notes("vxlan", CONTROLLER, [], [], Bum(0), Wire(["eth", "ip", "udp", "otv", "eth"], 50, link="wan"))
    assert note.startswith("On wan frames are eth / ip / udp / otv / eth, and not eth / ip / udp / vxlan / eth, which")
    for nothing_to_say in (Wire(), Wire(["eth"], 0, link="access")):
        assert notes("vlan", {}, [], [], Bum(0), nothing_to_say) == []


@pytest.mark.parametrize(
    ("overlay", "options", "why"),
    [
        ("vlan", {}, "switches that learn from traffic"),
        ("vxlan", FLOOD, "switches that learn from traffic"),
        ("vxlan", CONTROLLER, "that no controller answers"),
    ],
)
def test_why_there_was_flooding_depends_on_who_knows(overlay: str, options: dict[str, str], why: str) -> None:
    (note,) = notes(overlay, options, [], [], Bum(1, broadcast=1))
    assert why in note


def test_strays_are_explained_where_switches_learn() -> None:
    astray = [replace(MOVE, misdelivered=3), replace(MOVE, misdelivered=4)]
    (note,) = notes("vxlan", FLOOD, astray, [], Bum(0))
    assert note.startswith("7 probes were delivered to ports of other VMs: ")
    assert notes("vxlan", CONTROLLER, astray, [], Bum(0)) == []


def test_a_trombone_is_named_with_its_way() -> None:
    (note,) = notes("vxlan", CONTROLLER, [], [STRAIGHT, LONG], Bum(0))
    assert note == (
        "Trombone: after, a packet from web4 to web1 and its answer crossed between sites 4 times "
        "(40.2 ms round trip): the way leads through hv3 → r2 → r1 → hv1."
    )
    (note,) = notes("vxlan", CONTROLLER, [], [structs.replace(LONG, rtt_ms=None)], Bum(0))
    assert note == "Trombone: after, web4 to web1 crossed between sites 4 ×."


def test_a_path_that_was_not_counted_is_no_trombone() -> None:
    assert notes("vxlan", CONTROLLER, [], [structs.replace(LONG, wan_crossings=None)], Bum(0)) == []


def test_who_waited_for_a_switch_to_learn_is_named() -> None:
    (note,) = notes("vlan", {}, [SLOW], [], Bum(0))
    assert note.startswith("laptop waited 1200 ms longer than the VM was stunned when web1 moved to hv3: ")
    assert notes("vxlan", CONTROLLER, [SLOW], [], Bum(0)) == []  # nobody learned there: that would not be why


def test_a_silence_shorter_than_the_stun_is_a_wrong_measurement() -> None:
    short = replace(SEEN, outage_ms=31.2, network_outage_ms=-8.8, resolution_ms=1.5)
    (note,) = notes("vxlan", CONTROLLER, [replace(MOVE, vantage_points=[short])], [], Bum(0))
    assert note.startswith("A measurement is wrong: web4 noticed a silence of 31.2 ms when web1 moved to hv3")
    allowed = replace(short, network_outage_ms=-1.5)
    assert notes("vxlan", CONTROLLER, [replace(MOVE, vantage_points=[allowed])], [], Bum(0)) == []


def test_a_silence_in_which_the_machine_slept_is_not_put_down_to_the_network() -> None:
    slept = replace(SEEN, outage_ms=160.0, network_outage_ms=120.0, resolution_ms=1.5, unobserved_ms=101.0)
    (note,) = notes("vxlan", CONTROLLER, [replace(MOVE, vantage_points=[slept])], [], Bum(0))
    assert note.startswith("Not only the network: web4 noticed a silence of 160.0 ms") and "101.0 ms of it" in note
    hardly = replace(slept, unobserved_ms=1.2)
    assert notes("vxlan", CONTROLLER, [replace(MOVE, vantage_points=[hardly])], [], Bum(0)) == []


def test_a_long_stun_is_not_the_networks() -> None:
    stunned = replace(SEEN, stun_ms=2000.0, outage_ms=2050.0, network_outage_ms=50.0)
    assert notes("vlan", {}, [replace(MOVE, vantage_points=[stunned])], [], Bum(0)) == []


@pytest.mark.parametrize(("network_ms", "told"), [(100.0, 0), (101.0, 1)])
def test_a_short_wait_needs_no_words(network_ms: float, told: int) -> None:
    waited = replace(SEEN, stun_ms=40.0, outage_ms=40.0 + network_ms, network_outage_ms=network_ms)
    assert len(notes("vlan", {}, [replace(MOVE, vantage_points=[waited])], [], Bum(0))) == told
