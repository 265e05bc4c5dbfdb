"""What tells the tunnel overlays apart: names on the wire, copies of a broadcast, translators, bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from overlay_labs import Lab, inventory, mac, running, up

from chimera.model.control import PortDown, PortUp
from chimera.model.errors import InputError
from chimera.model.topology import Kind, Node, Segment
from chimera.model.underlay import FabricKind, Translator, edge_address, tree_address
from chimera.overlay import registry
from chimera.overlay.base import check_options
from chimera.overlay.mpls import label
from chimera.overlay.ports import TUNNEL
from chimera.overlay.tunnels import tree

GROUP = "33:33:00:00:00:fb"
FABRICS = ("trill", "fabricpath")


def on_the_wire(made: Lab, vm: str, destination: str) -> list[tuple[int, str]]:
    """Identifier and address of each frame that a VM's frame becomes in the tunnel."""
    switch, port = made.at(vm)
    frame = {"eth_src": mac(made, vm), "eth_dst": destination, "eth_type": 0x0800}
    out = made.switches[switch].forward(port, frame)
    return [(fields["tunnel_id"], fields["tun_ipv4_dst"]) for p, fields in out if p == TUNNEL]


def arriving(made: Lab, switch: str, identifier: int, destination: str) -> list[tuple[int, dict[str, Any]]]:
    """What becomes of a frame that comes out of the tunnel, from the gateway or whoever else is there."""
    source = made.address("gw" if switch != "gw" else "hv1")
    fields = {"tunnel_id": identifier, "eth_dst": destination, "eth_src": "x", "tun_ipv4_src": source}
    return made.switches[switch].forward(TUNNEL, fields)


def segment(made: Lab, key: str) -> Segment:
    return made.inventory.topology.segment(key)


# -- labels


def test_the_receiver_names_the_segment() -> None:
    made = running("mpls")
    topology, red = made.inventory.topology, made.inventory.topology.segment("red/web")
    assert on_the_wire(made, "r1", mac(made, "r2")) == [(label(topology, "hv3", red), "192.0.2.3")]
    assert on_the_wire(made, "r1", mac(made, "r3")) == [(label(topology, "hv1", red), "192.0.2.1")]
    both = [(label(topology, "hv1", red), "192.0.2.1"), (label(topology, "hv3", red), "192.0.2.3")]
    assert on_the_wire(made, "r1", GROUP) == both


def test_a_receiver_never_gives_a_label_twice_and_two_give_different_ones() -> None:
    topology = inventory("mpls").topology
    labels = {n.name: {label(topology, n.name, s) for s in topology.segments} for n in topology.vteps}
    assert all(len(own) == len(topology.segments) for own in labels.values())
    for s in topology.segments:
        assert len({label(topology, n.name, s) for n in topology.vteps}) == len(topology.vteps)
    assert all(16 <= given < 1 << 20 for own in labels.values() for given in own)  # RFC 3032 section 2.1


def test_labels_of_many_segments_do_not_overlap() -> None:
    topology = inventory("mpls").topology
    many = tuple(replace(topology.segments[0], name=f"s{n}", vni=n) for n in range(1, 2001))
    large = replace(topology, segments=many)
    assert {label(large, "hv1", s) for s in many[::50]}.isdisjoint(label(large, "hv2", s) for s in many[::50])
    assert label(large, "hv1", many[-1]) < label(large, "hv2", many[0])


def test_labels_that_run_out_are_an_error_that_says_so() -> None:
    topology = inventory("mpls").topology
    nodes = tuple(Node(f"hv{n}", Kind.HYPERVISOR, "dc", n) for n in range(1, 1101))
    large = replace(topology, nodes=nodes)
    with pytest.raises(InputError) as error:
        label(large, "hv1100", topology.segments[0])
    assert str(error.value) == (
        "overlay mpls: no labels left for hv1100, which has 20 bits for 2 segments\n"
        "    found: 1100 hypervisors and gateways, with 1000 labels each\n"
        "    fix: use fewer segments, or an overlay with a 24-bit identifier (vxlan)"
    )


@pytest.mark.parametrize(("overlay", "options"), [("mpls", {}), ("otv", {"wire": "gre"})])
def test_a_label_that_was_not_handed_out_is_dropped(overlay: str, options: dict[str, str]) -> None:
    made = running(overlay, **options)
    topology, red = made.inventory.topology, made.inventory.topology.segment("red/web")
    assert [port for port, _ in arriving(made, "hv3", label(topology, "hv3", red), mac(made, "r2"))] == [2]
    for wrong in (label(topology, "hv1", red), label(topology, "hv3", segment(made, "blue/web")), red.vni, 3):
        assert arriving(made, "hv3", wrong, mac(made, "r2")) == []


# -- VNIs


def test_otv_has_the_vni_as_its_instance() -> None:
    made = running("otv")
    assert on_the_wire(made, "r1", mac(made, "r2")) == [(5001, "192.0.2.3")]


@pytest.mark.parametrize("overlay", ["vxlan", "otv"])
def test_a_broadcast_is_a_copy_for_each_switch_with_members(overlay: str) -> None:
    made = running(overlay)
    assert on_the_wire(made, "r1", GROUP) == [(5001, "192.0.2.1"), (5001, "192.0.2.3")]
    made.happen(PortDown("hv3", "r2"))
    assert on_the_wire(made, "r1", GROUP) == [(5001, "192.0.2.1")]


