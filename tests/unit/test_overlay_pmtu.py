"""Path MTU messages: which frames a switch holds back, what senders are told, and what a lab says of its MTU."""

from __future__ import annotations

from dataclasses import replace

import pytest
from overlay_labs import BROADCAST, Change, Lab, inventory, matches
from scapy.compat import raw
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from chimera.model.control import PacketIn, PacketOut, PortUp, SwitchUp
from chimera.model.flow import CONTROLLER, TABLE, CheckLarger, Learn, Output
from chimera.model.topology import Endpoint, Kind, Link, Port, Segment, Topology
from chimera.overlay import pmtu, registry
from chimera.overlay.base import check_options
from chimera.overlay.mtu import mtu_of, packet_limit

LIMIT = 1450
A, B = "02:00:00:00:00:01", "02:00:00:00:00:02"
ROUTED = Segment("web", "red", 5001, 101, "10.0.0.0/24", "10.0.0.1", "02:fe:00:00:00:01", "fd00::/64", "fd00::1")
FLAT = Segment("web", "red", 5001, 101, "10.0.0.0/24")


def lab(overlay: str = "vxlan", limit: int = LIMIT, **options: str) -> Lab:
    """r1 and b1 at hv2, r2 at hv3, r3 at hv1, and the leg of red's router at gw, in an underlay of 1500 bytes."""
    made = Lab(replace(inventory(overlay, **options), packet_limit=limit))
    made.happen(*(SwitchUp(name) for name in made.switches))
    for vm in made.inventory.topology.vms:
        made.happen(PortUp(vm.hypervisor, vm.name, vm.mac, vm.port))
    made.happen(PortUp("gw", "gw/red/web", "", 50001))
    return made


def v4(size: int, *, flags: str = "DF", **fields: object) -> IP:
    return IP(src="10.0.0.11", dst="10.0.0.12", flags=flags, id=7, **fields) / UDP() / Raw(bytes(size - 28))


def v6(size: int) -> IPv6:
    return IPv6(src="fd00::11", dst="fd00::12") / ICMPv6EchoRequest(data=bytes(size - 48))


def frame(packet: Packet, source: str = A, target: str = B) -> bytes:
    return raw(Ether(src=source, dst=target) / packet)


def told(packet: Packet, segment: Segment | None = ROUTED, target: str = B) -> Packet | None:
    message = pmtu.message(frame(packet, target=target), LIMIT, segment)
    return Ether(message) if message else None


def has_true_checksums(received: Packet) -> bool:
    """Whether Scapy, left to compute them, arrives at the same bytes."""
    anew = received.copy()
    for layer, field in ((IP, "chksum"), (ICMP, "chksum"), (ICMPv6PacketTooBig, "cksum")):
        if layer in anew:
            delattr(anew[layer], field)
    return raw(anew) == raw(received)


# -- messages ------------------------------------------------------------------------------


@pytest.mark.parametrize(("segment", "ip", "mac"), [(ROUTED, "10.0.0.1", ROUTED.gateway_mac), (FLAT, "10.0.0.12", B)])
def test_fragmentation_needed_comes_from_the_router_or_the_destination(segment: Segment, ip: str, mac: str) -> None:
    message = told(v4(1500), segment)
    assert message is not None
    assert (message.src, message.dst, message[IP].src, message[IP].dst) == (mac, A, ip, "10.0.0.11")
    assert (message[ICMP].type, message[ICMP].code, message[ICMP].nexthopmtu) == (3, 4, LIMIT)
    assert has_true_checksums(message)
    assert raw(message)[-548:] == raw(v4(1500))[:548]
    assert len(message[IP]) == 576  # RFC 1812 section 4.3.2.3


