"""A topology as a running network: namespaces, links, switches and addresses, and what can be done to them.

:meth:`Network.up` is the order of things. What differs between overlays (ports, gateways, forwarding of the
underlay) comes in as data: :class:`Wiring` and :class:`~chimera.model.underlay.Underlay`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from threading import RLock

from chimera import namespaces
from chimera.model.errors import InputError, SessionError, did_you_mean, not_one_of
from chimera.model.events import LinkChanged, Misrouted, NodeChanged, Progress, Repaired, Tell, tell_nobody
from chimera.model.ports import INTEGRATION, MANAGEMENT, PHYSICAL, PortSpec
from chimera.model.samples import LineTimes
from chimera.model.service import State
from chimera.model.topology import Capability, Endpoint, Impairment, Node, Port, Segment, Topology
from chimera.model.underlay import Forwarding, Route, Translator, Underlay
from chimera.net import cables, guests, kernel, netns, policy, sysctl
from chimera.net.machine import has_netem
from chimera.net.mn import LabNet, mininet_view
from chimera.net.ovs import OpenVSwitch, empty_database
from chimera.net.routing import Routes
from chimera.net.service import Restart
from chimera.net.services import Process, Supervisor
from chimera.net.translators import Translation, uplinks
from chimera.underlay import plan, ways
from chimera.underlay.identity import link_macs
from chimera.underlay.layer2 import Layer2
from chimera.wire import ovsdb
from chimera.wire.wireformat import VXLAN

_TAP_QUEUE = 10_000  # packets
_PARALLEL = 8  # daemons that start at once; more only queue for the CPU


@dataclass(frozen=True)
class Wiring:
    """What an overlay wants on the switches.

    ``ports`` are a VTEP's ports beyond its VMs', ``legs`` its gateway legs with their segments,
    ``vm_ports`` the port a VM gets wherever it is, ``datapath_ids`` those of each ``br-int``.
    """

    ports: Mapping[str, tuple[PortSpec, ...]]
    legs: Mapping[str, tuple[tuple[PortSpec, Segment], ...]]
    vm_ports: Mapping[str, PortSpec]
    datapath_ids: Mapping[str, int]
    segments_at: str | None = None  # the node that routes for whole external segments
    translator: Translator | None = None  # where Open vSwitch lacks the wire format
    learns: bool = False  # whether switches learn from the frames they forward who is where


@dataclass
class Network:
    """The network of one lab, in the sandbox this process is the first of."""

    topology: Topology
    underlay: Underlay
    wiring: Wiring
    controller: str  # OpenFlow target of every br-int
    tell: Tell = tell_nobody
    services: Supervisor = field(default_factory=Supervisor)
    routes: Routes = field(default_factory=Routes)
    location: dict[str, str] = field(default_factory=dict)  # VM -> hypervisor
    stopped: set[str] = field(default_factory=set)  # nodes that are powered off
    _hosts: dict[str, str] = field(default_factory=dict)  # advertised prefix -> hypervisor
    _wrong: list[Route] = field(default_factory=list)  # made by misroute
    _told_cut: set[str] = field(default_factory=set)  # links
    _changing: RLock = field(default_factory=RLock)  # links, nodes and their services: one change at a time
    _routing: RLock = field(default_factory=RLock)  # routes, taken after it: who has this waits for no service

    def __post_init__(self) -> None:
        topology = self.topology
        self.location = {vm.name: vm.hypervisor for vm in topology.vms}
        self._layer2 = Layer2(topology, plan.bridged_links(topology, self.underlay.forwarding))
        self._macs = link_macs(topology)
        self.translation = (
            Translation(topology, self.underlay, self.wiring.translator) if self.wiring.translator else None
        )
        switches = *topology.openflow_switches, *self._layer2.switches()
        self.switches = {node.name: self._open_vswitch(node) for node in switches}
        self.cables: dict[str, cables.Cable] = {}

    def _open_vswitch(self, node: Node) -> OpenVSwitch:
        """Its daemons are started again: its ports and addresses are remembered, its flows are the controller's."""
        return OpenVSwitch(
            node.name, self.services, whole_pages=self.translation is not None, learns=self.wiring.learns,
            restart=Restart(), switch_again=partial(self._switch_is_back, node),
            database_again=partial(self._tell_controller, node),
        )  # fmt: skip

    # -- up --------------------------------------------------------------------------------------

    def up(self, measure_links: Callable[[Network], None] = lambda network: None) -> None:
        """Build everything; when it returns, the switches are there and know their controller's address."""
        self._make_namespaces()
        self._make_links()
        measure_links(self)
        if self.translation:
            self.translation.attach()
        self.tell(Progress(f"starting {len(self.switches)} Open vSwitches"))
        empty_database()  # once, before many threads want it
        core = [node for node in self.topology.nodes if node.name not in self.switches]
        others = [*(node for node in self.topology.nodes if node.name in self.switches), *self.topology.endpoints]
        with ThreadPoolExecutor(_PARALLEL) as pool:
            for _ in pool.map(self._configure, core):  # host routes lead there as soon as a switch has told of a VM
                pass
            for _ in pool.map(self._start_switch, list(self.switches)):
                pass
            for _ in pool.map(self._configure, others):
                pass
        self.routes.replace("plan", self.underlay.routes)
        self._wait_spanning_tree()

    def connect_controller(self, target: str) -> None:
        """Point every ``br-int`` at a controller that listens elsewhere than the one before."""
        self.controller = target
        for node in self.topology.vteps:
            if self.switches[node.name].configurable:
                self._tell_controller(node)

    def _tell_controller(self, node: Node) -> None:
        """It may listen elsewhere than when the switch was last told."""
        if node.name in self.underlay.vtep:
            setting = ovsdb.set_controller(INTEGRATION, [self.controller])
            self.switches[node.name].db.apply(*setting, wait=False)

    def _make_namespaces(self) -> None:
        sysctl.set_here(sysctl.ROUTER)
        names = list(self.topology.by_name)
        self.tell(Progress(f"making {len(names)} nodes and {len(self.topology.links) + len(self.topology.vms)} links"))
        netns.ip_batch("", (f"netns add {name}" for name in names))
        for node in self.topology.nodes:
            sysctl.write(node.name, sysctl.ROUTER)
        for endpoint in self.topology.endpoints:
            sysctl.write(endpoint.name, sysctl.GUEST_WITH_IPV6 if endpoint.ip6 else sysctl.GUEST_WITHOUT_IPV6)

    def _make_links(self) -> None:
        impaired = any(link.impaired for link in self.topology.links)
        netem = impaired and has_netem()
        self.cables = cables.make(
            self.topology.links, self.underlay.mtu, self._macs, self.services, self.follow_link, netem=netem
        )
        batch = [line for cable in self.cables.values() for line in cable.lines()]
        batch += [guests.link_line(vm, self.topology.vm_mtu) for vm in self.topology.vms]
        batch += [f"link add {MANAGEMENT} type bridge", f"link set dev {MANAGEMENT} up", "link set lo up"]
        batch += [f"addr add {self.management_address(None)}/16 dev {MANAGEMENT}"]
        for number, node in enumerate(self.topology.openflow_switches, start=1):
            peer = f"peer name {MANAGEMENT} netns {node.name}"
            batch.append(f"link add name m{number} master {MANAGEMENT} type veth {peer}")
            batch.append(f"link set m{number} up")
        netns.ip_batch("", batch)
        for cable in self.cables.values():
            cable.start()
        for cable in self.cables.values():  # all at once
            cable.wait_ready()
        ups: dict[str, list[str]] = defaultdict(list)
        for link in self.topology.links:
            for port in link.ends():
                ups[port.node].append(f"link set dev {port.interface} up")
        if self.translation:  # Open vSwitch sends VXLAN, which is longer than what it becomes at the uplink
            for port in uplinks(self.topology):
                ups[port.node].append(f"link set dev {port.interface} mtu {self.underlay.mtu + VXLAN.added_bytes}")
        for vm in self.topology.vms:
            ups[vm.hypervisor].append(f"link set dev {vm.name} up")
        for node in self.topology.openflow_switches:  # before its switch starts and looks for the controller
            ups[node.name].append(f"link set dev {MANAGEMENT} up")
            ups[node.name].append(f"addr add {self.management_address(node)}/16 dev {MANAGEMENT}")
        for node_name, lines in ups.items():
            netns.ip_batch(node_name, lines)

    def management_address(self, node: Node | None) -> str:
        """Out-of-band address of an OpenFlow switch, or of the controller."""
        index = 1 if node is None else 2 + self.topology.openflow_switches.index(node)
        return str(plan.MANAGEMENT.network_address + index)

    # -- switches --------------------------------------------------------------------------------

    def _start_switch(self, name: str) -> None:
        node = self.topology.node(name)
        is_vtep = node.can(Capability.SPEAK_OPENFLOW)
        operations = self._vtep_bridges(node) if is_vtep else self._layer2.bridge(node)
        self.switches[name].start(operations)
        self._refuse_tags(node)

    def _refuse_tags(self, node: Node) -> None:
        """The flows of a physical switch."""
        for interface in self._layer2.host_ports(node) if node.name not in self.underlay.vtep else ():
            flow = f"in_port={interface},vlan_tci=0x1000/0x1000,actions=drop"
            self.switches[node.name].ofctl("add-flow", PHYSICAL, flow)

    def _vtep_bridges(self, node: Node) -> list[ovsdb.Operation]:
        """``br-int`` for the tenants, ``br-phy`` for the uplink and the tunnel address."""
        ports = [*self.wiring.ports[node.name], *(leg for leg, _ in self.wiring.legs.get(node.name, ()))]
        ports += [self.wiring.vm_ports[vm] for vm, at in self.location.items() if at == node.name]
        uplinks = [PortSpec(port.interface, PHYSICAL) for port in self._ends_at(node.name)]
        return [
            *ovsdb.add_bridge(
                INTEGRATION, fail_mode="secure", datapath_id=self.wiring.datapath_ids[node.name],
                controllers=[self.controller],
                ports=[p for p in ports if p.bridge == INTEGRATION],
            ),
            *ovsdb.add_bridge(
                PHYSICAL, hwaddr=self.underlay.vtep_mac[node.name], mtu=self.underlay.mtu,
                ports=[*uplinks, *(p for p in ports if p.bridge == PHYSICAL)],
            ),
        ]  # fmt: skip

    def _ends_at(self, name: str) -> Iterator[Port]:
        for link in self.topology.links_of(name):
            yield link.a if link.a.node == name else link.b

    def _cut_ends(self, name: str) -> set[str]:
        """A node's interfaces that are down as their links are cut."""
        links = [link for link in self.topology.links_of(name) if not self.cables[link.name].ends_up]
        return {port.interface for link in links for port in link.ends() if port.node == name}

    def _wait_spanning_tree(self) -> None:
        if self._layer2.has_loop:
            self.tell(Progress("waiting for the spanning tree"))
            for name, interfaces in self._layer2.ports_between_switches().items():
                self.switches[name].wait_ports_forward(interfaces)

    # -- addresses -------------------------------------------------------------------------------

    def _configure(self, item: Node | Endpoint) -> None:
        if isinstance(item, Endpoint):
            if item.segment:
                guests.configure(item, self.topology.segment_of(item))
                return
            netns.ip_batch(item.name, ["link set lo up", *self._address_lines(item.name)])
            with namespaces.inside(namespaces.path(item.name)):
                kernel.checksum_in_software("eth0")
            return
        self._mark_legs(item.name)
        netns.ip_batch(item.name, self._node_lines(item))
        self._finish_ports(item.name)
        if item.can(Capability.SPEAK_OPENFLOW):
            self._prepare_tunnels(item.name)

    def _node_lines(self, node: Node) -> list[str]:
        lines = ["link set lo up"]
        if node.can(Capability.SPEAK_OPENFLOW):
            # A tap drops what Open vSwitch does not fetch in time, and TCP never learns to wait for it.
            lines.append(f"link set dev {PHYSICAL} txqueuelen {_TAP_QUEUE}")
        lines += self._address_lines(node.name)
        rules = [*policy.legs(self._legs(node.name), self._outside), *self._gate_lines(node.name)]
        return [*lines, *policy.local_later(), *rules] if rules else lines

    def _gate_lines(self, name: str) -> Iterator[str]:
        """What clients reach by a node, and what the underlay reaches by a VTEP."""
        own = {a.interface: a.address.partition("/")[0] for a in self.underlay.addresses if a.node == name}
        if self.topology.can(name, Capability.SPEAK_OPENFLOW):
            external = [leg.segment for leg in self._legs(name) if leg.segment.external]
            yield from policy.gate(
                PHYSICAL, [own[PHYSICAL], *(s.gateway for s in external)], [s.subnet for s in external]
            )
        for port in self._ports_towards(name, lambda peer: peer.can(Capability.ENTER_BY_IP)):
            yield from policy.gate(port.interface, [own[port.interface]], self._outside)

    def _legs(self, name: str) -> list[policy.Leg]:
        legs = self.wiring.legs.get(name, ())
        return [policy.Leg(leg.name, segment, self._tenants.index(segment.tenant) + 1) for leg, segment in legs]

    @cached_property
    def _outside(self) -> tuple[str, ...]:
        """What clients, and VMs of external segments, reach through the underlay."""
        subnets = [s.subnet for s in self.topology.segments if s.external and s.gateway]
        return (*subnets, *self.underlay.client_address.values())

    def _ports_towards(self, name: str, wanted: Callable[[Node | Endpoint], bool]) -> Iterator[Port]:
        """A node's ends of links to peers that are wanted."""
        for link in self.topology.links_of(name):
            near, far = link.ends() if link.a.node == name else link.ends()[::-1]
            if wanted(self.topology.by_name[far.node]):
                yield near

    def _mark_legs(self, name: str) -> None:
        """Have what legs receive known as their tenants', before they are up."""
        if legs := self._legs(name):
            netns.run(name, ["nft", "-f", "-"], stdin=policy.marks(legs))

    def _finish_ports(self, name: str) -> None:
        """What ``ip -batch`` for IPv4 cannot say about gateway legs, and ports that others send by."""
        legs = self._legs(name)
        for leg in legs:
            sysctl.write(name, sysctl.leg(leg.interface))
            if leg.segment.gateway6:
                sysctl.write(name, sysctl.leg6(leg.interface))
        netns.ip_batch(name, policy.legs6(legs), again=True, family="-6")
        for port in self._ports_towards(name, lambda peer: isinstance(peer, Endpoint)):
            sysctl.write(name, sysctl.untrusted(port.interface))
        if self.topology.can(name, Capability.SPEAK_OPENFLOW):
            sysctl.write(name, sysctl.MANAGEMENT)

    @cached_property
    def _tenants(self) -> list[str]:
        return list(dict.fromkeys(s.tenant for s in self.topology.segments))

    def _address_lines(self, name: str) -> Iterator[str]:
        cut = self._cut_ends(name)
        for address in self.underlay.addresses:
            if address.node == name:
                if address.interface not in cut:
                    yield f"link set dev {address.interface} up"
                yield f"addr replace {address.address} dev {address.interface}"

    def _prepare_tunnels(self, name: str) -> None:
        """Tell Open vSwitch the MACs its tunnels need, for it drops a frame whose next hop it must ask for (facts.md).

        And the source ports that tell flows apart: the dynamic range (RFC 7348 section 5, RFC 7510 section 3), which
        its default begins below.
        """
        self.switches[name].appctl("tnl/egress_port_range", "49152", "65535")
        for address, mac in plan.neighbours(self.topology, self.underlay, name).items():
            self.switches[name].appctl("tnl/neigh/set", PHYSICAL, address, mac)

    # -- links and nodes while the lab runs ------------------------------------------------------

    def line_times(self) -> LineTimes:
        """How punctual the delay lines have been, all together; netem and plain links keep no count."""
        ways = [way for cable in self.cables.values() for way in cable.stats().values()]
        longest_us = max((way["late_max_us"] for way in ways), default=0.0)
        return LineTimes(
            int(sum(way["frames"] for way in ways)), int(sum(way["late"] for way in ways)), longest_us / 1000
        )  # fmt: skip

    def cable(self, name: str) -> cables.Cable:
        """The link of that name.

        Raises:
            InputError: there is none, with those there are.
        """
        if name not in self.cables:
            raise InputError(not_one_of("link", name, self.cables))
        return self.cables[name]

    def set_link(self, name: str, up: bool) -> None:
        """Cut or restore a link; the underlay's routes follow, as after a routing protocol converged."""
        with self._changing:
            cable, start = self.cable(name), time.time()
            cable.set_up(up)  # a delay line that has to be started is followed, meanwhile
            self._link_changed(cable, start)

    def follow_link(self, name: str) -> None:
        """What is in the middle of a link has ended, or is back: the underlay's routes follow."""
        with self._changing:
            cable, start = self.cable(name), time.time()
            cable.follow()
            self._link_changed(cable, start)

    def _link_changed(self, cable: cables.Cable, start: float) -> None:
        name = cable.link.name
        if cable.up == (name in self._told_cut):
            self._told_cut ^= {name}
            self.tell(LinkChanged(name, "restored" if cable.up else "cut", t=start))
        self._replan()

    def impair(self, name: str, forward: Impairment, backward: Impairment) -> None:
        """Change what a link does to frames in each direction."""
        with self._changing:
            cable, start = self.cable(name), time.time()
            cable.impair(forward, backward)
            self.tell(LinkChanged(name, "changed", forward, backward, t=start))

    def longest_round_trip_s(self) -> float:
        """A bound on the delay of a packet and its answer on any path, as the links are now, in seconds."""
        links = [cable.link for cable in self.cables.values()]
        ways = [way for link in links for way in (link.forward, link.backward)]
        return sum(way.delay_ms + way.jitter_ms for way in ways) / 1000

    def _replan(self, *anew: str) -> None:
        """Have the underlay's routes be those of the links as they are now; nodes that are ``anew`` lost theirs."""
        forwarding, wiring = self.underlay.forwarding, self.wiring
        kind = self.underlay.fabric.kind if self.underlay.fabric else None
        with self._routing:
            for name in anew:
                self.routes.forget(name)
            cut = self._cut()
            fresh = plan.plan(self.topology, forwarding, segments_at=wiring.segments_at, fabric=kind, down=cut)
            self.routes.replace("plan", self._held(fresh.routes))
            if self.translation and fresh.fabric:
                self.translation.follow(fresh.fabric)
            for prefix, switch in list(self._hosts.items()):
                self.advertise(prefix, switch)

    def _held(self, routes: Iterable[Route]) -> Iterator[Route]:
        """Those of nodes that can hold routes: without its daemon a switch has no interface that they lead to."""
        dark = {name for name, switch in self.switches.items() if not switch.forwards} | self.stopped
        return (route for route in routes if route.node not in dark)

    def _cut(self) -> frozenset[str]:
        off = {link.name for name in self.stopped for link in self.topology.links_of(name)}
        return frozenset(off | {name for name, cable in self.cables.items() if not cable.up})

    def misroute(self, at: str, target: str, towards: str) -> None:
        """Have a node of the core send what is for a hypervisor to a neighbour, right or wrong, until :meth:`repair`.

        Raises:
            InputError: the two are no neighbours.
        """
        fabric = self.underlay.fabric
        start = time.time()
        with self._routing:
            if self.translation and fabric:
                self.translation.misroute(at, target, ways.wrong_hop(self.topology, fabric, at, towards))
                self._replan()
            else:
                self._wrong.append(ways.wrong_route(self.topology, self.underlay, at, target, towards))
                self.routes.replace("misroute", self._wrong)
        self.tell(Misrouted(at, target, towards, t=start))

    def repair(self) -> None:
        """End every :meth:`misroute`."""
        start = time.time()
        with self._routing:
            self._wrong.clear()
            self.routes.replace("misroute", ())
            if self.translation and self.underlay.fabric:
                self.translation.repair()
                self._replan()
        self.tell(Repaired(t=start))

    def advertise(self, prefix: str, switch: str) -> None:
        """Have the underlay route a VM's address to a hypervisor."""
        with self._routing:
            self._hosts[prefix] = switch
            towards = plan.host_routes(self.topology, self.underlay.forwarding, prefix, switch, self._cut())
            self.routes.replace(prefix, towards)

    def withdraw(self, prefix: str) -> None:
        """End :meth:`advertise`."""
        with self._routing:
            self._hosts.pop(prefix, None)
            self.routes.replace(prefix, ())

    def stop_node(self, name: str) -> None:
        """Power off a hypervisor or gateway: its services end, its VMs stand still.

        Raises:
            SessionError: it is off already, or is no such node.
        """
        with self._changing:
            if name not in self.underlay.vtep or name in self.stopped:
                why = "already stopped" if name in self.stopped else "no hypervisor or gateway"
                raise SessionError(f"{name} is {why}")
            self.stopped.add(name)
            self.tell(NodeChanged(name, "stopped"))
            self.services.stop(*self.services.of(name).values(), kill=True)
            for port in self._ends_at(name):
                netns.run(name, ["ip", "link", "set", "dev", port.interface, "down"])
            for vm in self.vms_at(name):
                guests.freeze(vm)
            self._replan(name)

    def start_node(self, name: str) -> None:
        """Power a hypervisor or gateway on again; its switch remembers its ports, its VMs go on.

        Of a node that is on, start the services that do not run.

        Raises:
            SessionError: it is not stopped, and neither is any of its services.
        """
        with self._changing:
            down = [process for process in self.services.of(name).values() if not process.running]
            if name not in self.stopped and not down:
                raise SessionError(f"{name} is not stopped")
            start = time.time()
            self.stopped.discard(name)
            for process in down:
                self.services.start_again(process)
            for vm in self.vms_at(name):
                guests.thaw(vm)
            self.tell(NodeChanged(name, "started", t=start))

    def _switch_is_back(self, node: Node) -> None:
        """What ended with its daemon is made again: its interfaces with their addresses and routes, its own tables."""
        name = node.name
        with self._changing:
            if name in self.stopped:
                return
            cut = self._cut_ends(name)
            ups = [f"link set dev {port.interface} up" for port in self._ends_at(name) if port.interface not in cut]
            self._mark_legs(name)
            netns.ip_batch(name, [*ups, *self._node_lines(node)], again=True)
            self._finish_ports(name)
            if name in self.underlay.vtep:
                self._prepare_tunnels(name)
            self._refuse_tags(node)
            self._replan(name)

    def service(self, node: str, name: str) -> Process:
        """A service of a node or link.

        Raises:
            InputError: there is no such node, link or service; with those there are.
        """
        found = self.services.of(node)
        if name not in found:
            if node not in self.topology.by_name and node not in self.cables:
                raise InputError(not_one_of("node or link", node, [*self.topology.by_name, *self.cables]))
            raise InputError(no_service(node, name, found))
        return found[name]

    def stop_service(self, node: str, name: str) -> None:
        """End one service of a node or link, and do not start it again.

        Raises:
            InputError: there is no such one.
            SessionError: it does not run.
        """
        process = self.service(node, name)
        if process.state is State.ENDED:
            raise SessionError(f"{process.service} is stopped already")
        self.tell(NodeChanged(node, "stopped", name))
        self.services.stop(process)

    def start_service(self, node: str, name: str) -> None:
        """Start one service of a node or link that does not run; its node is as it was before.

        Raises:
            InputError: there is no such one.
            SessionError: it runs, its node is off, or it cannot be started.
        """
        if node in self.stopped:
            raise SessionError(f"{node} is stopped: 'lab start {node}' starts it with all of its services")
        process, start = self.service(node, name), time.time()
        self.services.start_again(process)
        self.tell(NodeChanged(node, "started", name, t=start))

    def switches_on(self) -> list[str]:
        """OpenFlow switches that are powered on and forward: those the controller should be in agreement with."""
        return [
            node.name for node in self.topology.openflow_switches
            if node.name not in self.stopped and self.switches[node.name].forwards
        ]  # fmt: skip

    def interfaces_on(self) -> int:
        """How many VMs and gateway legs they have."""
        on = self.switches_on()
        return sum(at in on for at in self.location.values()) + sum(len(self.wiring.legs.get(name, ())) for name in on)

    # -- VMs -------------------------------------------------------------------------------------

    def vms_at(self, hypervisor: str) -> list[str]:
        """Names of the VMs a hypervisor runs."""
        return [vm for vm, at in self.location.items() if at == hypervisor]

    def unplug(self, vm: str) -> None:
        """Take a VM's port off its hypervisor's switch."""
        spec = self.wiring.vm_ports[vm]
        self.switches[self.location[vm]].db.del_port(spec.bridge, spec.name, wait=False)

    def set_port(self, vm: str, up: bool) -> None:
        """Bring the hypervisor's end of a VM's link up or down."""
        netns.run("", ["ip", "-n", self.location[vm], "link", "set", "dev", vm, "up" if up else "down"])

    def move(self, vm: str, destination: str) -> None:
        """Carry the hypervisor's end of a VM's link to another hypervisor; the VM keeps everything."""
        netns.run("", ["ip", "-n", self.location[vm], "link", "set", "dev", vm, "netns", destination])
        self.location[vm] = destination

    def plug(self, vm: str) -> None:
        """Put a VM's port onto the switch of the hypervisor it is at, and its link up."""
        switch = self.switches[self.location[vm]]
        self.set_port(vm, True)
        switch.db.add_port(self.wiring.vm_ports[vm])
        switch.deepen_queues()

    def replug(self, vm: str) -> None:
        """Have a VM's port on its switch and up, whether or not it was taken off."""
        spec = self.wiring.vm_ports[vm]
        self.set_port(vm, True)
        if not self.switches[self.location[vm]].db.rows("Port", ovsdb.by_name(spec.name), ["name"]):
            self.plug(vm)

    # -- what programs at the links do ------------------------------------------------------------

    @cached_property
    def translated(self) -> frozenset[str]:
        """Interfaces (``node:interface``) where a translator changes what arrives before it can be captured."""
        return frozenset(map(str, uplinks(self.topology))) if self.translation else frozenset()

    def fabric_entries(self, name: str) -> int:
        """What a node of a fabric holds to forward by, counted in the kernel; 0 where it is none."""
        return self.translation.entries(name) if self.translation else 0

    def fabric_counters(self, name: str) -> dict[str, int]:
        """What a node of a fabric did to frames; empty where it is none."""
        return self.translation.counters(name) if self.translation else {}

    # -- Mininet ---------------------------------------------------------------------------------

    def mininet(self) -> LabNet:
        """The network as Mininet objects, for its CLI and programs written for it."""
        return mininet_view(self.topology, self.underlay, lambda: self.location, self.set_link)


def no_service(node: str, name: str, found: Iterable[str]) -> str:
    """The text for a service that a node has not."""
    names = list(found)
    there = f"there are {', '.join(names)}" if names else "there are none"
    hint = did_you_mean(name, names)
    return f"no service '{name}' at {node}: {there}" + (f"\n    fix: {hint}" if hint else "")


def check(topology: Topology, forwarding: Forwarding, overlay: str) -> None:
    """Refuse what this overlay cannot carry, before anything is started.

    Raises:
        InputError: a bare-metal host is to join a segment that ends on hypervisors.
    """
    if forwarding is Forwarding.BRIDGED:
        return
    for endpoint in topology.endpoints:
        if endpoint.joined_by_cable:
            raise InputError(
                f"bare-metal host {endpoint.name} is in segment {endpoint.segment}, "
                f"but overlay {overlay} ends on hypervisors\n"
                f"    fix: leave its segment out (it becomes a host of the underlay), or choose --overlay vlan"
            )
