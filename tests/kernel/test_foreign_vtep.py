"""Peers that are not the lab's: the kernel's own VXLAN device, and frames by Scapy's own layers or by hand.

What a standard allows reaches the VM as it is; what is wrong, cut short, somebody else's or garbage reaches no VM, and
the lab's own traffic goes on meanwhile. None of the project's tables of formats has a part in these frames.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from lab_spy import Seen, Spy, interrupted, spying
from lab_support import needs_lab
from running_lab import Ping, RunningLab, up
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw
from wire_labs import EXPERIMENTAL, checksum, ipv4, mac, needs_translators

from chimera.load import parse_topology
from chimera.overlay.lisp import instance_id
from chimera.overlay.mpls import label

pytestmark = needs_lab

TOPOLOGY = """
name: foreign
switches: {tor: {}}
hypervisors: {"hv[1-2]": {uplink: tor}}
tenants:
  blue: {segments: {web: {subnet: 10.1.0.0/24}}}
  red: {segments: {app: {subnet: 10.2.0.0/24}}}
vms:
  vm1: {hypervisor: hv1, segment: web}
  vm2: {hypervisor: hv2, segment: web}
  red1: {hypervisor: hv1, segment: app}
bare_metal: {box: {uplink: tor, vtep: true}}
"""
VMS = ("vm1", "vm2", "red1")
MARK = b"not the lab's"


@dataclass(frozen=True)
class Ground:
    """A lab, a listener at each VM, and what a stranger has to know to talk to it."""

    lab: RunningLab
    spy: Spy
    facts: dict[str, Any]

    def mac(self, node: str, interface: str = "eth0") -> str:
        return self.spy.macs[node][interface]

    def vlan(self, name: str) -> int:
        return next(int(s["vlan"]) for s in self.facts["segments"] if s["name"] == name)

    def vni(self, name: str) -> int:
        return next(int(s["vni"]) for s in self.facts["segments"] if s["name"] == name)

    @property
    def box(self) -> str:
        """The stranger's address in the underlay."""
        found = next(a["address"] for a in self.facts["addresses"] if a["node"] == "box")
        return str(found).partition("/")[0]

    def port(self, neighbour: str) -> str:
        """The switch's interface that leads to a neighbour."""
        links = [dict(end.split(":") for end in link["ends"]) for link in self.links()]
        return str(next(ends["tor"] for ends in links if neighbour in ends))

    def links(self) -> list[dict[str, Any]]:
        return list(self.lab.json("inspect", "tor")["links"])

    def vm_frame(self, payload: bytes = MARK, target: str = "vm1", source: str = "vm2") -> bytes:
        """A frame as one VM would send it to another: an answer to no ping, which nobody answers."""
        answer = b"\0\0" + bytes(6) + payload.ljust(60, b".")
        answer = b"\0\0" + checksum(answer).to_bytes(2) + answer[4:]
        packet = ipv4(self.lab.address(source), self.lab.address(target), 1, answer)
        return mac(self.mac(target)) + mac(self.mac(source)) + b"\x08\x00" + packet

    def outer(self, **fields: Any) -> Any:
        """From the stranger to the first hypervisor, by Scapy."""
        ethernet = Ether(src=self.mac("box"), dst=self.mac("tor", self.port("box")))
        return ethernet / IP(**{"src": self.box, "dst": self.facts["vtep"]["hv1"], **fields})

    def arrived(self, *frames: bytes, at: tuple[str, str] = ("box", "eth0"), expect: int = 0) -> list[Seen]:
        """What of MARK's frames VMs receive after these were sent: ``expect`` in time, and a while for more."""
        self.spy.take()
        self.spy.send(at[0], *frames, interface=at[1], gap_s=0.0002)
        found = _marked(self.spy.take_until(lambda heard: len(_marked(heard)) >= max(expect, 1), 5 if expect else 0.4))
        return found + _marked(self.spy.take_until(lambda heard: False, 0.1))


