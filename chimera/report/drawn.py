"""The figures behind the essay's questions, drawn: a section each, every overlay a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from chimera.model.result import Entropy, Migration, PathReport, Result, Wire
from chimera.report.answers import answers, most_equal_paths
from chimera.report.bars import Bar, Part, Rows, bar_table, keys, label
from chimera.report.columns import Column
from chimera.report.figures import (
    NOT_MEASURED,
    RELATIONS,
    byte_count,
    count,
    decimal,
    flows,
    largest,
    moments,
    ms,
    total,
)
from chimera.report.findings import ranked
from chimera.report.marks import Measure, row
from chimera.report.markup import Child, Markup, tag
from chimera.report.measures import KINDS, LISTED, PLACES, places

_ETHERNET_BYTES = 14
_PATH_KEYS = 6  # colours to tell paths apart
_LISTED_PATHS = 8
_SENT_BY = (("broadcast", "broadcast"), ("unknown_unicast", "unknown unicast"), ("multicast", "multicast"))


class _NotMeasured(Markup):
    """Why there is no figure."""

    __slots__ = ()


class Section(NamedTuple):
    """A figure: its anchor, its heading, and what stands under it."""

    anchor: str
    heading: str
    body: Child

    @property
    def measured(self) -> bool:
        """False where the body only says why there is no figure."""
        return not isinstance(self.body, _NotMeasured)


class Runs(NamedTuple):
    """The runs that have a result, and the figures that answer questions over them."""

    names: list[str]
    results: list[Result]
    measures: dict[str, Measure]

    @classmethod
    def of(cls, columns: Sequence[Column]) -> Runs:
        """Of all columns, those with a result."""
        there = [(c.name, c.result) for c in columns if c.result]
        results = [result for _, result in there]
        return cls([name for name, _ in there], results, answers(results))

    def finding(self, anchor: str) -> Markup:
        """Who has the least and the most, in a sentence."""
        measure = self.measures[anchor]
        words = ranked(self.names, row(measure, self.results), measure.write)
        return tag("p", tag("b", f"{measure.name[0].upper()}{measure.name[1:]}. "), words, class_="finding")

    def bars(self, draw: Callable[[Result], Sequence[Bar]]) -> Rows:
        """A row of bars for each run."""
        return [(name, draw(result)) for name, result in zip(self.names, self.results, strict=True)]

    @property
    def wan(self) -> bool:
        """True where the topology has links between sites."""
        return any(link.inter_site for result in self.results for link in result.map.links)


def sections(columns: Sequence[Column]) -> Iterator[Section]:
    """Every figure, whether it was measured or not."""
    runs = Runs.of(columns)
    yield Section("overhead", "Overhead of a frame", _overhead(runs))
    yield Section("entropy", "Entropy: equal-cost paths that flows use", _entropy(runs))
    yield Section("flooding", "Frames flooded over the WAN", _flooding(runs))
    yield Section("state", "State in core switches and at the edge", _state(runs))
    yield Section("outage", "What the network adds to the pause of a move", _outage(runs))
    yield Section("stretch", "Path stretch after a move", _stretch(runs))
    yield Section("loops", "A loop in the core", _loops(runs))


def _not_measured(why: str) -> _NotMeasured:
    return _NotMeasured(tag("p", tag("b", "Not measured"), f": {why}", class_="finding"))


# -- overhead ----------------------------------------------------------------------------------


def _overhead(runs: Runs) -> Child:
    if all(result.wire.overhead_bytes is None for result in runs.results):
        return _not_measured("no frame of a VM was captured on a link of the underlay.")
    fronts = [_front(result.wire) for result in runs.results]
    whole = max(total for _, total in fronts)
    rows = [
        tag("tr", tag("th", label(name), scope="row"),
            tag("td", byte_count(result.wire.overhead_bytes), class_="figure"),
            tag("td", tag("div", segments, class_="frame", style=f"--whole:{whole}")))
        for name, result, (segments, _) in zip(runs.names, runs.results, fronts, strict=True)
    ]  # fmt: skip
    caption = "All that is in front of a VM's IP packet on the wire, to scale"
    head = tag("tr", [tag("th", text, scope="col") for text in ("", "overhead", "headers, outermost first")])
    table = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", rows), class_="stacks")
    numbers = sorted({result.wire.frames for result in runs.results if result.wire.frames})
    frames = " to ".join(decimal(n) for n in dict.fromkeys((numbers or [0])[:: max(1, len(numbers) - 1)]))
    how = (
        "Overhead is the length of the frame on the wire minus the length of the VM's frame, as most of the captured "
        f"frames have it. What a row has beyond the {_ETHERNET_BYTES} bytes of a VM's own Ethernet header is "
        f"overhead, whether that header (blue) is carried along or left behind. Looked at: {frames} "
        "frames of each overlay."
    )
    return [
        runs.finding("overhead"),
        tag("div", table, class_="scroll", role="region", tabindex=0, aria_label=caption),
        tag("p", how, class_="soft"),
    ]


def _front(wire: Wire) -> tuple[Child, int]:
    """The headers in front of the VM's IP packet, as segments, and their length; plain where their end is not found."""
    if wire.overhead_bytes is None:
        return tag("span", NOT_MEASURED), 0
    length = wire.overhead_bytes + _ETHERNET_BYTES
    ends = list(accumulate(header.length_bytes for header in wire.headers))
    if length not in ends:
        return _segment("added and Ethernet", length, "added"), length
    front = wire.headers[: ends.index(length) + 1]
    own = _own_ethernet([header.name for header in front])
    return [_segment(h.name, h.length_bytes, "" if i == own else "added") for i, h in enumerate(front)], length


