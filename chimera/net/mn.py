"""Mininet's classes, made fast: shells start when first used, interfaces are adopted rather than made.

A lab's namespaces, links and addresses reach the kernel in batches (:mod:`chimera.net.network`); the
Mininet objects here describe them, so that Mininet's CLI and programs written for Mininet work on a lab. What Mininet
does to the whole machine (raising limits, cleaning up by name) is left out, and so is what would change the network
behind the lab's back.
"""

from __future__ import annotations

import errno
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, permutations
from typing import Any, NoReturn

from mininet.cli import CLI
from mininet.link import Intf, Link
from mininet.log import error, output, setLogLevel
from mininet.net import Mininet
from mininet.node import Node
from mininet.util import getincrementaldecoder

from chimera.model.errors import InputError, LabError, SessionError, not_one_of
from chimera.model.ports import PHYSICAL
from chimera.model.topology import Capability, Endpoint, Port, Topology
from chimera.model.underlay import Underlay
from chimera.net import netns, userland

Enter = Callable[[str, Sequence[str]], list[str]]  # node, program -> the program, run there
Start = Callable[..., "subprocess.Popen[Any]"]  # as subprocess.Popen
Place = Callable[[], Mapping[str, str]]  # VM -> the hypervisor it is at now
Talk = Callable[[str, str], bool]  # whether the topology lets two machines talk to each other

_HANGUP_S = 2.0


class UnknownNode(InputError, KeyError):
    """No node has that name; also a :class:`KeyError`, as Mininet raises."""

    __str__ = Exception.__str__


class LabNode(Node):
    """A Mininet node whose namespace exists by name; its shell starts with the first command.

    On a VM, host or client what is run sees the machine's own files (:mod:`chimera.net.userland`). ``enter`` wraps a
    program so that it runs on a node, ``start`` starts it: both differ for who is inside the sandbox and who is not.
    """

    def __init__(
        self, name: str, kind: str = "", enter: Enter = netns.command, start: Start = subprocess.Popen, **params: Any
    ) -> None:
        self.kind = kind
        self._enter, self._start = enter, start
        self._shell: subprocess.Popen[Any] | None = None
        self._pid: int | None = None
        self._stdout: Any = None
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

    @property
    def stdout(self) -> Any:
        """What the shell prints, to be polled (``net.monitor()``)."""
        self._begin()
        return self._stdout

    @stdout.setter
    def stdout(self, value: Any) -> None:
        self._stdout = value

    def startShell(self, mnopts: str | None = None) -> None:
        """Put off until something is run on the node."""
        self._starting = False

    def _begin(self) -> None:
        if self._shell is None and getattr(self, "_starting", True) is False:
            self._starting = True
            try:
                self._start_shell()
            except BaseException:
                self._starting = False
                raise

    def _start_shell(self) -> None:
        """Start bash on a terminal of its own in the node's namespace (as Mininet's ``startShell`` does).

        Raises:
            SessionError: it ended at once, with what it said.
        """
        bash = ["bash", "--norc", "--noediting", "-is", f"mininet:{self.name}"]
        argv = self._enter(self.name, ["setsid", "env", f"PS1={chr(127)}", *bash])
        self.master, slave = pty.openpty()
        try:
            self._shell = self._popen(argv, stdin=slave, stdout=slave, stderr=slave, close_fds=False)
        except BaseException:
            os.close(self.master)
            raise
        finally:
            os.close(slave)  # it is open in the shell alone: when that ends, whoever reads is told
        self._pid = self._shell.pid
        self.stdin = self._stdout = os.fdopen(self.master, "r")
        self.pollOut = select.poll()
        self.pollOut.register(self._stdout, select.POLLIN)
        self.outToNode[self._stdout.fileno()] = self.inToNode[self.stdin.fileno()] = self
        self.execed, self.lastCmd, self.lastPid, self.readbuf, self.waiting = False, None, None, "", False
        self.decoder = getincrementaldecoder()
        said = ""
        try:
            while not said.endswith(chr(127)):
                said += self.read(1024)
        except SessionError as error:
            raise SessionError(f"{self.name} runs no commands: {said.strip() or 'its shell ended'}") from error
        self.cmd("unset HISTFILE; stty -echo; set +m")

    def read(self, size: int = 1024) -> str:
        """What the shell has printed, at most so many characters; waits for the first.

        Raises:
            SessionError: the shell has ended, as it does with the lab.
        """
        try:
            return str(super().read(size))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self.terminate()
            raise SessionError(f"the shell of {self.name} has ended") from error

    def _popen(self, cmd: Sequence[str], **params: Any) -> subprocess.Popen[Any]:
        """Start what :meth:`_enter` made of a program."""
        return self._start(cmd, **params)

    def popen(self, *args: Any, **kwargs: Any) -> subprocess.Popen[Any]:
        """A program on this node as a :class:`subprocess.Popen`: words, one list, or one string; no shell is started.

        ``stdout`` and ``stderr`` are pipes unless said otherwise; ``shell=True`` has a shell read the string.
        """
        words = args[0] if len(args) == 1 else list(args)
        through_shell = kwargs.pop("shell", False)
        kwargs.pop("mncmd", None)  # Mininet's way into a node; ours is below
        if through_shell:
            argv = ["bash", "-c", words if isinstance(words, str) else " ".join(map(str, words))]
        else:
            argv = words.split() if isinstance(words, str) else [str(word) for word in words]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kwargs}
        return self._popen(self._enter(self.name, argv), **options)

    def terminate(self) -> None:
        """End the shell, if one was started; the next command starts another. The node ends with the lab."""
        shell, self._shell = self._shell, None
        if shell is None:
            return
        for number in (signal.SIGHUP, signal.SIGCONT):  # it may stand still, as its VM does
            _signal_group(shell, number)
        try:
            shell.wait(_HANGUP_S)
        except subprocess.TimeoutExpired:
            _signal_group(shell, signal.SIGKILL)
            shell.wait()
        for known in (self.outToNode, self.inToNode):
            known.pop(self._stdout.fileno(), None)
        self._stdout.close()
        self.waiting, self._starting = False, False

    def stop(self, deleteIntfs: bool = False) -> None:
        """As :meth:`terminate`; to power a node off is ``lab.stop(NODE)``."""
        self.terminate()


