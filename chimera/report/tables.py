"""Tables of the page."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from chimera.model.result import (
    Bum,
    Control,
    Expectation,
    LinkReport,
    Machine,
    Migration,
    NodeState,
    PathReport,
    Result,
    Vantage,
    Wire,
)
from chimera.report.figures import (
    NOT_MEASURED,
    byte_count,
    chosen,
    count,
    decimal,
    flows,
    ms,
    network,
    relation,
    unit,
    yes_no,
)
from chimera.report.markup import Child, Markup, tag

LINK_UNITS = {"delay_ms": "ms", "jitter_ms": "ms", "loss_percent": "%", "bandwidth_mbps": "Mbit/s"}
LINK_NAMES = {"delay_ms": "delay", "jitter_ms": "jitter", "loss_percent": "loss", "bandwidth_mbps": "bandwidth"}


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Child]], figures: Iterable[int] = ()) -> Markup:
    """A table that scrolls by itself where the page is narrow; ``figures`` are the columns that hold numbers."""
    right = frozenset(figures)
    head = [tag("th", name, scope="col", class_="figure" if i in right else None) for i, name in enumerate(columns)]
    body = [tag("tr", [_cell(cell, index, index in right) for index, cell in enumerate(row)]) for row in rows]
    drawn = tag("table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body))
    return tag("div", drawn, class_="scroll", role="region", tabindex=0, aria_label=caption)


def _cell(cell: Child, index: int, figure: bool) -> Markup:
    return tag("th", cell, scope="row") if index == 0 else tag("td", cell, class_="figure" if figure else None)


def verdict(passed: bool) -> Markup:
    """A tick or a cross, with the word for it."""
    return tag("span", "✓\u00a0holds" if passed else "✗\u00a0fails", class_="good" if passed else "bad")


def expectations(found: Sequence[Expectation]) -> Markup:
    """What the scenario claims, and how it came out."""
    rows = [(e.name, verdict(e.passed), e.detail) for e in found]
    return table("What the scenario expects of this run", ("expectation", "verdict", "found"), rows)


def vantage_points(migration: Migration) -> Markup:
    """What each vantage point noticed of one migration."""
    rows = [
        (
            v.name, relation(v), ms(v.outage_ms), ms(v.stun_ms), _network(v), ms(v.unobserved_ms),
            ms(v.machine_stall_ms), decimal(v.probes_sent), decimal(v.probes_lost), decimal(v.probes_duplicated),
            decimal(v.misdelivered), ms(v.interval_ms),
        )
        for v in migration.vantage_points
    ]  # fmt: skip
    columns = (
        "vantage point", "what it is", "outage", "stun", "network: outage − stun", "of it not observed",
        "machine stall", "probes sent", "lost", "duplicated", "misdelivered", "a probe every",
    )  # fmt: skip
    return table(f"What was noticed of {_move(migration)}", columns, rows, range(2, 12))


def _network(vantage: Vantage) -> Markup:
    """What the network added, how exact that is, and whether it can be."""
    exact = tag("span", f" ± {decimal(vantage.resolution_ms)}", class_="soft") if vantage.resolution_ms else None
    return tag("span", network(vantage), exact, class_="bad" if vantage.impossible else None)


def phases(migration: Migration) -> Markup:
    """The phases with their lengths, and what was moved in each."""
    rows = [
        (p.name, unit(p.start_s - migration.started_s, "s"), ms((p.end_s - p.start_s) * 1000), p.detail)
        for p in migration.phases
    ]
    return table(f"Phases of {_move(migration)}", ("phase", "began after", "took", ""), rows, (1, 2))


def rounds(migration: Migration) -> Markup:
    """The pre-copy rounds."""
    rows = [
        (str(r.number), unit(r.megabytes, "MB"), unit(r.seconds, "s"), unit(r.mbps, "Mbit/s")) for r in migration.rounds
    ]
    caption = f"Pre-copy rounds of {_move(migration)}, over TCP between the hypervisors"
    return table(caption, ("round", "memory", "took", "rate"), rows, (1, 2, 3))


def _move(migration: Migration) -> str:
    """A migration by name: captions of tables are names of regions, and two regions need two names."""
    return f"the migration of {migration.vm} from {migration.source} to {migration.destination}"


def paths(result: Result) -> Markup:
    """Every path looked at: round trip, crossings and hops, flow by flow."""
    sites = {n.name: n.site for n in result.map.nodes}
    rows = [
        (
            f"{source}\u00a0→\u00a0{target}", tag("span", f"{index}. {p.when}", class_="whole"), _hops(p, sites),
            ms(p.rtt_ms), decimal(p.wan_crossings), unit(p.throughput_mbps, "Mbit/s"), decimal(p.packets),
        )
        for (source, target), found in flows(result.paths).items()
        for index, p in enumerate(found, 1)
    ]  # fmt: skip
    columns = ("flow", "when", "hops", "round trip", "WAN crossings", "throughput", "packets looked at")
    return table("Paths; a request and its answer together make the crossings", columns, rows, range(3, 7))


def _hops(path: PathReport, sites: dict[str, str]) -> Markup | str:
    """Hops as a chain, inter-site steps marked; a VM says nothing about its site, for it moves."""
    if not path.hops:
        return NOT_MEASURED
    movable = {path.from_, path.to}
    parts: list[Child] = [path.hops[0]]
    for before, after in zip(path.hops, path.hops[1:], strict=False):
        wan = sites.get(before) != sites.get(after) and not {before, after} & movable
        parts += [tag("span", " ⇒ WAN ⇒ ", class_="wan-step") if wan else " → ", after]
    return tag("span", parts, class_="hops")


def links(found: Sequence[LinkReport]) -> Markup:
    """Each impaired link: configured and measured, and below the table how that was done."""
    hows = list(dict.fromkeys(report.how for report in found if report.how))
    notes = {"": NOT_MEASURED, **{how: str(number) for number, how in enumerate(hows, 1)}}
    keys = link_keys(found)
    rows = [
        (tag("span", report.link, class_="whole"), report.direction.replace("->", " → "),
         *(configured_and_measured(report, key) for key in keys), notes[report.how])
        for report in found
    ]  # fmt: skip
    columns = ("link", "direction", *map(link_heading, keys), "how")
    methods = [tag("li", how) for how in hows]
    caption = "Impaired links: configured → measured"
    return tag("div", table(caption, columns, rows, range(2, 2 + len(keys))), tag("ol", methods, class_="soft"))


def link_keys(found: Sequence[LinkReport]) -> list[str]:
    """What was configured or measured of any of these links, in one order."""
    seen = {key for report in found for key in (*report.asked, *report.got)}
    return [*(key for key in LINK_NAMES if key in seen), *sorted(seen - LINK_NAMES.keys())]


def link_heading(key: str) -> str:
    """The column of one of :func:`link_keys`, with its unit."""
    return f"{LINK_NAMES.get(key, key)}{f' ({LINK_UNITS[key]})' if key in LINK_UNITS else ''}"


def configured_and_measured(report: LinkReport, key: str) -> str:
    """``10 → 10.02``: what one direction of a link was configured for, and what it gave; a dash for the unknown."""
    configured, measured = report.asked.get(key), report.got.get(key)
    if configured is None and measured is None:
        return NOT_MEASURED
    return f"{decimal(configured)} → {decimal(measured)}"


def headers(wire: Wire, added: Collection[int]) -> Markup:
    """Each header of the captured frame with its fields."""
    rows, offset = [], 0
    for index, header in enumerate(wire.headers):
        fields = [
            tag("span", tag("span", f"{key} ", class_="soft"), value, class_="field")
            for key, value in header.fields.items()
        ]
        name: Child = (
            [header.name, tag("span", " added by the overlay", class_="soft")] if index in added else header.name
        )
        rows.append((name, fields, f"{offset}–{offset + header.length_bytes}", byte_count(header.length_bytes)))
        offset += header.length_bytes
    return table("The headers, outermost first", ("header", "fields", "bytes", "length"), rows, (2, 3))


def control(found: Control) -> Markup:
    """Control-plane messages by type."""
    rows: list[Sequence[Child]] = [
        (kind, decimal(n)) for kind, n in sorted(found.messages.items(), key=lambda i: -i[1])
    ]
    rows.append((tag("b", "all"), f"{decimal(sum(found.messages.values()))} in {byte_count(found.bytes)}"))
    return table("Control-plane messages of the run", ("type", "messages"), rows, (1,))


def bum(found: Bum) -> Markup:
    """Copies that crossed the inter-site links although nobody asked for them by address."""
    rows = [
        ("all, on inter-site links", decimal(found.wan_frames)),
        ("broadcast", decimal(found.broadcast)),
        ("unknown unicast", decimal(found.unknown_unicast)),
        ("multicast", decimal(found.multicast)),
        ("frames at a port they were not for", decimal(found.misdelivered_frames)),
    ]
    if found.undecoded:
        rows.append(("in a format that the lab does not decode", decimal(found.undecoded)))
    return table("Broadcast, unknown-unicast and multicast frames", ("kind", "frames"), rows, (1,))


def state_kinds(states: Iterable[NodeState]) -> dict[str, str]:
    """The kinds of forwarding state by field, with their names; a fabric's where one of these nodes belongs to one."""
    kinds = {"flows": "flows", "macs": "MACs", "mappings": "mappings", "routes": "routes"}
    return {**kinds, "fabric": "fabric entries"} if any(s.fabric for s in states) else kinds


