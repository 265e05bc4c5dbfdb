"""``lab bench vmotion``: the same migrations several times, and the medians."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from chimera.launch import launch
from chimera.model.result import Result
from chimera.session import prepare

ALLOWED_MS = 10.0  # beyond one WAN round trip


@dataclass(frozen=True)
class Row:
    """One vantage point of one migration, over all runs."""

    migration: str
    vantage: str
    relation: str
    network_outage_ms: float  # median
    worst_ms: float
    stun_ms: float  # median
    allowed_ms: float
    probes_duplicated: int
    misdelivered: int
    tcp_survived: int  # runs in which it did
    runs: int


def vmotion(
    runs: int, topology: str, overlay: str, settings: dict[str, str], progress: Callable[[str], None]
) -> list[Row]:
    """Run ``vmotion`` ``runs`` times and take medians per migration and vantage point."""
    experiment = prepare(topology, overlay, scenario="vmotion", settings=settings)
    results = []
    for number in range(1, runs + 1):
        progress(f"run {number} of {runs}")
        results.append(launch(experiment, out=None, record_all=False, progress=lambda text: None))
    return rows(results)


def rows(results: list[Result]) -> list[Row]:
    """The medians of several results of the same experiment."""
    seen = defaultdict(list)
    for result in results:
        for number, move in enumerate(result.migrations, start=1):
            for vantage in move.vantage_points:
                way = f"{number}: {move.vm}, {move.source} → {move.destination}"
                seen[way, vantage.name, vantage.relation].append((move, vantage))
    allowed = max(result.wan_round_trip_ms() for result in results) + ALLOWED_MS
    return [
        Row(
            migration=way,
            vantage=name,
            relation=relation,
            network_outage_ms=round(median(v.network_outage_ms for _, v in found), 2),
            worst_ms=round(max(v.network_outage_ms for _, v in found), 2),
            stun_ms=round(median(v.stun_ms for _, v in found), 1),
            allowed_ms=allowed,
            probes_duplicated=sum(v.probes_duplicated for _, v in found),
            misdelivered=sum(v.misdelivered for _, v in found),
            tcp_survived=sum(bool(m.tcp_survived) for m, _ in found),
            runs=len(found),
        )
        for (way, name, relation), found in seen.items()
    ]
