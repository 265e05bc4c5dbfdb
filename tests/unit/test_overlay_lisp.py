"""LISP's control plane in simulated time: which EIDs are reached from where, and through whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from overlay_labs import BROADCAST, AddFlow, DeleteFlow, Lab, inventory, matches
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether

from chimera.model.control import AdvertiseHost, PacketIn, PacketOut, PortDown, PortUp, SwitchUp
from chimera.model.flow import CONTROLLER, DecTtl, Output
from chimera.model.topology import Endpoint, Kind, Segment
from chimera.overlay.lisp import ETR_MAC, instance_id
from chimera.overlay.ports import TUNNEL

WEB_ROUTER, DB_ROUTER = "02:fe:00:00:00:01", "02:fe:00:00:00:03"
DB = Segment("db", "red", 5003, 103, "10.9.0.0/24", "10.9.0.1", DB_ROUTER, "fd09::/64", "fd09::1")


def up(made: Lab, vm: str, switch: str) -> PortUp:
    endpoint = made.inventory.topology.vm(vm)
    return PortUp(switch, vm, endpoint.mac, endpoint.port)


def lab(**options: str) -> Lab:
    """Red's web (r1 at hv2, r2 at hv3, r3 at hv1) and db (d1 at hv1), blue's web (b1 at hv2, b2 at hv3); gw routes."""
    base = inventory("lisp", **options)
    d1 = Endpoint("d1", Kind.VM, "dc", 6, "hv1", "red/db", "02:00:00:00:00:06", "10.9.0.11/24", "fd09::11/64", 6)
    topology = replace(base.topology, segments=(*base.topology.segments, DB), endpoints=(*base.topology.endpoints, d1))
    made = Lab(replace(base, topology=topology))
    made.happen(*(SwitchUp(name) for name in made.switches))
    made.happen(*(up(made, vm.name, vm.hypervisor) for vm in topology.vms))
    for holder in ("gw",) if options.get("gateway") != "anycast" else ("hv1", "hv2", "hv3"):
        for port, name in enumerate(("red/web", "blue/web", "red/db"), 50001):
            made.happen(PortUp(holder, f"{holder}/{name}", "", port))
    return made


def packet(made: Lab, source: str, target: str, to_mac: str, ttl: int = 64) -> dict[str, Any]:
    """The fields of an IP packet from a VM's address to another address."""
    endpoint = made.inventory.topology.vm(source)
    six = ":" in target
    own = (endpoint.ip6 if six else endpoint.ip).split("/")[0]
    family = "ipv6" if six else "ipv4"
    kind = 0x86DD if six else 0x0800
    addresses = {f"{family}_src": own, f"{family}_dst": target}
    return {"eth_src": endpoint.mac, "eth_dst": to_mac, "eth_type": kind, "nw_ttl": ttl, **addresses}


def ways(made: Lab, source: str, target: str, to_mac: str, ttl: int = 64) -> list[tuple[int, dict[str, Any]]]:
    """Ports, and fields then, by which the VM's own switch sends the packet on."""
    where, port = made.at(source)
    return made.switches[where].forward(port, packet(made, source, target, to_mac, ttl))


def ends(made: Lab, source: str, target: str, to_mac: str, ttl: int = 64) -> list[tuple[str, int]]:
    """Where the packet ends up; the tunnel carries no Ethernet."""
    vteps = {address: name for name, address in made.inventory.underlay.vtep.items()}
    found = []
    for out, fields in ways(made, source, target, to_mac, ttl):
        if out != TUNNEL:
            found.append((made.at(source)[0], out))
            continue
        bare = {**fields, "eth_src": "00:00:00:00:00:00", "eth_dst": "00:00:00:00:00:00"}
        far = vteps[bare.pop("tun_ipv4_dst")]
        bare["tun_ipv4_src"] = made.address(made.at(source)[0])
        found += [(far, p) for p, _ in made.switches[far].forward(TUNNEL, bare)]
    return found


def mac(made: Lab, vm: str) -> str:
    return made.inventory.topology.vm(vm).mac


def test_a_tenant_is_an_instance() -> None:
    topology = lab().inventory.topology
    assert [instance_id(topology, tenant) for tenant in ("red", "blue")] == [1, 2]


@pytest.mark.parametrize("target", ["10.0.0.12", "fd00::12"])
def test_a_remote_neighbour_is_reached_by_instance_and_address(target: str) -> None:
    made = lab()
    ((port, fields),) = ways(made, "r1", target, mac(made, "r2"))
    assert (port, fields["tunnel_id"], fields["tun_ipv4_dst"]) == (TUNNEL, 1, "192.0.2.3")
    assert ends(made, "r1", target, mac(made, "r2")) == [made.at("r2")]


