"""Bars in a table: each value is drawn and written, so that it reads without seeing the bar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from chimera.report.markup import Child, Markup, number, tag

_SHORT = 9  # characters that stand beside a bar; longer text stands below it


class Part(NamedTuple):
    """A piece of a bar: how much, which of the keys it is, and its words."""

    amount: float
    key: str
    words: str


class Bar(NamedTuple):
    """A bar of one or more parts with its text; no parts where nothing was measured."""

    parts: tuple[Part, ...]
    text: str

    @property
    def amount(self) -> float:
        """Its whole length."""
        return sum(part.amount for part in self.parts)


Rows = Sequence[tuple[str, Sequence[Bar]]]  # a run's name, and its bars


def bar_table(caption: str, columns: Sequence[str], rows: Rows, *, limit: float = 0.0) -> Markup:
    """A row for each overlay, a column for each place to look from; all bars have one scale.

    ``limit`` is drawn across every bar, where it is not 0; the keys say what it is.
    """
    whole = max([bar.amount for _, bars in rows for bar in bars] + [limit]) * 1.02 or 1.0
    head = [tag("th", "", scope="col"), *(tag("th", name, scope="col") for name in columns)]
    body = [
        tag("tr", tag("th", label(name), scope="row"), [tag("td", _drawn(bar, whole, limit)) for bar in bars])
        for name, bars in rows
    ]
    short = max((len(bar.text) for _, bars in rows for bar in bars), default=0) <= _SHORT
    table = tag(
        "table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body),
        class_="bars beside" if short else "bars", style=f"--columns:{len(columns)}",
    )  # fmt: skip
    return tag("div", table, class_="scroll", role="region", tabindex=0, aria_label=caption)


def _drawn(bar: Bar, whole: float, limit: float) -> Child:
    text = tag("span", bar.text, class_="bar-text")
    if not bar.parts:
        return tag("div", text, class_="cell")
    pieces: list[Child] = [
        tag("span", class_=part.key, title=part.words, style=f"width:{number(max(part.amount, 0) / whole * 100)}%")
        for part in bar.parts
        if part.amount > 0
    ]
    if limit:
        pieces.append(tag("i", class_="limit", style=f"left:{number(limit / whole * 100)}%"))
    return tag("div", tag("div", pieces, class_="bar", aria_hidden="true"), text, class_="cell")


def keys(entries: Iterable[tuple[str, str]], limit: str = "") -> Markup:
    """What the colours mean: (class, words), and what the dashed line is."""
    items = [tag("li", tag("span", class_=f"swatch {key}"), words) for key, words in entries]
    if limit:
        items.append(tag("li", tag("span", class_="limit"), limit))
    return tag("ul", items, class_="keys")


def label(name: str) -> Markup:
    """A run's name: the overlay, and what is set for it below, smaller."""
    overlay, *options = name.split(" ")
    return tag("span", overlay, [tag("span", option, class_="option") for option in options])
