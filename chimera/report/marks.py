"""A figure over several results: what counts as a difference, and whose is best.

A row knows its grain: the difference below which two values are the same measurement. Where the same experiment is
there more than once, the spread of its own runs is the grain, if that is more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from chimera.model.result import Result
from chimera.report.figures import decimal


class Figure(NamedTuple):
    """A value, ``None`` where it was not measured, and what it is the value of: a vantage point, a node."""

    value: float | None
    of: str = ""


class Measure(NamedTuple):
    """How to take a figure from a result and how to write it.

    ``better`` is -1 where less is better, 1 where more is, 0 where neither is; ``grain`` is as for :class:`Row`.
    ``of`` is what figures are values of (``seen from``), where a terminal has room for that.
    """

    name: str
    take: Callable[[Result], Figure]
    write: Callable[[float | None], str] = decimal
    better: int = -1
    grain: float = 0.0
    of: str = ""


class Group(NamedTuple):
    """Measures under one heading."""

    heading: str
    measures: list[Measure]


class Cell(NamedTuple):
    """A figure as it is shown, and how it stands among the others: ``best``, ``worst`` or empty."""

    text: str
    standing: str = ""
    of: str = ""


class Row(NamedTuple):
    """One figure over all results; values that differ by no more than ``grain`` do not differ.

    Where not all runs are ``fit`` no value is better than another: the machine may have made the difference.
    """

    name: str
    cells: list[Cell]
    values: list[float | None]
    grain: float
    of: str = ""
    fit: bool = True


def row(measure: Measure, results: Sequence[Result | None]) -> Row:
    """One measure over all results; ``None`` stands for a run without a result."""
    found = [measure.take(result) if result else Figure(None) for result in results]
    values = [figure.value for figure in found]
    grain = max(measure.grain, spread(results, values))
    fit = all(result.fit for result in results if result)
    standings = _standings(values, measure.better if fit else 0, grain)
    cells = [Cell(measure.write(f.value), s, f.of) for f, s in zip(found, standings, strict=True)]
    return Row(measure.name, cells, values, grain, measure.of, fit)


def _standings(values: Sequence[float | None], better: int, grain: float) -> list[str]:
    known = [value for value in values if value is not None]
    if not known or not better or max(known) - min(known) <= grain:
        return [""] * len(values)
    best, worst = (min(known), max(known)) if better < 0 else (max(known), min(known))
    return [_standing(value, best, worst, grain) for value in values]


def _standing(value: float | None, best: float, worst: float, grain: float) -> str:
    """Equal to the best, to the worst, or neither; what is as near to both stands in the middle."""
    if value is None:
        return ""
    as_best, as_worst = abs(value - best) <= grain, abs(value - worst) <= grain
    return "" if as_best == as_worst else "best" if as_best else "worst"


def spread(results: Sequence[Result | None], values: Sequence[float | None]) -> float:
    """By how much runs of the same experiment over the same overlay differ, at most; 0 where each is there once."""
    repeated: dict[str, list[float]] = {}
    for result, value in zip(results, values, strict=True):
        if result and value is not None:
            lab = result.lab
            key = repr((lab.scenario, lab.topology, lab.overlay, sorted(lab.options.items())))
            repeated.setdefault(key, []).append(value)
    return max((max(found) - min(found) for found in repeated.values()), default=0.0)
