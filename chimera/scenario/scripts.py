"""Scenario scripts: found by name, loaded, and asked what they may be set to."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType, ModuleType

from chimera import share
from chimera.apart import apart, blame
from chimera.model import numbers
from chimera.model.errors import InputError, did_you_mean
from chimera.model.result import Result
from chimera.model.topology import Topology
from chimera.model.underlay import Underlay
from chimera.scenario.lab import Expect, Lab
from chimera.scenario.migration import ANNOUNCEMENTS, Settings
from chimera.scenario.precopy import Limits
from chimera.scenario.reading import Value, read_script


@dataclass(frozen=True)
class Script:
    """A scenario: a Python file with ``run(lab)``, and if it likes ``check(result, expect)`` and ``SETTINGS``.

    A ``possible(topology, underlay)`` may refuse a network before anything starts.
    ``SETTINGS`` maps what ``--set`` may change to its default. Where that is a number, only numbers will do; ``vm``
    and ``hypervisor`` name one of the topology's. What is known here was read; :meth:`load` is the first to run it.
    """

    name: str
    path: Path
    summary: str
    settings: Mapping[str, Value]
    code: CodeType

    @property
    def defaults(self) -> dict[str, str]:
        """What ``--set`` may change."""
        return {name: str(value) for name, value in self.settings.items()}

    def take_settings(self, given: dict[str, str]) -> dict[str, str]:
        """This script's settings, defaults filled in; they are removed from ``given``."""
        return {name: given.pop(name, default) for name, default in self.defaults.items()}

    def check_settings(self, settings: Mapping[str, str], topology: Topology) -> None:
        """Refuse settings that this script could not use on ``topology``.

        Raises:
            InputError: a value that cannot be, with those that can.
        """
        names = {"vm": [v.name for v in topology.vms], "hypervisor": [h.name for h in topology.hypervisors]}
        for name, default in self.settings.items():
            value = settings[name]
            if name in names and value and value not in names[name]:
                hint = did_you_mean(value, names[name])
                allowed = ", ".join(names[name]) + (f"\n    fix: {hint}" if hint else "")
                raise InputError(f"{name}: '{value}' is not a valid value\n    allowed: {allowed}")
            if type(default) is int and not re.fullmatch("[0-9]{1,9}", value):
                raise InputError(f"{name}: '{value}' is not a valid value\n    allowed: a whole number, 0 or more")
            if isinstance(default, float):
                _number({name: value}, name, default)

    def rehearse(self, topology: Topology, underlay: Underlay) -> None:
        """Load this script in a process of its own, and ask whether it has something to show on a network.

        Raises:
            InputError: it cannot be loaded, or its ``possible(topology, underlay)`` says why not, and what to choose.
        """

        def rehearsal() -> bytes:
            with redirect_stdout(io.StringIO()):  # what it prints is for when it runs
                self.load()
                with self._blame("possible() failed"):
                    getattr(self._module, "possible", lambda *network: None)(topology, underlay)
            return b""

        apart(rehearsal, f"{self.path}: this scenario")

    def load(self) -> None:
        """Run the file itself, once: its imports and definitions.

        Raises:
            InputError: that fails, or leaves no ``run`` that can be called.
        """
        if not callable(getattr(self._module, "run", None)):
            raise InputError(f"{self.path}:1:1: this is not a scenario: run is not a function")

    def run(self, lab: Lab) -> None:
        """Do it."""
        with self._blame("this scenario failed"):
            self._module.run(lab)

    def check(self, result: Result, expect: Expect) -> None:
        """Say what must have come out."""
        with self._blame("check() failed"):
            getattr(self._module, "check", lambda *found: None)(result, expect)

    def _blame(self, what: str) -> AbstractContextManager[None]:
        return blame(self.path, what)

    @cached_property
    def _module(self) -> ModuleType:
        module = ModuleType(f"scenario_{self.path.stem.replace('-', '_')}")
        module.__file__ = str(self.path)
        sys.modules[module.__name__] = module
        with self._blame("this scenario cannot be loaded"):
            exec(self.code, vars(module))
        return module


def find_script(name: str) -> Script:
    """The scenario of that name in ``scripts/``, or at that path.

    Raises:
        InputError: there is none, or the file is not a scenario.
    """
    path = Path(name) if "/" in name or name.endswith(".py") else share.folder("scripts") / f"{name}.py"
    if not path.is_file():
        names = [p.stem for p in scripts()]
        hint = did_you_mean(Path(name).stem, names)
        raise InputError(
            f"there is no scenario '{name}'\n    allowed: {', '.join(names)}, or a path"
            + (f"\n    fix: {hint}" if hint else "")
        )
    return Script(path.stem, path, *read_script(path))


def scripts() -> list[Path]:
    """The scenarios that come with the lab."""
    return sorted(p for p in share.folder("scripts").glob("*.py") if not p.name.startswith("_"))


def migration_settings(given: dict[str, str]) -> Settings:
    """How migrations are done, from those of :data:`MIGRATION_SETTINGS` that are ``given``; they are removed from it.

    Raises:
        InputError: a value that cannot be.
    """
    announce = given.pop("announce", Settings.announce)
    if announce not in ANNOUNCEMENTS:
        hint = did_you_mean(announce, ANNOUNCEMENTS)
        text = f"announce: '{announce}' is not a valid value\n    allowed: {', '.join(ANNOUNCEMENTS)}"
        raise InputError(f"{text}\n    fix: {hint}" if hint else text)
    limits = Limits(
        downtime_ms=_number(given, "downtime_ms", Limits.downtime_ms),
        max_rounds=int(_number(given, "max_rounds", Limits.max_rounds)),
    )
    return Settings(announce, _number(given, "pace_mbps", Settings.pace_mbps), limits)


def _number(given: dict[str, str], name: str, default: float) -> float:
    text = given.pop(name, None)
    if text is None:
        return default
    value = numbers.decimal(text)
    if value is None or not 0 <= value < 1e9:
        raise InputError(f"{name}: '{text}' is not a valid value\n    allowed: a number, 0 or more")
    return value
