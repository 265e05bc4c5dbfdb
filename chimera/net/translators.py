"""Translators at the uplinks of hypervisors, and the fabric's forwarding programs in the core, with their tables.

What the programs do is written in ``chimera/wire/translators``; the layouts here are those of its ``vxlan.h`` and
``fabric.h``. Tables follow the planned fabric: only what differs from what a node holds reaches the kernel.
"""

from __future__ import annotations

import socket
import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from chimera import namespaces
from chimera.model.topology import Port, Topology
from chimera.model.underlay import Fabric, FabricNode, Hop, Translator, Underlay
from chimera.net import bpf, tools

_WORD = struct.Struct("=I")
_NODE = struct.Struct("=I4s6s2x")
_HOP = struct.Struct("=I6s2x")
_ARRIVAL = struct.Struct("=II")
_MAC = struct.Struct("=6s2x")
_COUNT = struct.Struct("=Q")
_MOST_HOPS, _MOST_PORTS = 16, 64
_PARALLEL = 4
_FIRST = _WORD.pack(0)

_TABLES = {  # name -> bytes of key and value
    "variant": (_WORD.size, _WORD.size),
    "counters": (_WORD.size, _COUNT.size),
    "self": (_WORD.size, _NODE.size),
    "port_macs": (_WORD.size, _MAC.size),
    "unicast": (_WORD.size, _WORD.size + _MOST_HOPS * _HOP.size),
    "trees": (_WORD.size, _WORD.size * (1 + _MOST_PORTS)),
    "reverse_path": (_ARRIVAL.size, _WORD.size),
    "stations": (_MAC.size, _WORD.size),
}
STATE = ("unicast", "trees", "reverse_path", "stations")  # the tables that a fabric's state is counted in
VXLAN_BYTES = 50  # VXLAN's headers, which a frame has between Open vSwitch and the translator
COUNTERS = (
    "passed on", "flooded", "delivered", "hops used up", "no way", "no tree adjacency", "wrong path", "malformed",
)  # fmt: skip

Entries = Mapping[bytes, bytes]


@dataclass
class Translation:
    """The programs of one lab: loaded by :meth:`attach`, kept in step by :meth:`follow`."""

    topology: Topology
    underlay: Underlay
    translator: Translator
    _ways: dict[tuple[str, int], Hop] = field(default_factory=dict)  # misroutes: (node, identifier) -> way
    _held: dict[tuple[str, str], Entries] = field(default_factory=dict)  # (node, table) -> entries in the kernel

    def attach(self) -> None:
        """Load and attach everything and fill the tables, before anything sends.

        Raises:
            MachineError: eBPF is not to be had here.
        """
        program = tools.translator(self.translator.program)
        tools.native_tool(tools.TRANSLATOR_LOADER)  # compiled once, before many threads want it
        hooks = self._hooks()
        with ThreadPoolExecutor(_PARALLEL) as pool:
            list(pool.map(lambda node: bpf.load(node, program, hooks[node]), hooks))
        for name in hooks:
            self._write(name, "self", {_FIRST: self._node(name)})
            if self.translator.variant:  # 0 is what the kernel starts with
                self._write(name, "variant", {_FIRST: _WORD.pack(self.translator.variant)})
        if self.underlay.fabric:
            self.follow(self.underlay.fabric)

    def _hooks(self) -> dict[str, list[str]]:
        """What is attached where: edges translate at their uplinks, the others of a fabric forward."""
        hooks: dict[str, list[str]] = defaultdict(list)
        for port in uplinks(self.topology):
            hooks[port.node] += [f"egress:{port.interface}:spell", f"xdp:{port.interface}:translate"]
        for name, node in self.underlay.fabric.nodes.items() if self.underlay.fabric else ():
            if not node.edge:
                program = "transit" if node.identifier else "bridge"
                hooks[name] += [f"ingress:{interface}:{program}" for interface in node.ports]
        return hooks

    def _node(self, name: str) -> bytes:
        identifier = self.underlay.fabric.identifier(name) if self.underlay.fabric else 0
        edge = name in self.underlay.vtep
        vtep = IPv4Address(self.underlay.vtep[name]).packed if edge else bytes(4)
        mac = _mac(self.underlay.vtep_mac[name]) if edge else bytes(6)
        return _NODE.pack(identifier, vtep, mac)

    # -- the fabric's tables -------------------------------------------------------------------------

    def follow(self, fabric: Fabric) -> None:
        """Have every node forward as planned, but for what was misrouted on purpose."""
        for name, planned in fabric.nodes.items():
            node = replace(planned, unicast={**planned.unicast, **self._misrouted(name)})
            for table, entries in _tables(node, self._indices(name)).items():
                self._write(name, table, entries)

    def misroute(self, at: str, target: str, hop: Hop) -> None:
        """Have one node send frames for an edge another way, until :meth:`repair`."""
        assert self.underlay.fabric is not None
        self._ways[at, self.underlay.fabric.identifier(target)] = hop

    def repair(self) -> None:
        """Forget what was misrouted; the next :meth:`follow` puts it right."""
        self._ways.clear()

    def _misrouted(self, name: str) -> dict[int, tuple[Hop, ...]]:
        return {identifier: (hop,) for (at, identifier), hop in self._ways.items() if at == name}

    def _indices(self, name: str) -> dict[str, int]:
        with namespaces.inside(namespaces.path(name)):
            return {interface: index for index, interface in socket.if_nameindex()}

    def _write(self, name: str, table: str, wanted: Entries) -> None:
        held = self._held.get((name, table), {})
        if held == wanted:
            return
        with _opened(name, table) as there:
            for key, value in wanted.items():
                if held.get(key) != value:
                    there.update(key, value)
            for key in held.keys() - wanted.keys():
                there.delete(key)
        self._held[name, table] = wanted

    # -- what the kernel says --------------------------------------------------------------------------

    def entries(self, name: str) -> int:
        """Forwarding entries that the tables of a node hold; 0 where it has none."""
        if self.underlay.fabric is None or name not in self.underlay.fabric.nodes:
            return 0
        return sum(self._count(name, table) for table in STATE)

    def _count(self, name: str, table: str) -> int:
        with _opened(name, table) as there:
            return sum(1 for _ in there)

    def counters(self, name: str) -> dict[str, int]:
        """What a node of the fabric did to frames since it started; empty where it is none."""
        if self.underlay.fabric is None or name not in self.underlay.fabric.nodes:
            return {}
        with _opened(name, "counters") as there:
            found = [_COUNT.unpack(there.get(_WORD.pack(i)))[0] for i in range(len(COUNTERS))]
        return dict(zip(COUNTERS, found, strict=True))


