"""Mininet's classes, made fast: shells start when first used, interfaces are adopted rather than made.

A lab's namespaces, links and addresses reach the kernel in batches (:mod:`chimera.net.network`); the
Mininet objects here describe them, so that Mininet's CLI and programs written for Mininet work on a lab.
"""

from __future__ import annotations

import os
import pty
import select
from collections.abc import Callable
from typing import Any

from mininet.link import Intf, Link
from mininet.net import Mininet
from mininet.node import Node
from mininet.util import getincrementaldecoder

from chimera.model.errors import SessionError
from chimera.net import netns


class LabNode(Node):  # type: ignore[misc]
    """A Mininet node whose namespace exists by name; its shell starts with the first command."""

    def __init__(self, name: str, kind: str = "", **params: Any) -> None:
        self.kind = kind
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
        argv = netns.command(self.name, [
            "setsid", "env", f"PS1={chr(127)}", "bash", "--norc", "--noediting", "-is", f"mininet:{self.name}"])  # fmt: skip
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


class LabIntf(Intf):  # type: ignore[misc]
    """An interface that is in its namespace already, with its addresses."""

    def __init__(self, name: str, node: LabNode, mac: str = "", ip: str = "") -> None:
        self.node, self.name, self.link = node, name, None
        self.mac = mac
        self.ip, _, self.prefixLen = ip.partition("/")
        self.ip = self.ip or None
        self.params: dict[str, Any] = {}
        node.addIntf(self, moveIntfFn=lambda *_, **__: None)

    def config(self, **_: Any) -> dict[str, Any]:  # type: ignore[override]
        """Everything is configured already."""
        return {}


class LabLink(Link):  # type: ignore[misc]
    """A link between two adopted interfaces."""

    def __init__(self, name: str, intf1: LabIntf, intf2: LabIntf) -> None:
        self.name = name
        self.intf1, self.intf2 = intf1, intf2
        intf1.link = intf2.link = self


class LabNet(Mininet):  # type: ignore[misc]
    """A Mininet that knows the nodes of a lab and leaves making them to it."""

    def __init__(self, set_link: Callable[[str, bool], None] | None = None) -> None:
        self._set_link = set_link
        Mininet.inited = True  # its init() would change the host's limits and kernel settings
        super().__init__(build=False, controller=None, autoSetMacs=False)

    def adopt(self, name: str, kind: str, *, forwards: bool) -> LabNode:
        """Add a node that exists; those that forward count as Mininet's switches."""
        node = LabNode(name, kind)
        (self.switches if forwards else self.hosts).append(node)
        self.nameToNode[name] = node
        return node

    def configLinkStatus(self, src: str, dst: str, status: str) -> None:
        """Mininet's ``link A B up|down``: cuts or restores the lab's link between two nodes."""
        wanted = {src, dst}
        for link in self.links:
            if {link.intf1.node.name, link.intf2.node.name} == wanted and self._set_link:
                self._set_link(link.name, status == "up")
                return
        raise SessionError(f"no link between {src} and {dst}")


def run_cli(net: LabNet) -> None:
    """Mininet's command line on these objects, on this terminal."""
    from mininet.cli import CLI
    from mininet.log import setLogLevel

    setLogLevel("info")
    CLI(net)
    for node in net.hosts + net.switches:
        node.terminate()
