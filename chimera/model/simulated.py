"""What simulations of a control plane give, at one size of its network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles


@dataclass(frozen=True)
class Size:
    """How large a simulated network is: its VMs are spread at random, those of one segment too."""

    hypervisors: int
    vms: int
    moves: int
    vms_per_segment: int = 100

    def scaled(self, divisor: int) -> Size:
        """The same network, so many times smaller."""
        parts = [max(2, n // divisor) for n in (self.hypervisors, self.vms)]
        return Size(parts[0], parts[1], max(1, self.moves // divisor), self.vms_per_segment)


@dataclass(frozen=True)
class Cost:
    """What one simulation gave.

    ``messages`` are by type, ``bytes`` theirs together without TCP's headers: until all VMs were up, and of all moves.
    ``entries`` are what switches should hold at the end: the median switch's and the largest one's. ``convergence_ms``
    are of each move, from the port's coming up to the last change in any table, in virtual time: an agent's own work
    takes none. ``seconds`` is how long the simulation itself took.
    """

    overlay: str
    size: Size
    seed: int
    up_messages: Mapping[str, int]
    up_bytes: int
    move_messages: Mapping[str, int]
    move_bytes: int
    entries_median: float
    entries_most: int
    convergence_ms: tuple[float, ...] = field(repr=False)
    seconds: float = 0.0

    @property
    def convergence_median_ms(self) -> float | None:
        """The median; None where nothing moved."""
        return median(self.convergence_ms) if self.convergence_ms else None

    @property
    def convergence_p99_ms(self) -> float | None:
        """The 99th percentile; None of fewer than two moves."""
        return quantiles(self.convergence_ms, n=100)[98] if len(self.convergence_ms) > 1 else None
