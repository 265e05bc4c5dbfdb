"""What happened, as it happened: migrations and events of a run, in seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, field

from chimera.model.result import Round
from chimera.model.samples import Window


@dataclass
class MigrationRecord:
    """One migration as it went, written by the migration itself, the lab's ``number``-th; its phases are events.

    ``aborted`` says why it was rolled back, ``warnings`` what went wrong after the VM ran at the destination.
    """

    vm: str
    source: str
    destination: str
    started: float
    ended: float = 0.0
    stun_start: float = 0.0
    stun_end: float = 0.0
    aborted: str = ""
    rounds: list[Round] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    number: int = 0

    @property
    def frozen(self) -> Window | None:
        """From the order to freeze the VM to the order to resume it; None where it never came to that."""
        return Window(self.stun_start, self.stun_end) if self.stun_start else None

    @property
    def precopy_s(self) -> float:
        """How long the pre-copy rounds took together."""
        return sum(r.seconds for r in self.rounds)


@dataclass(frozen=True, slots=True)
class Vantage:
    """A place to look from: a node that probes a VM, and what it is to that VM."""

    name: str
    relation: str  # remote, neighbour, client, local
