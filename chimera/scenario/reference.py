"""The verbs of a scenario as a chapter of docs/scenarios.md, from their own docstrings.

``python -m chimera.scenario.reference`` writes the chapter anew; a test sees to it that nobody forgets.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from chimera import share
from chimera.scenario.lab import Lab

BEGIN, END = "<!-- the verbs, from their docstrings -->\n", "<!-- end of the verbs -->\n"
_SECTION = re.compile(r"    # -- (?P<title>.+?) -+\n")
_ROLE = re.compile(r":(?:meth|class|func|mod|data):`~?(?:[\w.]*\.)?(\w+)`")


def page() -> Path:
    """Where the chapter stands, in a checkout."""
    home = share.checkout()
    assert home, "an installed lab has no docs"
    return home / "docs" / "scenarios.md"


def chapter() -> str:
    """Every public verb and property of :class:`~chimera.scenario.lab.Lab`, in the order and sections of its source."""
    return "\n".join(_entries())


def renewed(text: str) -> str:
    """A page with the chapter as it should be.

    Raises:
        ValueError: the page has no place for it.
    """
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"no {BEGIN.strip()} … {END.strip()}")
    return f"{before}{BEGIN}\n{chapter()}\n{END}{after}"


def _entries() -> Iterator[str]:
    source = inspect.getsource(Lab)
    sections = [(found.start(), found["title"]) for found in _SECTION.finditer(source)]
    named = {name: item for name, item in vars(Lab).items() if not name.startswith("_") and _text(item)}
    title = ""
    for name, item in sorted(named.items(), key=lambda each: _position(source, each[0])):
        section = [title for start, title in sections if start < _position(source, name)][-1:]
        if section and section[0] != title:
            title = section[0]
            yield f"### {title.capitalize()}\n"
        yield f"**`{_called(name, item)}`**  \n{_markdown(_text(item))}\n"


def _position(source: str, name: str) -> int:
    return source.index(f"    def {name}(")


def _text(item: Any) -> str:
    verb = inspect.isfunction(item) or isinstance(item, property) or hasattr(item, "attrname")
    return inspect.getdoc(item) or "" if verb else ""


def _called(name: str, item: Callable[..., Any]) -> str:
    if not inspect.isfunction(item):
        return f"lab.{name}"
    shown = []
    star = False
    for each in [*inspect.signature(item).parameters.values()][1:]:
        if each.kind is each.KEYWORD_ONLY and not star:
            shown.append("*")
            star = True
        shown.append(each.name if each.default is each.empty else f"{each.name}={each.default!r}")
    opening = "with " if inspect.isgeneratorfunction(inspect.unwrap(item)) else ""
    return f"{opening}lab.{name}({', '.join(shown)})"


def _markdown(text: str) -> str:
    """A docstring's text; what it raises becomes a list."""
    text = _ROLE.sub(r"`\1`", text).replace("``", "`")
    body, raises, errors = text.partition("\nRaises:\n")
    listed = re.findall(r"^    (\w+): (.+(?:\n        .+)*)", errors, re.MULTILINE)
    bullets = [f"- raises `{kind}`: {' '.join(why.split())}" for kind, why in listed]
    return "\n".join([body.rstrip(), *(["", *bullets] if raises else [])])


if __name__ == "__main__":
    page().write_text(renewed(page().read_text()))
