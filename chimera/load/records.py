"""Records declared as tables: one dataclass field is one key, with its type, default and meaning.

The same table reads a mapping, says what is wrong with it, and draws its JSON Schema. What is read stays raw:
references are names, and what is not said is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from chimera.load.problems import Problems, Refused, Spot, listed
from chimera.load.ranges import PerName
from chimera.load.tree import Yaml, YamlList, YamlMap, YamlScalar, describe
from chimera.load.values import RANGED_NAME_SCHEMA, Schema, Type, names_written
from chimera.model.errors import did_you_mean


@dataclass(frozen=True)
class Key:
    """One key of a record.

    ``default`` is what holds where nothing is said. ``single`` keys cannot be given to a range of names.
    """

    type: Type
    doc: str
    default: Any = None
    required: bool = False
    single: bool = False


def key(type_: Type, doc: str, *, default: Any = None, required: bool = False, single: bool = False) -> Any:
    """A dataclass field that is a key of the record."""
    return field(default=type_.empty, metadata={"key": Key(type_, doc, default, required, single)})


@dataclass(frozen=True, kw_only=True)
class Record:
    """What every record has besides its keys: where it and they stand, and the keys that were refused."""

    at: Spot
    spots: Mapping[str, Spot] = field(default_factory=dict)
    bad: frozenset[str] = frozenset()

    def spot(self, name: str) -> Spot:
        """Where the value of a key stands; the record itself where the key is not there."""
        return self.spots.get(name, self.at)


@dataclass(frozen=True, kw_only=True)
class Named(Record):
    """A record whose name is the key it stands under."""

    name: str


def keys_of(record: type[Record]) -> Mapping[str, Key]:
    """The keys of a record, in the order of its table, required ones first."""
    unhashed: Any = record  # mypy takes the instances' lack of a hash for the class's
    return _keys(unhashed)


@cache
def _keys(record: Any) -> Mapping[str, Key]:
    keys = {f.name: f.metadata["key"] for f in fields(record) if "key" in f.metadata}
    return dict(sorted(keys.items(), key=lambda item: not item[1].required))


def first_said(name: str, *records: Record | None) -> Any:
    """The value of a key in the first record that says it, or else the table's default."""
    present = [record for record in records if record is not None]
    for record in present:
        if (value := getattr(record, name)) is not None:
            return value
    return keys_of(type(present[0]))[name].default


@dataclass(frozen=True)
class _Content:
    """What a mapping holds: values by key, where each stands, and the keys that were refused."""

    values: dict[str, Any]
    spots: dict[str, Spot]
    bad: frozenset[str]


@dataclass(frozen=True)
class Table(Type):
    """A mapping that holds the keys of one record."""

    record: type[Record]

    @property
    def allowed(self) -> str:
        """The names of the keys."""
        return "a mapping with the keys " + ", ".join(keys_of(self.record))

    def read(self, node: Yaml, spot: Spot, problems: Problems) -> Any:
        """The record, as far as it can be read."""
        content = self.content(node, spot, problems)
        return content and self.record(at=spot, spots=content.spots, bad=content.bad, **content.values)

    def content(self, node: Yaml, spot: Spot, problems: Problems) -> _Content | None:
        """The values of a mapping; None where there is no mapping."""
        entries = self._entries(node, spot, problems)
        if entries is None:
            return None
        values, spots, bad, unknown = {}, {}, set(), []
        for name, value in entries:
            if name.text not in keys_of(self.record):
                unknown.append(name.text[:40])
                self._refuse_key(name, spot, problems)
                continue
            place = name.place if isinstance(value, YamlScalar) and value.null else value.place
            spots[name.text] = spot.under(name.text, place)
            read = keys_of(self.record)[name.text].type.read(value, spot.under(name.text, name.place), problems)
            if read is None:
                bad.add(name.text)
            else:
                values[name.text] = read
        self._demand(spot, spots, unknown, problems)
        return _Content(values, spots, frozenset(bad))

    def _entries(self, node: Yaml, spot: Spot, problems: Problems) -> tuple[tuple[YamlScalar, Yaml], ...] | None:
        if isinstance(node, YamlMap):
            return node.entries
        if isinstance(node, YamlScalar) and node.null:
            return ()
        problems.add(spot.at(node.place), "a mapping is expected here", found=describe(node), allowed=self.allowed)
        return None

    def _refuse_key(self, name: YamlScalar, spot: Spot, problems: Problems) -> None:
        known = list(keys_of(self.record))
        here = spot.under(name.text, name.place)
        fix = did_you_mean(name.text[:40], known) if problems.hears(here, name.text) else ""
        problems.add(here, "unknown key", found=name.text, allowed=listed(known, most=20), fix=fix)

    def _demand(self, spot: Spot, said: Mapping[str, Spot], unknown: list[str], problems: Problems) -> None:
        """Notes the required keys that are missing, unless a misspelt one was seen to be meant."""
        for name, each in keys_of(self.record).items():
            if each.required and name not in said and not did_you_mean(name, unknown):
                message = f"the key '{name}' is missing: {each.doc}"
                problems.add(spot, message, allowed=each.type.allowed, fix=f"add {name}: …")

    def schema(self) -> Schema:
        """An object with these properties and no others."""
        keys = keys_of(self.record)
        properties = {name: _key_schema(each) for name, each in keys.items()}
        required = [name for name, each in keys.items() if each.required]
        drawn: Schema = {"type": "object" if required else ["object", "null"]}
        return drawn | {"properties": properties, "required": required, "additionalProperties": False}


