"""Address questions that switches answer by themselves, and those that they leave to the controller."""

from __future__ import annotations

from typing import Any

import pytest
from overlay_labs import BROADCAST, AddFlow, Lab, inventory, mac, running, up

from chimera.model.control import PortUp, Started, SwitchUp
from chimera.model.flow import CONTROLLER, IN_PORT, Flow
from chimera.overlay.answers import ANSWER, OWN, RESOLVE
from chimera.overlay.central import CentralController

SOLICITED_NODE, ALL_NODES = "33:33:ff:00:00:12", "33:33:00:00:00:01"
GATEWAY, GATEWAY_MAC = "10.0.0.1", "02:fe:00:00:00:01"
OVERLAYS = {
    "vxlan": {}, "mpls": {}, "otv": {}, "trill": {}, "fabricpath": {}, "lisp": {},
    "vxlan anycast": {"gateway": "anycast"}, "fabricpath anycast": {"gateway": "anycast"},
    "lisp anycast": {"gateway": "anycast"},
}  # fmt: skip


@pytest.fixture(params=OVERLAYS)
def lab(request: pytest.FixtureRequest) -> Lab:
    return running(request.param.split()[0], **OVERLAYS[request.param])


def request(made: Lab, vm: str, target: str, **fields: Any) -> dict[str, Any]:
    """An ARP request as a switch sees it."""
    own, ip = mac(made, vm), made.inventory.topology.vm(vm).ip.split("/")[0]
    return {
        "eth_src": own, "eth_dst": BROADCAST, "eth_type": 0x0806, "arp_op": 1, "arp_sha": own, "arp_spa": ip,
        "arp_tha": "00:00:00:00:00:00", "arp_tpa": target, **fields,
    }  # fmt: skip


def solicitation(made: Lab, vm: str, target: str, **fields: Any) -> dict[str, Any]:
    """A neighbour solicitation as a switch sees it."""
    own, ip = mac(made, vm), made.inventory.topology.vm(vm).ip6.split("/")[0]
    return {
        "eth_src": own, "eth_dst": SOLICITED_NODE, "eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 135,
        "nw_ttl": 255, "ipv6_src": ip, "ipv6_dst": "ff02::1:ff00:12", "ipv6_nd_target": target, **fields,
    }  # fmt: skip