def _marked(heard: list[Seen]) -> list[Seen]:
    return [s for s in heard if s.node in VMS and s.direction == "in" and MARK in s.frame]


@contextmanager
def ground(folder: Path, *words: str) -> Iterator[Ground]:
    """A lab with a host of the underlay; its own traffic must not lose a packet from beginning to end."""
    path = folder / "foreign.yaml"
    path.write_text(TOPOLOGY)
    with up(str(path), *words) as lab, spying(lab, ["tor", "box", "hv2", *VMS]) as spy:
        lab.ping("vm2", "vm1", 2)
        bystander = lab.start("vm2", "ping", "-n", "-i", "0.1", "-w", "300", lab.address("vm1"))
        try:
            yield Ground(lab, spy, lab.inspect())
        finally:
            bystander.terminate()
            said, _ = bystander.communicate(timeout=10)
        counted = Ping.read(interrupted(said))
        assert counted.received > 5 and counted.lost <= 1, said  # one may be under way when it is ended


@pytest.fixture
def topology() -> Any:
    return parse_topology(TOPOLOGY, "foreign.yaml")


def nothing_of(there: Ground, wrong: dict[str, bytes], *, at: tuple[str, str] = ("box", "eth0")) -> None:
    """None of these reaches a VM; what each is says its name."""
    if there.arrived(*wrong.values(), at=at):
        assert [name for name, frame in wrong.items() if there.arrived(frame, at=at)] == []


def cut_short(frame: bytes, start: int = 14) -> dict[str, bytes]:
    """A frame cut at each byte."""
    return {f"the first {n} bytes": frame[:n] for n in range(start, len(frame))}


def garbage(head: bytes, seed: str, count: int = 150) -> list[bytes]:
    """Random bytes behind a head, of all lengths."""
    r = Random(seed)
    return [head + r.randbytes(r.randrange(200)) for _ in range(count)]


def flipped(frame: bytes, start: int, end: int) -> list[bytes]:
    """The frame with each single bit of a stretch flipped."""
    return [frame[:n] + bytes([frame[n] ^ 1 << bit]) + frame[n + 1 :] for n in range(start, end) for bit in range(8)]


# -- VXLAN ---------------------------------------------------------------------------------------------

RECEIVE = (
    "import socket; s = socket.create_server(('', 5001)); print('ready', flush=True); c, _ = s.accept(); n = 0\n"
    "while data := c.recv(65536): n += len(data)\n"
    "print(n)"
)
SEND = "import socket, sys; c = socket.create_connection((sys.argv[1], 5001), 10); c.sendall(bytes(4 << 20)); c.close()"


def transfer(lab: RunningLab, source: str, destination: str, address: str) -> int:
    """How many of four megabytes' bytes arrive over TCP."""
    receiver = lab.start(destination, sys.executable, "-c", RECEIVE)
    assert receiver.stdout
    assert receiver.stdout.readline() == "ready\n"
    lab.exec(source, sys.executable, "-c", SEND, address)
    received, _ = receiver.communicate(timeout=20)
    return int(received)


def test_the_kernels_vxlan_device_talks_to_vms_and_they_to_it(tmp_path: Path) -> None:
    """It floods and learns, as the lab's switches do then: RFC 7348 section 4 among four VTEPs."""
    with ground(tmp_path, "--overlay", "vxlan", "--set", "mode=flood") as there:
        lab, own = there.lab, "10.1.0.200"
        device = ["id", str(there.vni("web")), "local", there.box, "dstport", "4789"]
        lab.exec("box", "ip", "link", "add", "vx0", "mtu", "1500", "type", "vxlan", *device)
        for vtep in there.facts["vtep"].values():
            lab.exec("box", "bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vx0", "dst", vtep)
        lab.exec("box", "ip", "address", "add", f"{own}/24", "dev", "vx0")
        lab.exec("box", "ip", "link", "set", "vx0", "up")
        for vm in ("vm1", "vm2"):
            assert lab.ping("box", vm).lost == 0
            assert lab.ping(vm, own).lost == 0
        assert lab.ping("box", "vm1", 2, "-s", "1472", "-M", "do").lost == 0
        assert "dst " + there.facts["vtep"]["hv2"] in lab.exec("box", "bridge", "fdb", "show", "dev", "vx0")
        assert transfer(lab, "box", "vm1", lab.address("vm1")) == 4 << 20
        assert transfer(lab, "vm2", "box", own) == 4 << 20
        assert lab.ping("box", "10.2.0.11", 1).received == 0, "another tenant's segment"


