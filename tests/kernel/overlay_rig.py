"""A small lab for the tests of controllers: hypervisors with their own Open vSwitch, VMs, one flat underlay.

Independent of :mod:`chimera.net` on purpose: these tests judge the controllers, not the lab's network.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from native_support import Namespace

from chimera.model.codec import to_json
from chimera.model.control import Inventory
from chimera.model.ports import INTEGRATION, PHYSICAL, PortSpec
from chimera.model.topology import Endpoint, Kind, Node, Segment, Site, Topology
from chimera.model.underlay import Forwarding, Underlay
from chimera.overlay import registry
from chimera.overlay.base import check_options
from chimera.overlay.ports import datapath_id
from chimera.ovsdb import Ovsdb, OvsdbError
from chimera.wire import ovsdb
from tests import waiting

PROJECT = Path(__file__).resolve().parents[2]
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
Process = subprocess.Popen[bytes]
CONTROLLER = "100.64.0.1"


def topology(hypervisors: int, vms: dict[str, tuple[int, str, str]]) -> Topology:
    """VMs as name -> (number of their hypervisor, tenant, address with prefix length)."""
    nodes = tuple(Node(f"hv{n}", Kind.HYPERVISOR, "dc", n) for n in range(1, hypervisors + 1))
    tenants = sorted({tenant for _, tenant, _ in vms.values()})
    segments = tuple(
        Segment("web", tenant, 5000 + n, 100 + n, "10.0.0.0/24", "10.0.0.1", f"02:fe:00:00:00:{n:02x}", external=True)
        for n, tenant in enumerate(tenants)
    )
    endpoints = tuple(
        Endpoint(name, Kind.VM, "dc", n, f"hv{hv}", f"{tenant}/web", f"02:00:00:00:00:{n:02x}", ip, f"fd00::{n}/64", n)
        for n, (name, (hv, tenant, ip)) in enumerate(vms.items(), start=1)
    )
    return Topology("rig", "", (Site("dc"),), nodes, endpoints, segments, ())


def underlay(top: Topology) -> Underlay:
    """One subnet for all VTEPs."""
    vtep = {node.name: f"192.0.2.{node.index}" for node in top.vteps}
    macs = {node.name: f"02:02:00:00:00:{node.index:02x}" for node in top.vteps}
    return Underlay(Forwarding.ROUTED, 1600, (), (), vtep, macs, {})


def start_switch(folder: Path, namespace: Namespace, operations: list[ovsdb.Operation]) -> dict[str, Process]:
    """Both daemons of an Open vSwitch, on a database that holds ``operations``."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ovsdb-tool", "create", folder / "conf.db", SCHEMA], check=True)
    socket_path = folder / "db.sock"
    database = daemon(folder, namespace, "ovsdb-server", str(folder / "conf.db"), f"--remote=punix:{socket_path}")
    with await_true(lambda: _session(socket_path)) as db:
        db.transact(ovsdb.insert("Open_vSwitch", {}, "root"))
        db.transact(*operations, ovsdb.bump())
        switch = daemon(folder, namespace, "ovs-vswitchd", f"unix:{socket_path}", "--disable-system")
        db.wait_config_applied()
    return {"ovs-vswitchd": switch, "ovsdb-server": database}


def daemon(folder: Path, namespace: Namespace, program: str, *arguments: str) -> Process:
    """A daemon of an Open vSwitch with all its files in ``folder``."""
    paths = [f"--pidfile={folder}/{program}.pid", f"--unixctl={folder}/{program}.ctl"]
    argv = [program, *arguments, *paths, "-vconsole:off", "-vsyslog:off", f"--log-file={folder}/{program}.log"]
    return subprocess.Popen(namespace.enter(*argv), env={**os.environ, "OVS_RUNDIR": str(folder)})


def _session(path: Path) -> Ovsdb | None:
    """A session with a database server, once it listens."""
    try:
        return Ovsdb(str(path))
    except OvsdbError:
        return None


