"""Captures of a looped link to what ended the frames that circled there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from chimera.model.result import Loop
from chimera.model.samples import ProbeStream, Window
from chimera.model.topology import Endpoint
from chimera.wire import pcapng
from chimera.wire.headers import limit
from chimera.wire.pcapng import Frame
from chimera.wire.probe import REQUEST, find_probe

_ICMP = 1


@dataclass(frozen=True)
class Circle:
    """Probes that were sent into a loop between two nodes, one of each flow, and what became of them.

    They went from ``sender`` to ``vm``, which ran at the hypervisor ``target``; ``location`` is where all VMs were.
    ``again`` says whether ``vm`` could be reached after the repair, None before it.
    """

    sender: Endpoint
    vm: Endpoint
    at: str
    link: str
    target: str
    capture: Path
    flows: Collection[int]
    arrived: int
    window: Window
    location: Mapping[str, str]
    again: bool | None = None


def loops(circles: Iterable[Circle], streams: Sequence[ProbeStream]) -> list[Loop]:
    """Every loop that was made, with what bystanders noticed of it."""
    return [_bystanders(circle, loop(pcapng.read(circle.capture), circle), streams) for circle in circles]


def loop(frames: Iterable[Frame], circle: Circle) -> Loop:
    """How often each probe crossed the link, captured at both ends, and the field that ended it.

    The field is that of the outermost header that has one, its value that of the first sighting.
    """
    crossings: Counter[tuple[int, int]] = Counter()
    limits: dict[tuple[int, int], tuple[float, str, int | None]] = {}
    for frame in frames:
        mark = None if _complaint(frame.data) else find_probe(frame.data)
        if not mark or mark.flow not in circle.flows or not mark.sequence or mark.direction != REQUEST:
            continue
        key = mark.flow, mark.sequence
        crossings[key] += bool(frame.inbound)
        if key not in limits or frame.t < limits[key][0]:
            limits[key] = frame.t, *limit(frame.data)
    entered = max(limits.values(), key=lambda found: found[2] or 0, default=(0.0, "", None))
    return Loop(
        at=circle.at,
        link=circle.link,
        target=circle.target,
        limit=entered[1],
        started_at=entered[2],
        frames=len(crossings),
        crossings_median=float(median(crossings.values())) if crossings else None,
        crossings_most=max(crossings.values(), default=None),
        probes_sent=len(circle.flows),
        probes_arrived=circle.arrived,
        reachable_after=circle.again,
    )


def _complaint(frame: bytes) -> bool:
    """An ICMP error that quotes a probe is about it, not it."""
    return frame[12:14] == b"\x08\x00" and frame[23:24] == bytes([_ICMP])


def _bystanders(circle: Circle, found: Loop, streams: Sequence[ProbeStream]) -> Loop:
    """What those lost that neither are at the looped hypervisor nor talk to it."""
    records = [
        record
        for stream in streams
        if circle.target not in (circle.location.get(stream.vantage), circle.location.get(stream.target))
        for record in stream.records
        if circle.window.start <= record.sent <= circle.window.end
    ]
    lost = sum(not record.answers for record in records)
    return replace(found, bystanders_sent=len(records), bystanders_lost=lost if records else None)
