"""The stretched layer 2 of a bridged underlay: learning switches, with a spanning tree where there is a loop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

from chimera import graph
from chimera.model.ports import PHYSICAL, PortSpec
from chimera.model.topology import Capability, Endpoint, Link, Node, Port, Topology
from chimera.underlay import identity
from chimera.wire import ovsdb


@dataclass(frozen=True)
class Layer2:
    """The links of a topology that are bridged, and the switches between them."""

    topology: Topology
    bridged: Collection[str]  # names of links

    def switches(self) -> Iterator[Node]:
        """Physical switches and routers that bridge."""
        for node in self.topology.nodes_that(Capability.BRIDGE):
            if any(link.name in self.bridged for link in self.topology.links_of(node.name)):
                yield node

    def bridge(self, node: Node) -> list[ovsdb.Operation]:
        """What makes a physical switch: its bridge with its ports, in one transaction."""
        ports = []
        for link in self.topology.links_of(node.name):
            if link.name in self.bridged:
                port, peer = link.ends() if link.a.node == node.name else link.ends()[::-1]
                spec = PortSpec(port.interface, PHYSICAL, tag=self._access_vlan(peer), untagged=self._is_host(peer))
                ports.append(spec)
        operations = ovsdb.add_bridge(PHYSICAL, ports=ports, hwaddr=identity.switch_mac(self.topology, node.name))
        return operations + (self._spanning_tree(node.name, ports) if self.has_loop else [])

    def _spanning_tree(self, name: str, ports: list[PortSpec]) -> list[ovsdb.Operation]:
        """RSTP on the bridge; ports towards hosts forward at once (edge ports, IEEE 802.1D-2004 section 17.19.17)."""
        operations = [ovsdb.update("Bridge", ovsdb.by_name(PHYSICAL), {"rstp_enable": True})]
        edge = {"other_config": ovsdb.omap({"rstp-port-admin-edge": "true"})}
        inner = self.ports_between_switches()[name]
        return operations + [
            ovsdb.update("Port", ovsdb.by_name(spec.name), edge) for spec in ports if spec.name not in inner
        ]

    def host_ports(self, node: Node) -> Iterator[str]:
        """Interfaces of a switch that lead to bare-metal hosts, from which nothing tagged is to be taken.

        An access port drops tags, but takes off one of VLAN 0: what stood behind it would be the tag on a trunk.
        """
        for link in self.topology.links_of(node.name):
            port, peer = link.ends() if link.a.node == node.name else link.ends()[::-1]
            if link.name in self.bridged and self._is_host(peer):
                yield port.interface

    def _is_host(self, peer: Port) -> bool:
        """Whether an end is a host: no segment is its to name by a tag."""
        return isinstance(self.topology.by_name[peer.node], Endpoint)

    def _access_vlan(self, peer: Port) -> int:
        item = self.topology.by_name[peer.node]
        if isinstance(item, Endpoint) and item.segment:
            return self.topology.segment_of(item).vlan
        return 0

    @cached_property
    def _between_switches(self) -> list[Link]:
        bridges = {node.name for node in self.topology.nodes_that(Capability.BRIDGE)}
        return [k for k in self.topology.links if k.name in self.bridged and {k.a.node, k.b.node} <= bridges]

    def ports_between_switches(self) -> dict[str, list[str]]:
        """Interfaces of each switch that lead to another one."""
        ports: dict[str, list[str]] = defaultdict(list)
        for link in self._between_switches:
            for port in link.ends():
                ports[port.node].append(port.interface)
        return ports

    @cached_property
    def has_loop(self) -> bool:
        """True where the switches are joined by more links than a tree has."""
        return graph.has_cycle((link.a.node, link.b.node) for link in self._between_switches)