def _own_ethernet(names: list[str]) -> int:
    """Which header is the VM's own Ethernet header; -1 where it is left behind (an outer one, then IP in IP)."""
    inner = [i for i, name in enumerate(names) if name == "eth" and i]
    return inner[-1] if inner else 0 if "ip" not in names and "ipv6" not in names else -1


def _segment(name: str, length: int, kind: str) -> Markup:
    words = f"{name}, {count(length, 'byte')}"
    return tag("div", tag("span", f"{name} {length}"), class_=f"segment {kind}".strip(), style=f"--bytes:{length}",
               title=words)  # fmt: skip


# -- entropy -----------------------------------------------------------------------------------


def _entropy(runs: Runs) -> Child:
    found = [result.entropy for result in runs.results if result.entropy]
    if not any(entropy.available > 1 for entropy in found):
        ways = max([most_equal_paths(r.map) for r in runs.results] + [e.available for e in found], default=0)
        if ways <= 1:
            return _not_measured("on this topology there is one path between two hypervisors at most.")
        return _not_measured(f"this topology has {ways} equal-cost paths, but the scenario sent no flows to tell.")
    flow = next(entropy for entropy in found if entropy.available > 1)
    about = (
        f"{count(flow.flows, 'flow')} from {flow.from_} to {flow.to}, each from a port of its own, by the path that "
        f"captures on all links saw it take; the cables have {count(flow.available, 'equal-cost path')}."
    )
    table = bar_table("Share of the flows on each path", ["flows by path"], runs.bars(lambda r: [_shares(r.entropy)]))
    return [runs.finding("entropy"), table, tag("p", about, class_="soft")]


def _shares(entropy: Entropy | None) -> Bar:
    if entropy is None or entropy.used is None:
        return Bar((), NOT_MEASURED)
    used = sorted(entropy.by_path.items(), key=lambda item: -item[1])
    parts = [Part(n, f"k{i % _PATH_KEYS}", f"{n} by {path}") for i, (path, n) in enumerate(used)]
    numbers = " + ".join(str(n) for _, n in used[:_LISTED_PATHS]) + (" + …" if len(used) > _LISTED_PATHS else "")
    return Bar(tuple(parts), f"{entropy.used} of {count(entropy.available, 'path')}: {numbers} flows")


# -- flooding ----------------------------------------------------------------------------------


