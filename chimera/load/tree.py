"""YAML text to a tree of located nodes.

Works on the parser's events and keeps every scalar as the text that stands in the file, so that none
of YAML 1.1's guesses (``on`` is true, ``1:30`` is 90, ``010`` is 8) can happen: a key's type decides what
its text means. Duplicate keys, tags and merge keys are refused; aliases are followed as long as the
tree stays finite and small.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from chimera.load.problems import Problems, Spot, shown
from chimera.model.errors import Place

MAX_BYTES = 500_000
MAX_NODES = 200_000  # after following aliases: stops the "billion laughs"
MAX_DEPTH = 20

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # events of libyaml come some 10 times as fast
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NULL = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True)
class YamlScalar:
    """A piece of text as written; ``plain`` where it has no quotes."""

    text: str
    plain: bool
    place: Place

    @property
    def null(self) -> bool:
        """True where nothing stands after the key."""
        return self.plain and self.text in _NULL


@dataclass(frozen=True, slots=True)
class YamlList:
    """A sequence."""

    items: tuple[Yaml, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class YamlMap:
    """A mapping in file order; no key stands twice."""

    entries: tuple[tuple[YamlScalar, Yaml], ...]
    place: Place


Yaml = YamlScalar | YamlList | YamlMap


def describe(node: Yaml) -> str:
    """What a node is, for a ``found`` line."""
    if isinstance(node, YamlScalar):
        return "nothing" if node.null else shown(node.text)
    return "a list" if isinstance(node, YamlList) else "a mapping (key: value)"


def read_tree(source: str | bytes, file: str) -> Yaml:
    """The tree of the one document in ``source``.

    Raises:
        TopologyError: where it is not UTF-8, not YAML, empty, too big, or says the same key twice.
    """
    problems = Problems(file)
    text = _decode(source, problems)
    problems.raise_if_any()
    tree = _build(text, problems)
    problems.raise_if_any()
    assert tree is not None  # None comes with a problem
    return tree


def _decode(source: str | bytes, problems: Problems) -> str:
    if len(source) > MAX_BYTES:
        problems.add(_spot(problems, 0, 0), f"the file is larger than {MAX_BYTES // 1000} kB", fix="use name ranges")
        return ""
    try:
        text = source.decode("utf-8") if isinstance(source, bytes) else source
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8", "replace")
        found = f"byte 0x{error.object[error.start]:02x}"
        problems.add(_spot_after(problems, before), "this is not UTF-8 text", found=found, fix="save it as UTF-8")
        return ""
    text = text.removeprefix("\ufeff")
    if bad := _UNPRINTABLE.search(text):
        spot = _spot_after(problems, text[: bad.start()])
        problems.add(spot, "a control character stands here", found=f"U+{ord(bad[0]):04X}", fix="delete it")
    return text


def _spot(problems: Problems, line: int, column: int) -> Spot:
    return Spot(Place(problems.file, line + 1, column + 1))


def _spot_after(problems: Problems, before: str) -> Spot:
    return _spot(problems, before.count("\n"), len(before) - (before.rfind("\n") + 1))


def _build(text: str, problems: Problems) -> Yaml | None:
    builder = _Builder(yaml.parse(text, Loader=_LOADER), problems)
    try:
        return builder.document()
    except _Stop as stop:
        problems.add(stop.spot, str(stop), found=stop.found, fix=stop.fix)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        _add_syntax_problem(text, error, problems)
    return None


class _Stop(Exception):
    """The tree cannot be built any further."""

    def __init__(self, spot: Spot, message: str, found: str = "", fix: str = "") -> None:
        super().__init__(message)
        self.spot, self.found, self.fix = spot, found, fix


class _Builder:
    """Turns the events of one document into a tree."""

    def __init__(self, events: Iterator[Any], problems: Problems) -> None:
        self._events = events
        self._problems = problems
        self._anchors: dict[str, tuple[Yaml, int] | None] = {}  # node and its size; None while it is being built
        self._count = 0

    def document(self) -> Yaml:
        """The only document of the stream."""
        self._next(yaml.StreamStartEvent)
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise _Stop(self._spot(event), "the file is empty", fix="start with: name: my-network")
        tree = self._node(next(self._events), 0)
        self._next(yaml.DocumentEndEvent)
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise _Stop(self._spot(event), "a second document starts here", "---", "one file holds one document")
        return tree

    def _next(self, kind: type[yaml.Event]) -> None:
        event = next(self._events)
        assert isinstance(event, kind), event

    def _place(self, event: Any) -> Place:
        return Place(self._problems.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _spot(self, event: Any) -> Spot:
        return Spot(self._place(event))

    def _node(self, event: Any, depth: int) -> Yaml:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if depth > MAX_DEPTH:
            raise _Stop(self._spot(event), f"nested deeper than {MAX_DEPTH} levels")
        self._grow(event, 1)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._problems.add(self._spot(event), "tags have no meaning here", found=tag, fix="delete the tag")
        before = self._count
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node = self._content(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node, self._count - before + 1
        return node

    def _grow(self, event: Any, by: int) -> None:
        self._count += by
        if self._count > MAX_NODES:
            raise _Stop(self._spot(event), f"the file holds more than {MAX_NODES} values", fix="use name ranges")

    def _alias(self, event: Any) -> Yaml:
        if event.anchor not in self._anchors:
            raise _Stop(self._spot(event), "no anchor of this name stands before", f"*{event.anchor}")
        known = self._anchors[event.anchor]
        if known is None:
            raise _Stop(self._spot(event), "this alias stands inside what it repeats", f"*{event.anchor}")
        node, size = known
        self._grow(event, size)
        return node

    def _content(self, event: Any, depth: int) -> Yaml:
        place = self._place(event)
        if isinstance(event, yaml.ScalarEvent):
            return YamlScalar(event.value, not event.style, place)
        if isinstance(event, yaml.SequenceStartEvent):
            return YamlList(tuple(self._items(depth)), place)
        return YamlMap(tuple(self._entries(depth)), place)

    def _items(self, depth: int) -> Iterator[Yaml]:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._node(event, depth + 1)

    def _entries(self, depth: int) -> Iterator[tuple[YamlScalar, Yaml]]:
        seen: dict[str, YamlScalar] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            spot = self._spot(event)
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if self._key_fits(key, spot, seen):
                assert isinstance(key, YamlScalar)
                seen[key.text] = key
                yield key, value

    def _key_fits(self, key: Yaml, spot: Spot, seen: dict[str, YamlScalar]) -> bool:
        add = self._problems.add
        if not isinstance(key, YamlScalar):
            fix = 'put quotes around text that starts with [ or {: "[text]"'
            add(spot, "a key must be a name", found=describe(key), fix=fix)
        elif key.plain and key.text == "<<":
            add(spot, "merge keys have no meaning here", found="<<", fix="write the keys out, or use defaults:")
        elif key.text in seen:
            first = seen[key.text].place.line
            add(spot, f"the key '{shown(key.text)}' stands twice", fix=f"join it with the one in line {first}")
        else:
            return True
        return False


def _add_syntax_problem(text: str, error: Exception, problems: Problems) -> None:
    """What YAML's own parser complains about, with what it usually means."""
    error = _worded(text) or error
    complaint = getattr(error, "problem", None) or str(error).splitlines()[0]
    mark, opened = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    if "could not find expected ':'" in complaint or mark is None:
        mark = opened or mark  # the line that lacks the colon, not the one after it
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.splitlines() or [""]
    written = lines[min(line, len(lines) - 1)].strip()
    fix = _likely_fix(complaint, written)
    if fix.startswith("close") and opened:
        fix += f" (it was opened in line {opened.line + 1})"
    problems.add(_spot(problems, line, column), f"not valid YAML: {complaint}", found=written, fix=fix)