def _key_schema(each: Key) -> Schema:
    drawn = each.type.schema() | {"description": each.doc}
    return drawn if each.default is None else drawn | {"default": each.default}


@dataclass(frozen=True)
class NamedTable(Type):
    """A mapping of names (or name ranges) to records; the value is a tuple of records.

    Where no record needs a key, a list of names will do.
    """

    record: type[Named]
    limit: int
    empty: Any = ()

    @property
    def allowed(self) -> str:
        """What may be written, for a reader."""
        return "a mapping of names to keys " + ", ".join(keys_of(self.record))

    def read(self, node: Yaml, spot: Spot, problems: Problems) -> Any:
        """One record for each name, in file order."""
        entries = self._entries(node, spot, problems)
        if entries is None:
            return None
        records: list[Named] = []
        for name, value in entries:
            here = spot.under(name.text, name.place)
            try:
                names = names_written(name.text)
            except Refused as refused:
                problems.refuse(here, refused, name.text)
                continue
            if len(records) + len(names) > self.limit:
                total = str(len(records) + len(names))
                problems.add(here, "too many of them", found=total, allowed=f"at most {self.limit}")
                problems.raise_if_any()  # all that would follow is that the rest is unknown
            records += self._records(names, value, here, problems)
        return tuple(records)

    def _entries(self, node: Yaml, spot: Spot, problems: Problems) -> list[tuple[YamlScalar, Yaml]] | None:
        if isinstance(node, YamlMap):
            return list(node.entries)
        if isinstance(node, YamlScalar) and node.null:
            return []
        if isinstance(node, YamlList) and all(isinstance(item, YamlScalar) for item in node.items):
            nothing = YamlScalar("", True, node.place)
            return [(item, nothing) for item in node.items if isinstance(item, YamlScalar)]
        problems.add(spot.at(node.place), "names are expected here", found=describe(node), allowed=self.allowed)
        return None

    def _records(self, names: Sequence[str], node: Yaml, spot: Spot, problems: Problems) -> list[Named]:
        content = Table(self.record).content(node, spot, problems)
        if content is None:
            everything = frozenset(keys_of(self.record))
            return [self.record(name=name, at=spot, bad=everything) for name in names]
        bad = content.bad | self._misfits(content, len(names), problems)
        values = {name: value for name, value in content.values.items() if name not in bad}
        total = len(names)
        parts = ({key: _part(value, i, total) for key, value in values.items()} for i in range(total))
        return [
            self.record(name=name, at=spot, spots=content.spots, bad=bad, **part)
            for name, part in zip(names, parts, strict=True)
        ]

    def _misfits(self, content: _Content, names: int, problems: Problems) -> set[str]:
        """Keys whose values do not suit this many names."""
        bad = set()
        for name, value in content.values.items():
            if names > 1 and keys_of(self.record)[name].single:
                problems.add(content.spots[name], f"{names} names cannot share this", fix="write the names one by one")
                bad.add(name)
            elif isinstance(value, PerName) and value.count > names:
                found = f"{value.count} to spread over, for {names} {'name' if names == 1 else 'names'}"
                allowed = f"at most {names}"
                problems.add(content.spots[name], "more to spread over than names", found=found, allowed=allowed)
                bad.add(name)
        return bad

    def schema(self) -> Schema:
        """An object whose property names are node names or ranges; or an array of them."""
        each = Table(self.record).schema()
        by_name: Schema = {"type": ["object", "null"]}
        by_name |= {"propertyNames": RANGED_NAME_SCHEMA, "additionalProperties": each}
        if each["required"]:
            return by_name
        return {"anyOf": [by_name, {"type": "array", "items": RANGED_NAME_SCHEMA}]}


def _part(value: Any, index: int, total: int) -> Any:
    return value.pick(index, total) if isinstance(value, PerName) else value
