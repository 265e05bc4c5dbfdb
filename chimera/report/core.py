"""What happened in the core, drawn: a loop and what ended the frames in it, and flows on equal-cost paths."""

from __future__ import annotations

from chimera.model.result import Entropy, Loop, Map
from chimera.report.bars import Bar, Part, bar_table
from chimera.report.figures import count, decimal, yes_no
from chimera.report.markup import Child, Markup, tag
from chimera.report.tables import table

_WIDTH, _HEIGHT = 440, 150
_LEFT, _RIGHT, _MIDDLE, _RADIUS = 70, 370, 75, 30  # where the two nodes stand
_ARROW = "M-7 -5L7 0L-7 5Z"


def loop_figure(loop: Loop, drawn: Map) -> Child:
    """The two nodes that send each other the same frames, how often one went round, and the figures as a table."""
    ended = f"{loop.limit} {decimal(loop.started_at)} at the first sighting" if loop.limit else "nothing"
    rows = [
        ("where", f"{loop.at}, link {loop.link}; frames for {loop.target}"),
        ("crossings of the link by one frame, most", decimal(loop.crossings_most)),
        ("crossings, median", decimal(loop.crossings_median)),
        ("what ends a frame", ended),
        ("frames seen in the loop", decimal(loop.frames)),
        ("probes that arrived all the same", f"{decimal(loop.probes_arrived)} of {decimal(loop.probes_sent)}"),
        ("probes of bystanders lost", f"{decimal(loop.bystanders_lost)} of {decimal(loop.bystanders_sent)}"),
        ("reachable after the repair", yes_no(loop.reachable_after)),
    ]
    facts = table("The loop in figures", ("what", "value"), rows)
    return [tag("div", _drawing(loop, drawn), class_="scroll", tabindex=0, role="region", aria_label="The loop"), facts]


def _drawing(loop: Loop, drawn: Map) -> Markup:
    link = next((each for each in drawn.links if each.name == loop.link), None)
    names = (link.a, link.b) if link else (loop.at, "?")
    edge = _RADIUS + 4
    ways = [
        f"M{_LEFT + edge} {_MIDDLE - 14}Q{_WIDTH / 2} {_MIDDLE - 62} {_RIGHT - edge} {_MIDDLE - 14}",
        f"M{_RIGHT - edge} {_MIDDLE + 14}Q{_WIDTH / 2} {_MIDDLE + 62} {_LEFT + edge} {_MIDDLE + 14}",
    ]
    most = "not seen" if loop.crossings_most is None else count(loop.crossings_most, "crossing")
    limit = f"{loop.limit} {decimal(loop.started_at)}, one less each time" if loop.limit else "no field ends it"
    nodes = [
        tag("g", tag("rect", class_="node router", x=x - 40, y=_MIDDLE - 18, width=80, height=36, rx=13),
            tag("text", name, class_="node-name open", x=x, y=_MIDDLE + 4))
        for x, name in zip((_LEFT, _RIGHT), names, strict=True)
    ]  # fmt: skip
    arrows = [
        tag("path", class_="loop-arrow", d=_ARROW, transform=f"translate({_WIDTH / 2:g} {y}) rotate({turn})")
        for y, turn in ((_MIDDLE - 38, 0), (_MIDDLE + 38, 180))
    ]
    words = f"A loop between {names[0]} and {names[1]}: {most}; {limit}"
    return tag(
        "svg", tag("title", words), [tag("path", class_="loop-way", d=way) for way in ways], arrows, nodes,
        tag("text", most, class_="node-name open", x=_WIDTH / 2, y=_MIDDLE - 2),
        tag("text", limit, class_="loop-limit", x=_WIDTH / 2, y=_MIDDLE + 15),
        class_="map loop", role="img", aria_label=words,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}", width=_WIDTH, height=_HEIGHT,
    )  # fmt: skip


def paths_figure(entropy: Entropy) -> Child:
    """How many flows took each of the equal-cost paths."""
    used = sorted(entropy.by_path.items(), key=lambda item: -item[1])
    rows = [(path, [Bar((Part(flows, "k0", path),), count(flows, "flow"))]) for path, flows in used]
    lead = tag(
        "p",
        f"{count(entropy.flows, 'flow')} from {entropy.from_} to {entropy.to}, each from a port of its own, used "
        f"{decimal(entropy.used)} of {count(entropy.available, 'equal-cost path')}.",
        class_="lead",
    )
    return [lead, bar_table("Flows on each path, named by the nodes that only some paths have", ["flows"], rows)]
