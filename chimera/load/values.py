"""The types a key can have: each reads a node of the tree, says what is allowed, and draws its JSON Schema."""

from __future__ import annotations

import ipaddress
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chimera.load.problems import Problems, Refused, Spot, shown
from chimera.load.ranges import Spread, expand
from chimera.load.tree import Yaml, YamlList, YamlMap, YamlScalar, describe
from chimera.load.units import Quantity
from chimera.model.errors import did_you_mean

Schema = dict[str, Any]

NAME = r"[a-z][a-z0-9-]{0,11}"
_RANGED = r"[a-z][a-z0-9-]*(\[[0-9]+-[0-9]+\])?[a-z0-9-]*"
_V4 = r"[0-9]{1,3}(\.[0-9]{1,3}){3}"
_V6 = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"
_MAC = r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}"


class Type(ABC):
    """What a key's value must be. ``empty`` is the value of a key that is not there."""

    empty: Any = None

    @property
    @abstractmethod
    def allowed(self) -> str:
        """What may be written, for a reader."""

    @abstractmethod
    def read(self, node: Yaml, spot: Spot, problems: Problems) -> Any:
        """The value at ``node``, or None after noting why there is none."""

    @abstractmethod
    def schema(self) -> Schema:
        """What may be written, as JSON Schema."""


@dataclass(frozen=True)
class Word(Type):
    """A scalar that ``parse`` understands; ``parse`` raises :class:`Refused` where it does not."""

    words: str
    parse: Callable[[str], Any]
    json: Schema

    @property
    def allowed(self) -> str:
        """What may be written, for a reader."""
        return self.words

    def read(self, node: Yaml, spot: Spot, problems: Problems) -> Any:
        """The parsed text of a scalar."""
        if not isinstance(node, YamlScalar):
            problems.add(spot.at(node.place), "one value is expected here", found=describe(node), allowed=self.words)
        elif node.null:
            problems.add(spot, "nothing is written after the colon", allowed=self.words)
        else:
            try:
                return self.parse(node.text)
            except Refused as refused:
                problems.refuse(spot.at(node.place), refused, node.text)
        return None

    def schema(self) -> Schema:
        """What may be written, as JSON Schema."""
        return dict(self.json)


@dataclass(frozen=True)
class ListOf(Type):
    """A list of one type; the value is a tuple.

    ``whole`` lists are worth nothing where one item is refused; of others the rest is used.
    """

    item: Type
    whole: bool = False
    empty: Any = ()

    @property
    def allowed(self) -> str:
        """What may be written, for a reader."""
        return f"a list, each item {self.item.allowed}"

    def read(self, node: Yaml, spot: Spot, problems: Problems) -> Any:
        """The values of all items that can be read."""
        if isinstance(node, YamlScalar) and node.null:
            return ()
        if not isinstance(node, YamlList):
            problems.add(spot.at(node.place), "a list is expected here", found=describe(node), allowed=self.allowed)
            return None
        items = ((i, item) for i, item in enumerate(node.items, 1))
        values = [self.item.read(item, spot.under(str(i), item.place), problems) for i, item in items]
        good = tuple(value for value in values if value is not None)
        return None if self.whole and len(good) < len(values) else good

    def schema(self) -> Schema:
        """What may be written, as JSON Schema."""
        return {"type": ["array", "null"], "items": self.item.schema()}


