"""Tenants are apart, and from the network that carries them: what an external tenant's VM, a client, and a host of the
physical network that is no VTEP try, over every overlay.

Each packet is numbered, so that one listener at every port tells which attempt got where. What the attackers forge is
right: the same frame from a known VTEP does arrive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from itertools import count
from typing import Any

import pytest
from lab_spy import Seen, Spy, spying
from lab_support import needs_lab
from running_lab import RunningLab, up
from wire_labs import NO_TRANSLATORS, WIRES, checksum, ipv4, mac, udp

from chimera.load import parse_topology
from chimera.overlay import registry
from chimera.overlay.lisp import instance_id
from chimera.overlay.mpls import label
from chimera.underlay import plan

pytestmark = needs_lab

TOPOLOGY = """
name: two-tenants
switches: {tor: {}}
routers: {r1: {}}
hypervisors: {"hv[1-2]": {uplink: tor}}
gateways: {gw1: {uplink: tor}}
links: [{between: [tor, r1]}]
tenants:
  blue: {segments: {web: {subnet: 10.1.0.0/24, subnet6: auto, gateway: auto, external: true}}}
  red:
    segments:
      app: {subnet: 10.1.0.0/24, subnet6: auto, gateway: auto}
      store: {subnet: 10.3.0.0/24, gateway: auto}
vms:
  mallory: {hypervisor: hv1, segment: web}
  web2: {hypervisor: hv2, segment: web}
  red1: {hypervisor: hv1, segment: app}
  red2: {hypervisor: hv2, segment: app}
  red3: {hypervisor: hv2, segment: store}
bare_metal: {box: {uplink: tor}}
clients: {"laptop": {uplink: r1}, "pc": {uplink: r1}}
"""
LABS = {
    **{name: (name, {}) for name in registry.OVERLAYS},
    "vxlan-anycast": ("vxlan", {"gateway": "anycast"}),
    "vxlan-flood": ("vxlan", {"mode": "flood"}),
    "lisp-gpe": ("lisp", {"wire": "gpe"}),
    "otv-gre": ("otv", {"wire": "gre"}),
}
RED, BLUE = ("red1", "red2", "red3"), ("mallory", "web2")
CARRIERS = ("tor", "r1", "hv1", "hv2", "gw1")
MARK = b"attempt "
QUIET_S = 0.15
RST = 4
SYN = bytes.fromhex("5002 ffff 0000 0000")  # offset and flags, window, checksum, urgent pointer
GATEWAY = "10.1.0.1"  # blue's, and red's
NOWHERE = (
    *("127.0.0.1", "127.0.0.53", "0.0.0.1", "169.254.0.1", "224.0.0.1", "224.0.0.5", "239.1.1.1", "255.255.255.255"),
    *("172.20.0.1", "172.23.255.254", "240.0.0.1"),
)
OTHERS = (*BLUE, "laptop", "pc")


@dataclass
class Attempt:
    """What one mark stands for: who tried what, and the IPv4 packets that are to go to the sender's router."""

    sender: str
    name: str
    packets: list[bytes] = field(default_factory=list)


