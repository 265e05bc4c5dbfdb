"""The header stack of a captured frame, drawn to scale."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate

from chimera.model.result import Header, Wire
from chimera.report.figures import byte_count, count
from chimera.report.markup import Child, Markup, tag


def added_headers(headers: Sequence[Header], overhead_bytes: int | None) -> tuple[int, ...]:
    """Which headers make the overhead: the outermost run of them that is ``overhead_bytes`` long.

    A run that begins on the outside may leave out the VM's own Ethernet header, behind which TRILL puts its tag. Empty
    where no run is that long (an overlay that rewrites headers rather than adding them).
    """
    runs = [range(first, last) for first in range(len(headers)) for last in range(first + 1, len(headers) + 1)]
    around = [tuple(i for i in run if not (i and headers[i].name == "eth")) for run in runs if run.start == 0]
    for chosen in (*around, *map(tuple, runs)):
        if sum(headers[i].length_bytes for i in chosen) == overhead_bytes:
            return chosen
    return ()


def stack_figure(wire: Wire) -> Markup:
    """The frame as a whole and its headers enlarged, each bar to its own scale; names where no length is known."""
    if not wire.headers:
        return tag("p", [tag("span", name, class_="chip") for name in wire.stack], class_="chips")
    added = added_headers(wire.headers, wire.overhead_bytes)
    return tag("div", _whole_frame(wire), _headers(wire, added), class_="stack")


def _whole_frame(wire: Wire) -> Markup | None:
    if not wire.wire_frame_bytes or wire.overhead_bytes is None:
        return None
    rest = wire.wire_frame_bytes - wire.overhead_bytes
    label = (
        f"the whole frame, {byte_count(wire.wire_frame_bytes)}: {byte_count(wire.overhead_bytes)} of overlay, "
        f"{byte_count(rest)} of the VM's"
    )
    parts = [
        _segment("overlay", wire.overhead_bytes, "added", f"overlay: {byte_count(wire.overhead_bytes)}"),
        _segment("the VM's frame", rest, "", f"the VM's frame: {byte_count(rest)}"),
    ]
    return _bar(label, parts, [0, wire.overhead_bytes, wire.wire_frame_bytes])


def _headers(wire: Wire, added: Collection[int]) -> Markup:
    parts = [_header(header, index in added) for index, header in enumerate(wire.headers)]
    offsets = [0, *accumulate(h.length_bytes for h in wire.headers)]
    return _bar(f"its headers, enlarged: {count(offsets[-1], 'byte')}", parts, offsets)


def _header(header: Header, added: bool) -> Markup:
    fields = ", ".join(f"{key} {value}" for key, value in header.fields.items())
    words = f"{header.name}, {count(header.length_bytes, 'byte')}" + (f": {fields}" if fields else "")
    return _segment(header.name, header.length_bytes, "added" if added else "", words)


def _segment(name: str, length: int, class_: str, words: str) -> Markup:
    return tag(
        "div", tag("span", name), class_=f"segment {class_}".strip(), style=f"--bytes:{max(length, 0)}", title=words
    )


def _bar(label: str, parts: Child, offsets: Sequence[int]) -> Markup:
    total = max(offsets[-1], 1)
    ruler = [tag("span", str(o), style=f"left:{100 * o / total:.3f}%") for o in offsets]
    return tag(
        "figure",
        tag("figcaption", label),
        tag("div", parts, class_="segments"),
        tag("div", ruler, class_="ruler", aria_hidden="true"),
    )