def _opened(name: str, table: str) -> bpf.Map:
    """A table of a node, as the kernel has it."""
    return bpf.Map(bpf.FOLDER / name / table, *_TABLES[table])


def uplinks(topology: Topology) -> list[Port]:
    """The interfaces of hypervisors and gateways that lead into the underlay."""
    names = {node.name for node in topology.vteps}
    return [port for link in topology.links for port in link.ends() if port.node in names]


def _tables(node: FabricNode, indices: Mapping[str, int]) -> dict[str, Entries]:
    """A node's tables as the kernel wants them; ``indices`` are those of its interfaces."""
    trees = {**node.trees} if node.identifier else {0: tuple(node.ports)}  # a bridge floods to all of its ports
    return {
        "port_macs": {_WORD.pack(indices[i]): _MAC.pack(_mac(mac)) for i, mac in node.ports.items()},
        "unicast": {_WORD.pack(edge): _ways(hops, indices) for edge, hops in node.unicast.items()},
        "trees": {_WORD.pack(tree): _ports((indices[i] for i in on), _MOST_PORTS) for tree, on in trees.items()},
        "reverse_path": {
            _ARRIVAL.pack(tree, ingress): _WORD.pack(indices[interface])
            for tree, ways in node.reverse_path.items()
            for ingress, interface in ways.items()
        },
        "stations": {_MAC.pack(_mac(mac)): _WORD.pack(indices[i]) for mac, i in node.stations.items()},
    }


def _ways(hops: Iterable[Hop], indices: Mapping[str, int]) -> bytes:
    packed = [_HOP.pack(indices[hop.interface], _mac(hop.mac) if hop.mac else bytes(6)) for hop in hops][:_MOST_HOPS]
    return (_WORD.pack(len(packed)) + b"".join(packed)).ljust(_TABLES["unicast"][1], b"\0")


def _ports(found: Iterable[int], most: int) -> bytes:
    packed = [_WORD.pack(index) for index in found][:most]
    return (_WORD.pack(len(packed)) + b"".join(packed)).ljust(_WORD.size * (1 + most), b"\0")


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