def _flooding(runs: Runs) -> Child:
    if not runs.wan:
        return _not_measured("this topology has one site, and so no link between sites to flood.")

    def draw(result: Result) -> list[Bar]:
        if result.bum.wan_frames is None:
            return [Bar((), NOT_MEASURED)]
        parts = [
            Part(getattr(result.bum, field), f"k{i}", f"{getattr(result.bum, field)} {name}")
            for i, (field, name) in enumerate(_SENT_BY)
        ]
        kinds = ", ".join(part.words for part in parts if part.amount)
        return [Bar(tuple(parts), f"{decimal(result.bum.wan_frames)}{f' ({kinds})' if kinds else ''}")]

    names = [(f"k{i}", name) for i, (_, name) in enumerate(_SENT_BY)]
    about = "Copies on all links between sites, over the whole run: one frame that crosses two of them counts twice."
    return [
        runs.finding("flooding"), keys(names),
        bar_table("Broadcast, unknown-unicast and multicast frames between sites", ["frames"], runs.bars(draw)),
        tag("p", about, class_="soft"),
    ]  # fmt: skip


# -- state -------------------------------------------------------------------------------------


def _state(runs: Runs) -> Child:
    if not any(result.state for result in runs.results):
        return _not_measured("the results hold no state of nodes.")
    shown = [place for place in PLACES if any(places(result)[place] for result in runs.results)]
    heads = [f"{place} ({max(len(places(r)[place]) for r in runs.results)})" for place in shown]

    def draw(result: Result) -> list[Bar]:
        return [_held(result, place) for place in shown]

    core = "core switches" in shown
    about = (
        "Entries at the end of the run, all nodes of a kind together. Edge switches are those that a hypervisor or "
        "gateway is plugged into, core switches and routers are all others."
    )
    none = "This topology has no core: every switch has hypervisors plugged into it."
    return [
        runs.finding("core") if core else tag("p", none, class_="finding"),
        runs.finding("hypervisors"),
        keys((f"k{i}", name) for i, name in enumerate(KINDS.values())),
        bar_table("Forwarding entries", heads, runs.bars(draw)),
        tag("p", about, class_="soft"),
    ]


def _held(result: Result, place: str) -> Bar:
    states = [result.state[name] for name in places(result)[place]]
    amounts = [(sum(getattr(state, kind) for state in states), name) for kind, name in KINDS.items()]
    parts = tuple(Part(n, f"k{i}", f"{n} {name}") for i, (n, name) in enumerate(amounts))
    return Bar(parts, decimal(sum(n for n, _ in amounts)) if states else NOT_MEASURED)


# -- outage ------------------------------------------------------------------------------------


def _outage(runs: Runs) -> Child:
    most = max((len(result.migrations) for result in runs.results), default=0)
    if not any(m.vantage_points for result in runs.results for m in result.migrations):
        return _not_measured("no VM was moved while somebody probed it.")
    trip = max((result.wan_round_trip_ms() for result in runs.results), default=0.0)
    interval = largest(v.interval_ms for r in runs.results for m in r.migrations for v in m.vantage_points)
    about = (
        f"Silence minus stun, for each place the VM was probed from; the VM itself is paused during the stun. A probe "
        f"leaves every {ms(interval)}, so a silence is known to two of those at best, and what differs by no more is "
        f"called no difference."
    )
    tables = [_moves(runs, index, trip) for index in range(most)] if most <= LISTED else [_all_moves(runs, trip)]
    line = f"one round trip over the WAN as asked for, {ms(trip)}" if trip else ""
    drawn = keys([("k0", "network outage")], line)
    return [runs.finding("outage"), drawn, tables, tag("p", about, class_="soft")]


def _moves(runs: Runs, index: int, trip: float) -> Markup:
    """Every overlay and vantage point of one migration."""
    moves = [r.migrations[index] if index < len(r.migrations) else None for r in runs.results]
    there = [move for move in moves if move]
    points = list(dict.fromkeys((v.name, v.relation) for move in there for v in move.vantage_points))
    ways = dict.fromkeys(f"{m.vm} from {m.source} to {m.destination}" for m in there)
    rows = [(name, _seen(move, points)) for name, move in zip(runs.names, moves, strict=True)]
    heads = [f"seen from {name}, {RELATIONS.get(kind, kind)}" for name, kind in points]
    return bar_table(f"Migration {index + 1}: {' or '.join(ways)}", heads, rows, limit=trip)


