"""The columns of a comparison: a result each, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chimera.model.result import Result
from chimera.report.figures import NOT_MEASURED, count


class Column(NamedTuple):
    """One run; ``result`` is ``None`` where it ended without one and ``failure`` says why.

    ``link`` is the address of its own report, relative to the page; empty where there is none. ``ran`` is false where
    it has not run.
    """

    name: str
    result: Result | None = None
    failure: str = ""
    link: str = ""
    ran: bool = True

    @property
    def overlay(self) -> str:
        """The overlay alone."""
        return self.name.partition(" ")[0]

    @property
    def passed(self) -> bool:
        """True where there is a result and every expectation holds."""
        return self.result is not None and self.result.passed

    @property
    def outcome(self) -> str:
        """``passed``, ``failed``, ``no result`` or ``not run``."""
        if self.result:
            return "passed" if self.passed else "failed"
        return "no result" if self.ran else "not run"

    @property
    def mark(self) -> str:
        """A tick, a cross, or a dash where it has not run."""
        return "✓" if self.passed else "✗" if self.ran else NOT_MEASURED

    @property
    def verdict(self) -> str:
        """How it came out, in one line."""
        if self.result is None:
            reason = self.failure.partition("\n")[0]
            return f"no result: {reason}" if self.ran else reason
        found = self.result.expectations
        if not found:
            return "nothing was expected"
        return f"{sum(e.passed for e in found)} of {count(len(found), 'expectation')} hold"


def names(results: Sequence[Result]) -> list[str]:
    """A name for each result: its overlay, and what else tells the results apart; a number where nothing does.

    A setting tells results apart where all of them have it, or all of the same overlay, with different values.
    """
    fields = ("topology", "scenario", "datapath")
    told = [name for name in fields if len({getattr(r.lab, name) for r in results}) > 1]
    everywhere = _varied([r.lab.options for r in results])
    found = []
    for lab in (r.lab for r in results):
        varied = everywhere | _varied([r.lab.options for r in results if r.lab.overlay == lab.overlay])
        options = [f"{key}={lab.options[key]}" for key in sorted(varied & lab.options.keys())]
        found.append(" ".join([lab.overlay, *options, *(getattr(lab, name) for name in told)]))
    return numbered(found)


def _varied(options: Sequence[dict[str, str]]) -> set[str]:
    shared = set.intersection(*(set(o) for o in options)) if options else set()
    return {key for key in shared if len({o[key] for o in options}) > 1}


def numbered(found: Sequence[str]) -> list[str]:
    """Names that are there more than once get a number: ``vxlan #1``, ``vxlan #2``."""
    return [
        f"{name} #{[*found[: i + 1]].count(name)}" if found.count(name) > 1 else name for i, name in enumerate(found)
    ]