def test_vxlan_by_scapy(tmp_path: Path) -> None:
    with ground(tmp_path, "--overlay", "vxlan") as there:
        inner = there.vm_frame()

        def made(vni: int, flags: int = 8, carried: bytes = inner) -> bytes:
            header = VXLAN(flags=flags, vni=vni)
            return bytes(there.outer() / UDP(sport=50000, dport=4789) / header / Raw(carried))

        web, red = there.vni("web"), there.vni("app")
        good = made(web)
        nothing_of(there, cut_short(good))
        nothing_of(there, {"another tenant": made(red), "nobody's VNI": made(77), "no I flag": made(web, 0)})
        there.arrived(*garbage(good[:50], "vxlan"), *flipped(good, 14, 50))
        assert [s.frame for s in there.arrived(good, expect=1)] == [inner]
        assert int.from_bytes(good[40:42]), "with a UDP checksum"


# -- Geneve --------------------------------------------------------------------------------------------


def test_geneve_by_hand(tmp_path: Path) -> None:
    """RFC 8926 section 3.4: what an endpoint ignores, and what it must drop."""
    with ground(tmp_path, "--overlay", "geneve") as there:
        inner, web, red = there.vm_frame(), there.vni("web"), there.vni("app")

        def made(
            vni: int = web, version: int = 0, flags: int = 0, kind: int = 0x6558, options: bytes = b"",
            words: int | None = None, last: int = 0, carried: bytes = inner,
        ) -> bytes:  # fmt: skip
            length = len(options) // 4 if words is None else words
            header = bytes([version << 6 | length, flags]) + kind.to_bytes(2) + vni.to_bytes(3) + bytes([last])
            return bytes(there.outer() / UDP(sport=50000, dport=6081) / Raw(header + options + carried))

        oam = 0x80  # a critical option is not tried: see chimera.overlay.geneve for what Open vSwitch does with it
        option = b"\xff\xff\x01\x01data"
        good = {
            "as the lab sends it": made(),
            "reserved bits": made(flags=0x3F, last=0xFF),
            "an option that may be ignored": made(options=option),
            "several": made(options=option * 15),
        }
        wrong = {
            "another tenant": made(red),
            "nobody's VNI": made(77),
            "version 1": made(version=1),
            "a control packet": made(flags=oam),
            "IP inside": made(kind=0x0800, carried=inner[14:]),
            "options longer than the packet": made(words=63),
        }
        plain = good["as the lab sends it"]
        nothing_of(there, wrong)
        nothing_of(there, cut_short(plain))
        there.arrived(*garbage(plain[:50], "geneve"), *flipped(plain, 14, 50))
        assert [s.frame for s in there.arrived(*good.values(), expect=len(good))] == [inner] * len(good)


# -- MPLS ------------------------------------------------------------------------------------------------


