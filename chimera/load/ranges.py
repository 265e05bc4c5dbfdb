"""Name ranges: ``hv[1-8]`` stands for hv1, hv2 … hv8, and spreads over ``leaf[1-4]`` in blocks."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

from chimera.load.problems import Refused

MAX_NAMES = 10_000  # the most VMs a topology may have
_RANGE = re.compile(r"([^\[\]]*)\[([0-9]{1,15})-([0-9]{1,15})\]([^\[\]]*)")
_ALLOWED = "one range of numbers in square brackets, such as hv[1-8]"


@dataclass(frozen=True, slots=True)
class NameRange(Sequence[str]):
    """The names ``before1after`` …, made when asked for: a file may hold thousands of large ranges."""

    before: str
    first: int
    last: int
    width: int
    after: str

    def __len__(self) -> int:
        return self.last - self.first + 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        number = range(self.first, self.last + 1)[index]
        return f"{self.before}{number:0{self.width}}{self.after}"


def expand(text: str) -> Sequence[str]:
    """All names that ``text`` stands for; a text without brackets stands for itself.

    Leading zeros set the width: ``hv[01-12]`` gives hv01 … hv12.

    Raises:
        Refused: where the brackets hold no range, or one of more than :data:`MAX_NAMES` names.
    """
    if "[" not in text and "]" not in text:
        return (text,)
    match = _RANGE.fullmatch(text)
    if match is None:
        raise Refused("the square brackets hold no range", _ALLOWED)
    before, low, high, after = match.groups()
    first, last = int(low), int(high)
    if last < first:
        raise Refused("the range runs backwards", _ALLOWED, f"{before}[{high}-{low}]{after}")
    if last - first >= MAX_NAMES:
        raise Refused(f"the range holds {last - first + 1} names", f"at most {MAX_NAMES} names")
    return NameRange(before, first, last, len(low) if low.startswith("0") else 1, after)


class PerName(ABC):
    """A value written once for a range of names, of which each name gets its part."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many parts there are."""

    @abstractmethod
    def pick(self, index: int, total: int) -> Any:
        """The part of name number ``index`` (from 0) among ``total``."""


@dataclass(frozen=True, slots=True)
class Spread(PerName):
    """References to spread over, in blocks: of eight hypervisors over four leaves, two to each."""

    names: Sequence[str]

    @property
    def count(self) -> int:
        """How many names there are to spread over."""
        return len(self.names)

    def pick(self, index: int, total: int) -> str:
        """The name that number ``index`` of ``total`` refers to."""
        return self.names[index * len(self.names) // total]
