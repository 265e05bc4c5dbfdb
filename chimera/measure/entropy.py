"""Captures to entropy: which of the equal-cost paths each of many flows took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from chimera.model.topology import Link
from chimera.underlay.ways import Ways
from chimera.wire.pcapng import Frame
from chimera.wire.probe import REQUEST, find_probe


def paths_used(seen: Mapping[Link, Iterable[Frame]], flows: Collection[int], ways: Ways) -> dict[str, int]:
    """How many flows took each path, by its name (:meth:`Ways.name`); the most used first.

    ``seen`` are the frames that all links carried; a flow counts for the path that most of its probes took. Warm-up
    probes (sequence 0) do not count, and a flow that no capture saw counts for no path.
    """
    visited: dict[tuple[int, int], set[str]] = {}
    for link, frames in seen.items():
        for mark in (find_probe(frame.data) for frame in frames):
            if mark and mark.flow in flows and mark.sequence and mark.direction == REQUEST:
                visited.setdefault((mark.flow, mark.sequence), set()).update(port.node for port in link.ends())
    taken: dict[int, Counter[str]] = {}
    for (flow, _), nodes in visited.items():
        taken.setdefault(flow, Counter())[ways.name(nodes)] += 1
    return dict(Counter(paths.most_common(1)[0][0] for paths in taken.values()).most_common())
