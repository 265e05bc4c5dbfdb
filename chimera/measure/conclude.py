"""From recordings to figures: what ``result.json`` says about migrations, paths, wire, flooding and state."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from ipaddress import ip_interface
from itertools import chain

from chimera.measure import bum as flooding
from chimera.measure import paths, probes, wire_stack
from chimera.measure.heartbeat import beating
from chimera.measure.heartbeat import stun as longest_pause
from chimera.measure.instruments import Instruments, Look
from chimera.measure.listen import misdelivered
from chimera.model.events import Event, MigrationPhase
from chimera.model.record import MigrationRecord
from chimera.model.result import Bum, Migration, PathReport, Phase, Vantage, Wire
from chimera.model.samples import Gap, Heartbeat, ProbeStream, Window
from chimera.model.topology import Capability, Endpoint, Link, Topology
from chimera.model.underlay import Forwarding
from chimera.overlay.ports import tenant_number
from chimera.wire import pcapng
from chimera.wire.probe import find_probe

_UNDER_WAY_S = 0.2  # what is under way to a VM's old place when it arrives at the new one was misdirected, not flooded
_BEFORE_S = 0.05  # a migration's window opens this long before its stun


def migrations(
    records: Sequence[MigrationRecord], instruments: Instruments, origin: float, told: Iterable[Event]
) -> list[Migration]:
    """What each migration did to the VM's users; ``origin`` is the start of the run, seconds since the epoch.

    Phases are those that were ``told``.
    """
    phases: dict[int, list[Phase]] = defaultdict(list)
    for e in told:
        if isinstance(e, MigrationPhase):
            phases[e.migration].append(Phase(e.phase, round(e.start - origin, 5), round(e.t - origin, 5), e.detail))
    return [_migration(record, instruments, origin, phases[record.number]) for record in records]


def stun(record: MigrationRecord, heartbeats: Iterable[Heartbeat]) -> tuple[Gap | None, float | None]:
    """When a VM was stunned, by its own heartbeat, and for how many milliseconds.

    0 ms where it was never frozen; no figure where no heartbeat was recorded.
    """
    frozen = record.frozen
    if frozen is None:
        return None, 0.0
    beats = beating(heartbeats, record.vm, frozen)
    pause = longest_pause(beats, frozen) if beats else None
    return pause, pause.ms if pause else None


def _migration(record: MigrationRecord, instruments: Instruments, origin: float, phases: list[Phase]) -> Migration:
    seen = _vantages(record, instruments, origin)
    worst = max(seen, key=lambda v: v.outage_ms, default=None)
    _, stun_ms = stun(record, instruments.heartbeats)
    return Migration(
        vm=record.vm,
        source=record.source,
        destination=record.destination,
        started_s=round(record.started - origin, 4),
        precopy_s=round(record.precopy_s, 4),
        stun_ms=None if stun_ms is None else round(stun_ms, 3),
        outage_ms=worst.outage_ms if worst else None,
        network_outage_ms=worst.network_outage_ms if worst else None,
        probes_sent=_total(v.probes_sent for v in seen),
        probes_lost=_total(v.probes_lost for v in seen),
        probes_duplicated=_total(v.probes_duplicated for v in seen),
        misdelivered=_total(v.misdelivered for v in seen),
        tcp_survived=_survived(record, instruments),
        aborted=record.aborted,
        rounds=record.rounds,
        phases=phases,
        vantage_points=seen,
        warnings=record.warnings,
        resolution_ms=worst.resolution_ms if worst else None,
        machine_stall_ms=max((v.machine_stall_ms or 0.0 for v in seen), default=None),
        leaked=_leaked(record, instruments),
    )


def _leaked(record: MigrationRecord, instruments: Instruments) -> int | None:
    """Probes for the VM that came out in another segment; None where nobody listened in one, or none were sent."""
    topology = instruments.topology
    segments = {vm.name: vm.segment for vm in topology.vms}
    places = [(segments.get(port.namespace.rpartition("/")[2]), port) for port in instruments.heard]
    elsewhere = [port for segment, port in places if segment and segment != segments[record.vm]]
    flows = {stream.flow for stream in _streams(record, instruments)}
    return misdelivered(elsewhere, _listened(record), flows) if elsewhere and flows else None


def _listened(record: MigrationRecord) -> Window:
    """When a misdelivered probe counts for a migration."""
    return Window(record.started, record.ended + 1.0)


def _streams(record: MigrationRecord, instruments: Instruments) -> list[ProbeStream]:
    """Probes of this VM that were on their way during the migration."""
    return [
        s for s in instruments.streams
        if s.target == record.vm and s.records and s.records[0].sent <= record.started <= s.records[-1].sent
    ]  # fmt: skip


def _total(values: Iterable[int | None]) -> int | None:
    """The sum of what was counted; None where nothing was."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _misdelivered(record: MigrationRecord, stream: ProbeStream, instruments: Instruments) -> int | None:
    """Probes of a stream that came to others' ports during a migration; None where nobody listened."""
    return misdelivered(instruments.heard, _listened(record), {stream.flow}) if instruments.heard else None