@needs_translators
@pytest.mark.parametrize("wire", ["udp", "gre", "ip"])
def test_mpls_by_scapy(tmp_path: Path, topology: Any, wire: str) -> None:
    own = label(topology, "hv1", topology.segment("blue/web"))
    with ground(tmp_path, "--overlay", "mpls", "--set", f"wire={wire}") as there:
        inner = there.vm_frame()
        carried = {
            "udp": (17, UDP(sport=50000, dport=6635)),
            "gre": (47, Raw(b"\0\0\x88\x47")),
            "ip": (137, Raw(b"")),
        }

        def made(*entries: MPLS, word: bytes = bytes(4), shim: Any = None, **fields: Any) -> bytes:
            protocol, header = carried[wire]
            packet = there.outer(proto=protocol, **fields) / (header if shim is None else shim)
            for entry in entries:
                packet = packet / entry
            return bytes(packet / Raw(word + inner))

        def entry(number: int = own, s: int = 1, ttl: int = 9) -> MPLS:
            return MPLS(label=number, s=s, ttl=ttl, cos=5)

        good = made(entry())
        head = good.index(inner) - 8  # where the label starts
        wrong = {f"reserved label {n}": made(entry(n)) for n in range(16)} | {
            "a label of the other receiver": made(entry(label(topology, "hv2", topology.segment("blue/web")))),
            "another tenant's label": made(entry(label(topology, "hv1", topology.segment("red/app")))),
            "nobody's label": made(entry(1_000_000)),
            "not the last of the stack": made(entry(s=0)),
            "two labels": made(entry(s=0), entry()),
            "TTL 0": made(entry(ttl=0)),
            "no control word": made(entry(), word=b""),
            "an associated channel (RFC 4385)": made(entry(), word=b"\x10\0\0\0"),
            "a first fragment": made(entry(), flags="MF"),
            "a later fragment": made(entry(), frag=3),
        }
        if wire == "udp":
            wrong["another port"] = made(entry(), shim=UDP(sport=6635, dport=6636))
            assert int.from_bytes(good[40:42]), "with a UDP checksum"
        if wire == "gre":
            wrong["a GRE key"] = made(entry(), shim=Raw(b"\x20\0\x88\x47\0\0\0\x01"))
            wrong["GRE version 1"] = made(entry(), shim=Raw(b"\0\x01\x88\x47"))
            wrong["another protocol type"] = made(entry(), shim=Raw(b"\0\0\x65\x58"))
        nothing_of(there, wrong)
        nothing_of(there, cut_short(good))
        there.arrived(*garbage(good[:34], wire), *garbage(good[:head], wire), *flipped(good, 14, head + 8))
        sequenced = made(entry(), word=b"\0\0\x12\x34")  # RFC 4448 section 4.6: those who do not care, ignore it
        assert [s.frame for s in there.arrived(good, sequenced, expect=2)] == [inner, inner]


# -- LISP ------------------------------------------------------------------------------------------------


@needs_translators
def test_lisp_by_hand(tmp_path: Path, topology: Any) -> None:
    """RFC 9300 section 5.1: flags, nonce, instance ID and status bits; and RFC 9305's generic form of it."""
    blue, red = instance_id(topology, "blue"), instance_id(topology, "red")
    with ground(tmp_path, "--overlay", "lisp") as there:
        inner = there.vm_frame()[14:]

        def made(bits: int, nonce: int, instance: int, status: int = 0, packet: bytes = inner, **fields: Any) -> bytes:
            header = bytes([bits]) + nonce.to_bytes(3) + instance.to_bytes(3) + bytes([status])
            return bytes(there.outer(**fields) / UDP(sport=61000, dport=4341) / Raw(header + packet))

        good = {
            "as the lab sends it": made(0x08, 0, blue),
            "a nonce and status bits": made(0xC8, 0xABCDEF, blue, 0xA5),
            "an echo asked for": made(0xE8, 1, blue, 1),
            "map versions": made(0x18, 0x123456, blue),
            "the generic form": made(0x0C, 1, blue),
        }
        plain = good["as the lab sends it"]
        address = there.lab.address
        wrong = {
            "no instance": made(0x00, 0, blue),
            "no instance but status bits": made(0x40, 0, 0, blue),
            "another tenant": made(0x08, 0, red),
            "nobody's instance": made(0x08, 0, 0xABCDEF),
            "encrypted": made(0x09, 0, blue),
            "generic, with NSH inside": made(0x0C, 4, blue),
            "no IP inside": made(0x08, 0, blue, packet=b"\x55" + inner[1:]),
            "nobody's address": made(0x08, 0, blue, packet=ipv4(address("vm2"), "10.1.0.99", 1, MARK)),
            "the other hypervisor's VM": made(0x08, 0, blue, packet=ipv4(address("vm1"), address("vm2"), 1, MARK)),
            "a multicast group": made(0x08, 0, blue, packet=ipv4(address("vm2"), "239.1.1.1", 1, MARK)),
            "a first fragment": made(0x08, 0, blue, flags="MF"),
            "a later fragment": made(0x08, 0, blue, frag=3),
        }
        nothing_of(there, wrong)
        nothing_of(there, cut_short(plain))
        there.arrived(*garbage(plain[:42], "lisp"), *flipped(plain, 14, 50))
        found = there.arrived(*good.values(), expect=len(good))
        assert [s.frame[14:] for s in found] == [inner] * len(good)
        assert {(s.node, s.frame[:6]) for s in found} == {("vm1", mac(there.mac("vm1")))}