def said(made: Lab, vm: str, frame: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """What the VM's switch does with a frame of it."""
    switch, port = made.at(vm)
    return made.switches[switch].forward(port, frame)


@pytest.mark.parametrize("target", ["r1", "r3"])
def test_arp_is_answered_with_the_owners_mac(lab: Lab, target: str) -> None:
    lab.happen(up(lab, "r1", "hv3"))  # now one neighbour is at the same switch, one elsewhere
    address = lab.inventory.topology.vm(target).ip.split("/")[0]
    ((port, reply),) = said(lab, "r2", request(lab, "r2", address))
    assert port == IN_PORT
    owner, asker = mac(lab, target), mac(lab, "r2")
    expected = {
        "eth_src": owner, "eth_dst": asker, "arp_op": 2, "arp_sha": owner, "arp_spa": address, "arp_tha": asker,
        "arp_tpa": "10.0.0.12",
    }  # fmt: skip
    assert {field: reply[field] for field in expected} == expected


def test_a_solicitation_is_answered_by_an_advertisement(lab: Lab) -> None:
    ((port, reply),) = said(lab, "r2", solicitation(lab, "r2", "fd00::13"))
    assert port == IN_PORT
    assert (reply["eth_src"], reply["eth_dst"]) == (mac(lab, "r3"), mac(lab, "r2"))
    assert (reply["icmpv6_type"], reply["ipv6_nd_tll"], reply["nd_options_type"]) == (136, mac(lab, "r3"), 2)
    assert (reply["ipv6_src"], reply["ipv6_dst"], reply["ipv6_nd_target"]) == ("fd00::13", "fd00::12", "fd00::13")
    assert reply["nd_reserved"] == 0x60000000, "solicited and override, no router"


def test_the_router_says_that_it_is_one(lab: Lab) -> None:
    ((port, reply),) = said(lab, "r2", request(lab, "r2", GATEWAY))
    assert (port, reply["arp_sha"]) == (IN_PORT, GATEWAY_MAC)
    ((port, reply),) = said(lab, "r2", solicitation(lab, "r2", "fd00::1"))
    assert (port, reply["ipv6_nd_tll"], reply["nd_reserved"]) == (IN_PORT, GATEWAY_MAC, 0xE0000000)


def test_each_tenant_is_answered_from_its_own_directory(lab: Lab) -> None:
    ((_, reply),) = said(lab, "b1", request(lab, "b1", "10.0.0.12"))
    assert reply["arp_sha"] == mac(lab, "b2")
    ((port, _),) = said(lab, "b1", request(lab, "b1", "10.0.0.13"))
    assert port == CONTROLLER, "blue has nobody at that address"


@pytest.mark.parametrize(
    "fields",
    [
        {"arp_tpa": "10.0.0.99"},
        {"arp_tpa": "10.0.0.12"},
        {"arp_tpa": "10.0.0.12", "arp_spa": "0.0.0.0"},
        {"arp_tpa": "10.0.0.13", "arp_op": 2},
    ],
    ids=["nobody's address", "an announcement", "a probe", "a reply to everybody"],
)
def test_arp_that_the_controller_judges(lab: Lab, fields: dict[str, Any]) -> None:
    """It comes as it was sent, and with the segment that it was sent in."""
    frame = request(lab, "r2", "", **fields)
    ((port, sent),) = said(lab, "r2", frame)
    assert port == CONTROLLER
    assert {name: sent[name] for name in frame} == frame


@pytest.mark.parametrize(
    "fields",
    [
        {"ipv6_nd_target": "fd00::99"},
        {"ipv6_nd_target": "fd00::12", "ipv6_src": "::"},
        {"ipv6_nd_target": "fd00::13", "ipv6_src": "::"},
        {"ipv6_nd_target": "fd00::13", "nw_ttl": 254},
        {"ipv6_nd_target": "fd00::13", "icmpv6_type": 136, "eth_dst": ALL_NODES},
    ],
    ids=["nobody's address", "its own address detected", "another's address detected", "forwarded", "an announcement"],
)
def test_solicitations_that_the_controller_judges(lab: Lab, fields: dict[str, Any]) -> None:
    frame = solicitation(lab, "r2", "", **fields)
    ((port, sent),) = said(lab, "r2", frame)
    assert port == CONTROLLER
    assert {name: sent[name] for name in frame} == frame


def test_an_anycast_gateways_leg_is_answered_though_it_asks_a_vm_alone() -> None:
    for overlay in ("vxlan", "fabricpath", "lisp"):
        made = running(overlay, gateway="anycast")
        made.happen(PortUp("hv2", "hv2/red/web", GATEWAY_MAC, 50001))
        asked = {"eth_src": GATEWAY_MAC, "arp_spa": GATEWAY, "arp_sha": GATEWAY_MAC, "eth_dst": mac(made, "r3")}
        ((port, reply),) = made.switches["hv2"].forward(50001, request(made, "r3", "10.0.0.13", **asked))
        assert (port, reply["arp_sha"], reply["eth_dst"]) == (IN_PORT, mac(made, "r3"), GATEWAY_MAC)
        ((port, sent),) = made.switches["hv2"].forward(50001, request(made, "r3", "10.0.0.99", **asked))
        assert (port, sent["tunnel_id"]) == (CONTROLLER, 0), "it asks for an answer, not for its way"
        ((port, _),) = made.switches["hv2"].forward(50001, request(made, "r3", GATEWAY, **asked))
        assert port == CONTROLLER, "nobody is told of itself"


def test_lisp_carries_no_arp_so_that_questions_to_one_neighbour_are_answered_too() -> None:
    made = running("lisp")
    ((port, reply),) = said(made, "r2", request(made, "r2", "10.0.0.13", eth_dst=mac(made, "r3")))
    assert (port, reply["arp_sha"]) == (IN_PORT, mac(made, "r3"))
    ((port, _),) = said(made, "r2", solicitation(made, "r2", "fd00::13", eth_dst=mac(made, "r3"), nw_ttl=254))
    assert port == CONTROLLER


def directory(made: Lab, switch: str) -> list[Flow]:
    """What a switch can answer."""
    return [f for f in made.switches[switch].flows.values() if (f.table, f.priority) == (RESOLVE, ANSWER)]


def test_a_directory_has_one_flow_for_each_address_of_the_segments_that_are_here(lab: Lab) -> None:
    red, blue = 3 * 3 + 3, 2 * 3 + 1  # VMs with an address of each family and a link-local one; so the routers
    counts = {switch: len(directory(lab, switch)) for switch in ("hv1", "hv2", "hv3", "gw")}
    assert counts == {"hv1": red, "hv2": red + blue, "hv3": red + blue, "gw": 0}


def test_a_move_changes_no_directory_but_where_a_segment_comes_or_goes(lab: Lab) -> None:
    def added(priority: int) -> int:
        flows = [effect.flow for effect in lab.effects if isinstance(effect, AddFlow)]
        return sum((flow.table, flow.priority) == (RESOLVE, priority) for flow in flows)

    lab.happen(up(lab, "r1", "hv1"))  # hv2 has nobody of the segment any more, hv1 and hv3 have others
    before = {switch: directory(lab, switch) for switch in lab.switches}
    lab.happen(up(lab, "r1", "hv3"))
    assert (added(ANSWER), added(OWN)) == (0, 1)
    assert {switch: directory(lab, switch) for switch in lab.switches} == before
    lab.happen(up(lab, "b1", "hv1"))
    assert added(ANSWER) == 2 * 3 + 1


def test_a_segment_without_a_gateway_node_has_no_router_in_its_directory() -> None:
    made = Lab(inventory())
    lonely = Lab(made.inventory)
    lonely.agent = CentralController(made.inventory, made.agent._rules, ())
    lonely.happen(Started())
    lonely.happen(*(SwitchUp(name) for name in lonely.switches))
    lonely.happen(up(lonely, "r1", "hv1"))
    assert not [f for f in directory(lonely, "hv1") if ("arp_tpa", GATEWAY) in f.match]
    assert [f for f in directory(lonely, "hv1") if ("arp_tpa", "10.0.0.12") in f.match]