def _signal_group(shell: subprocess.Popen[Any], number: int) -> None:
    if shell.poll() is None:
        try:
            os.killpg(shell.pid, number)
        except ProcessLookupError:
            shell.send_signal(number)  # what should have become the shell failed before it had a group of its own


class LabIntf(Intf):
    """An interface that is in its namespace already, with its addresses."""

    def __init__(self, name: str, node: LabNode, mac: str = "", ip: str = "") -> None:
        self.node, self.name, self.mac = node, name, mac or None
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

    def MAC(self) -> str | None:
        """Its MAC address; the kernel is asked for one that the topology does not give."""
        return self.mac or self.updateMAC()

    def ifconfig(self, *args: str) -> str:
        """What ``ifconfig`` says of it, or does to it."""
        return str(self.node.pexec("ifconfig", self.name, *args)[0])

    def move(self, node: LabNode) -> None:
        """It is at another node now."""
        self.node.delIntf(self)
        self.node = node
        node.addIntf(self, moveIntfFn=lambda *_, **__: None)

    def delete(self) -> None:
        """Refused."""
        _fixed("an interface cannot be removed")


class LabLink(Link):
    """A link between two adopted interfaces."""

    def __init__(self, name: str, intf1: LabIntf, intf2: LabIntf) -> None:
        self.name = name
        self.intf1, self.intf2 = intf1, intf2
        intf1.link = intf2.link = self

    def stop(self) -> None:
        """Nothing: it ends with the lab."""

    def delete(self) -> None:
        """Refused."""
        _fixed("a link cannot be removed: cut it instead")


def _fixed(what: str) -> NoReturn:
    raise InputError(f"{what}\n    fix: the topology says what a lab has; change it and start the lab anew")


