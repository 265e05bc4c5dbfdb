"""What the lab is measured against, made without it: the bare floor and a plain bridge, each in its own sandbox."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chimera import namespaces
from chimera.model.ports import PortSpec
from chimera.net import kernel, netns, sysctl
from chimera.net.ovs import OpenVSwitch, empty_database
from chimera.net.services import Supervisor
from chimera.wire import ovsdb

_PARALLEL = 8


def proportional_memory_mb() -> float:
    """Memory of every process in this sandbox, shared pages divided among their users (``Pss``, proc(5)); in MB."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lines = (entry / "smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def floor(hypervisors: int, vms: int) -> dict[str, float]:
    """The least a lab of this size costs: namespaces, links and addresses in batches, and the Open vSwitch daemons.

    No Python objects, no underlay routing, no controller, no flows.
    """
    empty_database()
    begin = time.monotonic()
    sysctl.set_here(sysctl.ROUTER)
    nodes = [f"h{h}" for h in range(hypervisors)]
    guests = [(f"v{h}x{v}", f"h{h}", h * vms + v) for h in range(hypervisors) for v in range(vms)]
    netns.ip_batch("", [f"netns add {name}" for name in [*nodes, *(g for g, _, _ in guests), "tor"]])
    links = [f"link add eth0 netns {g} type veth peer name {g} netns {h}" for g, h, _ in guests]
    links += [f"link add uplink netns {h} type veth peer name {h} netns tor" for h in nodes]
    netns.ip_batch("", links)
    services = Supervisor()
    with ThreadPoolExecutor(_PARALLEL) as pool:
        list(pool.map(lambda h: _bare_switch(services, h, [g for g, at, _ in guests if at == h]), nodes))
        list(pool.map(lambda g: _bare_guest(g[0], g[2]), guests))
    start = time.monotonic() - begin
    return {"start_s": start, "memory_mb": proportional_memory_mb()}


def _bare_switch(services: Supervisor, node: str, guests: list[str]) -> None:
    netns.ip_batch(node, [f"link set dev {port} up" for port in [*guests, "uplink"]])
    ports = [PortSpec(port, "br0") for port in [*guests, "uplink"]]
    OpenVSwitch(node, services).start(ovsdb.add_bridge("br0", ports=ports))


def _bare_guest(name: str, number: int) -> None:
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/8"
    netns.ip_batch(name, ["link set lo up", "link set eth0 up", f"addr add {address} dev eth0"])


def plain_bridge(mtu: int) -> tuple[str, str, str]:
    """Two guests behind two Linux bridges and a third between them: the path of an overlay, without one.

    Returns the names of the guests and the second one's address.
    """
    nodes = ("a", "b", "ha", "hb", "tor")
    netns.ip_batch("", [f"netns add {name}" for name in nodes])
    batch = [f"link add eth0 netns {g} mtu {mtu} type veth peer name {g} netns h{g}" for g in "ab"]
    batch += [f"link add uplink netns h{g} type veth peer name {g} netns tor" for g in "ab"]
    netns.ip_batch("", batch)
    for node, ports in (("ha", ("a", "uplink")), ("hb", ("b", "uplink")), ("tor", ("a", "b"))):
        joined = [line for port in ports for line in (f"link set dev {port} master br0", f"link set dev {port} up")]
        netns.ip_batch(node, ["link add name br0 type bridge", "link set br0 up", *joined])
    for number, guest in enumerate("ab", start=1):
        netns.ip_batch(guest, ["link set lo up", "link set eth0 up", f"addr add 10.1.0.{number}/24 dev eth0"])
        with namespaces.inside(namespaces.path(guest)):
            kernel.checksum_in_software("eth0")  # as every VM of a lab: the same bytes and the same segmentation
    return "a", "b", "10.1.0.2"
