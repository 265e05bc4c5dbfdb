"""A result in a terminal: colour where there is one, plain words in a pipe, readable in 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from chimera.model.result import LinkReport, Loop, Machine, Migration, Result
from chimera.report.figures import (
    byte_count,
    count,
    decimal,
    flows,
    ms,
    network,
    overlay_name,
    relation,
    unit,
    yes_no,
)
from chimera.report.story import sentence, unfit
from chimera.report.tables import configured_and_measured, link_heading, link_keys, state_kinds


def print_result(result: Result, console: Console) -> None:
    """``result`` to ``console``, section by section; sections with nothing in them are left out."""
    lab = result.lab
    console.print(Text(f"{lab.scenario} over {overlay_name(lab)} on {lab.topology}", style="bold"))
    console.print(Text(sentence(result)))
    if warning := unfit(result):
        console.print(Text(f"! {warning}", style="bold red"))
    for title, parts in _sections(result):
        console.print()
        console.print(Text(title, style="bold"))
        for part in parts:
            console.print(Padding(part, (0, 0, 0, 2), expand=False))


def _sections(result: Result) -> Iterator[tuple[str, list[RenderableType]]]:
    if result.expectations:
        yield "Expectations", [_expectation(e.name, e.passed, e.detail) for e in result.expectations]
    if result.notes:
        yield "Observations", [_item(note) for note in result.notes]
    for index, migration in enumerate(result.migrations, 1):
        title = f"Migration {index}: {migration.vm}, {migration.source} → {migration.destination}"
        yield title, list(_migration(migration))
    if result.paths:
        yield "Paths", [_paths(result)]
    for loop in result.loops:
        yield "A loop in the core", [Text(line) for line in _loop(loop)]
    if result.entropy:
        used = [f"{path}: {count(flows, 'flow')}" for path, flows in result.entropy.by_path.items()]
        yield "Equal-cost paths used", [Text(line) for line in used or ["no flow was seen"]]
    if result.wire.stack:
        yield "On the wire", [Text(_wire(result))]
    if result.control.messages or result.bum.wan_frames is not None or result.state:
        yield "Control plane, BUM traffic, state", [Text(line) for line in _control(result)]
    if result.links:
        hows = dict.fromkeys(link.how for link in result.links if link.how)
        yield "Links: configured and measured", [_links(result.links), *(Text(how, style="dim") for how in hows)]
    timing = result.timing
    times = f"up {unit(timing.up_s, 's')} · run {unit(timing.run_s, 's')} · down {unit(timing.down_s, 's')}"
    machine = [Text(_machine(result.machine))] if result.machine else []
    yield "Timing", [Text(times), *machine]


def _table(columns: Sequence[tuple[str, bool]]) -> Table:
    """A table without lines; (name, whether it holds figures)."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name, figures in columns:
        table.add_column(name, justify="right" if figures else "left", overflow="fold")
    return table


