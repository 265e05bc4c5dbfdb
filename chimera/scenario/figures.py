"""Conditions on figures, as lab files state them: ``migrations.network_outage_ms: "<= 30"``."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

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
