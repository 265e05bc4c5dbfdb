"""Collecting what is wrong with a file, so that the user hears everything at once."""

from __future__ import annotations

from dataclasses import dataclass

from chimera.model.errors import Place, Problem, TopologyError

LIMIT = 50  # problems shown; a file with more has usually one cause
LIMIT_PER_SPOT = 3  # of one place, such as a name range that stands for many


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a file and the dotted path of the key that stands there."""

    place: Place
    key: str = ""

    def under(self, key: str, place: Place | None = None) -> Spot:
        """The spot of ``key`` inside this one."""
        return Spot(place or self.place, f"{self.key}.{shown(key, 40)}" if self.key else shown(key, 40))

    def at(self, place: Place) -> Spot:
        """The same key, written at ``place``."""
        return Spot(place, self.key)


class Refused(Exception):
    """A value that does not fit its key; the reader turns it into a located problem."""

    def __init__(self, message: str, allowed: str = "", fix: str = "") -> None:
        super().__init__(message)
        self.message, self.allowed, self.fix = message, allowed, fix


class Problems:
    """The problems of one file, each once, at most :data:`LIMIT`; the others are counted."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: dict[tuple[Spot, str, str], Problem] = {}
        self._told: set[tuple[Spot, str]] = set()
        self._by_spot: dict[Spot, int] = {}
        self._unshown = 0

    def __len__(self) -> int:
        return len(self._found) + self._unshown

    def hears(self, spot: Spot, found: str) -> bool:
        """False where it is known what is wrong with ``found`` at ``spot``, or what else is would only be counted.

        Looking for a likely fix is not worth it then: a name range says the same thing up to 10,000 times.
        """
        return self._has_room(spot) and (spot, found) not in self._told

    def _has_room(self, spot: Spot) -> bool:
        return len(self._found) < LIMIT and self._by_spot.get(spot, 0) < LIMIT_PER_SPOT

    def add(self, spot: Spot, message: str, *, found: str = "", allowed: str = "", fix: str = "") -> None:
        """Note that something is wrong at ``spot``; saying the same thing again changes nothing."""
        if (spot, message, found) in self._found:
            return
        self._told.add((spot, found))
        if self._has_room(spot):
            self._by_spot[spot] = self._by_spot.get(spot, 0) + 1
            self._found[spot, message, found] = Problem(spot.place, spot.key, message, shown(found), allowed, fix)
        else:
            self._unshown += 1

    def refuse(self, spot: Spot, refused: Refused, found: str) -> None:
        """Note a refused value."""
        self.add(spot, refused.message, found=found, allowed=refused.allowed, fix=refused.fix)

    def raise_if_any(self) -> None:
        """Raises :class:`TopologyError` with all problems, where there is one."""
        if not self._found:
            return
        problems = list(self._found.values())
        if self._unshown:
            last = max(p.place for p in problems)
            problems.append(Problem(last, "", f"and {self._unshown} more problems; fix these first"))
        raise TopologyError(problems)


def shown(text: str, width: int = 60) -> str:
    """``text`` fit for one line of a terminal: control characters escaped, cut to ``width`` characters."""
    clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: width + 1])
    return clean if len(clean) <= width else clean[: width - 1] + "…"


def listed(names: list[str] | tuple[str, ...], most: int = 8) -> str:
    """Names for an ``allowed`` line: the first few, and how many there are besides."""
    if len(names) <= most:
        return ", ".join(names)
    return ", ".join(names[:most]) + f" … and {len(names) - most} more"
