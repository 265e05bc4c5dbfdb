"""Mininet's classes, made fast: shells start when first used, interfaces are adopted rather than made.

A lab's namespaces, links and addresses reach the kernel in batches (:mod:`chimera.net.network`); the
Mininet objects here describe them, so that Mininet's CLI and programs written for Mininet work on a lab.
"""

from __future__ import annotations

import os
import pty
import select
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from mininet.cli import CLI
from mininet.link import Intf, Link
from mininet.log import error, setLogLevel
from mininet.net import Mininet
from mininet.node import Node
from mininet.util import getincrementaldecoder

from chimera.model.errors import InputError, LabError
from chimera.model.topology import Capability, Port, Topology
from chimera.model.underlay import Underlay
from chimera.net import netns, userland

Enter = Callable[[str, Sequence[str]], list[str]]  # node, program -> the program, run there


class LabNode(Node):
    """A Mininet node whose namespace exists by name; its shell starts with the first command."""

    def __init__(self, name: str, kind: str = "", enter: Enter = netns.command, **params: Any) -> None:
        self.kind = kind
        self._enter = enter
        self._shell: Any = None
        self._pid: int | None = None
        super().__init__(name, **params)

    @classmethod
    def setup(cls) -> None:
        """Nothing to prepare: the sandbox has what a node needs."""

    # Mininet's Node sets these to None and then calls startShell(); reading one of them starts it.
    @property
    def shell(self) -> Any:
        """The bash process of the node."""
        self._begin()
        return self._shell

    @shell.setter
    def shell(self, value: Any) -> None:
        self._shell = value

    @property
    def pid(self) -> int | None:
        """PID of the shell, which stands for the node's namespace in ``mnexec -a``."""
        self._begin()
        return self._pid

    @pid.setter
    def pid(self, value: int | None) -> None:
        self._pid = value

    def startShell(self, mnopts: str | None = None) -> None:
        """Put off until something is run on the node."""
        self._starting = False

    def _begin(self) -> None:
        if self._shell is None and getattr(self, "_starting", True) is False:
            self._starting = True
            self._start_shell()

    def _start_shell(self) -> None:
        """Start bash on a terminal of its own in the node's namespace (as Mininet's ``startShell`` does)."""
        self.master, self.slave = pty.openpty()
        bash = ["bash", "--norc", "--noediting", "-is", f"mininet:{self.name}"]
        argv = self._enter(self.name, ["setsid", "env", f"PS1={chr(127)}", *bash])
        self._shell = self._popen(argv, stdin=self.slave, stdout=self.slave, stderr=self.slave, close_fds=False)
        self._pid = self._shell.pid
        self.stdin = self.stdout = os.fdopen(self.master, "r")
        self.pollOut = select.poll()
        self.pollOut.register(self.stdout)
        self.outToNode[self.stdout.fileno()] = self.inToNode[self.stdin.fileno()] = self
        self.execed, self.lastCmd, self.lastPid, self.readbuf, self.waiting = False, None, None, "", False
        self.decoder = getincrementaldecoder()
        while not self.read(1024).endswith(chr(127)):
            self.pollOut.poll()
        self.cmd("unset HISTFILE; stty -echo; set +m")

    def terminate(self) -> None:
        """End the shell, if one was started; the namespace ends with the sandbox."""
        if self._shell is not None:
            super().terminate()


class LabIntf(Intf):
    """An interface that is in its namespace already, with its addresses."""

    def __init__(self, name: str, node: LabNode, mac: str = "", ip: str = "") -> None:
        self.node, self.name, self.mac = node, name, mac
        self.link: LabLink | None = None
        address, _, self.prefixLen = ip.partition("/")
        self.ip = address or None
        self.params: dict[str, Any] = {}
        node.addIntf(self, moveIntfFn=lambda *_, **__: None)

    def __str__(self) -> str:
        """With its node, for 'net' and 'links': interface names are unique only within a node."""
        return f"{self.node}:{self.name}"

    def config(self, **_: Any) -> dict[str, Any]:
        """Everything is configured already."""
        return {}


class LabLink(Link):
    """A link between two adopted interfaces."""

    def __init__(self, name: str, intf1: LabIntf, intf2: LabIntf) -> None:
        self.name = name
        self.intf1, self.intf2 = intf1, intf2
        intf1.link = intf2.link = self


class LabNet(Mininet):
    """A Mininet that knows the nodes of a lab and leaves making them to it."""

    def __init__(self, set_link: Callable[[str, bool], None]) -> None:
        self._set_link = set_link
        Mininet.inited = True  # its init() would change the host's limits and kernel settings
        super().__init__(build=False, controller=None, autoSetMacs=False)

    def adopt(self, name: str, kind: str, *, forwards: bool, enter: Enter = netns.command) -> LabNode:
        """Add a node that exists; those that forward count as Mininet's switches. ``enter`` wraps what it runs."""
        node = LabNode(name, kind, enter)
        (self.switches if forwards else self.hosts).append(node)
        self.nameToNode[name] = node
        return node

    def configLinkStatus(self, src: str, dst: str, status: str) -> None:
        """Mininet's ``link A B up|down``: cuts or restores the lab's links between two nodes.

        As with Mininet's own, what cannot be done is said and the command line goes on.
        """
        ends = {src, dst}
        names = [link.name for link in self.links if {link.intf1.node.name, link.intf2.node.name} == ends]
        try:
            if not names:
                raise InputError(f"no link between {src} and {dst}")
            for name in names:
                self._set_link(name, status == "up")
        except LabError as problem:
            error(f"{problem}\n")


def mininet_view(
    topology: Topology, underlay: Underlay, location: Mapping[str, str], set_link: Callable[[str, bool], None]
) -> LabNet:
    """Mininet objects that describe a lab which is running, from within its sandbox."""
    net = LabNet(set_link)
    addresses = {(a.node, a.interface): a.address for a in underlay.addresses}
    for item in topology.by_name.values():
        forwards = item.can(Capability.FORWARD_IP)
        net.adopt(item.name, item.kind, forwards=forwards, enter=partial(userland.command, topology))
    interfaces: dict[Port, LabIntf] = {}
    for link in topology.links:
        for port in link.ends():
            address = addresses.get((port.node, port.interface), "")
            interfaces[port] = LabIntf(port.interface, net[port.node], ip=address)
        net.links.append(LabLink(link.name, interfaces[link.a], interfaces[link.b]))
    for vm in topology.vms:
        inside = LabIntf("eth0", net[vm.name], vm.mac, vm.ip)
        net.links.append(LabLink(vm.name, inside, LabIntf(vm.name, net[location[vm.name]])))
    return net


def run_cli(net: LabNet) -> None:
    """Mininet's command line on these objects, on this terminal."""
    setLogLevel("info")
    CLI(net)
    for node in net.hosts + net.switches:
        node.terminate()
