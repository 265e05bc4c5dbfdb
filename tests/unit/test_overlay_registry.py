"""The table of overlays and the checking of their options."""

from __future__ import annotations

import pytest
from overlay_labs import inventory

from chimera.model.errors import InputError
from chimera.model.ports import INTEGRATION, PHYSICAL
from chimera.overlay import registry, vlan
from chimera.overlay.base import check_options
from chimera.overlay.ports import datapath_id


def test_unknown_overlay_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InputError) as error:
        registry.get("vxlam")
    names = ", ".join(registry.OVERLAYS)
    assert str(error.value) == f"there is no overlay 'vxlam'\n    allowed: {names}\n    fix: did you mean 'vxlan'?"


def test_two_overlays_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two overlays are called vlan"):
        registry.table([vlan.OVERLAY, vlan.OVERLAY])


def test_defaults_are_filled_in() -> None:
    assert check_options(registry.get("vxlan"), {}) == {"mode": "controller", "gateway": "central"}
    assert check_options(registry.get("vxlan"), {"mode": "flood"}) == {"mode": "flood", "gateway": "central"}


@pytest.mark.parametrize(
    ("overlay", "given", "text"),
    [
        (
            "vxlan",
            {"mod": "flood"},
            "overlay vxlan has no option 'mod'\n    allowed: mode, gateway\n    fix: did you mean 'mode'?",
        ),
        (
            "vxlan",
            {"mode": "flod"},
            "overlay vxlan: mode: 'flod' is not a valid value\n    allowed: controller, flood\n"
            "    fix: did you mean 'flood'?",
        ),
        ("vlan", {"mode": "flood"}, "overlay vlan has no option 'mode'\n    allowed: none"),
        (
            "vxlan",
            {"mode": "flood", "gateway": "anycast"},
            "overlay vxlan: gateway=anycast needs mode=controller\n"
            "    found: mode=flood, which would learn the gateway's one MAC from every hypervisor\n"
            "    fix: leave mode out, or use gateway=central",
        ),
    ],
)
def test_bad_options(overlay: str, given: dict[str, str], text: str) -> None:
    with pytest.raises(InputError) as error:
        check_options(registry.get(overlay), given)
    assert str(error.value) == text


def test_a_vm_keeps_its_identity_wherever_it_is_plugged_in() -> None:
    lab = inventory("vxlan")
    overlay, vm = registry.get("vxlan"), lab.topology.vm("b1")
    at_home, away = (dict(overlay.vm_port(lab, at, vm).external_ids) for at in ("hv1", "hv3"))
    assert at_home == away
    other = dict(overlay.vm_port(lab, "hv1", lab.topology.vm("b2")).external_ids)
    assert all(at_home[key] != other[key] for key in ("iface-id", "attached-mac", "vm-id"))


def test_ports_of_vlan_are_tagged_and_patched() -> None:
    lab = inventory("vlan")
    overlay = registry.get("vlan")
    assert overlay.vm_port(lab, "hv1", lab.topology.vm("b1")).tag == 102
    assert [leg.tag for leg in overlay.legs(lab, "gw")] == [101, 102]
    inner, outer = overlay.ports(lab, "hv1")
    assert (inner.bridge, outer.bridge) == (INTEGRATION, PHYSICAL)
    assert (dict(inner.options)["peer"], dict(outer.options)["peer"]) == (outer.name, inner.name)


def test_gateway_legs() -> None:
    central, anycast = inventory("vxlan"), inventory("vxlan", gateway="anycast")
    overlay = registry.get("vxlan")
    assert [bool(overlay.legs(central, s)) for s in ("hv1", "hv2", "hv3", "gw")] == [False, False, False, True]
    assert [bool(overlay.legs(anycast, s)) for s in ("hv1", "hv2", "hv3", "gw")] == [True, True, True, False]
    red, blue = overlay.legs(anycast, "hv2")
    assert (red.name, red.type, red.ofport, red.mac) == ("g5001", "internal", 50001, "02:fe:00:00:00:01")
    assert dict(blue.external_ids)["iface-id"] == "hv2/blue/web"


def test_datapath_ids_tell_hypervisors_from_gateways() -> None:
    lab = inventory("vxlan")
    assert [datapath_id(node) for node in lab.topology.vteps] == [0x1001, 0x1002, 0x1003, 0x2001]
