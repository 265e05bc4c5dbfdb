"""The run in a few sentences and headline figures: what the VM's users noticed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chimera.model.result import Entropy, Loop, Migration, PathReport, Result
from chimera.report.columns import Column
from chimera.report.figures import count, decimal, flows, largest, moved, ms, relation, total


class Headline(NamedTuple):
    """One figure; ``good`` is ``None`` where it is neither good nor bad by itself."""

    label: str
    value: str
    detail: str
    good: bool | None = None


def sentence(result: Result) -> str:
    """What happened, in one or two sentences."""
    lab = result.lab
    where = f"over {lab.overlay} on {lab.topology}"
    if not result.migrations:
        happened = [*map(_loop, result.loops), *([_spread(result.entropy)] if result.entropy else [])]
        return " ".join([f"The scenario {lab.scenario} ran {where}.", *(happened or ["No VM was moved."])])
    done = moved(result)
    parts = [
        f"{_who(result.migrations)} {where}: {len(done)} of {count(len(result.migrations), 'migration')} succeeded."
    ]
    worst = largest(m.outage_ms for m in done)
    if worst is not None:
        parts.append(f"At worst a user of the VM waited {ms(worst)} for an answer.")
    return " ".join(parts)


def _loop(loop: Loop) -> str:
    lost = f"VMs whose way was not in it lost {decimal(loop.bystanders_lost)} of {decimal(loop.bystanders_sent)} probes"
    bystanders = "" if loop.bystanders_lost is None else f"; {lost}"
    if loop.crossings_most is None:
        return f"A loop was made at {loop.at}, and no frame was seen in it{bystanders}."
    ended = f", until its {loop.limit} ended it" if loop.limit else ""
    return f"One frame crossed the link of a loop {count(loop.crossings_most, 'time')} at most{ended}{bystanders}."


def _spread(entropy: Entropy) -> str:
    used = f"{decimal(entropy.used)} of {count(entropy.available, 'equal-cost path')}"
    return f"{count(entropy.flows, 'flow')} from {entropy.from_} to {entropy.to} used {used}."


def unfit(result: Result) -> str:
    """Why the figures of a run cannot be relied on; empty where the machine was fit for it."""
    if result.machine is None or result.fit:
        return ""
    return (
        f"The machine was too busy for this run: {'; '.join(result.machine.unfit)}. What is slow or late here may be "
        f"the machine and not the network: run it again when the machine has nothing else to do."
    )


def unfit_runs(columns: Sequence[Column]) -> str:
    """Of which runs that is so, and what follows for their comparison; empty where it is so of none."""
    busy = [c for c in columns if c.result and not c.result.fit]
    if not busy:
        return ""
    reasons = (f"{c.name} ({'; '.join(c.result.machine.unfit)})" for c in busy if c.result and c.result.machine)
    return f"The machine was too busy for {', '.join(reasons)}. Nothing is marked as best or worst, and nothing ranked."


def _who(migrations: list[Migration]) -> str:
    vms = list(dict.fromkeys(m.vm for m in migrations))
    names = ", ".join(vms) if len(vms) <= 4 else f"{len(vms)} VMs"
    return f"{names} moved" if any(not m.aborted for m in migrations) else f"{names} was to move"


def headlines(result: Result) -> list[Headline]:
    """The figures to read first; those that were not measured are left out."""
    found = [_outage(result), _probes(result), _tcp(result), _strays(result), _crossings(result), _overhead(result)]
    return [headline for headline in found if headline is not None]


def _outage(result: Result) -> Headline | None:
    done = [m for m in moved(result) if m.outage_ms is not None]
    if not done:
        return None
    worst = max(done, key=lambda m: m.outage_ms or 0.0)
    point = max(worst.vantage_points, key=lambda v: v.outage_ms, default=None)
    seen = f" · seen by {point.name}, {relation(point)}" if point else ""
    return Headline(
        "longest silence",
        ms(worst.outage_ms),
        f"stun {ms(worst.stun_ms)} + network {ms(worst.network_outage_ms)}{seen}",
    )


def _probes(result: Result) -> Headline | None:
    sent, lost = (total(getattr(m, f"probes_{what}") for m in result.migrations) for what in ("sent", "lost"))
    return Headline("probes lost", decimal(lost), f"of {decimal(sent)} sent") if sent else None


def _tcp(result: Result) -> Headline | None:
    known = [m.tcp_survived for m in result.migrations if m.tcp_survived is not None]
    if not known:
        return None
    survived = sum(known)
    return Headline(
        "TCP sessions that lived on", f"{survived} of {len(known)}", "all bytes intact", survived == len(known)
    )


def _strays(result: Result) -> Headline | None:
    if not any(m.probes_sent for m in result.migrations):
        return None
    doubled = total(m.probes_duplicated for m in result.migrations)
    stray = total(m.misdelivered for m in result.migrations)
    good = None if None in (doubled, stray) else not doubled and not stray
    return Headline("duplicated / misdelivered", f"{decimal(doubled)} / {decimal(stray)}", "probes", good)


def _crossings(result: Result) -> Headline | None:
    changes = [c for c in map(_change, flows(result.paths).values()) if c is not None]
    if not changes:
        return None
    before, after, path = max(changes, key=lambda change: change[1] - change[0])
    value = f"{decimal(before)} → {decimal(after)}"
    return Headline("WAN crossings of a round trip", value, f"{path.from_} → {path.to}, {path.when}")


def _change(paths: list[PathReport]) -> tuple[float, float, PathReport] | None:
    """First and worst later number of crossings of a flow."""
    known = [(p.wan_crossings, p) for p in paths if p.wan_crossings is not None]
    if len(known) < 2:
        return None
    crossings, path = max(known[1:], key=lambda item: item[0])
    return known[0][0], crossings, path


def _overhead(result: Result) -> Headline | None:
    wire = result.wire
    if wire.overhead_bytes is None:
        return None
    return Headline("overhead a frame", count(wire.overhead_bytes, "byte"), " / ".join(wire.stack))