class LabNet(Mininet):
    """A Mininet that knows the nodes of a lab and leaves making them to it.

    ``hosts`` are VMs, bare-metal hosts and clients; ``switches`` is all that forwards: hypervisors and gateways, each
    with an Open vSwitch, switches and routers. ``links`` follow VMs that move. What Mininet would add or remove is
    refused, ``start`` and ``stop`` do nothing to the lab (``stop`` ends the shells), and :meth:`ping` and
    :meth:`iperf` without hosts are about those that the topology lets talk to each other.
    """

    def __init__(self, set_link: Callable[[str, bool], None], place: Place = dict, talk: Talk | None = None) -> None:
        self._set_link, self._place, self._talk = set_link, place, talk
        self._links: list[LabLink] = []
        self._uplinks: dict[str, LabIntf] = {}  # VM -> the hypervisor's end of its link
        Mininet.inited = True  # its init() would change the host's limits and kernel settings
        super().__init__(build=False, controller=None, autoSetMacs=False)

    def adopt(
        self, name: str, kind: str, *, forwards: bool, enter: Enter = netns.command, start: Start = subprocess.Popen
    ) -> LabNode:
        """Add a node that exists; those that forward count as Mininet's switches."""
        node = LabNode(name, kind, enter, start)
        (self.switches if forwards else self.hosts).append(node)
        self.nameToNode[name] = node
        return node

    def adopt_link(self, link: LabLink, vm: str = "") -> None:
        """Add a link that exists; that of a VM has the hypervisor's end second, and follows it."""
        self._links.append(link)
        if vm:
            self._uplinks[vm] = link.intf2

    # -- looking ---------------------------------------------------------------------------------

    @property
    def links(self) -> list[LabLink]:
        """Every link as it is now: those of VMs end where the VMs are."""
        self._follow()
        return self._links

    @links.setter
    def links(self, value: list[LabLink]) -> None:
        self._links = value

    def __getitem__(self, key: str) -> LabNode:
        """The node of that name.

        Raises:
            UnknownNode: there is none.
        """
        self._follow()
        return self._node(key)

    def getNodeByName(self, *args: str) -> LabNode | list[LabNode]:
        """The node of that name, or a list of several. Raises as ``net[name]`` does."""
        self._follow()
        found = [self._node(name) for name in args]
        return found[0] if len(found) == 1 else found

    def values(self) -> list[LabNode]:
        """Every node."""
        self._follow()
        return [*self.hosts, *self.switches]

    def _node(self, name: str) -> LabNode:
        found: LabNode | None = self.nameToNode.get(name)
        if found is None:
            raise UnknownNode(not_one_of("node", name, self.nameToNode))
        return found

    def _follow(self) -> None:
        """Have the links of VMs that moved end where they are."""
        for vm, hypervisor in self._place().items() if self._uplinks else ():
            end = self._uplinks[vm]
            if end.node.name != hypervisor:
                end.move(self._node(hypervisor))

    # -- measuring -------------------------------------------------------------------------------

    def _pairs(self, hosts: Sequence[LabNode] | None) -> list[tuple[LabNode, LabNode]]:
        """Who looks at whom: each at each of those given, or all that may talk to each other."""
        pairs = permutations(hosts or self.hosts, 2)
        return [(a, b) for a, b in pairs if hosts or not self._talk or self._talk(a.name, b.name)]

    def ping(self, hosts: Sequence[LabNode] | None = None, timeout: float | str | None = None) -> float:
        """Ping between hosts, or everybody that may talk; returns the percentage of pings without an answer.

        ``timeout`` is in seconds for each answer.
        """
        results = [self._parsePing(self._ping(a, b, timeout)) for a, b in self._pairs(hosts)]
        sent, received = sum(each[0] for each in results), sum(each[1] for each in results)
        if not sent:
            output("*** Warning: No packets sent\n")
            return 0.0
        lost = 100.0 * (sent - received) / sent
        output(f"*** Results: {int(lost)}% dropped ({received}/{sent} received)\n")
        return lost

    def pingFull(
        self, hosts: Sequence[LabNode] | None = None, timeout: float | str | None = None
    ) -> list[tuple[LabNode, LabNode, tuple[float, ...]]]:
        """As :meth:`ping`; returns (from, to, (sent, received, and the round trip's least, mean, most, deviation))."""
        return [(a, b, self._parsePingFull(self._ping(a, b, timeout))) for a, b in self._pairs(hosts)]

    def pingPair(self) -> float:
        """Ping between the first two hosts that may talk to each other; returns as :meth:`ping` does."""
        return self.ping(self._pairs(None)[0])

    def pingPairFull(self) -> list[tuple[LabNode, LabNode, tuple[float, ...]]]:
        """As :meth:`pingPair`; returns as :meth:`pingFull` does."""
        return self.pingFull(self._pairs(None)[0])

    def _ping(self, a: LabNode, b: LabNode, timeout: float | str | None) -> str:
        patience = ["-W", str(timeout)] if timeout else []
        said = "".join(a.pexec("ping", "-c1", *patience, b.IP())[:2])
        output(f"{a} -> {b if re.search('[1-9][0-9]* received', said) else 'X'}\n")
        return said

    def iperf(
        self,
        hosts: Sequence[LabNode] | None = None,
        l4Type: str = "TCP",
        udpBw: str = "10M",
        fmt: str | None = None,
        seconds: float = 5,
        port: int = 5001,
    ) -> list[str]:
        """What one flow from the first host to the second carries, by iperf3 (Mininet's own kills by name first).

        Without ``hosts``, from the first to the last that may talk to it. ``fmt`` is iperf3's ``-f``. Returns what
        arrived at the server and what the client sent, as ``'941 Mbits/sec'``; for UDP after ``udpBw``.

        Raises:
            InputError: ``l4Type`` is neither TCP nor UDP.
            SessionError: iperf3 failed; its own words are in the text.
        """
        if l4Type not in ("TCP", "UDP"):
            raise InputError(f"iperf: {l4Type!r} is not a valid l4Type\n    allowed: TCP, UDP")
        pairs = self._pairs(None)
        client, server = hosts or next(pair for pair in reversed(pairs) if pair[0] is pairs[0][0])
        output(f"*** Iperf: testing {l4Type} bandwidth between {client} and {server}\n")
        serving = server.popen("iperf3", "-s", "-1", "-p", port, "--forceflush", text=True, stderr=subprocess.STDOUT)
        assert serving.stdout
        try:
            said = ""
            while "listening" not in said:
                line = serving.stdout.readline()
                if not line:
                    raise SessionError(f"iperf3 on {server} failed: {said.strip()}")
                said += line
            options = ["-u", "-b", udpBw] if l4Type == "UDP" else []
            options += ["-f", fmt] if fmt else []
            said, why, status = client.pexec("iperf3", "-c", server.IP(), "-p", port, "-t", seconds, *options)
        finally:
            serving.terminate()
            serving.communicate()
        if status:
            raise SessionError(f"iperf3 on {client} failed: {(why or said).strip()}")
        ends = {end: rate for rate, end in re.findall(r"([\d.]+ \w+/sec).*\b(sender|receiver)\s*$", said, re.MULTILINE)}
        result = [*([udpBw] if l4Type == "UDP" else []), ends.get("receiver", ""), ends.get("sender", "")]
        output(f"*** Results: {result}\n")
        return result

    # -- doing -----------------------------------------------------------------------------------

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

    def build(self) -> None:
        """Nothing: the lab is built."""
        self.built = True

    def start(self) -> None:
        """Nothing: the lab runs."""

    def stop(self) -> None:
        """End the shells that commands started; the lab goes on."""
        for node in chain(self.hosts, self.switches):
            node.terminate()

    def addHost(self, *args: Any, **params: Any) -> NoReturn:
        """Refused, as the other verbs are that add or remove."""
        _fixed("nothing can be added to a running lab, or removed from it")

    addSwitch = addController = addNAT = addLink = delNode = delHost = delSwitch = delController = delLink = addHost
    __delitem__ = addHost


