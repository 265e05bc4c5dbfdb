"""Every wire format in a lab of its own, and what one volley of frames looked like at every place it passed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Address
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from lab_spy import Seen, Spy, spying
from lab_support import PROJECT
from running_lab import Ping, RunningLab, up

from chimera.load import load_topology
from chimera.model.topology import Segment, Topology
from chimera.net import probes
from chimera.overlay import registry
from chimera.overlay.base import check_options
from tests.wire_frames import VARIANTS, vm_frame, wires

NO_TRANSLATORS = "; ".join(found.detail for found in (probes.ebpf(), probes.translators()) if not found.present)
needs_translators = pytest.mark.skipif(bool(NO_TRANSLATORS), reason=f"no eBPF translators: {NO_TRANSLATORS}")

EXPERIMENTAL = 0x88B5  # IEEE 802, for what is nobody's
VM_MTU = 1500


@dataclass(frozen=True)
class Wire:
    """An overlay in one of its spellings; ``overhead`` is by how many bytes frames grow."""

    overlay: str
    options: Mapping[str, str]
    overhead: int

    @property
    def translated(self) -> bool:
        """Whether Open vSwitch lacks it, so that eBPF is needed."""
        overlay = registry.get(self.overlay)
        return overlay.translator(check_options(overlay, self.options)) is not None

    @property
    def words(self) -> tuple[str, ...]:
        """As 'lab up' wants it, with the smallest underlay that has room for VMs' packets."""
        overlay = registry.get(self.overlay)
        mtu = VM_MTU + overlay.added_bytes(check_options(overlay, self.options))
        settings = {"underlay_mtu": str(mtu), **self.options}
        return ("--overlay", self.overlay, *(w for k, v in settings.items() for w in ("--set", f"{k}={v}")))


WIRES = {
    name.replace(", ", " ").replace(" ", "-"): Wire(*VARIANTS[name], overhead)
    for name, (_, overhead) in wires(vm_frame()).items()
}

PATH = ("hv1", "leaf1", "r1", "r2", "leaf2", "hv3")  # from web1 to web4
VMS = ("web1", "web2", "web3", "web4", "web5", "red1", "red2")


