"""What all overlays with tunnels promise, in simulated time: who reaches whom while VMs come, move and go."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from overlay_labs import BROADCAST, AddFlow, DeleteFlow, Lab, inventory, mac, running, up
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether

from chimera.model.control import (
    AdvertiseHost,
    PacketIn,
    PacketOut,
    PortDown,
    PortUp,
    SwitchDown,
    SwitchUp,
    WithdrawHost,
)
from chimera.model.flow import Output
from chimera.overlay.ports import TUNNEL


@dataclass(frozen=True)
class Tunnels:
    """An overlay with options; more of them where a test asks."""

    overlay: str
    options: dict[str, str] = field(default_factory=dict)

    def bare(self, **more: str) -> Lab:
        """Nothing is up."""
        return Lab(inventory(self.overlay, **self.options, **more))

    def lab(self, **more: str) -> Lab:
        """All is up."""
        return running(self.overlay, **self.options, **more)


OVERLAYS = {
    "vxlan": Tunnels("vxlan"),
    "mpls": Tunnels("mpls"),
    "otv": Tunnels("otv"),
    "otv-gre": Tunnels("otv", {"wire": "gre"}),
    "trill": Tunnels("trill"),
    "fabricpath": Tunnels("fabricpath"),
}


@pytest.fixture(params=OVERLAYS)
def tunnels(request: pytest.FixtureRequest) -> Tunnels:
    """Each of them."""
    return OVERLAYS[request.param]


def question(made: Lab, vm: str, target: str) -> PacketIn:
    endpoint = made.inventory.topology.vm(vm)
    data = Ether(src=endpoint.mac, dst=BROADCAST) / ARP(hwsrc=endpoint.mac, psrc="10.0.0.99", pdst=target)
    return PacketIn(made.located[vm], endpoint.port, bytes(data))


def test_unicast_goes_to_its_owner_alone(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    for vm in ("r2", "r3"):
        assert made.send("r1", mac(made, vm)) == [made.at(vm)]


def test_tenants_do_not_meet(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    assert made.send("r1", mac(made, "b1")) == []
    assert made.send("b1", mac(made, "r2")) == []
    assert made.send("r1", "02:00:00:00:00:99") == []
    group = "33:33:00:00:00:fb"
    assert sorted(made.send("r1", group)) == sorted([made.at("r2"), made.at("r3")])
    assert made.send("b1", group) == [made.at("b2")]


def test_a_frame_with_another_source_is_dropped(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    frame = {"eth_src": mac(made, "r2"), "eth_dst": mac(made, "r3"), "eth_type": 0x0800}
    assert made.receivers("hv2", 1, frame) == []


def test_multicast_goes_only_where_the_segment_is(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    assert sorted(made.send("r1", "33:33:00:00:00:fb")) == [("hv1", 3), ("hv3", 2)]
    made.happen(PortDown("hv3", "r2"))
    assert made.send("r1", "33:33:00:00:00:fb") == [("hv1", 3)]
    made.happen(PortDown("hv1", "r3"))
    assert made.send("r1", "33:33:00:00:00:fb") == []
    assert made.switches["hv2"].forward(1, {"eth_src": mac(made, "r1"), "eth_dst": "33:33:00:00:00:fb"}) == []


def test_arp_is_answered_from_the_askers_own_tenant(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    for asker, owner in (("r1", "r2"), ("b1", "b2")):
        (reply,) = made.happen(question(made, asker, "10.0.0.12"))
        assert isinstance(reply, PacketOut)
        assert (reply.switch, reply.actions) == (made.at(asker)[0], (Output(made.at(asker)[1]),))
        assert Ether(reply.data)[ARP].hwsrc == mac(made, owner)
    assert made.happen(question(made, "b1", "10.0.0.13")) == ()  # red has it, blue has not


def test_what_never_came_up_is_not_answered_for(tunnels: Tunnels) -> None:
    made = tunnels.bare()
    made.happen(SwitchUp("hv2"), up(made, "r1", "hv2"))
    assert made.happen(question(made, "r1", "10.0.0.12")) == ()
    made.happen(up(made, "r2", "hv3"), PortDown("hv3", "r2"))  # in the middle of a move
    assert len(made.happen(question(made, "r1", "10.0.0.12"))) == 1


def test_the_gateway_is_answered_for_once_it_has_a_leg(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    assert made.happen(question(made, "r1", "10.0.0.1")) == ()
    made.happen(PortUp("gw", "gw/red/web", "", 50001))
    (reply,) = made.happen(question(made, "r1", "10.0.0.1"))
    assert isinstance(reply, PacketOut)
    assert Ether(reply.data)[ARP].hwsrc == "02:fe:00:00:00:01"
    assert made.send("r1", "02:fe:00:00:00:01") == [("gw", 50001)]


def test_packets_from_unknown_ports_are_ignored(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    frame = bytes(Ether(src=mac(made, "r1"), dst=BROADCAST) / ARP(pdst="10.0.0.12"))
    assert made.happen(PacketIn("hv2", 77, frame)) == ()
    assert made.happen(PacketIn("hv2", 1, frame[:13])) == ()


def test_a_move_reaches_the_destination_first_then_the_sources_neighbours(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    made.happen(up(made, "r3", "hv3"), PortDown("hv1", "r3"))
    made.send("r1", mac(made, "r2"))
    effects = made.happen(up(made, "r2", "hv1"))
    switches = [e.switch for e in effects if isinstance(e, AddFlow)]
    assert list(dict.fromkeys(switches)) == ["hv1", "hv3", "hv2"]
    kinds = [type(e) for e in effects]
    assert kinds == sorted(kinds, key=[AddFlow, DeleteFlow].index)


def test_a_move_replaces_in_place(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    effects = made.happen(up(made, "r2", "hv1"))
    deleted = [e for e in effects if isinstance(e, DeleteFlow)]
    assert {e.switch for e in deleted} == {"hv3"}  # only what the source does not need any more
    assert made.send("r1", mac(made, "r2")) == [("hv1", 2)]
    assert made.send("r3", mac(made, "r2")) == [("hv1", 2)]
    assert made.switches["hv3"].forward(2, {"eth_src": mac(made, "r2"), "eth_dst": mac(made, "r1")}) == []


def test_a_move_leaves_no_moment_without_a_way(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    made.send("r1", mac(made, "r2"))
    move = up(made, "r2", "hv1")
    effects = made.happen(move, apply=False)
    heard = []
    for effect in effects:
        assert isinstance(effect, AddFlow | DeleteFlow)
        made.switches[effect.switch].apply(effect)
        heard += made.send("r1", mac(made, "r2"))
    assert heard == sorted(heard, key=[("hv3", 2), ("hv1", 2)].index)
    assert len(heard) == len(effects)  # once at each moment: the old place, then the new one
    assert heard[-1] == ("hv1", 2)


def test_a_late_goodbye_from_the_old_place_changes_nothing(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    made.happen(up(made, "r2", "hv1"))
    assert made.happen(PortDown("hv3", "r2")) == ()
    assert made.at("r2") == ("hv1", 2)


def test_an_aborted_move_falls_back_to_the_source(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    made.happen(up(made, "r2", "hv1"), PortDown("hv1", "r2"))
    assert made.at("r2") == ("hv3", 2)
    assert made.send("r1", mac(made, "r2")) == [("hv3", 2)]


def test_an_announcement_confirms_a_place(tunnels: Tunnels) -> None:
    """After a controller's restart in mid-move, both ports are there; who speaks is where it speaks."""
    made = tunnels.lab()
    made.happen(up(made, "r2", "hv1"), up(made, "r2", "hv3"))
    rarp = Ether(src=mac(made, "r2"), dst=BROADCAST, type=0x8035) / ARP(op=3, hwsrc=mac(made, "r2"))
    effects = made.happen(PacketIn("hv1", 2, bytes(rarp)))
    assert made.at("r2") == ("hv1", 2)
    assert not any(isinstance(e, PacketOut) for e in effects)
    assert made.send("r1", mac(made, "r2")) == [("hv1", 2)]


