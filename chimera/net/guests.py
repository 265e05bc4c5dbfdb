"""VMs as the kernel sees them: a namespace with processes, plugged into a switch by one veth."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

from chimera.model.errors import DeadlineError
from chimera.model.topology import Endpoint, Segment
from chimera.net import kernel, netns
from chimera.net.rtnetlink import Batch

_TENANT_TABLES = 1000  # routing table of tenant n: 1000 + n
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
    with kernel.inside(netns.path(endpoint.name)):
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


def leg_lines(interface: str, segment: Segment, tenant: int) -> Iterator[str]:
    """``ip`` commands that make a node the router of a segment, apart from other tenants'.

    A tenant's segments share a routing table, chosen by the interface a packet came in by; what is not
    in it goes on to the underlay only for external segments.
    """
    table = _TENANT_TABLES + tenant
    prefix = segment.subnet.partition("/")[2]
    yield f"link set dev {interface} up"
    if not segment.gateway:
        return
    yield f"addr replace {segment.gateway}/{prefix} dev {interface} noprefixroute"
    yield f"route replace {segment.subnet} dev {interface} src {segment.gateway} table {table}"
    yield f"rule add iif {interface} lookup {table} pref {table}"
    if segment.external:
        yield f"route replace {segment.subnet} dev {interface} src {segment.gateway}"
    else:
        yield f"rule add iif {interface} unreachable pref {table + 10000}"


def leg_lines6(interface: str, segment: Segment, tenant: int) -> Iterator[str]:
    """The same for ``ip -6``; the underlay carries no IPv6, so it stays within the tenant."""
    table = _TENANT_TABLES + tenant
    prefix = segment.subnet6.partition("/")[2]
    yield f"addr replace {segment.gateway6}/{prefix} dev {interface} nodad noprefixroute"
    yield f"route replace {segment.subnet6} dev {interface} table {table}"
    yield f"rule add iif {interface} lookup {table} pref {table}"
    yield f"rule add iif {interface} unreachable pref {table + 10000}"


def processes(vm: str) -> set[int]:
    """PIDs of everything that runs in a VM's namespace."""
    there = os.stat(netns.path(vm)).st_ino
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
    deadline = time.monotonic() + _FREEZE_S
    stopped: set[int] = set()
    while fresh := processes(vm) - stopped:
        _signal(fresh, signal.SIGSTOP)
        stopped |= fresh
    while any(_state(pid) not in "TtZX" for pid in stopped):
        if time.monotonic() > deadline:
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
