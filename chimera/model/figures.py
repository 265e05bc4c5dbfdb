"""Figures of a result by dotted path, as lab files name them: ``migrations.network_outage_ms``."""

from __future__ import annotations

from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from chimera.model.errors import did_you_mean
from chimera.model.result import Result


class NoFigure(NamedTuple):
    """Why a path leads to no number of any result, what would, and the likely fix."""

    message: str
    allowed: str
    fix: str = ""


def refusal(figure: str) -> NoFigure | None:
    """What is wrong with a path into results, at the first word that leads nowhere; None where it ends at a number."""
    kind: Any = Result
    for word in figure.split("."):
        kind = _element(kind)
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
            continue
        known = get_type_hints(kind) if kind.__module__ == Result.__module__ else {}
        if word not in known:
            message = f"no figure '{figure}': results have no '{word}' there"
            return NoFigure(message, ", ".join(known) or "nothing below it", did_you_mean(word, known))
        kind = known[word]
    if _element(kind) not in (int, float, bool):
        return NoFigure(f"figure '{figure}' is not a number", "a path that ends at one")
    return None


def _element(kind: Any) -> Any:
    """What a list holds, and what is there where it is not None."""
    while get_origin(kind) is list or NoneType in get_args(kind):
        kind = next(part for part in get_args(kind) if part is not NoneType)
    return kind
