"""Captures to paths: how often a flow crosses the inter-site links, and which nodes it visits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from chimera.model.samples import ProbeStream, Window
from chimera.wire.pcapng import Frame
from chimera.wire.probe import find_probe

Crossings = Mapping[tuple[int, int], int]


def count_crossings(frames: Iterable[Frame]) -> Counter[tuple[int, int]]:
    """How often each probe, its request and its answer together, was seen: by flow and sequence number.

    ``frames`` are those that crossed the inter-site links, each crossing once (:func:`pcapng.crossings`), of all those
    links together.
    """
    marks = (find_probe(frame.data) for frame in frames)
    return Counter((mark.flow, mark.sequence) for mark in marks if mark)


@dataclass(frozen=True, slots=True)
class WanCrossings:
    """The median over ``probes`` probes that were answered."""

    median: float
    probes: int


def wan_crossings(counted: Crossings, stream: ProbeStream, window: Window) -> WanCrossings | None:
    """How often one request and its answer crossed, at the median over the answered probes sent in the window.

    A probe that no capture shows crossed zero times. ``None`` where no probe of the window was answered.
    """
    times = [
        counted.get((stream.flow, r.sequence), 0)
        for r in stream.records
        if r.answers and window.start <= r.sent <= window.end
    ]
    return WanCrossings(float(median(times)), len(times)) if times else None


def hops(frames: Iterable[Frame], flow: int, window: Window, direction: int = 0) -> list[str]:
    """The nodes that the probes of a flow visit, in order, as most probes of the window did.

    ``frames`` come from captures at as many links as there are, on both ends; the nodes are those of the interfaces'
    names. Empty where no capture saw the flow.
    """
    sightings: dict[int, list[tuple[float, str]]] = {}
    for frame in frames:
        mark = find_probe(frame.data) if window.start <= frame.t <= window.end else None
        if mark and (mark.flow, mark.direction) == (flow, direction):
            sightings.setdefault(mark.sequence, []).append((frame.t, frame.interface.partition(":")[0]))
    ways = Counter(tuple(node for node, _ in groupby(n for _, n in sorted(seen))) for seen in sightings.values())
    return list(ways.most_common(1)[0][0]) if ways else []
