"""Scenario scripts: found by name, loaded, and asked what they may be set to."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from chimera import share
from chimera.model.errors import InputError, did_you_mean
from chimera.model.result import Result
from chimera.model.topology import Topology
from chimera.model.underlay import Underlay
from chimera.scenario.lab import Expect, Lab
from chimera.scenario.migration import ANNOUNCEMENTS, Settings
from chimera.scenario.precopy import Limits

MIGRATION_SETTINGS = ("announce", "pace_mbps", "downtime_ms", "max_rounds")


@dataclass(frozen=True)
class Script:
    """A scenario: a Python file with ``run(lab)``, and if it likes ``check(result, expect)`` and ``SETTINGS``.

    A ``possible(topology, underlay)`` may refuse a network before anything starts.
    ``SETTINGS`` maps what ``--set`` may change to its default. Where that is a number, only numbers will do; ``vm``
    and ``hypervisor`` name one of the topology's.
    """

    name: str
    path: Path
    module: ModuleType

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(self.module) or "").partition("\n")[0]

    @property
    def defaults(self) -> dict[str, str]:
        """What ``--set`` may change."""
        return {str(name): str(value) for name, value in getattr(self.module, "SETTINGS", {}).items()}

    def take_settings(self, given: dict[str, str]) -> dict[str, str]:
        """This script's settings, defaults filled in; they are removed from ``given``."""
        return {name: given.pop(name, default) for name, default in self.defaults.items()}

    def check_settings(self, settings: Mapping[str, str], topology: Topology) -> None:
        """Refuse settings that this script could not use on ``topology``.

        Raises:
            InputError: a value that cannot be, with those that can.
        """
        names = {"vm": [v.name for v in topology.vms], "hypervisor": [h.name for h in topology.hypervisors]}
        for name, default in getattr(self.module, "SETTINGS", {}).items():
            value = settings[str(name)]
            if name in names and value and value not in names[name]:
                hint = did_you_mean(value, names[name])
                allowed = ", ".join(names[name]) + (f"\n    fix: {hint}" if hint else "")
                raise InputError(f"{name} cannot be '{value}'\n    allowed: {allowed}")
            if type(default) is int and not re.fullmatch("[0-9]{1,9}", value):
                raise InputError(f"{name} cannot be '{value}'\n    allowed: a whole number, 0 or more")
            if isinstance(default, float):
                _number({name: value}, name, default)

    def check_network(self, topology: Topology, underlay: Underlay) -> None:
        """Refuse a network on which this script has nothing to show; its ``possible(topology, underlay)`` says so.

        Raises:
            InputError: why, and what to choose instead.
        """
        if hasattr(self.module, "possible"):
            self.module.possible(topology, underlay)

    def run(self, lab: Lab) -> None:
        """Do it."""
        self.module.run(lab)

    def check(self, result: Result, expect: Expect) -> None:
        """Say what must have come out."""
        if hasattr(self.module, "check"):
            self.module.check(result, expect)


def find_script(name: str) -> Script:
    """The scenario of that name in ``scripts/``, or at that path.

    Raises:
        InputError: there is none, or the file is no scenario.
    """
    path = Path(name) if "/" in name or name.endswith(".py") else share.folder("scripts") / f"{name}.py"
    if not path.is_file():
        names = [p.stem for p in scripts()]
        hint = did_you_mean(Path(name).stem, names)
        raise InputError(
            f"there is no scenario '{name}'\n    allowed: {', '.join(names)}, or a path"
            + (f"\n    fix: {hint}" if hint else "")
        )
    return Script(path.stem, path, _load(path))


def scripts() -> list[Path]:
    """The scenarios that come with the lab."""
    return sorted(p for p in share.folder("scripts").glob("*.py") if not p.name.startswith("_"))


def _load(path: Path) -> ModuleType:
    loader = SourceFileLoader(f"scenario_{path.stem.replace('-', '_')}", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's file does wrong is the user's to read
        raise InputError(
            f"{path}:{_line_in(error, path)}:1: this scenario cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not callable(getattr(module, "run", None)):
        raise InputError(
            f"{path}:1:1: this is no scenario: it defines no run(lab)\n    fix: def run(lab: Lab) -> None: …"
        )
    if not isinstance(getattr(module, "SETTINGS", {}), Mapping):
        raise InputError(f'{path}:1:1: SETTINGS maps names to defaults\n    fix: SETTINGS = {{"vm": ""}}')
    return module


def _line_in(error: BaseException, path: Path) -> int:
    """The line of the script that an error comes from; 1 where it says none."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 1
    line, trace = 1, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def migration_settings(given: dict[str, str]) -> Settings:
    """How migrations are done, from those of :data:`MIGRATION_SETTINGS` that are ``given``; they are removed from it.

    Raises:
        InputError: a value that cannot be.
    """
    announce = given.pop("announce", Settings.announce)
    if announce not in ANNOUNCEMENTS:
        hint = did_you_mean(announce, ANNOUNCEMENTS)
        text = f"announce cannot be '{announce}'\n    allowed: {', '.join(ANNOUNCEMENTS)}"
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
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise InputError(f"{name} cannot be '{text}'\n    allowed: a number, 0 or more")
    return value
