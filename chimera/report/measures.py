"""The figures that results are compared by, in groups: what design.md's table of measurements names, a row each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from chimera.model.result import Machine, Migration, NodeState, PathReport, Result, Vantage
from chimera.report.figures import byte_count, decimal, flows, moments, ms, unit
from chimera.report.marks import Figure, Group, Measure

LISTED = 4  # migrations and flows up to which each has rows of its own
_UNREPEATED = 0.1  # of the largest value: how exact a time or rate is taken to be that was measured once

Take = Callable[[Result], Figure]
OfMove = Callable[[Migration], float | None]
OfPath = Callable[[PathReport], float | None]


def groups(results: Sequence[Result | None]) -> list[Group]:
    """Every figure that at least one of the results has."""
    there = [result for result in results if result]
    found = [
        Group("Expectations", [Measure("that hold", _expected, decimal, 1, of="of how many")]),
        *_migrations(there), *_paths(there), _wire(), _flooding(), _control(), *_state(there), _lab(),
    ]  # fmt: skip
    measured = (
        group._replace(measures=[m for m in group.measures if any(m.take(r).value is not None for r in there)])
        for group in found
    )
    return [group for group in measured if group.measures]


def _expected(result: Result) -> Figure:
    found = result.expectations
    return Figure(sum(e.passed for e in found), f"of {len(found)}") if found else Figure(None)


# -- migrations --------------------------------------------------------------------------------


def probe_grain(results: Sequence[Result]) -> float:
    """Milliseconds within which two outages are the same: a silence begins and ends between two probes."""
    points = (v.interval_ms for r in results for m in r.migrations for v in m.vantage_points)
    return 2 * max(points, default=0.0)


def _migrations(results: Sequence[Result]) -> Iterator[Group]:
    most = max((len(r.migrations) for r in results), default=0)
    grain = probe_grain(results)
    if most > LISTED:
        yield Group(f"All migrations (up to {most})", _of_migrations(lambda r: r.migrations, grain))
        return
    for index in range(most):
        moves = [r.migrations[index] for r in results if index < len(r.migrations)]
        ways = dict.fromkeys(f"{m.vm}, {m.source} → {m.destination}" for m in moves)
        heading = f"Migration {index + 1}: {next(iter(ways)) if len(ways) == 1 else 'not the same everywhere'}"
        yield Group(heading, _of_migrations(partial(_numbered, index), grain))


def _numbered(index: int, result: Result) -> list[Migration]:
    return result.migrations[index : index + 1]


def _of_migrations(take: Callable[[Result], list[Migration]], grain: float) -> list[Measure]:
    def longest(figure: Callable[[Migration | Vantage], float | None]) -> Take:
        return lambda r: worst(take(r), figure)

    def summed(figure: OfMove) -> Take:
        return lambda r: Figure(_sum(figure(m) for m in take(r) if not m.aborted))

    def completed(result: Result) -> Figure:
        return Figure(_sum(not m.aborted for m in take(result)))

    return [
        Measure("completed", completed, better=1),
        Measure("pre-copy", lambda r: Figure(_sum(m.precopy_s for m in take(r))), lambda v: unit(v, "s"), 0),
        Measure("stun", longest(lambda m: m.stun_ms or None), ms, grain=grain),
        Measure("outage, worst", longest(lambda m: m.outage_ms), ms, grain=grain, of="seen from"),
        Measure("network outage, worst", longest(lambda m: m.network_outage_ms), ms, grain=grain, of="seen from"),
        Measure("probes lost", summed(lambda m: m.probes_lost)),
        Measure("probes duplicated", summed(lambda m: m.probes_duplicated)),
        Measure("misdelivered", summed(lambda m: m.misdelivered)),
        Measure("leaked into other segments", summed(lambda m: m.leaked)),
        Measure("TCP sessions that survived", summed(lambda m: m.tcp_survived), better=1),
    ]


def worst(moves: Sequence[Migration], figure: Callable[[Migration | Vantage], float | None]) -> Figure:
    """The largest figure of these migrations, and the vantage point it was seen from."""
    done = [m for m in moves if not m.aborted and figure(m) is not None]
    if not done:
        return Figure(None)
    move = max(done, key=lambda m: figure(m) or 0.0)
    points = [v for v in move.vantage_points if figure(v) == figure(move)]
    names = [move.vm] if len(moves) > 1 else []
    names += [points[0].name] if len(points) == 1 else []
    return Figure(figure(move), " from ".join(names))


def _sum(values: Iterable[float | int | bool | None]) -> float | None:
    known = [float(v) for v in values if v is not None]
    return sum(known) if known else None


# -- paths -------------------------------------------------------------------------------------


def path_grain(results: Sequence[Result], figure: OfPath) -> float:
    """Within what the same measurement repeats: the same flow over the same nodes, at different moments of one run.

    Where nothing was measured twice, a tenth of the largest.
    """
    repeated: dict[tuple[int, str, str, str], list[float]] = {}
    for number, result in enumerate(results):
        for path in result.paths:
            if (value := figure(path)) is not None:
                repeated.setdefault((number, path.from_, path.to, "/".join(path.hops)), []).append(value)
    spreads = [max(values) - min(values) for values in repeated.values() if len(values) > 1]
    return (
        max(spreads) if spreads else _UNREPEATED * max((v for values in repeated.values() for v in values), default=0)
    )


def _paths(results: Sequence[Result]) -> Iterator[Group]:
    keys = list(dict.fromkeys((p.from_, p.to) for r in results for p in r.paths))
    when = list(dict.fromkeys(moment for r in results for moment in moments(r.paths)))
    wan = any(link.inter_site for r in results for link in r.map.links)
    for heading, figure, write, better, grain in (
        ("Round trip", _rtt, ms, -1, path_grain(results, _rtt)),
        ("WAN crossings, there and back", _crossings if wan else _nothing, decimal, -1, 0.0),
        ("Nodes on the way", _nodes, decimal, 0, 0.0),
        ("Throughput of one stream", _rate, partial(unit, name="Mbit/s"), 1, path_grain(results, _rate)),
    ):
        rows = _path_rows(keys, when, figure)
        yield Group(heading, [Measure(name, take, write, better, grain) for name, take in rows])


def _rtt(path: PathReport) -> float | None:
    return path.rtt_ms


def _crossings(path: PathReport) -> float | None:
    return path.wan_crossings


def _nodes(path: PathReport) -> float | None:
    return len(path.hops) or None


def _rate(path: PathReport) -> float | None:
    return path.throughput_mbps


def _nothing(path: PathReport) -> float | None:
    return None


def _path_rows(keys: Sequence[tuple[str, str]], when: Sequence[str], figure: OfPath) -> Iterator[tuple[str, Take]]:
    """A row for each flow and moment; where there are many flows, for the largest of each moment."""
    if len(keys) > LISTED:
        yield from ((f"{moment}, largest", partial(_largest_path, moment, figure)) for moment in when)
        return
    for source, target in keys:
        for moment in when:
            yield f"{source} → {target}, {moment}", partial(_one_path, (source, target), moment, figure)


def _one_path(key: tuple[str, str], when: str, figure: OfPath, result: Result) -> Figure:
    found = (figure(p) for p in flows(result.paths).get(key, []) if p.when == when)
    return Figure(next(found, None))


def _largest_path(when: str, figure: OfPath, result: Result) -> Figure:
    found = [(figure(p), f"{p.from_} → {p.to}") for p in result.paths if p.when == when]
    known = [(value, flow) for value, flow in found if value is not None]
    return Figure(*max(known)) if known else Figure(None)


# -- wire, flooding, control -------------------------------------------------------------------


def _wire() -> Group:
    return Group("On the wire", [
        Measure("overhead a frame", lambda r: Figure(r.wire.overhead_bytes, "/".join(r.wire.stack)), byte_count),
        Measure("largest IP packet of a VM", _largest_packet, byte_count, 1),
        Measure("equal-cost paths used", paths_used, decimal, 1, of="of how many"),
        Measure("crossings of a looped link, most", loop, decimal, of="ended by"),
    ])  # fmt: skip


def _largest_packet(result: Result) -> Figure:
    return Figure(result.mtu.largest_vm_packet if result.mtu else None)


def paths_used(result: Result) -> Figure:
    """Equal-cost paths that at least one of the flows took."""
    entropy = result.entropy
    if entropy is None:
        return Figure(None)
    return Figure(entropy.used, f"of {entropy.available}")


def loop(result: Result) -> Figure:
    """How often a frame crossed a link of a loop that was made, at most."""
    if not result.loops:
        return Figure(None)
    most = max(result.loops, key=lambda loop: loop.crossings_most or 0)
    return Figure(most.crossings_most, f"{most.limit} {decimal(most.started_at)}".strip())


def _flooding() -> Group:
    def of(name: str) -> Take:
        return lambda r: Figure(getattr(r.bum, name))

    return Group("Flooded between sites (BUM)", [
        Measure("all", of("wan_frames")),
        Measure("broadcast", of("broadcast")),
        Measure("unknown unicast", of("unknown_unicast")),
        Measure("multicast", of("multicast")),
        Measure("at ports they were not for", of("misdelivered_frames")),
    ])  # fmt: skip


def _control() -> Group:
    return Group("Control plane", [
        Measure("messages", lambda r: Figure(sum(r.control.messages.values()) if r.control.messages else None)),
        Measure("bytes", lambda r: Figure(r.control.bytes if r.control.messages else None), byte_count),
    ])  # fmt: skip


# -- state -------------------------------------------------------------------------------------

KINDS = {
    "flows": "OpenFlow entries", "macs": "MACs", "routes": "IPv4 routes", "fabric": "fabric entries",
}  # fmt: skip


PLACES = ("hypervisors", "gateways", "edge switches", "core switches")


def entries(state: NodeState) -> int:
    """All forwarding entries of a node; ``mappings`` are flows and counted as such."""
    return sum(getattr(state, kind) for kind in KINDS)


def places(result: Result) -> dict[str, list[str]]:
    """Nodes that hold state by where they are: hypervisors, gateways, switches and routers at the edge, and the core.

    At the edge is what a hypervisor or gateway is plugged into; the core is everything behind.
    """
    kinds = {node.name: node.kind for node in result.map.nodes}
    tunnels = {name for name, kind in kinds.items() if kind in ("hypervisor", "gateway")}
    edge = {end for link in result.map.links for end in (link.a, link.b) if {link.a, link.b} & tunnels} - tunnels
    found: dict[str, list[str]] = {place: [] for place in PLACES}
    for name in result.state:
        kind = kinds.get(name, "")
        if kind in ("hypervisor", "gateway"):
            found[f"{kind}s"].append(name)
        elif kind:
            found["edge switches" if name in edge else "core switches"].append(name)
    return found


def _state(results: Sequence[Result]) -> Iterator[Group]:
    for place in PLACES:
        heading = f"State at the end: {place}"
        kinds = [
            Measure(f"of them {name}", partial(_held, place, kind), better=0)
            for kind, name in KINDS.items()
            if any(getattr(r.state[n], kind) for r in results for n in places(r)[place])
        ]
        yield Group(heading, [
            Measure("most on one node", partial(_most, place), of="node"),
            Measure("all together", partial(held, place)),
            *kinds,
        ])  # fmt: skip


def held(place: str, result: Result) -> Figure:
    """Forwarding entries of all nodes of a place."""
    names = places(result)[place]
    return Figure(sum(entries(result.state[name]) for name in names) if names else None)


def _held(place: str, kind: str, result: Result) -> Figure:
    names = places(result)[place]
    return Figure(sum(getattr(result.state[name], kind) for name in names) if names else None)


def _most(place: str, result: Result) -> Figure:
    names = places(result)[place]
    return Figure(*max((entries(result.state[name]), name) for name in names)) if names else Figure(None)


def _lab() -> Group:
    def seconds(value: float | None) -> str:
        return unit(value, "s")

    def percent(value: float | None) -> str:
        return unit(value, "%")

    def of_machine(figure: Callable[[Machine], float | None]) -> Take:
        return lambda r: Figure(figure(r.machine) if r.machine else None)

    return Group("The lab itself", [
        Measure("up in", lambda r: Figure(r.timing.up_s), seconds, 0),
        Measure("scenario took", lambda r: Figure(r.timing.run_s), seconds, 0),
        Measure("down in", lambda r: Figure(r.timing.down_s), seconds, 0),
        Measure("processors busy", of_machine(lambda m: m.busy_percent), percent, 0),
        Measure("by other processes", of_machine(lambda m: m.foreign_percent), percent, 0),
        Measure("delayed frames that left late", of_machine(lambda m: m.late_percent), percent, 0),
        Measure("longest stall of a probe", of_machine(lambda m: m.stall_ms), ms, 0),
    ])  # fmt: skip
