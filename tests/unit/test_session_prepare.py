"""What a session does before the network: checking what the user wrote."""

from __future__ import annotations

import pytest

from chimera.model.errors import InputError
from chimera.model.underlay import Forwarding
from chimera.overlay import registry
from chimera.scenario.migration import Settings
from chimera.scenario.precopy import Limits
from chimera.session import Experiment, prepare

# -- prepare -----------------------------------------------------------------------------------


def prepared(overlay: str = "vxlan", **given: str) -> Experiment:
    return prepare("dual-dc", overlay, scenario="vmotion", settings=given)


def test_defaults_are_filled_in() -> None:
    experiment = prepared()
    assert experiment.options == {"mode": "controller", "gateway": "central"}
    assert experiment.migration == Settings()
    assert set(experiment.settings) == set(experiment.script.defaults if experiment.script else ())
    assert experiment.topology.underlay_mtu == 1600
    assert experiment.wiring.segments_at == "gw1"
    assert experiment.inventory.ovsdb["hv1"].endswith("/hv1/db.sock")


def test_every_setting_goes_to_whom_it_belongs() -> None:
    experiment = prepared(vm="web3", mode="flood", announce="garp", pace_mbps="100", downtime_ms="5", max_rounds="3",
                          underlay_mtu="9000")  # fmt: skip
    assert experiment.settings["vm"] == "web3"
    assert experiment.options["mode"] == "flood"
    assert experiment.migration == Settings("garp", 100.0, Limits(downtime_ms=5.0, max_rounds=3))
    assert experiment.topology.underlay_mtu == experiment.underlay.mtu == 9000


def test_switches_measure_packets_only_where_the_underlay_is_too_small() -> None:
    assert prepared().inventory.packet_limit == 0
    small = prepared(underlay_mtu="1500")
    assert small.inventory.packet_limit == small.mtu.largest_vm_packet == 1450
    assert prepared("vlan", underlay_mtu="1400").inventory.packet_limit == 0  # bridges tell nobody


def test_the_overlay_decides_how_the_underlay_forwards() -> None:
    assert prepared().underlay.forwarding is Forwarding.ROUTED
    assert prepared("vlan").underlay.forwarding is Forwarding.BRIDGED


def test_switches_learn_from_traffic_only_where_no_controller_tells_them() -> None:
    assert prepared("vlan").wiring.learns and prepared(mode="flood").wiring.learns
    assert not any(prepared(overlay).wiring.learns for overlay in registry.OVERLAYS if overlay != "vlan")


def test_with_an_anycast_gateway_no_single_node_is_routed_to() -> None:
    experiment = prepared(gateway="anycast")
    assert experiment.wiring.segments_at is None
    assert {h for h, legs in experiment.wiring.legs.items() if legs} >= {"hv1", "hv2", "hv3", "hv4"}


def test_a_setting_that_is_nobodys_lists_everybodys() -> None:
    with pytest.raises(InputError) as refused:
        prepared(mood="flood")
    lines = str(refused.value).splitlines()
    assert lines[0] == "unknown setting 'mood'"
    for words in ("vm", "(scenario vmotion)", "announce, pace_mbps, downtime_ms, max_rounds (migration)",
                  "mode, gateway (overlay vxlan)", "underlay_mtu (topology)"):  # fmt: skip
        assert words in lines[1]
    assert lines[2] == "    fix: did you mean 'mode'?"


def test_without_a_scenario_its_settings_are_not_offered() -> None:
    with pytest.raises(InputError) as refused:
        prepare("rack", "vlan", settings={"qqqqqq": "1"})
    assert str(refused.value) == (
        "unknown setting 'qqqqqq'\n"
        "    allowed: announce, pace_mbps, downtime_ms, max_rounds (migration); underlay_mtu (topology)"
    )


@pytest.mark.parametrize("value", ["", "1279", "9201", "²", "-1600", "1600.0", "9" * 5000])
def test_an_underlay_mtu_that_cannot_be(value: str) -> None:
    with pytest.raises(InputError, match=r"underlay_mtu: '.* is not a valid value"):
        prepared(underlay_mtu=value)


@pytest.mark.parametrize(
    ("topology", "overlay", "scenario", "text"),
    [
        ("dual-cd", "vxlan", "vmotion", "did you mean 'dual-dc'"),
        ("dual-dc", "vxln", "vmotion", "did you mean 'vxlan'"),
        ("dual-dc", "vxlan", "vmotoin", "did you mean 'vmotion'"),
    ],
)
def test_an_unknown_name_is_refused_with_a_likely_one(topology: str, overlay: str, scenario: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        prepare(topology, overlay, scenario=scenario)


def test_a_setting_with_a_wrong_value_lists_the_right_ones() -> None:
    with pytest.raises(
        InputError, match=r"mode: 'floood' is not a valid value\n    allowed: .*flood.*\n    fix: did you mean 'flood'"
    ):
        prepared(mode="floood")
