"""``labs/NAME/lab.yaml``: which topology, overlay and scenario a guided lab runs, and what it must show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chimera.load.find import is_path, read_bytes
from chimera.load.problems import Problems, Refused, Spot
from chimera.load.records import Record, Table, key
from chimera.load.schema import schema_of
from chimera.load.tree import read_tree
from chimera.load.values import LONG_NAME, SENTENCE, Pairs, Schema, Word
from chimera.model import figures

_NUMBER = r"-?[0-9]+(\.[0-9]+)?"
_CONDITION = rf"((<=|>=|==|!=|<|>)\s*)?({_NUMBER}|true|false)"
_CONDITION_ALLOWED = "<, <=, ==, !=, >= or > and a number, or true or false"


def _condition(text: str) -> str:
    """A condition with its comparison written out: ``true`` is ``== true``."""
    match = re.fullmatch(_CONDITION, text)
    if match is None:
        raise Refused("not a condition", _CONDITION_ALLOWED, 'for example "<= 30"')
    _, comparison, value, _ = match.groups()
    return f"{comparison or '=='} {value}"


def _figure(name: str) -> None:
    """Refuses what is no figure of any result."""
    if wrong := figures.refusal(name):
        raise Refused(*wrong)


def _file_or_name(text: str) -> str:
    if not text.isprintable() or not text.strip() or len(text) > 200:
        raise Refused("not a usable name", _NAME_ALLOWED)
    return text.strip()


def _setting(text: str) -> str:
    if not text.isprintable():
        raise Refused("not a usable value", "text in one line")
    return text


_NAME_ALLOWED = "a name, or a path"
_NAME = Word(_NAME_ALLOWED, _file_or_name, {"type": "string"})
_SETTING = Word("a value", _setting, {"type": ["string", "number", "boolean"]})
_EXPECTED = Word(
    _CONDITION_ALLOWED,
    _condition,
    {"anyOf": [{"type": ["number", "boolean"]}, {"type": "string", "pattern": f"^{_CONDITION}$"}]},
)


@dataclass(frozen=True, kw_only=True)
class _LabRecord(Record):
    """A lab file."""

    title: str | None = key(SENTENCE, "what the lab is called", required=True)
    description: str | None = key(SENTENCE, "what it shows, in one sentence", default="")
    topology: str | None = key(_NAME, "the topology it runs on", required=True)
    overlay: str | None = key(LONG_NAME, "the overlay it runs over", required=True)
    scenario: str | None = key(_NAME, "the scenario it runs", required=True)
    set: Mapping[str, str] | None = key(Pairs(_SETTING, "settings: key: value"), "settings of scenario and overlay")
    expect: Mapping[str, str] | None = key(
        Pairs(_EXPECTED, "figures: condition", _figure), "figures and what must hold of them"
    )


@dataclass(frozen=True, slots=True)
class LabFile:
    """A guided lab.

    ``expect`` maps figures of the result to conditions, always as comparison, blank, value: ``<= 30``, ``== true``.
    ``topology`` and ``scenario`` are names to look up, or paths, which count from the file's own folder in the file.
    """

    path: Path
    title: str
    description: str
    topology: str
    overlay: str
    scenario: str
    set: Mapping[str, str]
    expect: Mapping[str, str]

    @property
    def name(self) -> str:
        """What the lab is called on the command line: its folder's name."""
        return self.path.resolve().parent.name


def load_lab(path: Path) -> LabFile:
    """The lab in a ``lab.yaml``, or in a folder that holds one.

    Raises:
        InputError: where there is no such file.
        TopologyError: with every problem of the file.
    """
    file = path / "lab.yaml" if path.is_dir() else path
    problems = Problems(str(file))
    tree = read_tree(read_bytes(file), str(file))
    raw: _LabRecord | None = Table(_LabRecord).read(tree, Spot(tree.place), problems)
    problems.raise_if_any()
    assert raw is not None  # None comes with a problem
    return LabFile(
        path=file,
        title=raw.title or "",
        description=raw.description or "",
        topology=_from(file.parent, raw.topology or ""),
        overlay=raw.overlay or "",
        scenario=_from(file.parent, raw.scenario or ""),
        set=raw.set or {},
        expect=raw.expect or {},
    )


def _from(folder: Path, text: str) -> str:
    """A path that a file in ``folder`` names, for whoever stands elsewhere; a name to look up stays as it is."""
    if not is_path(text):
        return text
    path = str(folder / text)
    return path if is_path(path) else f"./{path}"


def lab_schema() -> Schema:
    """The JSON Schema of lab files."""
    return schema_of(_LabRecord, "Chimera Lab lab file")