@dataclass
class Ground:
    """A lab with a listener at every port, and what an attacker knows: everything."""

    lab: RunningLab
    spy: Spy
    facts: dict[str, Any]
    name: str
    overlay: str
    tried: dict[bytes, Attempt] = field(default_factory=dict)  # by mark
    number: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.topology = parse_topology(TOPOLOGY, "two-tenants.yaml")
        self.vtep: dict[str, str] = self.facts["vtep"]
        self.red_legs = {f"g{segment.vni}" for segment in self.topology.segments if segment.tenant == "red"}
        self.own = {n: self.spy.macs[n]["eth0"] for n in (*RED, *BLUE, "laptop", "pc", "box")}
        addresses = {(a["node"], a["interface"]): a["address"].partition("/")[0] for a in self.facts["addresses"]}
        self.addresses = addresses
        self.ip = {n: addresses[n, "eth0"] for n in ("laptop", "pc", "box")}
        self.ip |= {n: self.lab.address(n) for n in (*RED, *BLUE)}

    def gateway_mac(self, sender: str) -> str:
        """Where a sender's packets for others go."""
        if sender in BLUE or sender in RED:
            segment = self.topology.segment_of(self.topology.vm(sender))
            return segment.gateway_mac
        node = "tor" if sender == "box" else "r1"
        return self.spy.macs[node][self.port(node, sender)]

    def port(self, node: str, neighbour: str) -> str:
        """A node's interface that leads to a neighbour."""
        for link in self.topology.links:
            ends = {p.node: p.interface for p in link.ends()}
            if {node, neighbour} == set(ends):
                return ends[node]
        raise LookupError(neighbour)

    def segment(self, key: str) -> Any:
        return self.topology.segment(key)

    # -- what is forged ------------------------------------------------------------------------

    def inner(self, mark: bytes, target: str = "red1", source: str = "red2", *, group: bool = False) -> bytes:
        """A frame of the red tenant, as a VM there would send it: an answer to no ping, which nobody answers."""
        answer = b"\0\0" + bytes(6) + mark.ljust(48, b".")
        answer = b"\0\0" + checksum(answer).to_bytes(2) + answer[4:]
        to = b"\xff" * 6 if group else mac(self.own[target])
        return to + mac(self.own[source]) + b"\x08\x00" + ipv4(self.ip[source], self.ip[target], 1, answer)

    def wires(self, frame: bytes, hypervisor: str = "hv1", segment: str = "red/app") -> dict[str, tuple[int, bytes]]:
        """IP protocol and payload of what carries a frame to a hypervisor, in every format that IP carries."""
        found = self.segment(segment)
        vni, red = found.vni, instance_id(self.topology, found.tenant)
        entry = (label(self.topology, hypervisor, found) << 12 | 0x1FF).to_bytes(4)
        vxlan = b"\x08\0\0\0" + vni.to_bytes(3) + b"\0"
        return {
            "VXLAN": (17, udp(50000, 4789, vxlan + frame)),
            "Geneve": (17, udp(50000, 6081, b"\0\0\x65\x58" + vni.to_bytes(3) + b"\0" + frame)),
            "OTV": (17, udp(50000, 8472, vxlan + frame)),
            "MPLS in UDP": (17, udp(50000, 6635, entry + bytes(4) + frame)),
            "MPLS in GRE": (47, b"\0\0\x88\x47" + entry + frame),
            "LISP": (17, udp(50000, 4341, b"\x08\0\0\0" + red.to_bytes(3) + b"\0" + frame[14:])),
            "LISP-GPE": (17, udp(50000, 4341, b"\x0c\0\0\x01" + red.to_bytes(3) + b"\0" + frame[14:])),
            "the label of a VLAN": (17, udp(50000, 4789, b"\x08\0\0\0" + found.vlan.to_bytes(3) + b"\0" + frame)),
        }

    def fabric_frames(self, frame: bytes, by: str, to: str = "hv1") -> dict[str, bytes]:
        """TRILL and FabricPath, as the format says it stands on the cable of an edge."""
        planned = {n: int(node["planned"]["identifier"]) for n, node in (self.facts.get("fabric") or {}).items()}
        identifiers = planned or {"hv1": 0x1001, "hv2": 0x1002}
        ingress, egress = identifiers.get(by, identifiers["hv2"]), identifiers[to]
        vlan = self.segment("red/app").vlan
        outer = mac(self.spy.macs["tor"][self.port("tor", by)]) + mac(self.spy.macs[by]["eth0"])
        head = b"\x22\xf3" + b"".join(n.to_bytes(2) for n in (20, egress, ingress))
        tagged = frame[:12] + b"\x81\0" + vlan.to_bytes(2) + frame[12:]

        def hierarchical(identifier: int) -> bytes:
            return bytes([2, identifier >> 8 & 15, identifier & 255, 0]) + vlan.to_bytes(2)

        path = hierarchical(egress) + hierarchical(ingress) + b"\x89\x03" + (1 << 6 | 20).to_bytes(2) + frame
        return {"TRILL": outer + head + tagged, "FabricPath": path}

    # -- attempts ------------------------------------------------------------------------------

    def mark(self, sender: str, name: str) -> bytes:
        """What is in a packet of this attempt and in no other."""
        mark = MARK + b"%04d" % next(self.number)
        self.tried[mark] = Attempt(sender, name)
        return mark

    def framed(self, sender: str, mark: bytes, packet: bytes) -> bytes:
        """A packet in a frame to the sender's router."""
        self.tried[mark].packets.append(packet)
        return mac(self.gateway_mac(sender)) + mac(self.own[sender]) + b"\x08\x00" + packet

    def forged(self, sender: str) -> Iterator[bytes]:
        """Red's frames in every format to every VTEP, from one's own address and from others'."""
        ip = self.ip[sender]
        for wire in self.wires(b"x" * 60):
            for hypervisor, target in (("hv1", "red1"), ("hv2", "red2")):
                for kind in ("unicast", "broadcast"):
                    other = {"red1": "red2", "red2": "red1"}[target]
                    mark = self.mark(sender, f"{wire} to {hypervisor}, {kind}")
                    frame = self.inner(mark, target, other, group=kind == "broadcast")
                    yield self.framed(sender, mark, self._to(hypervisor, ip, self.wires(frame, hypervisor)[wire]))
        if sender == "box":
            return  # what the physical network's own hosts say they are is the physical network's business
        for source, claimed in (("hv2", self.vtep["hv2"]), ("gw1", self.vtep["gw1"]), ("red2", self.ip["red3"])):
            for wire in self.wires(b"x" * 60):
                mark = self.mark(sender, f"{wire} to hv1 as if from {source}")
                yield self.framed(sender, mark, self._to("hv1", claimed, self.wires(self.inner(mark))[wire]))
        for source in (ip, *self.vtep.values()):
            for wire in self.wires(b"x" * 60):
                mark = self.mark(sender, f"{wire} to its own gateway's address as if from {source}")
                packet = ipv4(source, GATEWAY, *self.wires(self.inner(mark), "gw1")[wire])
                yield mac(self.gateway_mac(sender)) + mac(self.own[sender]) + b"\x08\0" + packet
        mark = self.mark(sender, "VXLAN in two fragments")
        protocol, data = self.wires(self.inner(mark))["VXLAN"]
        for at, more in ((0, 0x2000), (48, 0)):
            part = data[at : at + 48] if more else data[at:]
            yield self.framed(sender, mark, ipv4(ip, self.vtep["hv1"], protocol, part, flags=more | at // 8))
        mark = self.mark(sender, "VXLAN, source-routed by the gateway")
        protocol, data = self.wires(self.inner(mark))["VXLAN"]
        route = b"\x83\x07\x04" + bytes(map(int, self.vtep["hv1"].split("."))) + b"\x01"
        yield self.framed(sender, mark, ipv4(ip, GATEWAY, protocol, data, options=route))
        for name, number in (("IP in IP", 4), ("GRE", 47)):
            mark = self.mark(sender, f"{name} around VXLAN to hv1")
            carried = self._to("hv1", self.vtep["hv2"], self.wires(self.inner(mark))["VXLAN"])
            data = carried if number == 4 else b"\0\0\x08\0" + carried
            yield self.framed(sender, mark, ipv4(ip, self.vtep["gw1"], number, data))
        for address in ("172.21.16.1", "172.21.16.2", "172.22.16.1", "172.22.32.1", "172.22.48.1", "172.22.0.1"):
            mark = self.mark(sender, f"VXLAN to {address}, which stands for an edge or a tree between switch and wire")
            frame = self.inner(mark, group=address.startswith("172.22"))
            yield self.framed(sender, mark, ipv4(ip, address, *self.wires(frame)["the label of a VLAN"]))
        mark = self.mark(sender, "VXLAN as if from an edge of a fabric")
        yield self.framed(
            sender, mark, self._to("hv1", "172.21.16.2", self.wires(self.inner(mark))["the label of a VLAN"])
        )

    def _to(self, hypervisor: str, source: str, carried: tuple[int, bytes]) -> bytes:
        return ipv4(source, self.vtep[hypervisor], *carried)

    def probing(self, sender: str) -> Iterator[bytes]:
        """Plain packets to what is not a client's or an external tenant's."""
        ip = self.ip[sender]
        targets = {f"the VTEP of {name}": address for name, address in self.vtep.items()}
        targets |= {f"{node}'s {i}": a for (node, i), a in self.addresses.items() if node in ("tor", "r1", "box")}
        if sender == "laptop":  # its own router's port is what it may ask
            targets.pop(f"r1's {self.port('r1', sender)}")
        targets |= {f"management address {n}": str(plan.MANAGEMENT[n]) for n in range(1, 5)}
        targets |= {"red's VM": self.ip["red3"], "red's gateway": "10.3.0.1"}
        targets |= {address: address for address in NOWHERE}
        for name, address in targets.items():
            for kind in ("echo", "TCP", "UDP"):
                mark = self.mark(sender, f"{kind} to {name}")
                yield self.framed(sender, mark, asking(kind, mark, ip, address))
        for claimed in ("127.0.0.1", "100.64.0.1", self.vtep["hv2"], "10.3.0.11", "0.0.0.0", "224.0.0.1"):
            mark = self.mark(sender, f"to the VTEP of gw1 as if from {claimed}")
            yield self.framed(sender, mark, asking("echo", mark, claimed, self.vtep["gw1"]))
            mark = self.mark(sender, f"to red's gateway as if from {claimed}")
            yield self.framed(sender, mark, asking("echo", mark, claimed, "10.3.0.1"))

    def at_layer_2(self, sender: str) -> Iterator[bytes]:
        """What a tenant's VM can put on its own cable: tags, others' formats, questions that are not its own."""
        own, vlan = mac(self.own[sender]), self.segment("red/app").vlan
        for name, tags in {
            "red's tag": b"\x81\0" + vlan.to_bytes(2),
            "red's tag behind none": b"\x81\0\0\0" + b"\x81\0" + vlan.to_bytes(2),
            "red's tag behind another": b"\x81\0\0\x65" + b"\x81\0" + vlan.to_bytes(2),
            "red's service tag": b"\x88\xa8" + vlan.to_bytes(2),
            "red's tag behind a service tag": b"\x88\xa8\0\x65" + b"\x81\0" + vlan.to_bytes(2),
        }.items():
            for group in (False, True):
                mark = self.mark(sender, f"{name}, {'broadcast' if group else 'unicast'}")
                frame = self.inner(mark, group=group)
                yield frame[:6] + own + tags + frame[12:]
                mark = self.mark(sender, f"{name}, as red2, {'broadcast' if group else 'unicast'}")
                frame = self.inner(mark, group=group)
                yield frame[:12] + tags + frame[12:]
        if sender == "box":
            for name in self.fabric_frames(b"x" * 60, sender):
                mark = self.mark(sender, f"{name} on its own cable")
                yield self.fabric_frames(self.inner(mark), sender)[name]
            return
        for name, to in {"red1's MAC": "red1", "red3's MAC": "red3"}.items():
            mark = self.mark(sender, f"to {name}")
            yield self.inner(mark, to)[:6] + own + self.inner(mark, to)[12:]
            mark = self.mark(sender, f"to {name}, as red2")
            yield self.inner(mark, to)
        for hypervisor in self.vtep:
            for source in {*self.vtep} - {hypervisor}:
                for wire in self.wires(b"x" * 60):
                    mark = self.mark(
                        sender, f"{wire} to the MAC and address of {hypervisor}'s VTEP as if from {source}"
                    )
                    frame = self.inner(mark, "red2" if hypervisor == "hv2" else "red1", "red3", group=True)
                    packet = self._to(hypervisor, self.vtep[source], self.wires(frame, hypervisor)[wire])
                    yield mac(self.spy.macs[hypervisor]["br-phy"]) + own + b"\x08\0" + packet
        for key in ("red/app", "red/store"):
            segment = self.segment(key)
            mark = self.mark(sender, f"to the gateway's MAC of {key}")
            packet = asking("UDP", mark, self.ip[sender], self.ip["red3"])
            yield mac(segment.gateway_mac) + own + b"\x08\x00" + packet

    def over_ipv6(self, sender: str) -> Iterator[bytes]:
        red, blue = self.segment("red/app"), self.segment("blue/web")
        own = self.lab.endpoints[sender]["ip6"].partition("/")[0]
        theirs = self.lab.endpoints["red1"]["ip6"].partition("/")[0]
        for name, address in {
            "red's VM": theirs,
            "red's gateway": red.gateway6,
            "loopback": "::1",
            "an IPv4-mapped VTEP": f"::ffff:{self.vtep['hv1']}",
            "6to4": "2002:ac10:0001::1",
            "a global address": "2001:db8::1",
        }.items():
            mark = self.mark(sender, f"IPv6 to {name}")
            packet = ipv6(own, address, mark)
            yield mac(blue.gateway_mac) + mac(self.own[sender]) + b"\x86\xdd" + packet

    # -- what became of them -------------------------------------------------------------------

    def fire(self, sender: str, *frames: bytes) -> list[Seen]:
        """Send everything, and hear until what one red VM sends another afterwards has come, and a while longer."""
        self.spy.take()
        self.spy.send(sender, *frames, gap_s=0.0003)
        last = self.mark("red2", "afterwards")
        self.spy.send("red2", self.inner(last))
        found = self.spy.take_until(lambda seen: arrived(seen, "red1", last))
        assert arrived(found, "red1", last)
        while fresh := [s for s in self.spy.take_until(lambda _: False, QUIET_S) if MARK in s.frame]:
            found += fresh
        return found

    def arrives(self, sender: str, frame: bytes, receiver: str) -> bool:
        """Whether a marked frame of a sender's comes to an endpoint."""
        self.spy.take()
        self.spy.send(sender, frame)
        return arrived(self.spy.take_until(lambda seen: arrived(seen, receiver)), receiver)

    def wrong(self, heard: list[Seen]) -> list[str]:
        """Attempts that got somewhere, and where."""
        found = set()
        for seen in heard:
            at = seen.frame.find(MARK)
            tried = self.tried.get(seen.frame[at : at + len(MARK) + 4]) if at >= 0 else None
            if tried and self.is_wrong(seen, tried):
                found.add(f"{tried.sender}: {tried.name}: got to {seen.node} {seen.interface} ({seen.direction})")
        return sorted(found)

    def is_wrong(self, seen: Seen, tried: Attempt) -> bool:
        """Whether an attempt should not have come here."""
        if seen.interface == "mgmt":
            return not is_openflow(seen.frame)
        if seen.direction == "in" and seen.node in (RED if tried.sender not in RED else OTHERS):
            return True
        if tried.sender not in RED and seen.interface in self.red_legs:
            return True
        return tried.sender != "box" and on_the_underlay(seen) and any(plain(seen.frame, p) for p in tried.packets)

    def answered(self, sender: str, heard: list[Seen]) -> list[str]:
        """Targets that answered a sender themselves."""
        targets = {p[16:20]: t.name for t in self.tried.values() if t.sender == sender for p in t.packets}
        targets.pop(IPv4Address(GATEWAY).packed, None)  # which says that there is no way to the others
        return sorted(
            {
                f"{sender}: {targets[seen.frame[26:30]]}: answered"
                for seen in heard
                if (seen.node, seen.direction, seen.frame[12:14]) == (sender, "in", b"\x08\x00")
                and seen.frame[26:30] in targets
            }
        )


def arrived(heard: list[Seen], node: str, mark: bytes = MARK) -> bool:
    """Whether a frame with that mark came to an endpoint."""
    return any(s.node == node and s.direction == "in" and mark in s.frame for s in heard)


def is_openflow(frame: bytes) -> bool:
    """Whether a frame is of a switch's session with the controller, which hears of frames that have no way yet."""
    ends = (IPv4Address(frame[at : at + 4]) for at in (26, 30))
    return frame[12:14] == b"\x08\0" and frame[23] == 6 and all(address in plan.MANAGEMENT for address in ends)


def on_the_underlay(seen: Seen) -> bool:
    """Whether a frame is past its sender's router: on a link of the underlay, or with a hypervisor's own IP stack."""
    if seen.node not in CARRIERS or (seen.node == "r1" and seen.direction == "in"):
        return False
    return seen.interface.startswith("eth") or seen.interface == "br-phy"


def plain(frame: bytes, packet: bytes) -> bool:
    """Whether a frame is that packet, with no tag and no tunnel around it, or the echo of it."""
    if frame[12:14] != b"\x08\x00":
        return False
    body, sent = frame[14 + (frame[14] & 15) * 4 :], packet[(packet[0] & 15) * 4 :]
    return body.startswith(sent) or (frame[23] == 1 and body[:1] == b"\0" and body[4:].startswith(sent[4:]))


def asking(kind: str, mark: bytes, source: str, target: str, port: int = 8000) -> bytes:
    """A packet that a live IP stack answers; 8000 is where hypervisors copy VMs' memory to."""
    if kind == "echo":
        asked = b"\x08\0\0\0\0\1\0\1" + mark
        return ipv4(source, target, 1, asked[:2] + checksum(asked).to_bytes(2) + asked[4:])
    if kind == "UDP":
        return ipv4(source, target, 17, udp(40000, port, mark))
    asked = (40000).to_bytes(2) + port.to_bytes(2) + bytes(3) + b"\1" + bytes(4) + SYN + mark
    pseudo = IPv4Address(source).packed + IPv4Address(target).packed + b"\0\6" + len(asked).to_bytes(2)
    return ipv4(source, target, 6, asked[:16] + checksum(pseudo + asked).to_bytes(2) + asked[18:])


def ipv6(source: str, target: str, mark: bytes) -> bytes:
    """An echo request."""
    asked = b"\x80\0\0\0\0\1\0\1" + mark
    pair = IPv6Address(source).packed + IPv6Address(target).packed
    total = checksum(pair + len(asked).to_bytes(4) + bytes(3) + b"\x3a" + asked)
    asked = asked[:2] + total.to_bytes(2) + asked[4:]
    return b"\x60\0\0\0" + len(asked).to_bytes(2) + b"\x3a\x40" + pair + asked


@pytest.fixture(scope="module", params=LABS)
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    overlay, options = LABS[request.param]
    needs = [
        w for w in WIRES.values() if w.overlay == overlay and all(options.get(k) == v for k, v in w.options.items())
    ]
    if NO_TRANSLATORS and any(wire.translated for wire in needs):
        pytest.skip(f"no eBPF translators: {NO_TRANSLATORS}")
    path = tmp_path_factory.mktemp("tenants") / "two-tenants.yaml"
    path.write_text(TOPOLOGY)
    words = [word for item in options.items() for word in ("--set", "=".join(item))]
    with up(str(path), "--overlay", overlay, *words) as lab:
        facts = lab.inspect()
        laptop = next(a["address"] for a in facts["addresses"] if a["node"] == "laptop").partition("/")[0]
        for source, target in (("mallory", "web2"), ("red1", "red2"), ("web2", laptop), ("mallory", laptop)):
            lab.ping(source, target, 1)
        for node in ("gw1", "hv1", "hv2", "r1"):  # so that every attempt is told what became of it
            lab.exec(node, "sysctl", "-qw", "net.ipv4.icmp_ratemask=0")
        with spying(lab, [*CARRIERS, *RED, *OTHERS, "box"], management=True) as spy:
            yield Ground(lab, spy, facts, request.param, overlay)


ON_THE_WIRE = {
    "vxlan": "VXLAN",
    "geneve": "Geneve",
    "mpls": "MPLS in UDP",
    "otv": "OTV",
    "otv-gre": "MPLS in GRE",
    "lisp": "LISP",
    "lisp-gpe": "LISP-GPE",
    "trill": "TRILL",
    "fabricpath": "FabricPath",
}


def test_what_is_right_arrives_and_is_heard(ground: Ground) -> None:
    for source, target in (("red2", "red1"), ("web2", "mallory")):
        frame = ground.inner(ground.mark("known", "to a neighbour"), target, source)
        assert ground.arrives(source, frame, target)
    if ground.overlay != "lisp":
        frame = ground.inner(ground.mark("known", "broadcast"), group=True)
        assert ground.arrives("red2", frame, "red1")
    for source, target in (("mallory", "laptop"), ("laptop", "mallory"), ("pc", "web2"), ("laptop", "pc")):
        packet = asking("UDP", ground.mark("known", "to a client"), ground.ip[source], ground.ip[target])
        frame = mac(ground.gateway_mac(source)) + mac(ground.own[source]) + b"\x08\0" + packet
        assert ground.arrives(source, frame, target), (source, target)
    ground.spy.take()
    ground.lab.exec("hv1", "ping", "-c", "1", str(plan.MANAGEMENT[1]))
    assert any(s.at[:2] == ("hv1", "mgmt") for s in ground.spy.take())


def test_what_is_forged_would_be_right_from_a_known_vtep(ground: Ground) -> None:
    wire = ON_THE_WIRE[ground.name] if ground.name in ON_THE_WIRE else ON_THE_WIRE.get(ground.overlay)
    inner = ground.inner(ground.mark("known", "from hv2"))
    if wire is None:
        frame = inner[:12] + b"\x81\0" + ground.segment("red/app").vlan.to_bytes(2) + inner[12:]
    elif wire in ("TRILL", "FabricPath"):
        frame = ground.fabric_frames(inner, "hv2")[wire]
    else:
        packet = ipv4(ground.vtep["hv2"], ground.vtep["hv1"], *ground.wires(inner)[wire])
        frame = mac(ground.spy.macs["tor"][ground.port("tor", "hv2")]) + mac(ground.own["box"]) + b"\x08\0" + packet
    assert ground.arrives("hv2", frame, "red1")


def test_a_gateway_answers_the_tenant_that_asked(ground: Ground) -> None:
    """Both tenants have these addresses, so does their gateway: an answer by the main table would go to the other."""
    own, sender = ground.ip["red1"], "red1"
    assert own == ground.ip["mallory"]
    frames = []
    for kind in ("echo", "UDP", "TCP"):
        for name, target in (("its gateway", GATEWAY), ("nowhere", "192.0.2.1")):
            mark = ground.mark(sender, f"{kind} to {name}")
            frames.append(ground.framed(sender, mark, asking(kind, mark, own, target)))
    wanted = {"echo to its gateway", "UDP to its gateway", "echo to nowhere", "UDP to nowhere"}
    heard = ground.fire(sender, *frames)
    heard += ground.spy.take_until(lambda more: told(ground, heard + more) >= wanted)
    assert told(ground, heard) >= wanted
    assert ground.wrong(heard) == []
    resets = [s.node for s in heard if s.direction == "in" and s.frame[23] == 6 and s.frame[47] & RST]
    assert [node for node in resets if node in (*RED, *OTHERS)] == [sender]


def told(ground: Ground, heard: list[Seen]) -> set[str]:
    """What red1 tried and was told something about."""
    marks = {s.frame[s.frame.find(MARK) :][: len(MARK) + 4] for s in heard if s.at == ("red1", "eth0", "in")}
    return {ground.tried[mark].name for mark in marks if mark in ground.tried}


@pytest.mark.parametrize("sender", ["mallory", "laptop", "box"])
def test_nobody_reaches_another_tenant_or_what_carries_it(ground: Ground, sender: str) -> None:
    frames = [*ground.forged(sender)]
    if sender != "box":
        frames += ground.probing(sender)
    if sender != "laptop":
        frames += ground.at_layer_2(sender)
    if sender == "mallory":
        frames += ground.over_ipv6(sender)
    tries = [t for t in ground.tried.values() if t.sender == sender]
    assert len(tries) >= 40
    heard = ground.fire(sender, *frames)
    answered = [] if sender == "box" else ground.answered(sender, heard)
    assert ground.wrong(heard) + answered == []


def test_afterwards_tenants_still_talk_to_their_own(ground: Ground) -> None:
    """Nobody took over a MAC, and no switch or router was told of a way that is none; one question may wait for ARP."""
    for source, target in (("red1", "red2"), ("red2", "red1"), ("red1", "red3"), ("web2", "mallory")):
        assert ground.lab.ping(source, target).received
    heard = ground.fire("red1", ground.inner(b"to its neighbour", "red2", "red1"))
    reached = {s.node for s in heard if b"to its neighbour" in s.frame and s.direction == "in"} - {*CARRIERS}
    assert reached == {"red2"}
    assert ground.lab.ping("laptop", "web2").received
    if "anycast" not in ground.name:  # there is no one gateway to reach then
        assert ground.lab.ping("laptop", GATEWAY).received
