"""VMs as the kernel sees them: a namespace with processes, plugged into a switch by one veth."""

from __future__ import annotations

import os
import signal

from chimera import namespaces
from chimera.deadline import steps
from chimera.model.errors import DeadlineError
from chimera.model.topology import Endpoint, Segment
from chimera.net import kernel, netns
from chimera.net.rtnetlink import Batch

_FREEZE_S = 2.0


def link_line(vm: Endpoint, mtu: int) -> str:
    """The ``ip`` command that makes a VM's NIC; the hypervisor's end is named after the VM."""
    return (
        f"link add name eth0 netns {vm.name} address {vm.mac} mtu {mtu} type veth "
        f"peer name {vm.name} netns {vm.hypervisor} mtu {mtu}"
    )


def configure(endpoint: Endpoint, segment: Segment) -> None:
    """Give an endpoint of a segment its addresses and default routes."""
    if not endpoint.hypervisor:  # a VM's NIC was born with its MAC, a bare-metal host's cable was not
        netns.ip_batch(endpoint.name, [f"link set dev eth0 address {endpoint.mac}"])
    with namespaces.inside(namespaces.path(endpoint.name)):
        batch = Batch()
        batch.up("lo")
        batch.up("eth0")
        batch.address("eth0", endpoint.ip)
        if endpoint.ip6:
            batch.address("eth0", endpoint.ip6)
        for gateway in filter(None, (segment.gateway, segment.gateway6 if endpoint.ip6 else "")):
            batch.default_route("eth0", gateway)
        batch.send()
        kernel.checksum_in_software("eth0")


def processes(vm: str) -> set[int]:
    """PIDs of everything that runs in a VM's namespace."""
    there = os.stat(namespaces.path(vm)).st_ino
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.stat(f"/proc/{entry}/ns/net").st_ino == there:
                    found.add(int(entry))
            except OSError:
                continue  # it ended meanwhile
    return found


def freeze(vm: str) -> None:
    """Stop every process of a VM, also those it starts while this goes on.

    Raises:
        DeadlineError: a process could not be stopped.
    """
    stopped: set[int] = set()
    while fresh := processes(vm) - stopped:
        _signal(fresh, signal.SIGSTOP)
        stopped |= fresh
    waiting = steps(_FREEZE_S)
    while any(_state(pid) not in "TtZX" for pid in stopped):
        if next(waiting, None) is None:
            raise DeadlineError(f"{vm}: its processes did not stop within {_FREEZE_S:g} s")
        os.sched_yield()


def thaw(vm: str) -> None:
    """Let a VM's processes go on."""
    _signal(processes(vm), signal.SIGCONT)


def _signal(pids: set[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _state(pid: int) -> str:
    """The kernel's one-letter state of a process; X where it is gone (proc(5))."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