def _item(text: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row("•", Text(text))
    return grid


def _migration(migration: Migration) -> Iterator[RenderableType]:
    if migration.aborted:
        yield Text(f"rolled back: {migration.aborted}; it goes on at {migration.source}", style="yellow")
    for warning in migration.warnings:
        yield Text(f"warning: {warning}", style="yellow")
    facts = [f"pre-copy {unit(migration.precopy_s, 's')}"]
    if migration.rounds:
        moved = unit(sum(r.megabytes for r in migration.rounds), "MB")
        facts[0] += f" ({count(len(migration.rounds), 'round')}, {moved})"
    if migration.stun_ms:
        facts.append(f"stun {ms(migration.stun_ms)}")
    if migration.machine_stall_ms is not None:
        facts.append(f"machine stall {ms(migration.machine_stall_ms)}")
    survived = migration.tcp_survived
    line = Text(" · ".join([*facts, "TCP survived: "]))
    line.append(yes_no(survived), style={True: "green", False: "bold red", None: ""}[survived])
    yield line
    if migration.vantage_points:
        yield _vantage_points(migration)


def _vantage_points(migration: Migration) -> Table:
    exact = f" ±{decimal(migration.resolution_ms)}" if migration.resolution_ms is not None else ""
    columns = (("seen from", False), ("outage", True), (f"network{exact}", True), ("lost", True), ("doubled", True))
    table = _table([*columns, ("stray", True)])
    for v in migration.vantage_points:
        name = Text.assemble(v.name, (f" {relation(v)}", "dim"))
        lost = Text(f"{decimal(v.probes_lost)}/{decimal(v.probes_sent)}")
        table.add_row(
            name, Text(ms(v.outage_ms), "bold"), Text(network(v), "bold red" if v.impossible else ""), lost,
            _should_be_none(v.probes_duplicated), _should_be_none(v.misdelivered),
        )  # fmt: skip
    return table


def _should_be_none(number: int | None) -> Text:
    return Text(decimal(number), style="bold red" if number else "")


def _paths(result: Result) -> Table:
    throughput = any(p.throughput_mbps is not None for p in result.paths)
    table = _table([("flow", False), ("when", False), ("round trip", True), ("WAN crossings", True)])
    if throughput:
        table.add_column("Mbit/s", justify="right")
    for (source, target), found in flows(result.paths).items():
        for index, path in enumerate(found):
            name = f"{source} → {target}" if index == 0 else ""
            last = [decimal(path.throughput_mbps)] if throughput else []
            table.add_row(Text(name), Text(path.when), ms(path.rtt_ms), decimal(path.wan_crossings), *last)
    return table


def _loop(loop: Loop) -> Iterator[str]:
    ended = f"{loop.limit} {decimal(loop.started_at)} at the first sighting" if loop.limit else "nothing ends a frame"
    yield f"at {loop.at}, link {loop.link}, for frames to {loop.target}; {ended}"
    most, median = decimal(loop.crossings_most), decimal(loop.crossings_median)
    yield f"crossings by one frame: {most} at most, {median} at the median of {count(loop.frames, 'frame')}"
    if loop.bystanders_lost is not None:
        yield f"bystanders lost {decimal(loop.bystanders_lost)} of {count(loop.bystanders_sent, 'probe')}"


def _wire(result: Result) -> str:
    wire = result.wire
    sizes = f" ({wire.wire_frame_bytes} instead of {wire.vm_frame_bytes})" if wire.wire_frame_bytes else ""
    where = f", seen on {wire.link}" if wire.link else ""
    overhead = byte_count(wire.overhead_bytes)
    return f"{' / '.join(wire.stack)}: {overhead} of overhead a frame{sizes}{where}"


def _control(result: Result) -> Iterator[str]:
    control, state = result.control, result.state.values()
    if control.messages:
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(control.messages.items(), key=lambda item: -item[1]))
        yield f"{decimal(sum(control.messages.values()))} control messages, {byte_count(control.bytes)}: {kinds}"
    bum = result.bum
    if bum.wan_frames is not None:
        kinds = f"broadcast {bum.broadcast}, unknown unicast {bum.unknown_unicast}, multicast {bum.multicast}"
        yield f"{count(bum.wan_frames, 'BUM frame')} on inter-site links: {kinds}"
    if state:
        sums = {name: sum(getattr(s, kind) for s in state) for kind, name in state_kinds(state).items()}
        held = ", ".join(f"{n} {name}" for name, n in sums.items())
        yield f"state on {count(len(state), 'node')}: {held}"


def _links(links: Sequence[LinkReport]) -> Table:
    keys = link_keys(links)
    table = _table([("direction", False), *((link_heading(key), True) for key in keys)])
    for link in links:
        table.add_row(Text(link.direction.replace("->", " → ")), *(configured_and_measured(link, key) for key in keys))
    return table


def _machine(found: Machine) -> str:
    """What of the machine is known, in one line."""
    parts = [f"{count(found.processors, 'processor')} {unit(found.busy_percent, '%')} busy"]
    parts += [f"{unit(found.foreign_percent, '%')} by others"] if found.foreign_percent is not None else []
    parts += [f"{unit(found.late_percent, '%')} of delayed frames late"] if found.late_percent is not None else []
    parts += [f"longest stall {ms(found.stall_ms)}"] if found.stall_ms is not None else []
    return " · ".join(parts)


def _expectation(name: str, passed: bool, detail: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1, 0, 0))
    mark = Text("✓", style="green") if passed else Text("✗", style="bold red")
    grid.add_row(mark, Text.assemble((name, "" if passed else "bold red"), (f"  {detail}", "dim")))
    return grid
