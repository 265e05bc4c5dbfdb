"""``lab trace``: send a real packet from VM to VM, and say where it was seen and which flows it met."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from chimera.measure import pcapng
from chimera.measure.instruments import PROBE_PORT
from chimera.measure.recorder import Recorder, start_capture
from chimera.model.errors import InputError, did_you_mean
from chimera.model.hop import Hop, Trace
from chimera.model.ports import INTEGRATION, PHYSICAL
from chimera.model.result import Header
from chimera.model.topology import Endpoint, Kind, Link, Port
from chimera.net.network import Network
from chimera.wire.headers import carried, dissect
from chimera.wire.probe import find_probe

_FLOW = 0xFFFF_0000  # flows of probes count from 1
_WARM_S = 1.0  # the first packets may wait for neighbours to be resolved
_LOOK_S = 0.5
_MATCHED = re.compile(r"^\s*(\d+)\. (.*priority .*)$")
_SHOWN = {
    "eth": ("source", "destination"), "vlan": ("id",), "ip": ("source", "destination", "ttl"),
    "ipv6": ("source", "destination", "hops"), "udp": ("source", "destination"), "vxlan": ("vni",),
}  # fmt: skip


def trace(network: Network, source: str, destination: str) -> Trace:
    """Follow a probe from one VM, bare-metal host or client to another.

    Raises:
        InputError: no such endpoint, or the two cannot reach each other by address.
    """
    sender, receiver = _endpoint(network, source), _endpoint(network, destination)
    target = receiver.ip.partition("/")[0] or network.underlay.client_address.get(destination, "")
    with tempfile.TemporaryDirectory() as folder:
        links = [*network.topology.links, *_vm_links(network)]
        probe = Recorder(
            sender.name, "probe", "send", "--to", target, "--port", str(PROBE_PORT), "--flow", str(_FLOW),
            "--interval-us", "20000", "--grace-ms", "0", "--out", str(Path(folder) / "probes"),
        )  # fmt: skip
        try:
            time.sleep(_WARM_S)
            capture = start_capture(links, Path(folder), {}, both_ends=True, snaplen=512)
            time.sleep(_LOOK_S)
        finally:
            probe.stop()
        capture.stop()
        frames = [frame for path in capture.files.values() for frame in pcapng.read(path)]
    return _follow(network, sender, receiver, frames)


def _endpoint(network: Network, name: str) -> Endpoint:
    names = [e.name for e in network.topology.endpoints]
    if name not in names:
        hint = did_you_mean(name, names)
        raise InputError(
            f"no VM or host '{name}'\n    allowed: {', '.join(names)}" + (f"\n    fix: {hint}" if hint else "")
        )
    return next(e for e in network.topology.endpoints if e.name == name)


def _vm_links(network: Network) -> Iterator[Link]:
    for vm, hypervisor in network.location.items():
        yield Link(f"vm-{vm}", Port(vm, "eth0"), Port(hypervisor, vm))


def _follow(network: Network, sender: Endpoint, receiver: Endpoint, frames: list[pcapng.Frame]) -> Trace:
    """The hops of the probe that was seen at most places."""
    seen: dict[int, list[pcapng.Frame]] = {}
    for frame in frames:
        mark = find_probe(frame.data)
        if mark and mark.flow == _FLOW and mark.direction == 0 and not _complaint(frame):
            seen.setdefault(mark.sequence, []).append(frame)
    if not seen:
        return Trace(sender.name, receiver.name, False)
    chosen = sorted(seen[max(seen, key=lambda sequence: len(seen[sequence]))], key=lambda f: f.t)
    hops = [_hop(network, frame, chosen[0].t) for frame in chosen]
    return Trace(sender.name, receiver.name, any(h.node == receiver.name for h in hops), hops)


def _complaint(frame: pcapng.Frame) -> bool:
    """An ICMP error that quotes the probe: it is about it, not it."""
    return any(header.name in ("icmp", "icmpv6") for header in dissect(frame.data))


def _hop(network: Network, frame: pcapng.Frame, start: float) -> Hop:
    node, _, interface = frame.interface.partition(":")
    headers = dissect(frame.data)
    return Hop(
        node=node,
        interface=interface,
        direction="in" if frame.inbound else "out",
        us=round((frame.t - start) * 1e6, 1),
        bytes=frame.wire_length,
        stack=[h.name for h in headers],
        headers=[_show(h) for h in headers],
        flows=_flows(network, node, interface, frame) if frame.inbound else [],
    )


def _show(header: Header) -> str:
    wanted = _SHOWN.get(header.name, ())
    values = " ".join(f"{k}={header.fields[k]}" for k in wanted if k in header.fields)
    return f"{header.name} {values}".strip()


def _flows(network: Network, node: str, interface: str, frame: pcapng.Frame) -> list[str]:
    """The entries of ``br-int`` that Open vSwitch says the packet matches, asked with the packet itself."""
    item = network.topology.by_name[node]
    if node not in network.underlay.vtep or node in network.stopped or item.kind not in (Kind.HYPERVISOR, Kind.GATEWAY):
        return []
    entry = _entry(network, interface, frame)
    if entry is None:
        return []
    flow, data = entry
    text = network.switches[node].appctl("ofproto/trace", INTEGRATION, flow, data.hex())
    inside, _, _ = text.partition(f'bridge("{PHYSICAL}")')
    return [f"table {m[1]}: {m[2]}" for line in inside.splitlines() if (m := _MATCHED.match(line))]


def _entry(network: Network, interface: str, frame: pcapng.Frame) -> tuple[str, bytes] | None:
    """How the packet enters ``br-int``: its port and metadata in ovs-fields(7)'s words, and the VM's frame."""
    spec = network.wiring.vm_ports.get(interface)
    if spec:
        return f"in_port={spec.ofport}", frame.data
    inside = carried(frame.data)
    if inside is None:
        return None
    outer = {h.name: h.fields for h in reversed(dissect(frame.data))}
    if "vxlan" in outer:
        ends = f"tun_src={outer['ip']['source']},tun_dst={outer['ip']['destination']}"
        meta = f"in_port=vxlan0,tun_id={int(outer['vxlan']['vni'])},{ends}"
        return meta, inside.frame
    return "in_port=patch-phy", frame.data