def mac(text: str) -> bytes:
    """Its six bytes."""
    return bytes.fromhex(text.replace(":", ""))


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total = sum(int.from_bytes(data[i : i + 2].ljust(2, b"\0")) for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source: str, target: str, protocol: int, payload: bytes, *, flags: int = 0, options: bytes = b"") -> bytes:
    """A packet with a right checksum; built by hand, so that no table of the project's has a part in it."""
    words = (5 + len(options) // 4) | 0x40
    start = bytes([words, 0]) + (20 + len(options) + len(payload)).to_bytes(2) + b"\x12\x34" + flags.to_bytes(2)
    start += bytes([61, protocol])
    rest = IPv4Address(source).packed + IPv4Address(target).packed + options
    return start + checksum(start + b"\0\0" + rest).to_bytes(2) + rest + payload


def udp(source: int, target: int, payload: bytes) -> bytes:
    """A datagram without a checksum."""
    return b"".join(n.to_bytes(2) for n in (source, target, 8 + len(payload), 0)) + payload


@dataclass(frozen=True)
class Volley:
    """What was sent in a lab, what every place saw of it, and what the lab says of itself."""

    wire: Wire
    facts: Mapping[str, Any]
    macs: Mapping[str, Mapping[str, str]]
    probe: bytes
    group: bytes
    other_tenant: bytes
    random: list[bytes]
    seen: Mapping[str, list[Seen]]  # by what was sent: probe, group, other tenant, random
    alone: Mapping[str, Ping] = field(default_factory=dict)  # afterwards, without a controller, by who was asked

    @cached_property
    def topology(self) -> Topology:
        """As it is in its file."""
        return load_topology("dual-dc", [PROJECT / "topologies"])

    def segment(self, name: str) -> Segment:
        """A segment by its name alone."""
        return next(s for s in self.topology.segments if s.name == name)

    def cables(self) -> list[Cable]:
        """From web1 to web4, hop by hop."""
        return [Cable(self, near, far) for near, far in pairwise(PATH)]

    def at(self, what: str, place: tuple[str, str, str]) -> list[bytes]:
        """Frames of a part of the volley at one place, without what VMs say of themselves meanwhile."""
        return [seen.frame for seen in self.seen[what] if seen.at == place and self._carries(what, seen.frame)]

    def _carries(self, what: str, frame: bytes) -> bool:
        sent = {"probe": [self.probe], "group": [self.group], "other tenant": [self.other_tenant]}
        return any(one[14:] in frame for one in sent.get(what, self.random))


@dataclass(frozen=True)
class Cable:
    """A cable on the way, and where it is listened to: at a switch, where bytes are as they are on the cable."""

    volley: Volley
    near: str
    far: str

    def _end(self, node: str) -> str:
        ends = {self.near, self.far}
        link = next(k for k in self.volley.topology.links if {p.node for p in k.ends()} == ends)
        return next(p.interface for p in link.ends() if p.node == node)

    @property
    def place(self) -> tuple[str, str, str]:
        """The far end, as it comes in; where that is a hypervisor the near end, as it goes out."""
        if self.far.startswith("hv"):
            return self.near, self._end(self.near), "out"
        return self.far, self._end(self.far), "in"

    def port_mac(self, node: str) -> str:
        """The MAC of a cable's end, by the kernel."""
        return self.volley.macs[node][self._end(node)]

    def station_mac(self, node: str) -> str:
        """The MAC that IP has at a cable's end: a hypervisor's is its bridge's."""
        return self.volley.macs[node]["br-phy" if node.startswith("hv") else self._end(node)]

    def frames(self, what: str) -> list[bytes]:
        """What of a part of the volley passed here."""
        return self.volley.at(what, self.place)


@contextmanager
def volley_over(wire: Wire) -> Iterator[Volley]:
    """Bring a lab up, send everything, and listen."""
    with up("dual-dc", *wire.words) as lab, spying(lab, [*PATH, *VMS]) as spy:
        found = _fired(wire, lab, spy)
        yield replace(found, alone=_alone(lab))


def _alone(lab: RunningLab) -> dict[str, Ping]:
    """What web1 reaches after it has forgotten its neighbours, and the controller has gone."""
    targets = {name: lab.address(name) for name in ("web2", "web4")} | {"the gateway": "10.1.0.1"}
    ask = "; ".join(f"ping -n -c 2 -i 0.1 -W 1 {address}" for address in targets.values())
    lab.exec("web1", "sh", "-c", ask)  # where ways are learned by conversations, these are the conversations
    lab("stop", "controller")
    said = lab.exec("web1", "sh", "-c", f"ip neigh flush dev eth0; {ask}", check=False)
    return dict(zip(targets, map(Ping.read, said.split("--- ")[1:]), strict=True))


def _fired(wire: Wire, lab: RunningLab, spy: Spy) -> Volley:
    at = {vm: lab.address(vm) for vm in VMS}
    own = {vm: mac(spy.macs[vm]["eth0"]) for vm in VMS}

    def frame(source: str, target: str, payload: bytes) -> bytes:
        packet = ipv4(at[source], at[target], 17, udp(40000, 7007, payload))
        return own[target] + own[source] + b"\x08\x00" + packet

    probe, other = frame("web1", "web4", b"p" * 99), frame("red1", "red2", b"o" * 33)
    group = b"\xff" * 6 + own["web1"] + b"\x08\x00" + ipv4(at["web1"], "255.255.255.255", 17, udp(5, 7007, b"g" * 70))
    make = packets if wire.overlay == "lisp" else frames
    random = make(Random(wire.overlay), own["web4"] + own["web1"], at["web1"], at["web4"])
    sent = {"probe": ("web1", [probe]), "other tenant": ("red1", [other]), "group": ("web1", [group])}
    spy.take()
    seen = {name: _shot(spy, vm, frames) for name, (vm, frames) in (sent | {"random": ("web1", random)}).items()}
    return Volley(wire, lab.inspect(), spy.macs, probe, group, other, random, seen)


QUIET_S = 0.2  # ten times what a frame needs across the WAN


def _shot(spy: Spy, vm: str, frames: list[bytes]) -> list[Seen]:
    """What all places see of frames: until the first arrives, and until nobody has seen anything new for a while."""
    spy.send(vm, *frames, gap_s=0.001)
    found = spy.take_until(lambda seen: any(s.node in VMS and s.direction == "in" for s in seen))
    while fresh := spy.take_until(bool, QUIET_S):
        found += fresh
    return found


# -- random frames -----------------------------------------------------------------------------------

TUNNEL_PORTS = (4789, 6081, 6635, 4341, 8472)
LARGEST = 1514


def frames(r: Random, macs: bytes, source: str, target: str) -> list[bytes]:
    """Frames of a VM of all sorts and sizes: what is inside is nobody's business on the way."""
    sized = [macs + EXPERIMENTAL.to_bytes(2) + r.randbytes(size - 14) for size in (60, 61, 1513, LARGEST)]
    some = [macs + _typed(r, source, target) for _ in range(60)]
    return sized + [f[:LARGEST] for f in some]


def _typed(r: Random, source: str, target: str) -> bytes:
    """From the EtherType on."""
    size = r.randint(46, 1488)
    nobody = EXPERIMENTAL.to_bytes(2) + r.randbytes(size)
    packet = b"\x08\x00" + _packet(r, source, target)
    return r.choice(
        [
            nobody,
            size.to_bytes(2) + r.randbytes(size),  # a length, as IEEE 802.3 has it
            r.choice((0x22F3, 0x8903, 0x8847, 0x6558)).to_bytes(2) + r.randbytes(size),  # what wires begin with
            packet,
            b"\x86\xdd\x60" + bytes(3) + size.to_bytes(2) + r.randbytes(34 + size),
            _tag(r, 0x8100) + packet,
            _tag(r, 0x88A8) + _tag(r, 0x8100) + nobody,
        ]
    )


def _tag(r: Random, kind: int) -> bytes:
    """Without the DEI bit, which Open vSwitch does not keep: that is how it marks a tag as being there."""
    return kind.to_bytes(2) + (r.getrandbits(16) & 0xEFFF).to_bytes(2)


def packets(r: Random, macs: bytes, source: str, target: str) -> list[bytes]:
    """The same for what carries nothing but IP."""
    sizes = (20, 46, 47, 1499, VM_MTU)
    sized = [ipv4(source, target, 253, r.randbytes(size - 20)) for size in sizes]
    return [macs + b"\x08\x00" + p for p in sized + [_packet(r, source, target) for _ in range(60)]]


def _packet(r: Random, source: str, target: str) -> bytes:
    payload = r.randbytes(r.randint(26, 1400))
    kind = r.randrange(4)
    if kind == 0:
        return ipv4(source, target, 17, udp(r.randrange(65536), r.choice(TUNNEL_PORTS), payload))
    if kind == 1:
        return ipv4(source, target, r.choice((47, 137, 253)), payload, options=b"\x01" * 4 * r.randrange(1, 11))
    if kind == 2:  # a fragment, the first one or a later one
        flags = r.choice((0x2000, 0x2000 | r.randrange(1, 0x1000), r.randrange(1, 0x1000)))
        return ipv4(source, target, 17, payload, flags=flags)
    return ipv4(source, target, r.choice((1, 6, 17, 253)), payload, flags=0x4000)