# -- TRILL and FabricPath: at the hypervisor's cable, and at the one to the switch --------------------------------


def counters(there: Ground, node: str) -> dict[str, int]:
    return dict(there.lab.inspect()["fabric"][node]["counters"])


def ways_in(there: Ground) -> dict[str, tuple[str, str]]:
    """Where a frame for hv1 may be put on a cable: behind the switch, and as if hv2 had sent it."""
    return {"edge": ("tor", there.port("hv1")), "transit": ("hv2", "eth0")}


@needs_translators
def test_trill_by_hand(tmp_path: Path) -> None:
    with ground(tmp_path, "--overlay", "trill") as there:
        planned = {name: node["planned"] for name, node in there.facts["fabric"].items()}
        nick = {name: int(node["identifier"]) for name, node in planned.items()}
        root = int(next(iter(planned["tor"]["trees"])))
        ports = {"edge": ("hv1", there.port("hv1")), "transit": (there.port("hv2"), "hv2")}
        outer = {
            "edge": (planned["hv1"]["ports"]["eth0"], planned["tor"]["ports"][ports["edge"][1]]),
            "transit": (planned["tor"]["ports"][ports["transit"][0]], planned["hv2"]["ports"]["eth0"]),
        }
        inner = there.vm_frame()
        group = b"\xff" * 6 + inner[6:]
        everyone = "01:80:c2:00:00:40"

        def maker(way: str) -> Callable[..., bytes]:
            def made(
                bits: int = 20, egress: int = nick["hv1"], ingress: int = nick["hv2"], vlan: int = there.vlan("web"),
                to: str = outer[way][0], carried: bytes = inner, tpid: int = 0x8100, rest: bytes = b"",
            ) -> bytes:  # fmt: skip
                header = b"".join(n.to_bytes(2) for n in (bits, egress, ingress)) + rest
                tag = tpid.to_bytes(2) + vlan.to_bytes(2)
                start = mac(to) + mac(outer[way][1]) + b"\x22\xf3" + header
                return start + carried[:12] + tag + carried[12:]

            return made

        for way, at in ways_in(there).items():
            made = maker(way)
            good = made()
            wrong = {
                "version 1": made(bits=0x4014),
                "version 3": made(bits=0xC014),
                "hop count 0": made(bits=0),
                "another egress": made(egress=nick["hv2"]),
                "nobody's nickname": made(egress=0x7777),
                "reserved nickname": made(egress=0xFFFF),
                "from a nickname of no edge": made(ingress=0x7777),
                "another tenant's VLAN": made(vlan=there.vlan("app")),
                "nobody's VLAN": made(vlan=4000),
                "no inner tag": made(tpid=EXPERIMENTAL),
                "an option (none is known here)": made(bits=0x0054, rest=b"\x80\0\0\0"),
                "to another RBridge's MAC": made(to="02:de:ad:be:ef:01"),
                "unicast to All-RBridges": made(to=everyone),
                "multi-destination to one RBridge": made(bits=0x0814, egress=root, carried=group),
                "on a tree that is none": made(bits=0x0814, egress=0x7777, carried=group, to=everyone),
                "on a tree from where it cannot come": made(
                    bits=0x0814, egress=root, ingress=nick["hv1"], carried=group, to=everyone
                ),
                "on a tree from nobody": made(bits=0x0814, egress=root, ingress=0x7777, carried=group, to=everyone),
            }
            if way == "transit":
                wrong["a hop count that is used up at the egress"] = made(bits=1)
            nothing_of(there, wrong, at=at)
            nothing_of(there, cut_short(good[: 36 + 2]), at=at)  # behind it nothing tells the length
            there.arrived(*garbage(good[:14], way), *garbage(good[:20], way), *flipped(good, 14, 36), at=at)
            right = [good, made(bits=2), made(bits=0x3014), made(vlan=0xF000 | there.vlan("web"))]
            found = there.arrived(*right, at=at, expect=4)
            assert [(s.node, s.frame) for s in found] == [("vm1", inner)] * 4
            tree = made(bits=0x0814, egress=root, carried=group, to=everyone)
            assert [(s.node, s.frame) for s in there.arrived(tree, at=at, expect=1)] == [("vm1", group)]
        assert counters(there, "hv1")["malformed"] >= 4
        assert counters(there, "hv1")["hops used up"] >= 2, "with a count of 1 it came this far (RFC 6325 section 3.6)"
        assert counters(there, "tor")["hops used up"] >= 1 and counters(there, "tor")["no way"] >= 2
        assert counters(there, "tor")["wrong path"] >= 2