def may_talk(topology: Topology, a: str, b: str) -> bool:
    """Whether two machines can reach each other: in one segment, or each a client or in an external segment."""
    one, other = topology.by_name[a], topology.by_name[b]
    if not isinstance(one, Endpoint) or not isinstance(other, Endpoint):
        return False
    return bool(one.segment and one.segment == other.segment) or all(_outside(topology, e) for e in (one, other))


def _outside(topology: Topology, machine: Endpoint) -> bool:
    return machine.can(Capability.ENTER_BY_IP) or bool(machine.segment and topology.segment_of(machine).external)


def mininet_view(
    topology: Topology,
    underlay: Underlay,
    place: Place,
    set_link: Callable[[str, bool], None],
    *,
    enter: Enter | None = None,
    start: Start = subprocess.Popen,
) -> LabNet:
    """Mininet objects that describe a lab which is running.

    ``enter`` and ``start`` are how a program gets onto a node; without them, from within the lab's sandbox.
    """
    net = LabNet(set_link, place, partial(may_talk, topology))
    into = enter or partial(userland.command, topology)
    for item in topology.by_name.values():
        net.adopt(item.name, item.kind, forwards=not isinstance(item, Endpoint), enter=into, start=start)
    addresses = {(a.node, a.interface): a.address for a in underlay.addresses}
    addresses |= {(e.name, "eth0"): e.ip for e in topology.endpoints if e.ip}
    macs = {(e.name, "eth0"): e.mac for e in topology.endpoints if e.mac}

    def interface(node: str, name: str) -> LabIntf:
        return LabIntf(name, net.nameToNode[node], macs.get((node, name), ""), addresses.get((node, name), ""))

    for node in topology.vteps:
        interface(node.name, PHYSICAL)  # the first of its interfaces: its IP() is the tunnel address
    interfaces: dict[Port, LabIntf] = {}
    for link in topology.links:
        for port in link.ends():
            interfaces[port] = interface(port.node, port.interface)
        net.adopt_link(LabLink(link.name, interfaces[link.a], interfaces[link.b]))
    location = place()
    for vm in topology.vms:
        net.adopt_link(LabLink(vm.name, interface(vm.name, "eth0"), interface(location[vm.name], vm.name)), vm.name)
    return net


def run_cli(net: LabNet) -> None:
    """Mininet's command line on these objects, on this terminal."""
    setLogLevel("info")
    CLI(net)
    net.stop()