def test_questions_and_announcements_go_to_the_controller_alone(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    controller = 0xFFFFFFFD
    source = {"eth_src": mac(made, "r1")}
    frames = [
        {"eth_dst": BROADCAST, "eth_type": 0x0806, "arp_op": 1},
        {"eth_dst": BROADCAST, "eth_type": 0x8035},
        {"eth_dst": "33:33:ff:00:00:12", "eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 135},
    ]
    for frame in frames:
        assert [port for port, _ in made.switches["hv2"].forward(1, {**source, **frame})] == [controller]
    probe = {"eth_dst": mac(made, "r2"), "eth_type": 0x0806, "arp_op": 1}
    assert made.receivers("hv2", 1, {**source, **probe}) == [made.at("r2")]  # it is for one alone


def test_a_controller_that_returns_changes_nothing(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    again = Lab(made.inventory)
    for vm in made.inventory.topology.vms:
        again.happen(up(again, vm.name, made.at(vm.name)[0]))
    for name, switch in made.switches.items():
        assert again.happen(SwitchUp(name, switch.cookies)) == ()


def test_a_controller_that_returns_mends_what_it_missed(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    held = {name: switch.cookies for name, switch in made.switches.items()}
    again = Lab(made.inventory, switches=made.switches)
    again.switches = made.switches
    again.happen(*(up(again, vm.name, made.at(vm.name)[0]) for vm in made.inventory.topology.vms if vm.name != "r2"))
    again.happen(up(again, "r2", "hv1"))
    for name in again.switches:
        again.happen(SwitchUp(name, held[name] | {0xBAD, 0}))
        assert DeleteFlow(name, 0xBAD) in again.effects
        assert DeleteFlow(name, 0) not in again.effects
    assert again.send("r1", mac(made, "r2")) == [("hv1", 2)]
    fresh = tunnels.lab()
    fresh.happen(up(fresh, "r2", "hv1"), PortDown("hv3", "r2"))
    fresh.send("r1", mac(made, "r2"))
    assert {n: s.cookies for n, s in again.switches.items()} == {n: s.cookies for n, s in fresh.switches.items()}


def test_a_switch_that_is_away_gets_everything_when_it_returns(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    made.happen(SwitchDown("hv2"))
    assert all(getattr(e, "switch", "") != "hv2" for e in made.happen(up(made, "r2", "hv1")))
    made.happen(SwitchUp("hv2", made.switches["hv2"].cookies))
    assert made.send("r1", mac(made, "r2")) == [("hv1", 2)]


def test_what_the_lab_lacks_is_ignored(tunnels: Tunnels) -> None:
    made = tunnels.lab()
    for event in (PortUp("hv9", "r1", "", 1), PortUp("hv1", "stranger", "", 9), PortDown("hv1", "x"), SwitchUp("hv9")):
        assert made.happen(event) == ()


def anycast(tunnels: Tunnels) -> Lab:
    made = tunnels.lab(gateway="anycast")
    for switch in ("hv1", "hv2", "hv3"):
        made.happen(PortUp(switch, f"{switch}/red/web", "", 50001))
    return made


def test_an_anycast_gateway_is_always_the_own_hypervisors(tunnels: Tunnels) -> None:
    made = anycast(tunnels)
    for vm in ("r1", "r2", "r3"):
        assert made.send(vm, "02:fe:00:00:00:01") == [(made.at(vm)[0], 50001)]
    made.happen(up(made, "r2", "hv1"), PortDown("hv3", "r2"))
    assert made.send("r2", "02:fe:00:00:00:01") == [("hv1", 50001)]


def test_anycast_legs_reach_all_vms_and_hear_no_remote_broadcast(tunnels: Tunnels) -> None:
    made = anycast(tunnels)
    made.happen(PortDown("hv3", "r2"))  # hv3 has the leg alone
    frame = {"eth_src": "02:fe:00:00:00:01", "eth_dst": mac(made, "r1"), "eth_type": 0x0800}
    assert made.receivers("hv3", 50001, frame) == [("hv2", 1)]
    assert sorted(made.send("r1", "33:33:00:00:00:fb")) == [("hv1", 3), ("hv2", 50001)]


def test_an_anycast_legs_questions_are_all_answered_at_home(tunnels: Tunnels) -> None:
    """The answer to a unicast one would go to the leg of the VM's own hypervisor."""
    made = anycast(tunnels)
    frame = {"eth_src": "02:fe:00:00:00:01", "eth_dst": mac(made, "r1"), "eth_type": 0x0806, "arp_op": 1}
    assert [port for port, _ in made.switches["hv3"].forward(50001, frame)] == [0xFFFFFFFD]
    asked = Ether(src="02:fe:00:00:00:01", dst=mac(made, "r1")) / ARP(
        hwsrc="02:fe:00:00:00:01", psrc="10.0.0.1", pdst="10.0.0.11"
    )
    (reply,) = made.happen(PacketIn("hv3", 50001, bytes(asked)))
    assert isinstance(reply, PacketOut)
    assert Ether(reply.data)[ARP].hwsrc == mac(made, "r1")


def test_host_routes_follow_vms_of_external_segments_in_the_underlays_ipv4_alone(tunnels: Tunnels) -> None:
    made = tunnels.bare(gateway="anycast")
    assert made.inventory.topology.vm("r1").ip6, "or this would show nothing of IPv6"
    assert made.happen(up(made, "r1", "hv2")) == (AdvertiseHost("10.0.0.11/32", "hv2"),)
    assert made.happen(up(made, "r1", "hv3")) == (AdvertiseHost("10.0.0.11/32", "hv3"),)
    assert made.happen(PortDown("hv2", "r1")) == ()
    assert made.happen(PortDown("hv3", "r1")) == (WithdrawHost("10.0.0.11/32"),)
    assert made.happen(up(made, "b1", "hv2")) == ()  # blue is not external
    assert made.happen(PortUp("hv2", "hv2/red/web", "", 50001)) == ()


def test_central_gateways_need_no_host_routes(tunnels: Tunnels) -> None:
    made = tunnels.bare()
    assert not any(isinstance(e, AdvertiseHost) for e in made.happen(up(made, "r1", "hv2")))


@pytest.mark.parametrize("source", ["::", "fd00::11"])
def test_neighbour_solicitations_are_answered_from_the_own_tenant(tunnels: Tunnels, source: str) -> None:
    made = tunnels.lab()
    endpoint = made.inventory.topology.vm("b1")
    data = Ether(src=endpoint.mac, dst="33:33:ff:00:00:12") / IPv6(src=source, dst="ff02::1:ff00:12", hlim=255)
    (reply,) = made.happen(PacketIn("hv2", endpoint.port, bytes(data / ICMPv6ND_NS(tgt="fd00::12"))))
    assert isinstance(reply, PacketOut)
    assert Ether(reply.data).src == mac(made, "b2")


@pytest.mark.parametrize("options", [{}, {"gateway": "anycast"}], ids=["central", "anycast"])
def test_frames_from_the_tunnel_are_taken_from_known_vteps_only(tunnels: Tunnels, options: dict[str, str]) -> None:
    made = tunnels.lab(**options)
    assert_known_only(made)


def test_flooding_learns_from_known_vteps_only() -> None:
    assert_known_only(running("vxlan", mode="flood"))


def assert_known_only(made: Lab) -> None:
    """Table 0 of every switch takes tunnel frames by who sent them: each of the others, and nobody else."""
    for name, switch in made.switches.items():
        taken = [
            dict(flow.match)
            for flow in switch.flows.values()
            if (flow.table, dict(flow.match).get("in_port")) == (0, TUNNEL)
        ]
        assert sorted(str(match.get("tun_ipv4_src")) for match in taken) == sorted(
            made.address(other) for other in made.switches if other != name
        )
        for stranger in ("192.0.2.99", "172.21.255.254", made.address(name)):
            fields = {"tunnel_id": 5001, "eth_src": "02:00:00:00:00:99", "eth_dst": BROADCAST, "tun_ipv4_src": stranger}
            assert switch.forward(TUNNEL, fields) == []
            found = switch.lookup(0, {**fields, "in_port": TUNNEL})
            assert found is not None and found.actions == ()


def test_a_foreign_vtep_of_the_inventory_is_known() -> None:
    known = inventory("vxlan")
    foreign = replace(known.underlay, foreign_vtep={"box": "192.0.2.99"})
    made = Lab(replace(known, underlay=foreign))
    made.happen(SwitchUp("hv1"))
    sources = [dict(flow.match).get("tun_ipv4_src") for flow in made.switches["hv1"].flows.values() if flow.table == 0]
    assert "192.0.2.99" in sources