@dataclass(frozen=True)
class Pairs(Type):
    """A mapping of names to values of one type; the value is a dict. ``check`` raises :class:`Refused` for a name."""

    value: Type
    words: str
    check: Callable[[str], None] = lambda name: None

    @property
    def allowed(self) -> str:
        """What may be written, for a reader."""
        return self.words

    def read(self, node: Yaml, spot: Spot, problems: Problems) -> Any:
        """The values of all pairs that can be read, by name."""
        if isinstance(node, YamlScalar) and node.null:
            return {}
        if not isinstance(node, YamlMap):
            problems.add(spot.at(node.place), "a mapping is expected here", found=describe(node), allowed=self.words)
            return None
        pairs = {}
        for name, value in node.entries:
            here = spot.under(name.text, name.place)
            try:
                self.check(name.text)
            except Refused as refused:
                problems.refuse(here, refused, name.text)
            pairs[name.text] = self.value.read(value, here, problems)
        return {name: value for name, value in pairs.items() if value is not None}

    def schema(self) -> Schema:
        """What may be written, as JSON Schema."""
        return {"type": ["object", "null"], "additionalProperties": self.value.schema()}


# -- words ---------------------------------------------------------------------------------


_LONG_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}"
_LONG_NAME_ALLOWED = "letters, digits, . _ and -; at most 40 characters"


def _long_name(text: str) -> str:
    if re.fullmatch(_LONG_NAME, text) is None:
        raise Refused("not a usable name", _LONG_NAME_ALLOWED)
    return text


LONG_NAME = Word(_LONG_NAME_ALLOWED, _long_name, {"type": "string", "pattern": f"^{_LONG_NAME}$"})


def _near_name(text: str) -> str:
    near = re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")[:12].rstrip("-")
    return f"for example {near}" if re.fullmatch(NAME, near) else ""


_NAME_ALLOWED = "a small letter, then small letters, digits and -; at most 12 characters"


def names_written(text: str) -> Sequence[str]:
    """The node names a text stands for, all of them usable.

    Raises:
        Refused: where the brackets hold no range, or a name is not one.
    """
    names = expand(text)
    for name in (names[0], names[-1]):  # those between differ in digits only
        if not re.fullmatch(NAME, name):
            if name == text:
                raise Refused("not a usable name", _NAME_ALLOWED, _near_name(text))
            raise Refused(f"gives '{shown(name, 20)}': not a usable name", _NAME_ALLOWED)
    return names


RANGED_NAME_SCHEMA: Schema = {"type": "string", "pattern": f"^{_RANGED}$"}


def reference(to: str) -> Word:
    """The name of something else in the file, or a range of names to spread over."""
    return Word(to, lambda text: Spread(names_written(text)), RANGED_NAME_SCHEMA)


def _segment_names(text: str) -> Spread:
    tenant, slash, name = text.rpartition("/")
    names_written(name)
    if slash and not re.fullmatch(NAME, tenant):
        raise Refused("not a usable name", _NAME_ALLOWED)
    return Spread(expand(text))


SEGMENT_REF = Word(
    "the name of a segment, or tenant/segment",
    _segment_names,
    {"type": "string", "pattern": f"^({NAME}/)?{_RANGED}$"},
)


def _sentence(text: str) -> str:
    if len(text) > 500 or not all(c.isprintable() or c in "\n\t" for c in text):
        raise Refused("not a usable text", _SENTENCE_ALLOWED)
    return " ".join(text.split())


_SENTENCE_ALLOWED = "text of at most 500 characters"
SENTENCE = Word(_SENTENCE_ALLOWED, _sentence, {"type": ["string", "number", "boolean"]})

_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _flag(text: str) -> bool:
    if text.casefold() not in _TRUTH:
        raise Refused("neither true nor false", "true or false")
    return _TRUTH[text.casefold()]


FLAG = Word("true or false", _flag, {"enum": [True, False, *_TRUTH]})


def number(low: int, high: int) -> Word:
    """A whole number; both bounds are allowed."""
    allowed = f"a whole number from {low} to {high}"

    def parse(text: str) -> int:
        if re.fullmatch(r"[+-]?[0-9]{1,15}", text) is None:
            raise Refused("not a whole number", allowed)
        if len(digits := text.lstrip("+-")) > 1 and digits[0] == "0":
            raise Refused("a number that begins with 0 is octal to some", allowed, f"write {int(text)}")
        if not low <= int(text) <= high:
            raise Refused("out of bounds", allowed)
        return int(text)

    return Word(allowed, parse, {"type": "integer", "minimum": low, "maximum": high})


