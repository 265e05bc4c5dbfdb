"""Conditions on figures, as lab files state them: ``migrations.network_outage_ms: "<= 30"``."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from chimera.model.errors import InputError, did_you_mean
from chimera.model.result import Result

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}


def shown(value: float | None) -> str:
    """A figure in the detail of an expectation."""
    return "not measured" if value is None else f"{value:g}"


def check_figure(figure: str) -> None:
    """Refuse a path that leads to no number of any result.

    Raises:
        InputError: the first word that leads nowhere, with those that would.
    """
    kind: Any = Result
    for word in figure.split("."):
        kind = _element(kind)
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
            continue
        known = get_type_hints(kind) if is_dataclass(kind) else {}
        if word not in known:
            allowed = ", ".join(known) or "nothing below it"
            hint = did_you_mean(word, known)
            text = f"no figure '{figure}': results have no '{word}' there\n    allowed: {allowed}"
            raise InputError(text + (f"\n    fix: {hint}" if hint else ""))
        kind = known[word]
    if _element(kind) not in (int, float, bool):
        raise InputError(f"figure '{figure}' is no number\n    allowed: a path that ends at one")


def _element(kind: Any) -> Any:
    """What a list holds, and what is there where it is not None."""
    while get_origin(kind) is list or NoneType in get_args(kind):
        kind = next(part for part in get_args(kind) if part is not NoneType)
    return kind


def holds(result: Result, figure: str, condition: str) -> tuple[bool, str]:
    """Whether a figure meets a condition, and its values as text.

    ``figure`` is a dotted path into the result; through a list it means every element, so
    ``migrations.tcp_survived`` is about all migrations. A figure that was not measured meets no condition.
    """
    comparison, _, wanted = condition.partition(" ")
    values = list(_values(result, figure.split(".")))
    limit: float = {"true": 1.0, "false": 0.0}.get(wanted) or float(wanted if wanted not in ("true", "false") else 0)
    passed = bool(values) and all(
        isinstance(value, int | float) and _COMPARISONS[comparison](value, limit) for value in values
    )
    return passed, ", ".join(map(str, values)) or "not measured"


def _values(value: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _values(item, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        if path[0] in value:
            yield from _values(value[path[0]], path[1:])
    elif hasattr(value, path[0]):
        yield from _values(getattr(value, path[0]), path[1:])
