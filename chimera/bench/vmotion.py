"""``lab bench vmotion``: the same migrations several times, the medians, and how far the runs lie apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from chimera.launch import launch
from chimera.model.result import Result
from chimera.session import Experiment

ALLOWED_MS = 10.0  # beyond one WAN round trip


@dataclass(frozen=True)
class Row:
    """One vantage point of one migration over one overlay, over all runs.

    Network outages are signed, and each is exact to ± ``resolution_ms``: one below that is a wrong measurement.
    ``unfit`` counts the runs for which the machine was too busy. What no run measured is None.
    """

    overlay: str
    migration: str
    vantage: str
    relation: str
    network_outage_ms: float | None  # median
    least_ms: float | None
    worst_ms: float | None
    resolution_ms: float | None
    stun_ms: float | None  # median
    machine_stall_ms: float | None  # the longest
    allowed_ms: float
    probes_duplicated: int
    misdelivered: int | None
    tcp_survived: int  # runs in which it did
    runs: int
    unfit: int = 0

    @property
    def wrong(self) -> bool:
        """A run measured a silence that was shorter than the stun, by more than both are exact, or measured nothing."""
        if self.least_ms is None or self.resolution_ms is None:
            return True
        return self.least_ms < -self.resolution_ms

    @property
    def faults(self) -> list[str]:
        """What happened in any run that ought not to: wrong or lost measurements, probes and sessions."""
        found = {
            "a measurement is wrong or missing": self.wrong,
            f"{self.probes_duplicated} probes were answered twice": self.probes_duplicated,
            f"{self.misdelivered} probes reached ports they were not for": self.misdelivered,
            f"the TCP session survived {self.tcp_survived} of {self.runs} runs": self.tcp_survived < self.runs,
        }
        return [fault for fault, happened in found.items() if happened]

    @property
    def failed(self) -> bool:
        """Longer than allowed at the median, wrong, or something doubled or broken in any run."""
        late = (self.network_outage_ms or 0.0) > self.allowed_ms
        return late or self.wrong or self.probes_duplicated > 0 or self.tcp_survived < self.runs


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
            for vantage in () if move.aborted else move.vantage_points:
                way = f"{number}: {move.vm}, {move.source} → {move.destination}"
                seen[way, vantage.name, vantage.relation].append((result, move, vantage))
    allowed = max(result.wan_round_trip_ms() for result in results) + ALLOWED_MS
    return [
        Row(
            overlay=overlay,
            migration=way,
            vantage=name,
            relation=relation,
            network_outage_ms=_of(median, (v.network_outage_ms for _, _, v in found)),
            least_ms=_of(min, (v.network_outage_ms for _, _, v in found)),
            worst_ms=_of(max, (v.network_outage_ms for _, _, v in found)),
            resolution_ms=_of(max, (v.resolution_ms for _, _, v in found)),
            stun_ms=_of(median, (v.stun_ms for _, _, v in found)),
            machine_stall_ms=_of(max, (v.machine_stall_ms for _, _, v in found)),
            allowed_ms=allowed,
            probes_duplicated=sum(v.probes_duplicated for _, _, v in found),
            misdelivered=_total([v.misdelivered for _, _, v in found]),
            tcp_survived=sum(bool(m.tcp_survived) for _, m, _ in found),
            runs=len(results),
            unfit=sum(not result.fit for result, _, _ in found),
        )
        for (way, name, relation), found in seen.items()
    ]


def _of(take: Callable[[list[float]], float], values: Iterable[float | None]) -> float | None:
    """``take`` of the values that were measured; None where none was."""
    known = [value for value in values if value is not None]
    return round(take(known), 2) if known else None
