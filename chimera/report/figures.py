"""How figures are written for people: one spelling for the terminal, the page and the comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable

from chimera.model.result import LabInfo, Migration, PathReport, Result, Vantage

NOT_MEASURED = "–"

RELATIONS = {
    "remote": "VM at another site",
    "neighbour": "VM on the same hypervisor",
    "local": "VM at the same site",
    "client": "external client",
}


def decimal(value: float | None, digits: int = 3) -> str:
    """``value`` to about ``digits`` significant digits, thousands kept whole; a dash where nothing was measured."""
    if value is None or not math.isfinite(value):
        return NOT_MEASURED
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    text = f"{value:,.{max(0, min(digits - 1 - magnitude, digits))}f}".replace(",", "\u202f")
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "\u2212")


def unit(value: float | None, name: str) -> str:
    """``value`` with its unit; a dash where nothing was measured."""
    text = decimal(value)
    return text if text == NOT_MEASURED else f"{text}\u00a0{name}"


def ms(value: float | None) -> str:
    """Milliseconds; from ten seconds on, seconds."""
    return unit(value / 1000, "s") if value is not None and abs(value) >= 10_000 else unit(value, "ms")


def network(vantage: Vantage) -> str:
    """What the network added to a stun, with its sign; marked where that cannot be."""
    text = ms(vantage.network_outage_ms)
    return f"{text} ✗" if vantage.impossible else text


def count(value: int | float | None, noun: str = "") -> str:
    """A count, with a noun that takes its plural."""
    if not noun:
        return decimal(value)
    return f"{decimal(value)}\u00a0{noun}{'' if value == 1 else 's'}"


def yes_no(value: bool | None) -> str:
    """``yes``, ``no``, or a dash where it was not looked at."""
    return NOT_MEASURED if value is None else "yes" if value else "no"


def byte_count(value: float | None) -> str:
    """Bytes, in the unit that reads best (powers of 1000)."""
    if value is None:
        return NOT_MEASURED
    for name in ("bytes", "kB", "MB"):
        if abs(value) < 1000:
            return unit(value, name)
        value /= 1000
    return unit(value, "GB")


def overlay_name(lab: LabInfo) -> str:
    """The overlay with the options that make it what it is: ``vxlan (mode=flood)``."""
    options = ", ".join(f"{key}={value}" for key, value in sorted(lab.options.items()) if key in ("mode", "gateway"))
    return f"{lab.overlay} ({options})" if options else lab.overlay


def chosen(lab: LabInfo) -> str:
    """Every setting of a run that has a value."""
    return ", ".join(f"{key}={value}" for key, value in lab.options.items() if value)


def relation(vantage: Vantage) -> str:
    """What a vantage point is, in words."""
    return RELATIONS.get(vantage.relation, vantage.relation)


def largest(values: Iterable[float | None]) -> float | None:
    """The largest measured value, ``None`` where nothing was measured."""
    return max((v for v in values if v is not None), default=None)


def total(values: Iterable[float | None]) -> float | None:
    """The sum of the measured values, ``None`` where nothing was measured."""
    known = [v for v in values if v is not None]
    return sum(known) if known else None


def moved(result: Result) -> list[Migration]:
    """The migrations that were not rolled back."""
    return [m for m in result.migrations if not m.aborted]


def moments(paths: Iterable[PathReport]) -> list[str]:
    """The moments paths were looked at, in the order of the run."""
    return list(dict.fromkeys(p.when for p in paths))


def flows(paths: Iterable[PathReport]) -> dict[tuple[str, str], list[PathReport]]:
    """Path reports by flow (from, to), each in the order of the run."""
    grouped: dict[tuple[str, str], list[PathReport]] = {}
    for path in paths:
        grouped.setdefault((path.from_, path.to), []).append(path)
    return grouped
