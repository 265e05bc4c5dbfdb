"""Quantities with units: what is written, what it is in the model's unit, and what else would do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from chimera.load.problems import Refused
from chimera.model.errors import did_you_mean
from chimera.model.topology import MAX_BANDWIDTH_MBPS, MAX_DELAY_MS, MAX_LOSS_PERCENT

_WRITTEN = re.compile(r"([+-]?)([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([^\s0-9.].*)?")


@dataclass(frozen=True)
class Quantity:
    """A physical quantity.

    ``units`` maps each spelling to how many model units it is; the first one is named in errors, and
    ``unit`` is the one that a bare number has. ``low`` and ``high`` (model units) are both allowed.
    ``words`` are texts with a fixed meaning (``unlimited``). ``whole`` asks for a whole number of model units.
    """

    unit: str
    units: Mapping[str, float]
    low: float
    high: float
    example: str
    words: Mapping[str, float] = field(default_factory=dict)
    whole: bool = False

    @property
    def allowed(self) -> str:
        """What may be written, for a reader."""
        also = "".join(f", or {word}" for word in self.words)
        return f"{self.low:.10g} to {self.high:.10g} {self.unit}, such as {self.example}{also}"

    def parse(self, text: str) -> float:
        """The value in model units.

        Raises:
            Refused: where the text is no such quantity or out of bounds.
        """
        if text in self.words:
            return self.words[text]
        match = _WRITTEN.fullmatch(text.strip())
        if match is None:
            raise Refused("this is not a number with a unit", self.allowed)
        sign, number, unit = match.groups()
        value = float(sign + number) * self._factor(unit)
        if not self.low <= value <= self.high:
            raise Refused("out of bounds", self.allowed)
        if self.whole and value != int(value):
            raise Refused(f"not a whole number of {self.unit}", self.allowed)
        return value

    def _factor(self, unit: str | None) -> float:
        if unit is None:
            return self.units[self.unit]
        if unit not in self.units:
            by_fold = {known.casefold(): known for known in self.units}
            near = by_fold.get(unit.casefold())
            fix = f"did you mean '{near}'?" if near else did_you_mean(unit[:20], self.units)
            raise Refused(f"unknown unit; a bare number is in {self.unit}", ", ".join(self.units), fix)
        return self.units[unit]

    def schema(self) -> dict[str, object]:
        """JSON Schema: a bare number, or a number with a unit, or one of the words."""
        units = "|".join(re.escape(unit) for unit in self.units)
        choices: list[dict[str, object]] = [
            {"type": "number", "minimum": self.low, "maximum": self.high},
            {"type": "string", "pattern": rf"^\s*\+?([0-9]+(\.[0-9]+)?|\.[0-9]+)\s*({units})?\s*$"},
        ]
        return {"anyOf": [*choices, *({"const": word} for word in self.words)]}


BANDWIDTH = Quantity(
    "Mbit/s",
    {
        **{"Mbit/s": 1.0, "Gbit/s": 1e3, "kbit/s": 1e-3, "bit/s": 1e-6},
        **{"Mbps": 1.0, "Gbps": 1e3, "kbps": 1e-3, "Mbit": 1.0, "Gbit": 1e3, "kbit": 1e-3},
    },
    0.01,
    MAX_BANDWIDTH_MBPS,
    "100 Mbit/s",
    {"unlimited": 0.0},
)
DELAY = Quantity(
    "ms", {"ms": 1.0, "us": 1e-3, "s": 1e3, "µs": 1e-3, "msec": 1.0, "usec": 1e-3, "sec": 1e3}, 0, MAX_DELAY_MS, "10 ms"
)
LOSS = Quantity("%", {"%": 1.0, "percent": 1.0}, 0, MAX_LOSS_PERCENT, "0.5 %")
# Memory as hypervisors count it: 1 GB is 1024 MB.
MEMORY = Quantity("MB", {"MB": 1.0, "GB": 1024.0, "MiB": 1.0, "GiB": 1024.0}, 1, 1_048_576, "128 MB", whole=True)
DIRTY_RATE = Quantity("MB/s", {"MB/s": 1.0, "GB/s": 1024.0, "kB/s": 1 / 1024}, 0, 100_000, "8 MB/s")
