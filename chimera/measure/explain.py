"""What was worse than it could be, and why: sentences whose every number is a figure of the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chimera.measure.wire_stack import UNKNOWN
from chimera.model.result import Bum, Migration, PathReport, Wire
from chimera.overlay import registry
from chimera.wire.wireformat import WireFormat

_LONG_MS = 100  # a pause that people notice
_TROMBONE = 2  # one crossing each way is what distance alone costs


def notes(
    overlay: str,
    options: Mapping[str, str],
    migrations: list[Migration],
    paths: list[PathReport],
    bum: Bum,
    wire: Wire,
) -> list[str]:
    """Explanations for the figures of a run that call for one; none where nothing is out of the ordinary."""
    descriptor = registry.get(overlay)
    learns, expected = descriptor.learns(options), descriptor.wire(options)
    return [
        *_impossible(migrations), *_unobserved(migrations), *_undecoded(bum, wire),
        *_unexpected(overlay, expected, wire), *_flooding(bum, learns), *_strays(migrations, learns),
        *_trombone(paths), *_worst(migrations, learns),
    ]  # fmt: skip


def _impossible(migrations: list[Migration]) -> Iterator[str]:
    for move, seen in ((m, v) for m in migrations for v in m.vantage_points if v.impossible):
        yield (
            f"A measurement is wrong: {seen.name} noticed a silence of {seen.outage_ms:.1f} ms when {move.vm} moved "
            f"to {move.destination}, although by its own heartbeat the VM was stunned for {seen.stun_ms:.1f} ms. The "
            f"two together are exact to {seen.resolution_ms:g} ms; rely on neither."
        )


def _unobserved(migrations: list[Migration]) -> Iterator[str]:
    """Silences in which the machine ran the probes not for longer than the figure is exact."""
    for move, seen in ((m, v) for m in migrations for v in m.vantage_points):
        if (seen.unobserved_ms or 0.0) > (seen.resolution_ms or 0.0):
            yield (
                f"Not only the network: {seen.name} noticed a silence of {seen.outage_ms:.1f} ms when {move.vm} moved "
                f"to {move.destination}, and for {seen.unobserved_ms:.1f} ms of it beyond the stun the machine did not "
                f"run the probes. Up to that much of its network outage is the machine's."
            )


def _undecoded(bum: Bum, wire: Wire) -> Iterator[str]:
    if bum.undecoded:
        yield (
            f"{bum.undecoded} frames crossed between sites in a format that the lab does not decode: broadcast, "
            f"unknown-unicast and multicast copies could not be told from others, and were not counted."
        )
    if wire.stack[-1:] == [UNKNOWN]:
        yield (
            f"On {wire.link} the VMs' frames are in a format that the lab does not decode: behind "
            f"{' / '.join(wire.stack[:-1])} stands something that it does not know. The overhead is the difference of "
            f"known lengths all the same."
        )


def _unexpected(overlay: str, expected: WireFormat, wire: Wire) -> Iterator[str]:
    """Frames in another format than the overlay's; bare ones are from a link on which it has no part."""
    if not wire.stack or tuple(wire.stack) in (("eth",), expected.stack) or wire.stack[-1] == UNKNOWN:
        return
    yield (
        f"On {wire.link} frames are {' / '.join(wire.stack)}, and not {' / '.join(expected.stack)}, which is the wire "
        f"format of {overlay}: what is said of these frames may be wrong."
    )


def _flooding(bum: Bum, learns: bool) -> Iterator[str]:
    if not bum.wan_frames:
        return
    parts = (("broadcast", bum.broadcast), ("multicast", bum.multicast), ("unknown unicast", bum.unknown_unicast))
    counted = ", ".join(f"{count} {kind}" for kind, count in parts if count)
    why = (
        "switches that learn from traffic send what they have not learned everywhere, and learn a VM's new place only "
        "from what it sends"
        if learns
        else "broadcast and multicast that no controller answers goes to every hypervisor of the segment; unicast "
        "copies were on their way to where the VM had just been"
    )
    yield f"{bum.wan_frames} flooded copies crossed between sites ({counted}): {why}."


def _strays(migrations: list[Migration], learns: bool) -> Iterator[str]:
    count = sum(m.misdelivered or 0 for m in migrations)
    if count and learns:
        yield (
            f"{count} probes were delivered to ports of other VMs: while no switch knew the VM's place, unicast to it "
            f"was flooded in its segment."
        )


def _trombone(paths: list[PathReport]) -> Iterator[str]:
    for path in paths:
        if path.wan_crossings and path.wan_crossings > _TROMBONE:
            yield (
                f"Trombone: {path.when}, a packet from {path.from_} to {path.to} and its answer crossed between sites "
                f"{path.wan_crossings:g} times ({path.rtt_ms:.1f} ms round trip): the way leads through "
                f"{' → '.join(path.hops[1:-1])}."
                if path.rtt_ms is not None
                else f"Trombone: {path.when}, {path.from_} to {path.to} crossed between sites {path.wan_crossings:g} ×."
            )


def _worst(migrations: list[Migration], learns: bool) -> Iterator[str]:
    for migration in migrations:
        late = [v for v in migration.vantage_points if (v.network_outage_ms or 0.0) > _LONG_MS]
        for vantage in late if learns else ():
            yield (
                f"{vantage.name} waited {vantage.network_outage_ms:.0f} ms longer than the VM was stunned when "
                f"{migration.vm} moved to {migration.destination}: its traffic went to the old place until a switch on "
                f"the way heard of the new one."
            )