def _worded(text: str) -> Exception | None:
    """The pure-Python parser's error for ``text``: better words than libyaml's, and the same in every version."""
    try:
        for _ in yaml.parse(text, Loader=yaml.SafeLoader):
            pass
    except yaml.YAMLError as error:
        return error
    except (ValueError, OverflowError):  # an escape beyond Unicode: libyaml has words for it, this parser has not
        return None
    return None


def _likely_fix(complaint: str, written: str) -> str:
    if re.search(r"[^\"'\s]\[[0-9]+-[0-9]+\]", written) and re.search(r"[{\[,]", written):
        return 'put quotes around a name range inside { } or [ ]: "hv[1-8]"'
    if re.search(r":\s+>=?", written):
        return 'put quotes around text that begins with >: ">= 30"'
    for part, fix in _FIXES:
        if part in complaint:
            return fix
    return ""


_FIXES = (
    (r"'\t'", "indent with spaces, not with tabs"),
    ("could not find expected ':'", "write key: value, with a space after the colon"),
    ("mapping values are not allowed", "put quotes around a value that has a colon in it, and check the indentation"),
    ("expected ',' or '}'", "close the { or put a comma between the entries"),
    ("expected ',' or ']'", "close the [ or put a comma between the entries"),
    ("expected <block end>", "indent all keys of one mapping alike"),
    ("unexpected end of stream", "close the quote"),
    ("cannot start any token", "put quotes around a value that begins with this character"),
)