def test_the_etr_makes_the_ethernet_header() -> None:
    made = lab()
    arriving = {"tunnel_id": 1, "eth_type": 0x0800, "ipv4_src": "10.0.0.11", "ipv4_dst": "10.0.0.12"}
    arriving["tun_ipv4_src"] = made.address("hv1")
    ((port, fields),) = made.switches["hv3"].forward(TUNNEL, arriving)
    assert (port, fields["eth_dst"], fields["eth_src"]) == (2, mac(made, "r2"), ETR_MAC)


def test_tenants_with_equal_addresses_do_not_meet() -> None:
    made = lab()
    assert ends(made, "b1", "10.0.0.12", mac(made, "b2")) == [made.at("b2")]
    assert ends(made, "r1", "10.0.0.12", mac(made, "b2")) == []
    assert ends(made, "b1", "10.0.0.13", mac(made, "r3")) == []
    assert ends(made, "b1", "10.9.0.11", "02:fe:00:00:00:02") == [("gw", 50002)]  # blue's own router, not red's VM


def test_a_mac_does_not_get_what_is_for_another_address() -> None:
    made = lab()
    made.happen(up(made, "r3", "hv3"), PortDown("hv1", "r3"))  # where r2 is, too
    assert ways(made, "r1", "10.0.0.13", mac(made, "r2")) == []
    assert ways(made, "r1", "fe80::1", mac(made, "r2")) == []


def test_within_a_hypervisor_a_mac_is_enough() -> None:
    made = lab()
    made.happen(up(made, "r2", "hv2"), PortDown("hv3", "r2"))
    assert ends(made, "r1", "10.0.0.99", mac(made, "r2")) == [("hv2", 2)]
    assert made.send("r1", "33:33:00:00:00:fb") == [("hv2", 2)]


def test_broadcast_and_what_is_not_ip_stay_here() -> None:
    made = lab()
    assert made.send("r1", "33:33:00:00:00:fb") == []
    frame = {"eth_src": mac(made, "r1"), "eth_dst": mac(made, "r2"), "eth_type": 0x88B5}
    assert made.receivers("hv2", 1, frame) == []


def test_a_foreign_source_mac_is_dropped() -> None:
    made = lab()
    frame = {**packet(made, "r1", "10.0.0.12", mac(made, "r2")), "eth_src": mac(made, "r3")}
    assert made.receivers("hv2", 1, frame) == []