def state(found: dict[str, NodeState]) -> Markup:
    """Forwarding state of each node at the end of the run."""
    kinds = state_kinds(found.values())
    held = {name: [getattr(s, kind) for kind in kinds] for name, s in found.items()}
    rows = [(name, *map(decimal, row)) for name, row in held.items()]
    rows.append(("all", *map(decimal, map(sum, zip(*held.values(), strict=True)))))
    columns = ("node", *kinds.values())
    return table("Forwarding state at the end of the run", columns, rows, range(1, len(columns)))


def lab(result: Result) -> Markup:
    """Which experiment this was, and on what."""
    info, timing = result.lab, result.timing
    options = chosen(info)
    rows = [
        ("scenario", info.scenario), ("topology", info.topology), ("overlay", info.overlay),
        ("options", options or "none"),
        ("datapath", info.datapath), ("links impaired by", info.impairment or NOT_MEASURED),
        ("started", info.started or NOT_MEASURED),
        ("kernel", info.kernel or NOT_MEASURED), ("Chimera Lab", info.version),
        ("up, run, down", f"{unit(timing.up_s, 's')}, {unit(timing.run_s, 's')}, {unit(timing.down_s, 's')}"),
        ("captures", ", ".join(result.captures) or "none kept"),
    ]  # fmt: skip
    return table("The lab", ("what", "value"), rows)