@pytest.mark.parametrize(("segment", "ip", "mac"), [(ROUTED, "fd00::1", ROUTED.gateway_mac), (FLAT, "fd00::12", B)])
def test_packet_too_big_comes_from_the_router_or_the_destination(segment: Segment, ip: str, mac: str) -> None:
    message = told(v6(1500), segment)
    assert message is not None
    assert (message.src, message.dst, message[IPv6].src, message[IPv6].dst) == (mac, A, ip, "fd00::11")
    assert message[ICMPv6PacketTooBig].mtu == LIMIT
    assert has_true_checksums(message)
    assert raw(message)[-1232:] == raw(v6(1500))[:1232]
    assert len(message[IPv6]) == 1280  # RFC 4443 section 3.2


def test_the_router_itself_hears_from_the_destination() -> None:
    message = told(v4(1500), None)
    assert message is not None
    assert (message.src, message[IP].src) == (B, "10.0.0.12")


@pytest.mark.parametrize(
    "packet",
    [
        v4(1500, frag=3),
        IP(src="10.0.0.11", dst="10.0.0.12", flags="DF") / ICMP(type=3, code=1) / Raw(bytes(1472)),
        IP(src="0.0.0.0", dst="10.0.0.12", flags="DF") / UDP() / Raw(bytes(1472)),
        IPv6(src="fd00::11", dst="fd00::12") / ICMPv6TimeExceeded() / Raw(bytes(1452)),
        IPv6(src="::", dst="fd00::12") / UDP() / Raw(bytes(1452)),
        Raw(bytes(1500)),
    ],
    ids=["later fragment", "ICMP error", "no source", "ICMPv6 error", "no IPv6 source", "no IP"],
)
def test_no_message_where_none_may_be_sent(packet: Packet) -> None:
    assert told(packet) is None


def test_a_multicast_is_told_of_in_ipv6_alone() -> None:
    packet = IP(src="10.0.0.11", dst="224.0.0.251", flags="DF") / UDP() / Raw(bytes(1472))
    assert told(packet, target="01:00:5e:00:00:fb") is None
    multicast = IPv6(src="fd00::11", dst="ff02::fb") / UDP() / Raw(bytes(1452))
    message = told(multicast, target="33:33:00:00:00:fb")
    assert message is not None
    assert message[IPv6].src == "fd00::1"
    assert told(multicast, FLAT, target="33:33:00:00:00:fb") is None


@pytest.mark.parametrize(("flags", "frag"), [("", 0), ("MF", 100), ("", 100)])
def test_what_may_be_fragmented_is(flags: str, frag: int) -> None:
    packet = v4(4000, flags=flags, frag=frag, ttl=9, tos=4)
    assert told(packet) is None
    parts = [Ether(part) for part in pmtu.fragments(frame(packet), LIMIT)]
    assert all(len(part[IP]) <= LIMIT and has_true_checksums(part) for part in parts)
    assert {(p.src, p.dst, p[IP].id, p[IP].ttl, p[IP].tos) for p in parts} == {(A, B, 7, 9, 4)}
    payload = raw(packet)[20:]
    for part in parts:
        at = 8 * (part[IP].frag - frag)
        assert raw(part[IP].payload) == payload[at : at + len(part[IP]) - 20]
    assert sum(len(part[IP]) - 20 for part in parts) == len(payload)
    assert ["MF" in str(part[IP].flags) for part in parts] == [True] * (len(parts) - 1) + [flags == "MF"]


def test_what_may_not_be_fragmented_is_not() -> None:
    assert list(pmtu.fragments(frame(v4(1500)), LIMIT)) == []
    assert list(pmtu.fragments(frame(v6(1500)), LIMIT)) == []
    assert list(pmtu.fragments(frame(v4(1500, flags=""), target=BROADCAST), LIMIT)) == []


# -- switches and control ------------------------------------------------------------------

OVERLAYS = [("vxlan", {}), ("vxlan", {"mode": "flood"}), ("mpls", {}), ("otv", {}), ("lisp", {}), ("trill", {})]