def quantity(what: Quantity) -> Word:
    """A number with a unit."""
    return Word(what.allowed, what.parse, what.schema())


def choice(*words: str) -> Word:
    """One of a few words."""

    def parse(text: str) -> str:
        if text not in words:
            raise Refused("unknown word", ", ".join(words), did_you_mean(text[:40], words))
        return text

    return Word("one of " + ", ".join(words), parse, {"enum": list(words)})


# -- addresses -----------------------------------------------------------------------------


def address(version: int, *words: str) -> Word:
    """An IP address without prefix length, or one of ``words``; the value is its canonical text."""
    example = "10.1.0.11" if version == 4 else "fd00::11"
    allowed = ", ".join((*words, f"an IPv{version} address such as {example}"))

    def parse(text: str) -> str:
        if text in words:
            return text
        if "/" in text:
            fix = f"write {text.partition('/')[0][:40]}"
            raise Refused("an address stands here without a prefix length", allowed, fix)
        return str(_parsed(ipaddress.ip_address, text, version, allowed))

    pattern = "|".join((*words, _V4 if version == 4 else _V6))
    return Word(allowed, parse, {"type": "string", "pattern": f"^({pattern})$"})


def prefix(version: int, shortest: int, longest: int, *words: str) -> Word:
    """An IP prefix whose host bits are zero, or one of ``words``; the value is its canonical text."""
    example = "10.1.0.0/24" if version == 4 else "fd00:1::/64"
    allowed = ", ".join((*words, f"an IPv{version} subnet from /{shortest} to /{longest} such as {example}"))

    def parse(text: str) -> str:
        if text in words:
            return text
        if re.fullmatch(r"[^/]+/[0-9]{1,3}", text) is None:
            raise Refused("a subnet has a prefix length", allowed, f"for example {example}")
        net = _parsed(lambda t: ipaddress.ip_network(t, strict=False), text, version, allowed)
        if not shortest <= net.prefixlen <= longest:
            raise Refused("the prefix length is out of bounds", allowed)
        if ipaddress.ip_address(text.partition("/")[0]) != net.network_address:
            raise Refused("the address has bits set beyond the prefix length", allowed, f"write {net}")
        return str(net)

    pattern = "|".join((*words, (_V4 if version == 4 else _V6) + "/[0-9]{1,3}"))
    return Word(allowed, parse, {"type": "string", "pattern": f"^({pattern})$"})


def _parsed(parser: Callable[[str], Any], text: str, version: int, allowed: str) -> Any:
    try:
        if "%" in text:
            raise ValueError
        value = parser(text)
    except ValueError:
        raise Refused(f"not an IPv{version} address", allowed) from None
    if value.version != version:
        raise Refused(f"an IPv{value.version} address where an IPv{version} one is expected", allowed)
    if value.is_multicast or value.is_loopback or value.is_link_local or value.is_unspecified or _class_e(value):
        raise Refused("hosts cannot have such an address", allowed)
    return value


def _class_e(value: Any) -> bool:
    return value.version == 4 and bool(value.is_reserved)


def _mac(text: str) -> str:
    if re.fullmatch(_MAC, text) is None:
        raise Refused("not a MAC address", _MAC_ALLOWED)
    if int(text[:2], 16) & 1:
        raise Refused("a group address: the lowest bit of the first byte is set", _MAC_ALLOWED)
    if not int(text.replace(":", ""), 16):
        raise Refused("the null address is nobody's", _MAC_ALLOWED)
    return text.lower()


_MAC_ALLOWED = "six bytes such as 02:00:00:00:00:2a"
MAC = Word(_MAC_ALLOWED, _mac, {"type": "string", "pattern": f"^{_MAC}$"})