def _seen(move: Migration | None, points: Sequence[tuple[str, str]]) -> list[Bar]:
    if move is None or move.aborted:
        return [Bar((), "rolled back" if move else NOT_MEASURED) for _ in points]
    found = {(v.name, v.relation): v.network_outage_ms for v in move.vantage_points}
    return [_time(found.get(point)) for point in points]


def _all_moves(runs: Runs, trip: float) -> Markup:
    """The worst over all migrations, for each kind of vantage point."""
    kinds = list(dict.fromkeys(v.relation for r in runs.results for m in r.migrations for v in m.vantage_points))

    def draw(result: Result) -> list[Bar]:
        points = [v for m in result.migrations if not m.aborted for v in m.vantage_points]
        return [_time(largest(v.network_outage_ms for v in points if v.relation == kind)) for kind in kinds]

    heads = [f"seen from: {RELATIONS.get(kind, kind)}" for kind in kinds]
    return bar_table("The worst of all migrations", heads, runs.bars(draw), limit=trip)


def _time(value: float | None, text: str = "") -> Bar:
    return Bar((Part(value, "k0", ms(value)),) if value is not None else (), text or ms(value))


# -- stretch -----------------------------------------------------------------------------------


def _stretch(runs: Runs) -> Child:
    keys_of = list(dict.fromkeys(key for result in runs.results for key in flows(result.paths)))
    if not keys_of or all(len(moments(result.paths)) < 2 for result in runs.results):
        return _not_measured("the scenario looked at the paths once at most.")
    if len(keys_of) > LISTED:
        rest = f"{len(keys_of)} flows; the first {LISTED} are drawn, all are in the reports of the overlays."
    else:
        rest = ""
    about = (
        "Round trip at each moment, with the crossings of links between sites by a request and its answer together, "
        "and the nodes on the way."
    )
    drawn = [_flow(runs, key) for key in keys_of[:LISTED]]
    found = [runs.finding("crossings")] if runs.wan else []
    return [*found, runs.finding("stretch"), drawn, tag("p", f"{about} {rest}", class_="soft")]


def _flow(runs: Runs, key: tuple[str, str]) -> Markup:
    when = list(dict.fromkeys(p.when for r in runs.results for p in flows(r.paths).get(key, [])))

    def draw(result: Result) -> list[Bar]:
        found = {path.when: path for path in flows(result.paths).get(key, [])}
        return [_way(found.get(moment), runs.wan) for moment in when]

    return bar_table(f"{key[0]} → {key[1]}", when, runs.bars(draw))


def _way(path: PathReport | None, wan: bool) -> Bar:
    if path is None:
        return Bar((), NOT_MEASURED)
    words = [ms(path.rtt_ms)]
    if wan and path.wan_crossings is not None:
        words.append(count(path.wan_crossings, "crossing"))
    if path.hops:
        words.append(count(len(path.hops), "node"))
    return _time(path.rtt_ms, " · ".join(words))


# -- loops -------------------------------------------------------------------------------------


def _loops(runs: Runs) -> Child:
    if not any(result.loops for result in runs.results):
        return _not_measured("this scenario makes no loop; core-loop does.")

    def draw(result: Result) -> list[Bar]:
        if not result.loops:
            return [Bar((), NOT_MEASURED)] * 2
        most = max(result.loops, key=lambda loop: loop.crossings_most or 0)
        if most.crossings_most is None or most.crossings_median is None:
            return [Bar((), NOT_MEASURED)] * 2
        ended = f"{decimal(most.crossings_most)}, {most.limit} {decimal(most.started_at)} at the first sighting"
        return [
            Bar((Part(most.crossings_most, "k0", ended),), ended),
            Bar((Part(most.crossings_median, "k0", "median"),), decimal(most.crossings_median)),
        ]

    heads = ["crossings by one frame, most", "median"]
    lost = [
        f"{name}: {decimal(total(x.bystanders_lost for x in r.loops))} of {sum(x.bystanders_sent for x in r.loops)}"
        for name, r in zip(runs.names, runs.results, strict=True)
        if r.loops
    ]
    about = f"Probes between VMs whose way was not in the loop, lost meanwhile: {', '.join(lost)}."
    return [
        runs.finding("loops"),
        bar_table("How often a frame crossed a link of the loop", heads, runs.bars(draw)),
        tag("p", about, class_="soft"),
    ]