def sent(made: Lab, vm: str, to: str, packet_bytes: int) -> list[int]:
    """Ports by which the VM's switch sends on a packet of this size to another VM."""
    source, target = (made.inventory.topology.vm(name) for name in (vm, to))
    fields = {"eth_src": source.mac, "eth_dst": target.mac, "eth_type": 0x0800, "length": 14 + packet_bytes}
    fields |= {"ipv4_src": source.ip.split("/")[0], "ipv4_dst": target.ip.split("/")[0], "nw_ttl": 64}
    where, port = made.at(vm)
    return [out for out, _ in made.switches[where].forward(port, fields)]


@pytest.mark.parametrize(("overlay", "options"), OVERLAYS)
def test_a_switch_sends_up_what_is_too_large_for_the_tunnel(overlay: str, options: dict[str, str]) -> None:
    made = lab(overlay, **options)
    assert CONTROLLER not in sent(made, "r1", "r2", LIMIT)
    up = sent(made, "r1", "r2", LIMIT + 1)
    assert CONTROLLER in up
    assert 60001 not in up


def test_what_stays_on_the_hypervisor_may_be_larger() -> None:
    made = lab()
    made.happen(PortUp("hv2", "r2", "", 2))
    assert sent(made, "r1", "r2", 1500) == [2]


@pytest.mark.parametrize(("overlay", "options"), OVERLAYS)
def test_nothing_of_it_exists_where_every_packet_fits(overlay: str, options: dict[str, str]) -> None:
    made = lab(overlay, 0, **options)
    for flow in (flow for name in made.switches for flow in made.wanted(name)):
        assert not any(isinstance(action, CheckLarger) for action in flow.actions)
        assert "reg0" not in dict(flow.match)


@pytest.mark.parametrize(("overlay", "options"), [*OVERLAYS, ("vxlan", {"gateway": "anycast"})])
def test_no_two_flows_could_take_the_same_large_frame(overlay: str, options: dict[str, str]) -> None:
    made = lab(overlay, **options)
    for flows in map(made.wanted, made.switches):
        assert len(set(matches(flows))) == len(flows)
        large = [f for f in flows if ("reg0", 1) in f.match]
        neighbours = {(f.table, f.priority) for f in flows if ("reg0", 1) not in f.match}
        assert large or options.get("gateway") == "anycast"  # where gw has nothing to carry
        assert not neighbours & {(f.table, f.priority) for f in large}


def test_what_is_learned_leads_into_the_tunnel_only_for_what_fits() -> None:
    made = lab(mode="flood")
    flows = made.switches["hv2"].flows.values()
    learns = [action for flow in flows for action in flow.actions if isinstance(action, Learn)]
    assert {((0, "reg0") in learn.match, bool(learn.load)) for learn in learns} == {(True, True), (False, False)}


def asked(made: Lab, packet: Packet, target: str = "02:00:00:00:00:02") -> tuple[Change, ...]:
    """What follows when r1's switch sends up a frame."""
    return made.happen(PacketIn("hv2", 1, frame(packet, target=target), 5001))


def test_the_sender_is_told_through_its_port() -> None:
    (effect,) = asked(lab(), v4(1500))
    assert isinstance(effect, PacketOut)
    assert (effect.switch, effect.actions) == ("hv2", (Output(1),))
    assert Ether(effect.data)[IP].src == "10.0.0.1"


def test_what_fits_is_nobodys_concern() -> None:
    assert asked(lab(), v4(LIMIT)) == ()


def test_a_conversation_begins_with_what_fits() -> None:
    made = lab("fabricpath")
    (told_of,) = asked(made, v4(LIMIT + 1))
    assert isinstance(told_of, PacketOut)
    assert told_of.actions == (Output(1),)
    assert sent(made, "r1", "r2", LIMIT) == [CONTROLLER]
    (sent_on,) = [effect for effect in asked(made, v4(LIMIT)) if isinstance(effect, PacketOut)]
    assert Output(60001) in sent_on.actions
    assert sent(made, "r1", "r2", LIMIT) == [60001]
    assert sent(made, "r1", "r2", LIMIT + 1) == [CONTROLLER]


