"""Whether the machine was fit for a run: had it the time that the figures of the run take for granted?

A lab is made of processes that take turns on a few processors. Where they have to wait for a turn, what is measured is
the machine and not the network: memory is copied slowly, delay lines hold frames for too long, a prober sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from chimera.model.result import Machine, Migration
from chimera.model.samples import CpuTimes, LineTimes

# What is too much. That the lab's own processes fill the processors is no reason: copying memory and measuring
# throughput do so on any machine, and where it delays what measures, lateness and stalls show it.
FOREIGN_PERCENT = 20.0  # of all processors, over the whole scenario: the kernel's own threads stay below a few percent
STOLEN_PERCENT = 5.0  # as foreign, and worse: a processor is away for milliseconds at a time
LATE_PERCENT = 1.0  # the median of a link's delay then stands, and the gap in a stream of probes may be the line's
STALL_MS = 20.0  # as long as a WAN round trip: what an outage is held against


def judge(
    before: CpuTimes, lines_before: LineTimes, after: CpuTimes, lines_after: LineTimes, migrations: Iterable[Migration]
) -> Machine:
    """The machine between two moments, and in the migrations between them."""
    frames, late = lines_after.frames - lines_before.frames, lines_after.late - lines_before.late
    there = after.all - before.all
    busy = there - (after.idle - before.idle) - (after.stolen - before.stolen)
    foreign = busy - (after.interrupts - before.interrupts) - (after.own - before.own)
    waited = None if before.waited is None or after.waited is None else after.waited - before.waited
    found = Machine(
        processors=after.processors,
        busy_percent=_percent(busy, there),
        foreign_percent=_percent(foreign, there),
        stolen_percent=_percent(after.stolen - before.stolen, there),
        waiting_percent=None if waited is None else _percent(waited, after.at - before.at),
        late_percent=_percent(late, frames),
        late_max_ms=round(lines_after.longest_ms, 3) if frames else None,
        stall_ms=max((m.machine_stall_ms for m in migrations if m.machine_stall_ms is not None), default=None),
    )
    return replace(found, unfit=list(_reasons(found)))


def _percent(part: float, whole: float) -> float | None:
    return round(max(0.0, part) / whole * 100, 2) if whole > 0 else None


def _reasons(found: Machine) -> Iterator[str]:
    if (found.foreign_percent or 0.0) > FOREIGN_PERCENT:
        yield f"other processes used {found.foreign_percent:.0f} % of its {found.processors} processors"
    if (found.stolen_percent or 0.0) > STOLEN_PERCENT:
        yield f"its host gave {found.stolen_percent:.0f} % of its processors to others"
    if (found.late_percent or 0.0) > LATE_PERCENT:
        yield f"{found.late_percent:.1f} % of the frames left their delay line more than a millisecond late"
    if (found.stall_ms or 0.0) > STALL_MS:
        yield f"around a migration it did not run a prober, or who answers it, for {found.stall_ms:.0f} ms"
