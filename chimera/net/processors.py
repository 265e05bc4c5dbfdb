"""What the machine's processors are busy with, as ``/proc`` tells it (proc(5))."""

from __future__ import annotations

import os
import time
from pathlib import Path

from chimera.model.samples import CpuTimes

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_TIMES = slice(11, 15)  # of /proc/PID/stat behind the name: utime, stime, cutime, cstime


def read() -> CpuTimes:
    """The counters now; this lab's processes are all that its sandbox has."""
    user, nice, system, idle, iowait, irq, softirq, steal = (
        int(word) * _TICK_S for word in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    )
    return CpuTimes(
        at=time.monotonic(),
        processors=os.cpu_count() or 1,
        all=user + nice + system + idle + iowait + irq + softirq + steal,
        idle=idle + iowait,
        interrupts=irq + softirq,
        stolen=steal,
        own=sum(_used_s(entry) for entry in os.listdir("/proc") if entry.isdigit()),
        waited=_waited_s(),
    )


def _used_s(pid: str) -> float:
    """What a process has used, with those of its children that ended: nothing is lost when one does."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # it ended meanwhile; its parent has its time
    return sum(map(int, fields[_TIMES])) * _TICK_S


def _waited_s() -> float | None:
    """Pressure stall information: ``some avg10=… avg60=… avg300=… total=MICROSECONDS``."""
    try:
        some = Path("/proc/pressure/cpu").read_text().partition("\n")[0]
        return int(some.rpartition("total=")[2]) / 1e6
    except (OSError, ValueError):
        return None
