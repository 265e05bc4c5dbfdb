"""Words after ``--overlay`` to experiments: names, settings of their own, and to whom a common setting goes."""

from __future__ import annotations

import pytest

from chimera.chosen import choose, choose_several
from chimera.model.errors import InputError
from chimera.overlay import registry
from chimera.tour import Leg


def several(overlays: str, *, topology: str = "dual-dc", wires: bool = False, **settings: str) -> list[Leg]:
    return choose_several("vmotion", topology, overlays, settings, wires=wires)


def options(leg: Leg) -> dict[str, str]:
    assert leg.experiment, leg.refusal
    return leg.experiment.options


def test_all_is_the_whole_registry_in_its_order() -> None:
    assert [leg.name for leg in several("all")] == list(registry.OVERLAYS)
    assert several("all")[0].name == "vlan", "the baseline comes first"


def test_what_does_not_depend_on_the_overlay_is_the_same() -> None:
    legs = [leg.experiment for leg in several("all", vm="web3", announce="garp", underlay_mtu="1700")]
    assert len({repr(e.topology) for e in legs if e}) == 1
    assert {(e.settings["vm"], e.migration.announce, e.underlay.mtu) for e in legs if e} == {("web3", "garp", 1700)}


def test_an_overlay_may_have_settings_of_its_own() -> None:
    legs = several("vlan,vxlan,vxlan:mode=flood,mpls:wire=gre:control_word=off")
    assert [leg.folder for leg in legs] == ["vlan", "vxlan", "vxlan-mode=flood", "mpls-wire=gre-control_word=off"]
    assert options(legs[2])["mode"] == "flood" and options(legs[1])["mode"] == "controller"
    assert (options(legs[3])["wire"], options(legs[3])["control_word"]) == ("gre", "off")


def test_one_overlay_may_have_settings_of_its_own_too() -> None:
    assert choose("vmotion", None, "vxlan:mode=flood", {"gateway": "central"}).options["mode"] == "flood"


def test_all_and_more() -> None:
    names = [leg.name for leg in several("all,vxlan:mode=flood")]
    assert names == [*registry.OVERLAYS, "vxlan mode=flood"]


def test_common_settings_go_to_those_that_know_them_and_own_ones_win() -> None:
    legs = several("vlan,vxlan,vxlan:mode=controller,mpls", mode="flood")
    assert [leg.experiment.options.get("mode") for leg in legs if leg.experiment][:3] == [None, "flood", "controller"]


def test_a_value_goes_to_those_that_can_have_it() -> None:
    legs = several("mpls,lisp,otv", wire="gre")
    assert [options(leg)["wire"] for leg in legs] == ["gre", "lisp", "gre"]


def test_wires_adds_every_other_wire_format_behind_its_overlay() -> None:
    assert [leg.name for leg in several("vlan,mpls,lisp", wires=True)] == [
        "vlan", "mpls", "mpls wire=gre", "mpls wire=ip", "lisp", "lisp wire=gpe",
    ]  # fmt: skip
    assert [leg.name for leg in several("mpls", wires=True, wire="ip")] == ["mpls", "mpls wire=udp", "mpls wire=gre"]


def test_wires_repeats_none_that_was_asked_for() -> None:
    assert [leg.name for leg in several("lisp,lisp:wire=gpe", wires=True)] == ["lisp", "lisp wire=gpe"]
    assert [leg.name for leg in several("lisp,lisp:wire=lisp")] == ["lisp"], "the default said aloud"


def test_an_overlay_that_cannot_is_a_leg_that_says_so() -> None:
    legs = several("vlan,vxlan,vxlan:mode=flood", gateway="anycast")
    assert [bool(leg.experiment) for leg in legs] == [True, True, False]
    assert "gateway=anycast needs mode=controller" in legs[2].refusal


@pytest.mark.parametrize(
    ("overlays", "settings", "said"),
    [
        ("vlan,vxlna", {}, "did you mean 'vxlan'?"),
        ("vlan,", {}, "there is no overlay ''"),
        ("vlan,vlan", {}, "vlan is in it twice"),
        ("vlan,vxlan:mode", {}, "'mode' is not a valid setting\n    allowed: vxlan:KEY=VALUE"),
        ("vlan,vxlan:mod=flood", {}, "overlay vxlan has no option 'mod'"),
        ("vlan,vxlan:mode=floood", {}, "did you mean 'flood'?"),
        ("vlan,vxlan:mode=flood:gateway=anycast", {}, "gateway=anycast needs mode=controller"),
        ("vlan,vxlan", {"mode": "x"}, "no overlay here can have mode=x\n    allowed: controller, flood"),
        ("vlan,vxlan", {"mod": "flood"}, "unknown setting 'mod'\n    allowed: vm, announce, "),
        ("vlan,vxlan", {"mod": "flood"}, "fix: did you mean 'mode'?"),
        ("vlan,vxlan", {"vm": "web9"}, "vm: 'web9' is not a valid value"),
        ("vlan,vxlan", {"announce": "no"}, "announce: 'no' is not a valid value"),
    ],
)
def test_what_nobody_can_use_is_refused_before_anything_starts(
    overlays: str, settings: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError) as refused:
        several(overlays, **settings)
    assert said in str(refused.value)


def test_a_reason_that_all_share_is_said_once() -> None:
    with pytest.raises(InputError) as refused:
        several("all", topology="dual-cd")
    assert str(refused.value).count("there is no topology") == 1


def test_a_lab_keeps_its_own_choices() -> None:
    legs = choose_several("3-flood-or-controller", None, "vlan,vxlan", {})
    one = choose("3-flood-or-controller", None, None, {})
    assert {leg.experiment.topology.name for leg in legs if leg.experiment} == {one.topology.name}
    assert options(legs[1]) == one.options


def test_a_labs_settings_matter_only_to_overlays_that_know_them() -> None:
    legs = choose_several("3-flood-or-controller", None, "vlan,lisp", {})
    legs += choose_several("7-a-hundred-flows", None, "vlan,lisp", {})
    assert all(leg.experiment for leg in legs)
    with pytest.raises(InputError, match="unknown setting 'mode'"):
        choose_several("3-flood-or-controller", None, "vlan,lisp", {"mode": "flood"})
