"""From words on the command line to an experiment, or several: a scenario by itself, or a lab with its own choices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from chimera import share
from chimera.load import TOPOLOGY_SETTINGS, LabFile, is_path, load_lab
from chimera.model.errors import InputError, did_you_mean
from chimera.model.settings import DEFAULT_OVERLAY, DEFAULT_TOPOLOGY, MIGRATION_SETTINGS
from chimera.overlay import registry
from chimera.overlay.base import Option, Overlay, check_options
from chimera.scenario.scripts import find_script
from chimera.session import Experiment, prepare, rehearse
from chimera.tour import Leg, legs

ALL = "all"
WIRE = "wire"


def choose(scenario: str, topology: str | None, overlay: str | None, settings: Mapping[str, str]) -> Experiment:
    """The experiment that ``lab run`` was asked for; what is said on the command line overrides a lab file.

    ``overlay`` may carry settings of its own (``mpls:wire=gre``).

    Raises:
        InputError: something is wrong with it.
    """
    experiment = _ask(scenario, topology, settings).choose(overlay)
    rehearse(experiment)
    return experiment


def check_lab(lab: LabFile) -> None:
    """Do all that 'lab run' would before it starts anything, but for running the scenario's file.

    Raises:
        InputError: something is wrong with it.
    """
    _ask_for(lab, None, {}).choose(None)


def choose_several(
    scenario: str, topology: str | None, overlays: str | None, settings: Mapping[str, str], *, wires: bool = False
) -> list[Leg]:
    """An experiment for each of ``overlays``: names after commas, ``all`` for the whole registry.

    Settings that only some overlays know, or values that only some can have, go to those; with ``wires``, every other
    wire format of an overlay follows it.

    Raises:
        InputError: a word that no overlay knows, or no overlay can run it; one that cannot is a leg that says so.
    """
    asked = _ask(scenario, topology, settings)
    choices = _choices(overlays or asked.overlay)
    common = asked.common({choice.overlay.name: choice.overlay for choice in choices}.values())
    if wires:
        choices = [each for choice in choices for each in _with_wires(choice, asked.settings)]

    def prepare_leg(name: str, options: Mapping[str, str]) -> Experiment:
        own = _fitting(registry.get(name), asked.settings)
        experiment = asked.prepare(name, {**common, **own, **options})
        rehearse(experiment)
        return experiment

    unique: dict[tuple[str, str], _Choice] = {}
    for choice in choices:
        unique.setdefault((choice.overlay.name, repr(choice.effective(asked.settings))), choice)
    return legs([(choice.overlay.name, choice.options) for choice in unique.values()], prepare_leg)


def find_lab(name: str) -> LabFile | None:
    """The lab of that name in ``labs/``, or at that path; None where the word means a scenario."""
    path = Path(name) if is_path(name) else share.folder("labs") / name / "lab.yaml"
    is_lab = path.suffix in (".yaml", ".yml") and path.exists()
    return load_lab(path) if is_lab or path.is_dir() else None


def labs() -> list[LabFile]:
    """The labs that come with the project."""
    return [load_lab(path) for path in sorted(share.folder("labs").glob("*/lab.yaml"))]


class _Asked(NamedTuple):
    """A scenario or lab with the command line's words on top; ``given`` are the settings of the latter alone."""

    scenario: str
    topology: str
    overlay: str
    settings: dict[str, str]
    expectations: dict[str, str]
    given: frozenset[str]

    def choose(self, overlay: str | None) -> Experiment:
        """The experiment over ``overlay``, which may carry settings of its own, or over its own choice."""
        choice = _choice(overlay or self.overlay)
        return self.prepare(choice.overlay.name, {**self.settings, **choice.options})

    def prepare(self, overlay: str, settings: Mapping[str, str]) -> Experiment:
        """The experiment over one overlay."""
        return prepare(
            self.topology, overlay, scenario=self.scenario, settings=settings, expectations=self.expectations
        )

    def common(self, overlays: Iterable[Overlay]) -> dict[str, str]:
        """The settings that are not of overlays, but of the scenario, migrations or the topology.

        A lab's own settings may be for overlays that are not run, and are left out then.

        Raises:
            InputError: a setting that nobody knows, or a value that none of the overlays that know it can have.
        """
        allowed: dict[str, dict[str, None]] = {}
        for option in (option for overlay in overlays for option in overlay.options):
            allowed.setdefault(option.name, {}).update(dict.fromkeys(option.allowed))
        others = (*find_script(self.scenario).defaults, *MIGRATION_SETTINGS, *TOPOLOGY_SETTINGS)
        for key in self.given - {*others, *allowed}:
            raise InputError(_nobody_knows(key, [*others, *allowed]))
        for key in self.given & allowed.keys() - {*others}:
            if (value := self.settings[key]) not in allowed[key]:
                raise InputError(f"no overlay here can have {key}={value}\n    allowed: {', '.join(allowed[key])}")
        return {key: value for key, value in self.settings.items() if key in others}


