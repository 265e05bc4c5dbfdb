"""One experiment over several overlays: what ``compare.json`` holds beside the folders of its runs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Run:
    """One overlay's part: where its result is, or why there is none.

    ``name`` is the overlay with what sets it apart from the overlay's defaults (``mpls wire=gre``), ``options`` are
    those settings. ``folder`` is relative to ``compare.json``, empty where nothing was written. ``outcome`` is
    ``passed``, ``failed`` (an expectation does not hold), ``no result`` (``reason`` says why, ``exit_status`` is what
    ``lab run`` of this overlay alone would have ended in) or ``not run`` (the comparison was interrupted before it).
    """

    name: str
    overlay: str
    options: dict[str, str] = field(default_factory=dict)
    folder: str = ""
    outcome: str = "passed"
    reason: str = ""
    exit_status: int = 0


@dataclass(frozen=True)
class Comparison:
    """All overlays of one ``lab run SCENARIO --overlay all``, in the order they ran; ``started`` is ISO 8601, UTC."""

    scenario: str
    topology: str
    version: str
    started: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """0 where every run passed; 1 where one did not; 3 where all that is wrong is what the machine lacks."""
        statuses = {run.exit_status for run in self.runs}
        return 1 if statuses - {0, 3} else max(statuses, default=0)
