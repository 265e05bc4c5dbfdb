"""``lab bench startup``: how long a lab takes to come and go, beside stock Mininet and the floor, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chimera.bench.floor import floor, proportional_memory_mb
from chimera.bench.isolated import isolated
from chimera.events import Stream
from chimera.load import parse_topology
from chimera.net.stock import one_switch_for_all, stock_mininet
from chimera.session import bring_up, prepare_topology

VMS_PER_HYPERVISOR = 10
SIZES = (100, 200, 400)
_GROUP = 10  # hypervisors that share segments: a segment has ten VMs, however large the lab is


@dataclass(frozen=True)
class Row:
    """One measurement: seconds and megabytes (proportional set size of all its processes)."""

    what: str
    vms: int
    start_s: float
    stop_s: float
    memory_mb: float

    @property
    def total_s(self) -> float:
        """Start and stop together."""
        return self.start_s + self.stop_s


def startup(progress: Callable[[str], None], sizes: tuple[int, ...] = SIZES) -> list[Row]:
    """Stock Mininet ``linear,10,10``, then floor and lab at each size."""
    return list(_rows(progress, sizes))


def _rows(progress: Callable[[str], None], sizes: tuple[int, ...]) -> Iterator[Row]:
    progress("stock Mininet: linear,10,10 on the userspace datapath")
    yield _stock(10, 10)
    for vms in sizes:
        progress(f"the floor: {vms} VMs")
        yield _floor(vms)
        progress(f"this lab: {vms} VMs")
        yield _lab(vms)


def _stock(switches: int, hosts: int) -> Row:
    def measure(tell: Callable[[dict[str, float]], None]) -> None:
        one_switch_for_all()
        begin = time.monotonic()
        with stock_mininet(switches, hosts):
            start_s = time.monotonic() - begin
            memory_mb = proportional_memory_mb()
            begin = time.monotonic()
        tell({"start_s": start_s, "stop_s": time.monotonic() - begin, "memory_mb": memory_mb})

    found, _ = isolated("stock", measure)
    return Row("stock Mininet", switches * hosts, found["start_s"], found["stop_s"], found["memory_mb"])


def _floor(vms: int) -> Row:
    hypervisors = vms // VMS_PER_HYPERVISOR
    found, stop_s = isolated("floor", lambda tell: tell(floor(hypervisors, VMS_PER_HYPERVISOR)))
    return Row("bare floor", vms, found["start_s"], stop_s, found["memory_mb"])


def _lab(vms: int) -> Row:
    topology = parse_topology(topology_text(vms // VMS_PER_HYPERVISOR), "bench.yaml")
    experiment = prepare_topology(topology, "vxlan")

    def measure(tell: Callable[[dict[str, float]], None]) -> None:
        begin = time.monotonic()
        bring_up(experiment, Stream())
        start_s = time.monotonic() - begin
        tell({"start_s": start_s, "memory_mb": proportional_memory_mb()})

    found, stop_s = isolated("lab", measure)
    return Row("this lab", vms, found["start_s"], stop_s, found["memory_mb"])


def topology_text(hypervisors: int) -> str:
    """A topology of that many hypervisors of ten VMs; each VM of a hypervisor is in another segment."""
    lines = ["name: bench", "switches: {tor: {}}", "hypervisors:"]
    lines += [f"  hv[1-{hypervisors}]: {{uplink: tor}}", "tenants:"]
    groups = range(-(-hypervisors // _GROUP))
    for group in groups:
        lines += [f"  t{group}:", "    segments:"]
        lines += [f"      s{group}-{n}: {{subnet: 10.{group}.{n}.0/24}}" for n in range(VMS_PER_HYPERVISOR)]
    lines.append("vms:")
    for h in range(hypervisors):
        for n in range(VMS_PER_HYPERVISOR):
            lines.append(f"  v{h + 1}-{n}: {{hypervisor: hv{h + 1}, segment: s{h // _GROUP}-{n}}}")
    return "\n".join(lines) + "\n"