def await_true(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """The first true value of ``condition``; fails when there is none in time."""
    return waiting.until(condition, timeout_s, 0.01)


def ofctl(folder: Path, *arguments: str) -> str:
    """What ``ovs-ofctl`` prints about a switch."""
    argv = ["ovs-ofctl", "-O", "OpenFlow13", "--no-stats", *arguments]
    return subprocess.run(
        argv, env={**os.environ, "OVS_RUNDIR": str(folder)}, check=True, capture_output=True, text=True
    ).stdout


@dataclass(repr=False)
class Rig:
    """A running lab; ``reports`` are the lines the controller sent so far."""

    inventory: Inventory
    folder: Path
    spaces: dict[str, Namespace]
    listener: socket.socket
    daemons: dict[str, dict[str, Process]] = field(default_factory=dict)
    reports: list[dict[str, Any]] = field(default_factory=list)
    _controller: Process | None = None
    _session: socket.socket | None = None
    _received: bytes = b""
    _port: int = 6652

    # -- the controller

    def start_controller(self, *, report: bool = True) -> None:
        """Start it and (``report``) wait until every switch has confirmed its flows and every VM is located.

        Each one listens on a port of its own: Open vSwitch backs off for seconds from a target that refused it, and
        connects to a new one at once.
        """
        self._port += 1
        inventory = self.folder / "inventory.json"
        inventory.write_bytes(to_json(replace(self.inventory, openflow_port=self._port)))
        self.reports.clear()
        argv = [sys.executable, "-m", "controllers", "--inventory", str(inventory)]
        self._controller = subprocess.Popen(self.spaces["core"].enter(*argv), cwd=PROJECT)
        if report:
            self._session, _ = self.listener.accept()
            self._session.settimeout(10)
            self.await_report(lambda r: r["event"] == "listening")
        for switch in self.inventory.underlay.vtep:
            with self.db(switch) as db:
                db.transact(*ovsdb.set_controller(INTEGRATION, [f"tcp:{CONTROLLER}:{self._port}"]), ovsdb.bump())
        if report:
            self._await_sync()

    def _await_sync(self) -> None:
        switches = sorted(self.inventory.underlay.vtep)
        vms = len(self.inventory.topology.vms)
        self.await_report(lambda r: r["event"] == "synced" and r["switches"] == switches and r["located"] >= vms)

    def kill_controller(self) -> None:
        """SIGKILL, as an experiment does it."""
        assert self._controller
        self._controller.kill()
        self._controller.wait()
        if self._session:
            self._session.close()
        self._received = b""

    def await_report(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next report that is ``wanted``; the session's timeout bounds the wait."""
        assert self._session
        while True:
            while b"\n" in self._received:
                line, self._received = self._received.split(b"\n", 1)
                self.reports.append(json.loads(line))
                if wanted(self.reports[-1]):
                    return self.reports[-1]
            data = self._session.recv(65536)
            assert data, "the controller ended"
            self._received += data

    def control_messages(self) -> Counter[str]:
        """OpenFlow messages by type since the controller started, once every switch has confirmed its flows."""
        while True:
            batches = [r["messages"] for r in self.reports if r["event"] == "control"]
            counted = Counter(message["type"] for batch in batches for message in batch)
            if counted["BARRIER_REPLY"] >= len(self.inventory.underlay.vtep):
                return counted
            self.await_report(lambda r: r["event"] == "control")

    def locations(self) -> dict[str, str]:
        """Where the controller last said that interfaces are."""
        return {r["interface"]: r["switch"] for r in self.reports if r["event"] == "located"}

    # -- switches and VMs

    def db(self, switch: str) -> Ovsdb:
        """A session with the database of a switch."""
        return Ovsdb(str(self.folder / switch / "db.sock"))

    def flows(self, switch: str) -> list[str]:
        """The flows of ``br-int``, one a line, in no order that means anything."""
        lines = ofctl(self.folder / switch, "dump-flows", INTEGRATION).splitlines()
        return sorted(line.strip() for line in lines if "priority=" in line)

    def controller_cpu_s(self) -> float:
        """Processor time that the controller has used."""
        assert self._controller
        fields = Path(f"/proc/{self._controller.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def restart_switch(self, name: str) -> None:
        """Kill ``ovs-vswitchd`` and start it again; its flows are gone, its ports are in the database."""
        folder = self.folder / name
        stop({"": self.daemons[name]["ovs-vswitchd"]})
        switch = daemon(folder, self.spaces[name], "ovs-vswitchd", f"unix:{folder / 'db.sock'}", "--disable-system")
        self.daemons[name]["ovs-vswitchd"] = switch

    def move(self, vm: str, source: str, destination: str, *, wait: bool = True) -> None:
        """Carry a VM's port from switch to switch."""
        spec = registry.get(self.inventory.overlay).vm_port(self.inventory, destination, self.inventory.topology.vm(vm))
        with self.db(source) as old, self.db(destination) as new:
            old.del_port(INTEGRATION, vm)
            target = str(self.spaces[destination].holder.pid)
            self.spaces[source].run("ip", "link", "set", vm, "netns", target)
            self.spaces[destination].run("ip", "link", "set", vm, "up")
            new.add_port(spec)
        if wait:
            self.await_report(lambda r: r["event"] == "located" and r["switch"] == destination)
            self.await_report(lambda r: r["event"] == "synced")

    def ping(self, vm: str, target: str, *options: str) -> str:
        """``ping``'s output, whether or not it was answered."""
        return self.spaces[vm].run("ping", "-n", "-c", "3", "-i", "0.05", "-W", "1", *options, target, check=False)

    def reaches(self, vm: str, target: str, *options: str) -> bool:
        """Whether every ping is answered, once each."""
        out = self.ping(vm, target, *options)
        return ", 0% packet loss" in out and "DUP" not in out


@contextmanager
def rig(folder: Path, top: Topology, overlay: str = "vxlan", **options: str) -> Iterator[Rig]:
    """A lab without a controller yet, that is gone afterwards."""
    descriptor = registry.get(overlay)
    inventory = Inventory(
        top,
        underlay(top),
        overlay,
        check_options(descriptor, options),
        {node.name: str(folder / node.name / "db.sock") for node in top.vteps},
        CONTROLLER,
        api=str(folder / "api.sock"),
    )
    with ExitStack() as stack:
        spaces: dict[str, Namespace] = {}
        for name in ("core", *(n.name for n in top.vteps), *(vm.name for vm in top.vms)):
            spaces[name] = Namespace()
            stack.callback(spaces[name].close)
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(inventory.api)
        listener.listen()
        listener.settimeout(10)
        lab = Rig(inventory, folder, spaces, listener)
        stack.callback(_stop, lab)
        _build(lab)
        yield lab


def _build(lab: Rig) -> None:
    core, top = lab.spaces["core"], lab.inventory.topology
    for bridge in ("under", "mgmt"):
        core.run("ip", "link", "add", bridge, "type", "bridge")
        core.run("ip", "link", "set", bridge, "up")
    core.address("mgmt", f"{CONTROLLER}/16")
    for vm in top.vms:
        _plug_cable(lab, vm)
    for node in top.vteps:
        _connect(lab, node)
    for node in top.vteps:
        _resolve(lab, node)


def _plug_cable(lab: Rig, vm: Endpoint) -> None:
    space = lab.spaces[vm.name]
    lab.spaces[vm.hypervisor].link(vm.name, space, "eth0")
    space.run("ip", "link", "set", "eth0", "address", vm.mac)
    space.run("ethtool", "-K", "eth0", "tx", "off")
    space.address("eth0", vm.ip)
    space.address("eth0", vm.ip6)


def _connect(lab: Rig, node: Node) -> None:
    space, core, plan = lab.spaces[node.name], lab.spaces["core"], lab.inventory.underlay
    for interface, bridge, mtu in (("eth0", "under", 1600), ("mgmt0", "mgmt", 1500)):
        core.link(f"{bridge[0]}{node.index}", space, interface, mtu)
        core.run("ip", "link", "set", f"{bridge[0]}{node.index}", "master", bridge)
    space.address("mgmt0", f"100.64.1.{node.index}/16")
    descriptor = registry.get(lab.inventory.overlay)
    here = [vm for vm in lab.inventory.topology.vms if vm.hypervisor == node.name]
    mine = [descriptor.vm_port(lab.inventory, node.name, vm) for vm in here]
    ports = [*mine, *descriptor.ports(lab.inventory, node.name), *descriptor.legs(lab.inventory, node.name)]
    operations = [
        *ovsdb.add_bridge(
            INTEGRATION,
            fail_mode="secure",
            datapath_id=datapath_id(node),
            ports=[p for p in ports if p.bridge == INTEGRATION],
        ),
        *ovsdb.add_bridge(
            PHYSICAL,
            hwaddr=plan.vtep_mac[node.name],
            ports=[PortSpec("eth0", PHYSICAL), *(p for p in ports if p.bridge == PHYSICAL)],
        ),
    ]
    lab.daemons[node.name] = start_switch(lab.folder / node.name, space, operations)
    space.address(PHYSICAL, f"{plan.vtep[node.name]}/24")
    space.run("ip", "link", "set", PHYSICAL, "up")
    for leg in descriptor.legs(lab.inventory, node.name):
        space.run("ip", "link", "set", leg.name, "up")


def _resolve(lab: Rig, node: Node) -> None:
    """Spare every first frame the second that Open vSwitch drops it for while it asks for the VTEP's MAC."""
    plan, control = lab.inventory.underlay, str(lab.folder / node.name / "ovs-vswitchd.ctl")
    for other, address in plan.vtep.items():
        if other != node.name:
            argv = ["ovs-appctl", "-t", control, "tnl/neigh/set", PHYSICAL, address, plan.vtep_mac[other]]
            subprocess.run(argv, check=True, capture_output=True)


def _stop(lab: Rig) -> None:
    if lab._controller and lab._controller.poll() is None:
        lab.kill_controller()
    for daemons in lab.daemons.values():
        stop(daemons)


def stop(daemons: dict[str, Process]) -> None:
    """End the daemons of a switch."""
    for process in daemons.values():
        process.kill()
        process.wait()


def openflow(socket_path: Path, messages: bytes) -> list[tuple[int, bytes]]:
    """Send messages over a switch's management socket, and return what it answered up to the barrier's reply."""
    header = struct.Struct("!BBHI")
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(5)
        channel.connect(str(socket_path))
        channel.sendall(header.pack(4, 0, 8, 1) + messages + header.pack(4, 20, 8, 0xBA))
        stream = channel.makefile("rb")
        answers = []
        while True:
            _, kind, size, xid = header.unpack(stream.read(8))
            answers.append((kind, stream.read(size - 8)))
            if (kind, xid) == (21, 0xBA):
                return answers


def missing() -> str:
    """What this machine lacks for a rig; empty where it has all."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    programs = ("ovsdb-server", "ovs-vswitchd", "ovs-ofctl", "nsenter", "ip", "ethtool", "ping")
    absent = [program for program in programs if not shutil.which(program)]
    return f"not installed: {', '.join(absent)}" if absent else ""
