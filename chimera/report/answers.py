"""The figures that the essay's questions are about, one each for a whole run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from chimera import graph
from chimera.model.result import Map, PathReport, Result
from chimera.report.figures import byte_count, decimal, flows, ms
from chimera.report.marks import Figure, Measure
from chimera.report.measures import held, loop, path_grain, paths_used, probe_grain, worst


def answers(results: Sequence[Result]) -> dict[str, Measure]:
    """By the anchor of the section in which each is drawn; grains are those of these results."""
    return {
        "overhead": Measure("overhead a frame", lambda r: Figure(r.wire.overhead_bytes), byte_count),
        "entropy": Measure("equal-cost paths used", paths_used, decimal, 1),
        "flooding": Measure("flooded between sites", lambda r: Figure(r.bum.wan_frames), decimal),
        "core": Measure("entries in core switches", partial(held, "core switches"), decimal),
        "hypervisors": Measure("entries on hypervisors", partial(held, "hypervisors"), decimal),
        "outage": Measure("network outage, worst", _outage, ms, grain=probe_grain(results)),
        "crossings": Measure("WAN crossings added by the move", partial(_added, _crossings), decimal),
        "loops": Measure("crossings of a looped link, most", loop, decimal),
        "stretch": Measure("round trip added by the move", partial(_added, _rtt), ms, grain=path_grain(results, _rtt)),
    }  # fmt: skip


def _outage(result: Result) -> Figure:
    return worst(result.migrations, lambda m: m.network_outage_ms)


def _rtt(path: PathReport) -> float | None:
    return path.rtt_ms


def _crossings(path: PathReport) -> float | None:
    return path.wan_crossings


def _added(figure: Callable[[PathReport], float | None], result: Result) -> Figure:
    """By how much a figure of a flow grew over its first moment, at most; below 0 where all of them shrank."""
    added: list[tuple[float, str]] = []
    for (source, target), found in flows(result.paths).items():
        values = [(figure(path), path.when) for path in found]
        first = values[0][0]
        if first is not None:
            added += [(v - first, f"{source} → {target}, {when}") for v, when in values[1:] if v is not None]
    return Figure(*max(added)) if added else Figure(None)


def most_equal_paths(drawn: Map) -> int:
    """How many shortest paths there are between two hypervisors of the map, at most; 0 where there are no two."""
    hypervisors = [node.name for node in drawn.nodes if node.kind == "hypervisor"]
    fabric = {node.name for node in drawn.nodes if node.kind in ("switch", "router")}
    near = graph.neighbours((link.a, link.b) for link in drawn.links)
    ways = {
        start: graph.count_shortest(start, graph.hops(near, {start, *fabric}.__contains__)) for start in hypervisors
    }
    return max((ways[a].get(b, 0) for a in hypervisors for b in hypervisors if a != b), default=0)
