"""HTML and SVG text from one small builder that escapes whatever it is not told is markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

Child: TypeAlias = "str | int | float | Iterable[Child] | None"

# Characters that XML 1.0 (section 2.2) has no place for: a standalone SVG with one of them does not load.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"meta", "input", "br", "link"})


class Markup(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


def number(value: float) -> str:
    """A coordinate: at most two decimals, no trailing zeros (drawings hold thousands of them)."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def escape(text: str) -> Markup:
    """``text`` as character data, safe in content and in quoted attributes."""
    return text if isinstance(text, Markup) else Markup(html.escape(_UNPRINTABLE.sub("\ufffd", text), quote=True))


def join(children: Child) -> Markup:
    """Children in order: markup as it is, text escaped, ``None`` and ``False`` left out, sequences flattened."""
    if children is None or children is False:
        return Markup()
    if isinstance(children, str):
        return escape(children)
    if isinstance(children, (int, float)):
        return Markup(number(children))
    return Markup("".join(join(child) for child in children))


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """One element.

    ``class_`` becomes ``class``, other underscores hyphens; an attribute that is ``None`` or ``False`` is left out
    and ``True`` stands alone.
    """
    start = name + "".join(_attribute(key, value) for key, value in attributes.items())
    return Markup(f"<{start}>") if name in _VOID else Markup(f"<{start}>{join(children)}</{name}>")


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {key}"
    return f' {key}="{number(value) if isinstance(value, (int, float)) else escape(value)}"'


def folded(summary: str, body: Iterable[Child]) -> Markup | None:
    """Content that is out of the way until it is asked for; ``None`` where there is none."""
    inside = list(body)
    return tag("details", tag("summary", summary), inside) if inside else None