def test_all_questions_about_remote_neighbours_go_to_the_controller() -> None:
    made = lab()
    source = {"eth_src": mac(made, "r1")}
    arp = {**source, "eth_type": 0x0806, "arp_op": 1}
    solicitation = {**source, "eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 135, "ipv6_dst": "fd00::12"}
    asked = [
        {**arp, "eth_dst": BROADCAST},
        {**arp, "eth_dst": mac(made, "r2")},
        {**solicitation, "eth_dst": "33:33:ff:00:00:12"},
        {**solicitation, "eth_dst": mac(made, "r2")},
    ]
    for frame in asked:
        assert [port for port, _ in made.switches["hv2"].forward(1, frame)] == [CONTROLLER]
    made.happen(up(made, "r2", "hv2"), PortDown("hv3", "r2"))
    assert made.receivers("hv2", 1, {**arp, "eth_dst": mac(made, "r2")}) == [("hv2", 2)]


def test_questions_are_answered_from_the_own_segment() -> None:
    made = lab()
    for vm in ("r1", "b1"):
        here = made.inventory.topology.vm(vm)
        asked = Ether(src=here.mac, dst=BROADCAST) / ARP(hwsrc=here.mac, psrc="10.0.0.11", pdst="10.0.0.12")
        (reply,) = made.happen(PacketIn("hv2", here.port, bytes(asked)))
        assert isinstance(reply, PacketOut)
        assert Ether(reply.data)[ARP].hwsrc == mac(made, {"r1": "r2", "b1": "b2"}[vm])
    r1 = made.inventory.topology.vm("r1")
    asked6 = Ether(src=r1.mac, dst=mac(made, "r2")) / IPv6(src="fd00::11", dst="fd00::12", hlim=255)
    (reply,) = made.happen(PacketIn("hv2", r1.port, bytes(asked6 / ICMPv6ND_NS(tgt="fd00::12"))))
    assert isinstance(reply, PacketOut)
    assert Ether(reply.data).src == mac(made, "r2")


@pytest.mark.parametrize("target", ["10.9.0.11", "fd09::11"])
def test_the_itr_routes_between_segments_of_a_tenant(target: str) -> None:
    made = lab()
    assert ends(made, "r1", target, WEB_ROUTER) == [made.at("d1")]  # hv2 to hv1, not through gw
    flow = routing(made, "hv2", target)
    assert flow[0] == DecTtl()
    assert ends(made, "r3", target, WEB_ROUTER) == [made.at("d1")]  # both at hv1
    assert routing(made, "hv1", target)[0] == DecTtl()


def routing(made: Lab, switch: str, target: str) -> tuple[Any, ...]:
    family, kind = ("ipv6_dst", 0x86DD) if ":" in target else ("ipv4_dst", 0x0800)
    fields = {"tunnel_id": 5001, "eth_dst": WEB_ROUTER, "eth_type": kind, family: target, "nw_ttl": 64}
    flow = made.switches[switch].lookup(1, fields)
    assert flow is not None
    return flow.actions


def test_a_packet_whose_ttl_ends_at_the_router_reaches_one_that_says_so() -> None:
    made = lab()
    assert ends(made, "r1", "10.9.0.11", WEB_ROUTER, ttl=1) == [("gw", 50001)]
    assert ends(made, "r1", "10.0.0.12", mac(made, "r2"), ttl=1) == [made.at("r2")]  # a neighbour is no hop away


def test_switches_without_a_port_of_the_other_segment_know_it_and_its_moves() -> None:
    made = lab()
    made.happen(up(made, "d1", "hv3"), PortDown("hv1", "d1"))
    for source in ("r1", "r2", "r3"):
        assert ends(made, source, "10.9.0.11", WEB_ROUTER) == [("hv3", 6)]
    made.happen(PortDown("hv3", "d1"))
    assert ends(made, "r1", "10.9.0.11", WEB_ROUTER) == [("gw", 50001)]


@pytest.mark.parametrize("target", ["198.18.0.1", "10.0.0.1", "2001:db8::1"])
def test_what_is_no_eid_goes_to_the_proxy_and_the_leg_of_its_source(target: str) -> None:
    made = lab()
    assert ends(made, "r1", target, WEB_ROUTER) == [("gw", 50001)]
    assert ends(made, "d1", target, DB_ROUTER) == [("gw", 50003)]


def test_a_source_of_no_subnet_ends_at_the_proxy() -> None:
    made = lab()
    arriving = {"tunnel_id": 1, "eth_type": 0x0800, "ipv4_src": "10.8.0.1", "ipv4_dst": "198.18.0.1"}
    arriving["tun_ipv4_src"] = made.address("hv1")
    assert made.switches["gw"].forward(TUNNEL, arriving) == []


def test_the_gateways_leg_reaches_vms() -> None:
    made = lab()
    frame = {"eth_src": WEB_ROUTER, "eth_dst": mac(made, "r1"), "eth_type": 0x0800, "ipv4_dst": "10.0.0.11"}
    assert made.receivers("gw", 50001, frame) == [made.at("r1")]


def test_a_move_tells_the_destination_first_and_leaves_nothing_behind() -> None:
    made = lab()
    effects = made.happen(up(made, "r2", "hv1"))
    assert next(e.switch for e in effects if isinstance(e, AddFlow)) == "hv1"
    assert {e.switch for e in effects if isinstance(e, DeleteFlow)} <= {"hv1", "hv3"}  # elsewhere it is replaced
    assert ends(made, "r1", "10.0.0.12", mac(made, "r2")) == [("hv1", 2)]
    made.happen(PortDown("hv3", "r2"))
    fresh = lab()
    fresh.happen(PortDown("hv3", "r2"), up(fresh, "r2", "hv1"))
    assert {n: s.cookies for n, s in made.switches.items()} == {n: s.cookies for n, s in fresh.switches.items()}


def test_a_controller_that_returns_changes_nothing() -> None:
    made = lab()
    again = Lab(made.inventory)
    again.happen(*(up(again, vm.name, made.located[vm.name]) for vm in made.inventory.topology.vms))
    for port, name in enumerate(("red/web", "blue/web", "red/db"), 50001):
        again.happen(PortUp("gw", f"gw/{name}", "", port))
    for name, switch in made.switches.items():
        assert again.happen(SwitchUp(name, switch.cookies)) == ()


@pytest.mark.parametrize("gateway", ["central", "anycast"])
def test_flows_of_a_switch_differ_in_their_matches(gateway: str) -> None:
    made = lab(gateway=gateway)
    for name in made.switches:
        flows = made.wanted(name)
        assert len(set(matches(flows))) == len(flows)


def test_an_anycast_gateway_is_always_the_own_hypervisors() -> None:
    made = lab(gateway="anycast")
    assert ends(made, "r1", "198.18.0.1", WEB_ROUTER) == [("hv2", 50001)]
    assert ends(made, "r1", "10.9.0.11", WEB_ROUTER) == [("hv2", 50001)]  # whose kernel routes
    effects = made.happen(up(made, "r1", "hv3"))
    assert AdvertiseHost("10.0.0.11/32", "hv3") in effects
    frame = {"eth_src": DB_ROUTER, "eth_dst": mac(made, "d1"), "eth_type": 0x0800, "ipv4_dst": "10.9.0.11"}
    assert made.receivers("hv2", 50003, frame) == [made.at("d1")]


def test_what_arrives_never_goes_back() -> None:
    made = lab()
    for switch in made.switches.values():
        arriving = [flow for flow in switch.flows.values() if flow.table == 2]
        assert not any(Output(TUNNEL) in flow.actions for flow in arriving)
