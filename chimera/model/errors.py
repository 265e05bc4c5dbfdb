"""The errors a user can meet, and the exit status each one ends in.

Every error a lab raises on purpose derives from :class:`LabError`; the command
line prints its text and exits with its ``exit_status``. Anything else that
reaches the command line is a defect of the lab.

    LabError
    ├── InputError            2  the user's input is wrong, nothing was started
    │   └── TopologyError     2  one or more located problems in a file
    ├── MachineError          3  the machine lacks something the lab needs
    ├── SessionError          1  a running lab could not do what was asked
    │   └── MigrationAborted  1  a migration was rolled back; the VM runs at the source
    └── DeadlineError         1  an awaited event did not come in time
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class LabError(Exception):
    """Base of all errors that are part of the interface."""

    exit_status = 1


class InputError(LabError):
    """What the user wrote is wrong; nothing was started."""

    exit_status = 2


class MachineError(LabError):
    """This machine lacks something. ``remedy`` is the command that fixes it."""

    exit_status = 3

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message}\n  to fix: {remedy}" if remedy else message)
        self.remedy = remedy


class SessionError(LabError):
    """A running lab could not do what was asked of it."""


class MigrationAborted(SessionError):
    """A migration was rolled back; the VM goes on at the source."""


class DeadlineError(LabError):
    """An event the lab waited for did not come before its deadline."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where in a file something stands; ``line`` and ``column`` count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file.

    ``key`` is the dotted path of the key (``vms.web1.hypervisor``), ``found`` and
    ``allowed`` are written out for the user, ``fix`` is the likely remedy.
    """

    place: Place
    key: str
    message: str
    found: str = ""
    allowed: str = ""
    fix: str = ""

    def __str__(self) -> str:
        lines = [f"{self.place}: {self.key}: {self.message}" if self.key else f"{self.place}: {self.message}"]
        lines += [
            f"    {label}: {text}"
            for label, text in (("found", self.found), ("allowed", self.allowed), ("fix", self.fix))
            if text
        ]
        return "\n".join(lines)


class TopologyError(InputError):
    """A file that cannot be used, with every problem found in it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: p.place))
        super().__init__("\n".join(map(str, self.problems)))


def not_one_of(what: str, found: str, allowed: Iterable[str]) -> str:
    """The text for a name that nothing has: what there is, and which of it was probably meant."""
    names = list(allowed)
    hint = did_you_mean(found, names)
    return f"no {what} '{found}'\n    allowed: {', '.join(names)}" + (f"\n    fix: {hint}" if hint else "")


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """A ``did you mean …?`` for ``word``, or an empty text where nothing is near."""
    near = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else ""
