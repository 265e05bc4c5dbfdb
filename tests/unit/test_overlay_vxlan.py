"""VXLAN that floods and learns, and VLANs; what VXLAN shares with other tunnels is in test_overlay_tunnels.py."""

from __future__ import annotations

from overlay_labs import BROADCAST, DeleteFlow, mac, running, up

from chimera.model.control import PortDown, PortUp, SwitchUp
from chimera.model.flow import Learn, Output


def test_flood_mode_replicates_to_every_vtep_and_never_back() -> None:
    made = running("vxlan", mode="flood")
    copies = made.switches["hv2"].forward(1, {"eth_src": mac(made, "r1"), "eth_dst": BROADCAST})
    assert [fields.get("tun_ipv4_dst") for _, fields in copies] == ["192.0.2.4", "192.0.2.1", "192.0.2.3"]
    assert sorted(made.send("r1", BROADCAST)) == [("hv1", 3), ("hv3", 2)]
    from_tunnel = {"eth_src": mac(made, "r1"), "eth_dst": BROADCAST, "tunnel_id": 5001, "tun_ipv4_src": "192.0.2.2"}
    assert [port for port, _ in made.switches["hv3"].forward(60001, from_tunnel)] == [2]
    flow = made.switches["hv3"].lookup(1, {**from_tunnel, "in_port": 60001})
    assert flow is not None
    assert Output(60001) not in flow.actions  # split horizon, said and not only implied by OpenFlow's rule


def test_flood_mode_keeps_tenants_apart() -> None:
    made = running("vxlan", mode="flood")
    assert made.send("b1", BROADCAST) == [made.at("b2")]


def test_what_was_learned_of_a_port_goes_with_the_port_and_stays_with_the_flow() -> None:
    made = running("vxlan", mode="flood")
    flows = made.switches["hv2"].flows.values()
    learns = [action for flow in flows for action in flow.actions if isinstance(action, Learn)]
    local = [learn.cookie for learn in learns if learn.cookie]
    assert len(local) == len(set(local)) == 2  # r1 and b1
    held = made.switches["hv2"].cookies | set(local)
    assert made.happen(SwitchUp("hv2", held)) == ()
    made.happen(PortDown("hv2", "r1"))
    stale = [e for e in made.happen(SwitchUp("hv2", held)) if isinstance(e, DeleteFlow)]
    assert set(local) & {e.cookie for e in stale}


def test_vlan_leaves_it_to_the_switch() -> None:
    made = running("vlan")
    assert all(len(switch.flows) == 1 for switch in made.switches.values())
    assert made.happen(up(made, "r2", "hv1")) == ()
    assert made.at("r2") == ("hv1", 2)


def test_flood_mode_gives_a_leg_its_own_unicast_and_groups_only() -> None:
    """A frame for the VTEP's own MAC would leave its tunnel once more at a port with an IP address."""
    made = running("vxlan", mode="flood")
    leg, router = 50001, "02:fe:00:00:00:01"
    made.happen(PortUp("gw", "gw/red/web", router, leg))
    fields = {"eth_src": mac(made, "r1"), "tunnel_id": 5001, "tun_ipv4_src": "192.0.2.2"}
    reached = {to: [port for port, _ in made.switches["gw"].forward(60001, {**fields, "eth_dst": to})] for to in
               (router, BROADCAST, "02:03:00:00:00:01")}  # fmt: skip
    assert reached == {router: [leg], BROADCAST: [leg], "02:03:00:00:00:01": []}