def machine(found: Machine) -> Markup:
    """What the machine was busy with, and what too much of each would be called."""
    rows = [
        ("processors", decimal(found.processors)), ("busy", unit(found.busy_percent, "%")),
        ("used by other processes than this lab's", unit(found.foreign_percent, "%")),
        ("given to others by the machine's host", unit(found.stolen_percent, "%")),
        ("time in which a process waited for a processor", unit(found.waiting_percent, "%")),
        ("frames that left a delay line more than 1 ms late", unit(found.late_percent, "%")),
        ("the latest of them", ms(found.late_max_ms)),
        ("longest time in which a probe's process was not run", ms(found.stall_ms)),
        ("fit for this run", "no: " + "; ".join(found.unfit) if found.unfit else "yes"),
    ]  # fmt: skip
    return table("The machine, while the scenario ran", ("what", "value"), rows)


def migrations(result: Result) -> Markup:
    """One line a migration."""
    rows = [
        (
            str(number), m.vm, f"{m.source}\u00a0→\u00a0{m.destination}",
            f"rolled back: {m.aborted}" if m.aborted else "moved",
            unit(m.precopy_s, "s"), ms(m.stun_ms or None), ms(m.outage_ms), ms(m.network_outage_ms),
            ms(m.machine_stall_ms),
            f"{decimal(m.probes_lost)} of {decimal(m.probes_sent)}", decimal(m.probes_duplicated),
            decimal(m.misdelivered), decimal(m.leaked), yes_no(m.tcp_survived),
        )
        for number, m in enumerate(result.migrations, 1)
    ]  # fmt: skip
    columns = (
        "", "VM", "from\u00a0→\u00a0to", "outcome", "pre-copy", "stun", "outage", "of it network", "machine stall",
        "probes lost", "duplicated", "misdelivered", "leaked", "TCP survived",
    )  # fmt: skip
    return table(f"{count(len(rows), 'migration')}; outages are the worst vantage point's", columns, rows, range(4, 14))