def _vantages(record: MigrationRecord, instruments: Instruments, origin: float) -> list[Vantage]:
    """What everybody noticed from shortly before the stun on; of a migration without one, all through it."""
    window = Window(record.stun_start - _BEFORE_S if record.frozen else record.started, record.ended)
    stunned, stun_ms = stun(record, instruments.heartbeats)
    beats = beating(instruments.heartbeats, record.vm, window)
    found = []
    for stream in _streams(record, instruments):
        astray = _misdelivered(record, stream, instruments)
        found.append(
            probes.vantage(
                stream, window, stun_ms=stun_ms, stunned=stunned, heartbeat=beats, origin=origin, misdelivered=astray
            )
        )
    return found


def _survived(record: MigrationRecord, instruments: Instruments) -> bool | None:
    """What the VM's TCP session said at the first checkpoint after the migration; None where there was no session."""
    later = [c.session for c in instruments.checkpoints if c.vm == record.vm and c.when >= record.ended]
    if not later:
        return None
    return later[0] is not None and later[0].survived


# -- paths -------------------------------------------------------------------------------------


def path_reports(instruments: Instruments) -> list[PathReport]:
    """How packets of each watched flow travelled at each look, there and back."""
    return [report for look in instruments.looks for report in _look(look, instruments)]


def _look(look: Look, instruments: Instruments) -> Iterable[PathReport]:
    frames = [frame for path in look.files.values() for frame in pcapng.read(path)]
    inter_site = {link.name for link in instruments.topology.inter_site_links()}
    crossed = paths.count_crossings(
        chain.from_iterable(pcapng.crossings(path) for name, path in look.files.items() if name in inter_site)
    )
    for stream in instruments.streams:
        crossings = paths.wan_crossings(crossed, stream, look.window)
        if crossings is None:
            continue
        nodes = paths.hops(frames, stream.flow, look.window) or [look.location[stream.target]] * bool(look.files)
        hops = [stream.vantage, *(n for n in nodes if n != stream.vantage), stream.target]
        yield PathReport(
            from_=stream.vantage,
            to=stream.target,
            when=look.when,
            rtt_ms=probes.rtt_ms(stream, look.window),
            wan_crossings=crossings.median if look.files else None,
            hops=hops if nodes else [],
            throughput_mbps=look.throughput_mbps.get((stream.vantage, stream.target)),
            packets=crossings.probes,
        )


# -- wire --------------------------------------------------------------------------------------


def wire(instruments: Instruments) -> Wire:
    """How the overlay wraps a VM's frame, from the first look: preferably where it crosses between sites."""
    inside = {w.flow for w in instruments.watched if w.vantage.relation != "client"}
    inter_site = {link.name for link in instruments.topology.inter_site_links()}
    for look in instruments.looks:
        for name in sorted(look.files, key=lambda n: n not in inter_site):
            frames = [f for f in pcapng.crossings(look.files[name]) if _flow(f.data) in inside]
            found = wire_stack.wire(frames, name)
            if found.frames:
                return found
    return Wire()


def _flow(frame: bytes) -> int | None:
    mark = find_probe(frame)
    return mark.flow if mark else None


# -- flooding ----------------------------------------------------------------------------------


