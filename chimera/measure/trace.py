"""``lab trace``: send a real packet from VM to VM, and say where it was seen and which flows it met."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from chimera.measure.instruments import PROBE_PORT
from chimera.measure.recorder import Recorder, incomplete, start_capture
from chimera.model.errors import InputError, not_one_of
from chimera.model.hop import Hop, Trace
from chimera.model.ports import INTEGRATION, PHYSICAL
from chimera.model.topology import Capability, Endpoint, Link, Port
from chimera.net.network import Network
from chimera.overlay.ports import TUNNEL
from chimera.wire import pcapng
from chimera.wire.headers import Carried, carried, dissect, identified, tunnel_key
from chimera.wire.probe import find_probe

_FLOW = 0xFFFF_0000  # flows of probes count from 1
_WARM_S = 1.0  # the first packets may wait for neighbours to be resolved
_LOOK_S = 0.5
_MATCHED = re.compile(r"^\s*(\d+)\. (.*priority .*)$")
_ACTION = re.compile(r"^ {4,}(?!\s*(?:->|>>|\d+\. ))\s*(\S.*)$")  # indented below a match, and no remark
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}  # by IP version


def trace(network: Network, source: str, destination: str) -> Trace:
    """Follow a probe from one VM, bare-metal host or client to another.

    Raises:
        InputError: no such endpoint, or the two cannot reach each other by address.
    """
    sender, receiver = _endpoint(network, source), _endpoint(network, destination)
    target = receiver.ip.partition("/")[0] or network.underlay.client_address.get(destination, "")
    links = [*network.topology.links, *_vm_links(network)]
    with tempfile.TemporaryDirectory() as folder:
        probe = Recorder(
            network.services, sender.name, "probe", "send", "--to", target, "--port", str(PROBE_PORT),
            "--flow", str(_FLOW), "--interval-us", "20000", "--grace-ms", "0", "--out", str(Path(folder) / "probes"),
        )  # fmt: skip
        try:
            time.sleep(_WARM_S)
            capture = start_capture(
                network.services, links, Path(folder), {}, both_ends=True, snaplen=512, translated=network.translated
            )
            time.sleep(_LOOK_S)
        finally:
            probe.stop()
        lost = incomplete("The capture", capture.stop())
        frames = [frame for path in capture.files.values() for frame in pcapng.read(path)]
    found = _follow(network, sender, receiver, frames, _peers(links))
    return replace(found, note="; ".join(filter(None, (_apart(network, sender, receiver, target), lost))))


def _apart(network: Network, sender: Endpoint, receiver: Endpoint, target: str) -> str:
    """Why a packet between these two cannot arrive, where they belong to different tenants."""
    topology = network.topology
    tenants = [topology.segment_of(e).tenant if e.segment else "" for e in (sender, receiver)]
    if not all(tenants) or tenants[0] == tenants[1]:
        return ""
    note = (
        f"{sender.name} belongs to tenant {tenants[0]}, {receiver.name} to tenant {tenants[1]}: "
        f"tenants cannot reach each other, so nothing is meant to arrive"
    )
    for other in topology.endpoints:
        own = other.segment and topology.segment_of(other).tenant == tenants[0]
        if own and other.ip.partition("/")[0] == target:
            return f"{note}; within {tenants[0]}, {target} is {other.name}"
    return note


def _peers(links: Sequence[Link]) -> dict[str, str]:
    """The interface at the other end of each cable, both as a capture names them."""
    ends = [(str(link.a), str(link.b)) for link in links]
    return dict(ends) | {b: a for a, b in ends}


def _endpoint(network: Network, name: str) -> Endpoint:
    names = [e.name for e in network.topology.endpoints]
    if name not in names:
        raise InputError(not_one_of("VM or host", name, names))
    return next(e for e in network.topology.endpoints if e.name == name)


def _vm_links(network: Network) -> Iterator[Link]:
    for vm, hypervisor in network.location.items():
        yield Link(f"vm-{vm}", Port(vm, "eth0"), Port(hypervisor, vm))


def _follow(
    network: Network, sender: Endpoint, receiver: Endpoint, frames: list[pcapng.Frame], peers: Mapping[str, str]
) -> Trace:
    """The hops of the probe that was seen at most places."""
    seen: dict[int, list[pcapng.Frame]] = {}
    for frame in frames:
        mark = find_probe(frame.data)
        if mark and mark.flow == _FLOW and mark.direction == 0 and not _complaint(frame):
            seen.setdefault(mark.sequence, []).append(frame)
    if not seen:
        return Trace(sender.name, receiver.name, False)
    chosen = sorted(seen[max(seen, key=lambda sequence: len(seen[sequence]))], key=lambda f: f.t)
    hops = [_hop(network, frame, _on_the_wire(frame, chosen, peers), chosen[0].t) for frame in chosen]
    return Trace(sender.name, receiver.name, any(h.node == receiver.name for h in hops), hops)


def _on_the_wire(frame: pcapng.Frame, seen: Sequence[pcapng.Frame], peers: Mapping[str, str]) -> pcapng.Frame:
    """A sighting as it was on the cable: where it is translated, as it last left the other end."""
    if not frame.translated:
        return frame
    left = [f for f in seen if f.interface == peers.get(frame.interface) and not f.inbound and f.t <= frame.t]
    return left[-1] if left else frame


def _complaint(frame: pcapng.Frame) -> bool:
    """An ICMP error that quotes the probe: it is about it, not it."""
    return any(header.name in ("icmp", "icmpv6") for header in dissect(frame.data))


def _hop(network: Network, frame: pcapng.Frame, wire: pcapng.Frame, start: float) -> Hop:
    """One sighting: its headers as on the wire, the flows by what Open vSwitch received."""
    node, _, interface = frame.interface.partition(":")
    headers = dissect(wire.data)
    return Hop(
        node=node,
        interface=interface,
        direction="in" if frame.inbound else "out",
        us=round((frame.t - start) * 1e6, 1),
        bytes=wire.wire_length,
        stack=[h.name for h in headers],
        headers=[identified(h) for h in headers],
        flows=_flows(network, node, interface, frame) if frame.inbound else [],
    )


def _flows(network: Network, node: str, interface: str, frame: pcapng.Frame) -> list[str]:
    """The entries of ``br-int`` that Open vSwitch says the packet matches, asked with the packet itself."""
    item = network.topology.by_name[node]
    if node in network.stopped or not item.can(Capability.SPEAK_OPENFLOW):
        return []
    entry = _entry(network, interface, frame)
    if entry is None:
        return []
    flow, data = entry
    text = network.switches[node].appctl("ofproto/trace", INTEGRATION, flow, data.hex())
    inside, _, _ = text.partition(f'bridge("{PHYSICAL}")')
    return _matches(inside)


def _matches(text: str) -> list[str]:
    """What ``ofproto/trace`` says of one bridge: each entry that matched, and its actions."""
    found: list[str] = []
    for line in text.splitlines():
        if matched := _MATCHED.match(line):
            found.append(f"table {matched[1]}: {matched[2]}")
        elif found and (action := _ACTION.match(line)):
            found[-1] += f"{', ' if ' actions ' in found[-1] else ' actions '}{action[1]}"
    return found


def _entry(network: Network, interface: str, frame: pcapng.Frame) -> tuple[str, bytes] | None:
    """How the packet enters ``br-int``: its port and metadata in ovs-fields(7)'s words, and the VM's frame."""
    spec = network.wiring.vm_ports.get(interface)
    if spec:
        return f"in_port={spec.ofport}", frame.data
    inside = carried(frame.data)
    if inside is None:
        return None
    tunnel = _tunnel(frame.data)
    return (tunnel, _framed(inside)) if tunnel else ("in_port=patch-phy", frame.data)


def _tunnel(frame: bytes) -> str:
    """What the tunnel port makes of a frame: the metadata that flows see; empty where the frame has no such header."""
    key = tunnel_key(frame)
    return f"in_port={TUNNEL},tun_id={key[0]},tun_src={key[1]},tun_dst={key[2]}" if key else ""


def _framed(vm: Carried) -> bytes:
    """A VM's frame; a packet without Ethernet gets the header of zeros that Open vSwitch gives it on arrival."""
    if vm.ethernet:
        return vm.frame
    return bytes(12) + _ETHERTYPES[vm.frame[0] >> 4].to_bytes(2, "big") + vm.frame
