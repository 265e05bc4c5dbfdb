"""``lab bench vmotion``: the same migrations several times, and the medians."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from chimera.launch import launch
from chimera.model.result import Result
from chimera.session import Experiment

ALLOWED_MS = 10.0  # beyond one WAN round trip


@dataclass(frozen=True)
class Row:
    """One vantage point of one migration over one overlay, over all runs."""

    overlay: str
    migration: str
    vantage: str
    relation: str
    network_outage_ms: float  # median
    worst_ms: float
    stun_ms: float  # median
    allowed_ms: float
    probes_duplicated: int
    misdelivered: int | None
    tcp_survived: int  # runs in which it did
    runs: int

    @property
    def failed(self) -> bool:
        """Longer than allowed at the median, or something doubled or broken in any run."""
        late = self.network_outage_ms > self.allowed_ms
        return late or self.probes_duplicated > 0 or self.tcp_survived < self.runs


def vmotion(runs: int, experiments: Mapping[str, Experiment], progress: Callable[[str], None]) -> list[Row]:
    """Run each experiment ``runs`` times, in turn, and take medians per overlay, migration and vantage point."""
    results: dict[str, list[Result]] = {name: [] for name in experiments}
    for number in range(1, runs + 1):
        for name, experiment in experiments.items():
            progress(f"run {number} of {runs}: {name}")
            results[name].append(launch(experiment, out=None, record_all=False, progress=lambda text: None))
    return [row for name, found in results.items() for row in rows(name, found)]


def _total(counts: list[int | None]) -> int | None:
    """The sum over all runs; None where one of them did not count."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def rows(overlay: str, results: list[Result]) -> list[Row]:
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
            overlay=overlay,
            migration=way,
            vantage=name,
            relation=relation,
            network_outage_ms=round(median(v.network_outage_ms for _, v in found), 2),
            worst_ms=round(max(v.network_outage_ms for _, v in found), 2),
            stun_ms=round(median(v.stun_ms for _, v in found), 1),
            allowed_ms=allowed,
            probes_duplicated=sum(v.probes_duplicated for _, v in found),
            misdelivered=_total([v.misdelivered for _, v in found]),
            tcp_survived=sum(bool(m.tcp_survived) for m, _ in found),
            runs=len(found),
        )
        for (way, name, relation), found in seen.items()
    ]
