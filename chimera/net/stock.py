"""What the lab is measured against: stock Mininet, the bare floor, and a plain bridge. Each in a sandbox of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mininet.net import Mininet
from mininet.node import OVSSwitch
from mininet.topo import LinearTopo

from chimera import namespaces
from chimera.model.ports import PortSpec
from chimera.net import kernel, netns, sysctl
from chimera.net.ovs import OpenVSwitch, empty_database
from chimera.wire import ovsdb

_DEFAULT_RUNDIR = Path("/run/openvswitch")
_PARALLEL = 8

Marks = dict[str, float]


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


def stock_mininet(switches: int, hosts: int) -> Marks:
    """Start and stop Mininet as it is: ``linear,SWITCHES,HOSTS`` on Open vSwitch's userspace datapath.

    Seconds to start and stop, and memory while it is up.
    """
    Mininet.inited = True  # its init() would change the host's kernel settings
    _one_switch_for_all()
    begin = time.monotonic()
    net = Mininet(LinearTopo(switches, hosts), switch=_user_switch(OVSSwitch), controller=None)
    net.start()
    start = time.monotonic() - begin
    memory = proportional_memory_mb()
    begin = time.monotonic()
    net.stop()
    return {"start_s": start, "stop_s": time.monotonic() - begin, "memory_mb": memory}


def _user_switch(base: type) -> Callable[..., object]:
    def make(name: str, **params: object) -> object:
        return base(name, datapath="user", failMode="standalone", **params)

    return make


def _one_switch_for_all() -> None:
    """The Open vSwitch Mininet expects, where it expects it, but inside this sandbox."""
    os.environ.pop("OVS_RUNDIR", None)
    _DEFAULT_RUNDIR.mkdir(parents=True)
    switch = OpenVSwitch("stock")
    switch.socket = str(_DEFAULT_RUNDIR / "db.sock")
    switch.folder.mkdir(parents=True)
    os.environ["OVS_DBDIR"] = str(switch.folder)
    switch.start_here()


def floor(hypervisors: int, vms: int) -> Marks:
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
    with ThreadPoolExecutor(_PARALLEL) as pool:
        list(pool.map(lambda h: _bare_switch(h, [g for g, at, _ in guests if at == h]), nodes))
        list(pool.map(lambda g: _bare_guest(g[0], g[2]), guests))
    start = time.monotonic() - begin
    return {"start_s": start, "memory_mb": proportional_memory_mb()}


def _bare_switch(node: str, guests: list[str]) -> None:
    netns.ip_batch(node, [f"link set dev {port} up" for port in [*guests, "uplink"]])
    OpenVSwitch(node).start(ovsdb.add_bridge("br0", ports=[PortSpec(port, "br0") for port in [*guests, "uplink"]]))


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