def test_fragments_go_the_packets_way() -> None:
    effects = asked(lab(), v4(1500, flags=""))
    assert len(effects) == 2
    for effect in effects:
        assert isinstance(effect, PacketOut)
        assert (effect.in_port, effect.actions) == (1, (Output(TABLE),))


def test_the_gateways_leg_is_told_in_the_vms_name() -> None:
    made = lab()
    packet = IP(src="198.18.0.9", dst="10.0.0.11", flags="DF") / UDP() / Raw(bytes(1472))
    (effect,) = made.happen(PacketIn("gw", 50001, frame(packet, ROUTED.gateway_mac, A), 5001))
    assert isinstance(effect, PacketOut)
    assert (Ether(effect.data).dst, Ether(effect.data)[IP].src) == (ROUTED.gateway_mac, "10.0.0.11")


def test_what_was_flooded_to_its_receiver_here_is_no_matter() -> None:
    made = lab(mode="flood")
    assert len(asked(made, v4(1500))) == 1
    made.happen(PortUp("hv2", "r2", "", 2))
    assert asked(made, v4(1500)) == ()


# -- what a lab says -----------------------------------------------------------------------


def figures(overlay: str, underlay: int, vm: int = 1500, **options: str) -> tuple[int, int, str]:
    descriptor = registry.get(overlay)
    checked = check_options(descriptor, options)
    topology = replace(inventory().topology, underlay_mtu=underlay, vm_mtu=vm)
    mtu = mtu_of(topology, descriptor, checked)
    return mtu.largest_vm_packet, packet_limit(mtu, descriptor, checked), mtu.consequence


def test_a_lab_whose_packets_fit_needs_nothing() -> None:
    for name, overlay in registry.OVERLAYS.items():
        largest, limit, text = figures(name, 1600)
        assert (largest, limit) == (1500, 0)
        assert f"fit with {overlay.added_bytes(check_options(overlay, {}))} bytes of {name}" in text


@pytest.mark.parametrize(
    ("overlay", "underlay", "largest"),
    [
        ("vxlan", 1500, 1450),
        ("vxlan", 1550, 1500),
        ("vxlan", 1549, 1499),
        ("lisp", 1500, 1464),
        ("fabricpath", 1510, 1494),
    ],
)
def test_the_largest_packet_is_what_the_headers_leave(overlay: str, underlay: int, largest: int) -> None:
    found, limit, text = figures(overlay, underlay)
    assert found == largest
    assert limit == (largest if largest < 1500 else 0)
    assert ("VMs are told" in text) == (largest < 1500)


def test_bridges_tell_nobody() -> None:
    largest, limit, text = figures("vlan", 1400)
    assert (largest, limit) == (1400, 0)
    assert "nobody tells the VMs" in text


def test_ipv6_is_warned_for_where_it_cannot_shrink() -> None:
    assert "IPv6" not in figures("vxlan", 1330)[2]
    assert "IPv6 never sends less than 1280 bytes" in figures("vxlan", 1329)[2]


def test_a_small_link_counts_unless_it_is_a_clients() -> None:
    base = inventory().topology
    small = Link("wan", Port("hv1", "e0"), Port("hv2", "e0"), mtu=1500)
    client = Endpoint("laptop", Kind.CLIENT, "dc", 1)
    uplink = Link("access", Port("hv1", "e1"), Port("laptop", "eth0"), mtu=1400)

    def underlay(topology: Topology) -> int:
        return mtu_of(topology, registry.get("vxlan"), {"mode": "controller"}).underlay

    assert underlay(replace(base, links=(small,))) == 1500
    assert underlay(replace(base, endpoints=(*base.endpoints, client), links=(uplink,))) == 1600