@needs_translators
def test_fabricpath_by_hand(tmp_path: Path) -> None:
    with ground(tmp_path, "--overlay", "fabricpath") as there:
        planned = {name: node["planned"] for name, node in there.facts["fabric"].items()}
        switch = {name: int(node["identifier"]) for name, node in planned.items()}
        ftag = int(next(iter(planned["tor"]["trees"])))
        inner = there.vm_frame()
        group = b"\xff" * 6 + inner[6:]
        web = there.vlan("web")

        def address(identifier: int, local: int, sub: int = 0) -> bytes:
            return bytes([2, identifier >> 8, identifier & 255, sub]) + local.to_bytes(2)

        def made(
            ttl: int = 20, to: int = switch["hv1"], by: int = switch["hv2"], local: int = web, tag: int = 1,
            destination: bytes = b"", carried: bytes = inner,
        ) -> bytes:  # fmt: skip
            ends = (destination or address(to, local)) + address(by, local)
            return ends + b"\x89\x03" + (tag << 6 | ttl).to_bytes(2) + carried

        everyone = b"\xff" * 6
        for way, at in ways_in(there).items():
            wrong = {
                "another switch": made(to=switch["hv2"]),
                "nobody's switch ID": made(to=0x777),
                "from a switch ID of no edge": made(by=0x777),
                "another tenant's LID": made(local=there.vlan("app")),
                "nobody's LID": made(local=4000),
                "an FTag without a tree": made(tag=700, destination=everyone, carried=group),
                "from where it cannot come": made(tag=ftag, by=switch["hv1"], destination=everyone, carried=group),
                "from nobody": made(tag=ftag, by=0x777, destination=everyone, carried=group),
            }
            if way == "transit":
                wrong |= {f"TTL {n}": made(ttl=n) for n in (0, 1)}
            nothing_of(there, wrong, at=at)
            nothing_of(there, cut_short(made()[: 16 + 12]), at=at)
            there.arrived(*garbage(made()[:14], way), *garbage(made()[:16], way), *flipped(made(), 0, 16), at=at)
            found = there.arrived(made(), made(ttl=2), made(tag=1023), at=at, expect=3)
            assert [(s.node, s.frame) for s in found] == [("vm1", inner)] * 3
            tree = made(tag=ftag, destination=everyone, carried=group)
            assert [(s.node, s.frame) for s in there.arrived(tree, at=at, expect=1)] == [("vm1", group)]
        assert counters(there, "tor")["hops used up"] >= 2 and counters(there, "tor")["wrong path"] >= 2