@pytest.mark.parametrize("overlay", ["vxlan", "mpls", *FABRICS])
def test_no_copy_is_for_a_switch_with_an_anycast_leg_alone(overlay: str) -> None:
    made = running(overlay, gateway="anycast")
    made.happen(PortDown("hv1", "r3"), PortDown("hv3", "r2"), PortUp("hv3", "hv3/red/web", "", 50001))
    assert on_the_wire(made, "r1", GROUP) == []


# -- fabrics


@pytest.mark.parametrize("overlay", FABRICS)
def test_a_fabric_is_told_the_egress_and_the_vlan(overlay: str) -> None:
    made = running(overlay)
    made.send("r1", mac(made, "r2"))
    made.send("r1", mac(made, "r3"))
    assert on_the_wire(made, "r1", mac(made, "r2")) == [(101, edge_address(19))]
    assert on_the_wire(made, "r1", mac(made, "r3")) == [(101, edge_address(17))]


@pytest.mark.parametrize("overlay", FABRICS)
def test_a_broadcast_is_one_frame_on_the_segments_tree(overlay: str) -> None:
    made = running(overlay)
    assert on_the_wire(made, "r1", GROUP) == [(101, tree_address(9))]
    assert on_the_wire(made, "b1", GROUP) == [(102, tree_address(7))]
    fabric = made.inventory.underlay.fabric
    assert fabric is not None
    assert [tree(fabric, s) for s in made.inventory.topology.segments] == [9, 7]


@pytest.mark.parametrize("overlay", FABRICS)
def test_a_broadcast_nobody_else_waits_for_stays_at_home(overlay: str) -> None:
    made = running(overlay)
    made.happen(up(made, "r2", "hv2"), up(made, "r3", "hv2"))
    assert on_the_wire(made, "r1", GROUP) == []
    assert sorted(made.send("r1", GROUP)) == [("hv2", 2), ("hv2", 3)]


@pytest.mark.parametrize("overlay", FABRICS)
def test_a_tree_brings_broadcasts_to_switches_without_members_which_drop_them(overlay: str) -> None:
    made = running(overlay)
    assert arriving(made, "hv1", 102, GROUP) == []  # no blue there
    assert [port for port, _ in arriving(made, "hv3", 102, GROUP)] == [5]
    assert arriving(made, "hv3", 102, mac(made, "r2")) == []


@pytest.mark.parametrize("overlay", FABRICS)
def test_a_fabric_that_was_not_planned_is_noticed(overlay: str) -> None:
    lacking = inventory(overlay)
    lacking = replace(lacking, underlay=replace(lacking.underlay, fabric=None))
    with pytest.raises(ValueError, match=f"without the fabric that overlay {overlay} needs"):
        registry.get(overlay).agents(lacking)


# -- what the lab is to build

MPLS_UDP, MPLS_GRE, MPLS_IP, CONTROL_WORD = 0, 1, 2, 16


@pytest.mark.parametrize(
    ("overlay", "given", "translator", "added"),
    [
        ("vxlan", {}, None, 50),
        ("mpls", {}, Translator("mpls", MPLS_UDP + CONTROL_WORD), 50),
        ("mpls", {"control_word": "off"}, Translator("mpls", MPLS_UDP), 46),
        ("mpls", {"wire": "gre"}, Translator("mpls", MPLS_GRE + CONTROL_WORD), 46),
        ("mpls", {"wire": "gre", "control_word": "off"}, Translator("mpls", MPLS_GRE), 42),
        ("mpls", {"wire": "ip"}, Translator("mpls", MPLS_IP + CONTROL_WORD), 42),
        ("mpls", {"wire": "ip", "control_word": "off"}, Translator("mpls", MPLS_IP), 38),
        ("otv", {}, None, 50),
        ("otv", {"wire": "gre"}, Translator("mpls", MPLS_GRE), 42),
        ("trill", {}, Translator("trill"), 24),
        ("fabricpath", {}, Translator("fabricpath"), 16),
    ],
)
def test_translator_and_bytes(overlay: str, given: dict[str, str], translator: Translator | None, added: int) -> None:
    chosen = registry.get(overlay)
    options = check_options(chosen, given)
    assert chosen.translator(options) == translator
    assert chosen.added_bytes(options) == added


def test_fabrics_are_asked_for() -> None:
    wanted = {name: overlay.fabric for name, overlay in registry.OVERLAYS.items() if overlay.fabric}
    assert wanted == {"trill": FabricKind.TRILL, "fabricpath": FabricKind.FABRICPATH}


@pytest.mark.parametrize(
    ("overlay", "options", "port"),
    [("otv", {}, "8472"), ("otv", {"wire": "gre"}, "4789"), ("mpls", {}, "4789"), *((f, {}, "4789") for f in FABRICS)],
)
def test_every_tunnel_is_a_vxlan_port(overlay: str, options: dict[str, str], port: str) -> None:
    (tunnel,) = registry.get(overlay).ports(inventory(overlay, **options), "hv2")
    assert (tunnel.type, tunnel.ofport, dict(tunnel.options)["dst_port"]) == ("vxlan", TUNNEL, port)