def _nobody_knows(key: str, known: Sequence[str]) -> str:
    hint = did_you_mean(key, known)
    text = f"unknown setting '{key}'\n    allowed: {', '.join(known)}"
    return f"{text}\n    fix: {hint}" if hint else text


def _ask(scenario: str, topology: str | None, settings: Mapping[str, str]) -> _Asked:
    lab = find_lab(scenario)
    if lab is None:
        return _Asked(scenario, topology or DEFAULT_TOPOLOGY, DEFAULT_OVERLAY, dict(settings), {}, frozenset(settings))
    return _ask_for(lab, topology, settings)


def _ask_for(lab: LabFile, topology: str | None, settings: Mapping[str, str]) -> _Asked:
    settings_of_both = {**lab.set, **settings}
    return _Asked(
        lab.scenario, topology or lab.topology, lab.overlay, settings_of_both, dict(lab.expect), frozenset(settings)
    )


class _Choice(NamedTuple):
    """An overlay, and what is set for it alone."""

    overlay: Overlay
    options: dict[str, str]

    def effective(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Its options as they come out, where they go together."""
        defaults = {option.name: option.default for option in self.overlay.options}
        return {**defaults, **_fitting(self.overlay, settings), **self.options}


def _choices(words: str) -> list[_Choice]:
    """``all,vxlan:mode=flood`` as choices, in order.

    Raises:
        InputError: a word that is no overlay, settings it does not have, or the same one twice.
    """
    named = [_choice(word) for word in words.split(",") if word != ALL]
    for choice in named:
        if named.count(choice) > 1:
            raise InputError(f"--overlay {words}: {choice.overlay.name} is in it twice")
    every = [_Choice(overlay, {}) for overlay in registry.OVERLAYS.values()]
    return [*every, *(c for c in named if c not in every)] if ALL in words.split(",") else named


def _choice(word: str) -> _Choice:
    """One overlay with its settings after colons: ``mpls:wire=gre:control_word=off``."""
    name, *settings = word.split(":")
    overlay = registry.get(name)
    options = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--overlay {word}: '{setting}' is not a valid setting\n    allowed: {name}:KEY=VALUE")
        options[key] = value
    check_options(overlay, options)
    return _Choice(overlay, options)


def _fitting(overlay: Overlay, settings: Mapping[str, str]) -> dict[str, str]:
    """Of ``settings``, those that this overlay knows, with values it can have."""
    return {o.name: settings[o.name] for o in overlay.options if settings.get(o.name) in o.allowed}


def _with_wires(choice: _Choice, settings: Mapping[str, str]) -> Iterator[_Choice]:
    """A choice, then the same over every other wire format of its overlay."""
    yield choice
    wire: Sequence[Option] = [option for option in choice.overlay.options if option.name == WIRE]
    for value in (value for option in wire for value in option.allowed):
        if value != choice.effective(settings)[WIRE]:
            yield _Choice(choice.overlay, {**choice.options, WIRE: value})