def bum(instruments: Instruments, records: Sequence[MigrationRecord], segments_at: str | None) -> Bum:
    """Broadcast, unknown-unicast and multicast copies that crossed between sites in the whole run."""
    strays = sum(port.stray_count for port in instruments.heard) if instruments.heard else None
    if not instruments.captures:
        return Bum(misdelivered_frames=strays)
    topology = instruments.topology
    timeline = _Whereabouts(instruments, records, segments_at)
    total: Counter[str] = Counter()
    undecoded = 0
    for link in topology.inter_site_links():
        toward, located = _places(instruments, timeline, link)
        frames = pcapng.crossings(instruments.captures[link.name])
        found = flooding.copies(frames, toward, located, {*instruments.underlay.vtep.values()})
        undecoded += found.pop(flooding.UNDECODED, 0)
        total.update(found)
    if undecoded:
        return Bum(misdelivered_frames=strays, undecoded=undecoded)
    return Bum(total.total(), total["broadcast"], total["unknown_unicast"], total["multicast"], strays)


def _places(
    instruments: Instruments, timeline: _Whereabouts, link: Link
) -> tuple[flooding.Toward, flooding.Located]:  # fmt: skip
    """What kind of place a copy on this link goes to, and where VMs are in the same terms."""
    underlay = instruments.underlay
    if underlay.forwarding is Forwarding.BRIDGED:
        a, b = (instruments.topology.site_of(port.node) for port in link.ends())
        toward = flooding.toward_side({str(link.a): a, str(link.b): b}, {str(link.a): b, str(link.b): a})
        return toward, timeline.sites
    return flooding.toward_edge, timeline.identifiers if underlay.fabric else timeline.vteps


class _Whereabouts:
    """Where an addressee (:func:`flooding.addressee`) may be at a time: its hypervisor, during a migration both."""

    def __init__(self, instruments: Instruments, records: Sequence[MigrationRecord], segments_at: str | None) -> None:
        topology = instruments.topology
        self._topology, self._underlay = topology, instruments.underlay
        self._start = {vm.name: vm.hypervisor for vm in topology.vms}
        self._vms = {address: vm.name for vm in topology.vms for address in _addresses(topology, vm)}
        self._moves = {
            vm.name: sorted((r for r in records if r.vm == vm.name), key=lambda r: r.started) for vm in topology.vms
        }
        self._holders = [segments_at] if segments_at else [h.name for h in topology.hypervisors]
        self._gateways = {s.gateway_mac for s in topology.segments if s.gateway_mac}
        self._fixed = {e.mac: e.site for e in topology.endpoints if e.can(Capability.JOIN_BY_CABLE) and e.mac}

    def nodes(self, address: str, t: float) -> Collection[str]:
        """Hypervisors at which the addressee may be at ``t``; empty for a MAC nobody has.

        A packet that is carried without its Ethernet header for no VM is the gateway's.
        """
        vm = self._vms.get(address)
        if vm is None:
            return self._holders if address in self._gateways or "/" in address else ()
        at = {self._start[vm]}
        for move in self._moves[vm]:
            if t >= move.started:
                at = {move.source, move.destination} if t < move.ended + _UNDER_WAY_S else {at_end(move)}
        return at

    def vteps(self, address: str, t: float) -> Collection[str]:
        """The same as tunnel addresses."""
        return {self._underlay.vtep[node] for node in self.nodes(address, t)}

    def identifiers(self, address: str, t: float) -> Collection[str]:
        """The same as nicknames or switch IDs of the fabric."""
        fabric = self._underlay.fabric
        return {str(fabric.identifier(node)) for node in self.nodes(address, t)} if fabric else ()

    def sites(self, address: str, t: float) -> Collection[str]:
        """The same as sites."""
        if address in self._fixed:
            return {self._fixed[address]}
        return {self._topology.site_of(node) for node in self.nodes(address, t)}


def _addresses(topology: Topology, vm: Endpoint) -> Iterator[str]:
    """By what frames name a VM: its MAC, and where IP alone is carried its addresses, in its tenant."""
    yield vm.mac
    tenant = tenant_number(topology, topology.segment_of(vm).tenant)
    for address in filter(None, (vm.ip, vm.ip6)):
        yield f"{tenant}/{ip_interface(address).ip}"


def at_end(record: MigrationRecord) -> str:
    """The hypervisor a VM is at when its migration is over."""
    return record.source if record.aborted else record.destination
