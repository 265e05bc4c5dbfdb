"""What the tests of overlays share: a small inventory, and switches that hold and follow flows without a kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from chimera.model.control import (
    Effect,
    Event,
    Hold,
    Inventory,
    Located,
    PacketIn,
    PacketOut,
    PortUp,
    SetTimer,
    Started,
    SwitchDown,
    SwitchUp,
    TimerFired,
)
from chimera.model.flow import CONTROLLER, Action, CheckLarger, Flow, Goto, Move, Output, SetField
from chimera.model.topology import Endpoint, Kind, Node, Segment, Site, Topology
from chimera.model.underlay import Fabric, FabricKind, FabricNode, Forwarding, Underlay, edge_address, tree_address
from chimera.overlay import registry
from chimera.overlay.agent import CONTROLLER as CONTROLLER_NODE
from chimera.overlay.base import check_options
from chimera.overlay.ports import TUNNEL
from chimera.overlay.programs import Programs

HYPERVISORS = ("hv1", "hv2", "hv3")
BROADCAST = "ff:ff:ff:ff:ff:ff"


def inventory(overlay: str = "vxlan", **options: str) -> Inventory:
    """Three hypervisors and a gateway; tenants red (r1, r2, r3) and blue (b1, b2) use the same addresses."""
    nodes = [Node(name, Kind.HYPERVISOR, "dc", n) for n, name in enumerate(HYPERVISORS, start=1)]
    nodes.append(Node("gw", Kind.GATEWAY, "dc", 1))
    red = Segment("web", "red", 5001, 101, "10.0.0.0/24", "10.0.0.1", "02:fe:00:00:00:01", "fd00::/64", "fd00::1", True)
    blue = Segment("web", "blue", 5002, 102, "10.0.0.0/24", "10.0.0.1", "02:fe:00:00:00:02")
    vms = [("r1", "red", 11), ("r2", "red", 12), ("r3", "red", 13), ("b1", "blue", 11), ("b2", "blue", 12)]
    endpoints = tuple(
        Endpoint(
            name,
            Kind.VM,
            "dc",
            n,
            HYPERVISORS[n % 3],
            f"{tenant}/web",
            f"02:00:00:00:00:{n:02x}",
            f"10.0.0.{host}/24",
            f"fd00::{host}/64",
            n,
        )
        for n, (name, tenant, host) in enumerate(vms, start=1)
    )
    topology = Topology("test", "", (Site("dc"),), tuple(nodes), endpoints, (red, blue), ())
    vtep = {node.name: f"192.0.2.{n}" for n, node in enumerate(topology.vteps, start=1)}
    underlay = Underlay(Forwarding.ROUTED, 1600, (), (), vtep, {}, {}, fabric(registry.get(overlay).fabric, vtep))
    checked = check_options(registry.get(overlay), options)
    return Inventory(topology, underlay, overlay, checked)


def fabric(kind: FabricKind | None, edges: Iterable[str]) -> Fabric | None:
    """A fabric as edges see it: identifiers from 17 on, and two trees."""
    if kind is None:
        return None
    nodes = {name: FabricNode(identifier, {}, edge=True) for identifier, name in enumerate(edges, start=17)}
    return Fabric(kind, nodes, trees=(7, 9))


Key = tuple[int, int, frozenset[Any]]
Ends = list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class AddFlow:
    """A switch is asked to add a flow."""

    switch: str
    flow: Flow


@dataclass(frozen=True, slots=True)
class DeleteFlow:
    """A switch is asked to delete the flows with a cookie."""

    switch: str
    cookie: int


Change = AddFlow | DeleteFlow | Effect


@dataclass
class Switch:
    """Flow tables as a switch keeps them: one flow for each table, priority and match."""

    flows: dict[Key, Flow] = field(default_factory=dict)

    def apply(self, change: AddFlow | DeleteFlow) -> None:
        """Carry out a flow-mod."""
        if isinstance(change, AddFlow):
            self.flows[change.flow.place] = change.flow
        else:
            self.flows = {key: flow for key, flow in self.flows.items() if flow.cookie != change.cookie}

    @property
    def cookies(self) -> frozenset[int]:
        """The cookies of all flows."""
        return frozenset(flow.cookie for flow in self.flows.values())

    def forward(self, in_port: int, frame: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
        """Ports a frame leaves by, with the fields it then has; never the port it came from."""
        fields = {**frame, "in_port": in_port}
        out: list[tuple[int, dict[str, Any]]] = []
        table: int | None = 0
        while table is not None:
            flow = self.lookup(table, fields)
            table = None
            for action in flow.actions if flow else ():
                if isinstance(action, SetField):
                    fields[action.field] = action.value
                elif isinstance(action, Move):
                    fields[action.target] = fields[action.source]
                elif isinstance(action, Output) and action.port != in_port:
                    out.append((action.port, dict(fields)))
                elif isinstance(action, CheckLarger):
                    fields["reg0"] = int(fields.get("length", 0) > action.frame_bytes)
                elif isinstance(action, Goto):
                    table = action.table
        return out

    def send(self, fields: dict[str, Any], actions: Iterable[Action]) -> list[tuple[int, dict[str, Any]]]:
        """Ports a frame of the controller leaves by, with the fields it then has."""
        fields, out = dict(fields), list[tuple[int, dict[str, Any]]]()
        for action in actions:
            if isinstance(action, SetField):
                fields[action.field] = action.value
            elif isinstance(action, Output):
                out.append((action.port, dict(fields)))
        return out

    def lookup(self, table: int, fields: dict[str, Any]) -> Flow | None:
        """The flow of a table that a frame hits."""
        fitting = [f for f in self.flows.values() if f.table == table and all(_fits(fields, *m) for m in f.match)]
        return max(fitting, key=lambda f: f.priority, default=None)


def _fits(fields: dict[str, Any], name: str, wanted: Any) -> bool:
    have = fields.get(name)
    if have is None or not isinstance(wanted, tuple):
        return bool(have == wanted)
    value, mask = map(_bits, wanted)
    return _bits(have) & mask == value


def _bits(value: int | str) -> int:
    """A field's value as a number: of an address, IP or MAC, its bits."""
    if isinstance(value, int):
        return value
    if "." in value or value.count(":") != 5 or "::" in value:
        return int(ip_address(value))
    return int(value.replace(":", ""), 16)


@dataclass
class Lab:
    """A controller's agent with switches that do what it says; ``effects`` are those of the last event."""

    inventory: Inventory
    switches: dict[str, Switch] = field(default_factory=dict)
    effects: tuple[Change, ...] = ()
    programs: Programs = field(default_factory=Programs)
    connected: set[str] = field(default_factory=set)
    located: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.agent = registry.get(self.inventory.overlay).agents(self.inventory)[CONTROLLER_NODE]()
        self.switches = self.switches or {node.name: Switch() for node in self.inventory.topology.vteps}
        self.happen(Started())

    def happen(self, *events: Event, apply: bool = True) -> tuple[Change, ...]:
        """Let events happen one after the other, each settled before the next; the effects of the last one."""
        for event in events:
            others = tuple(self._step(event))
            batches = self.programs.batches()
            added = [AddFlow(batch.switch, flow) for batch in batches for flow in batch.added]
            deleted = [DeleteFlow(batch.switch, cookie) for batch in batches for cookie in batch.deleted]
            self.effects = (*added, *others, *deleted)
            for change in (*added, *deleted) if apply else ():
                self.switches[change.switch].apply(change)
        return self.effects

    def _step(self, event: Event) -> Iterator[Effect]:
        if isinstance(event, SwitchUp):
            self.programs.connected(event.switch, event.held)
            self.connected.add(event.switch)
        elif isinstance(event, SwitchDown):
            self.programs.disconnected(event.switch)
            self.connected.discard(event.switch)
        for effect in self.agent.step(event, 0.0):
            if isinstance(effect, Hold):
                self.programs.hold(effect)
            elif isinstance(effect, SetTimer):
                yield from self._step(TimerFired(effect.name))
            elif isinstance(effect, Located):
                self.located[effect.iface_id] = effect.switch
            else:
                yield effect

    def locations(self) -> dict[str, str]:
        """The switch at which the controller said that each interface is."""
        return {iface_id: switch for iface_id, switch in self.located.items() if switch}

    def wanted(self, switch: str) -> list[Flow]:
        """What a switch should hold."""
        return list(self.programs[switch].flows())

    def receivers(self, switch: str, in_port: int, frame: dict[str, Any]) -> Ends:
        """Where a frame that enters at a port ends up, tunnels and controller followed; one element for each copy."""
        ends: Ends = []
        for port, fields in self.switches[switch].forward(in_port, frame):
            if port == CONTROLLER:
                for sent_on in self.ask(switch, in_port, frame, fields.get("tunnel_id", 0)):
                    for out_port, out in self.switches[switch].send(frame, sent_on.actions):
                        ends += self._out(switch, out_port, out, frame)
            else:
                ends += self._out(switch, port, fields, frame)
        return ends

    def ask(self, switch: str, in_port: int, frame: dict[str, Any], tunnel_id: int = 0) -> list[PacketOut]:
        """The frames that the controller sends when it gets this one."""
        macs = bytes.fromhex((frame["eth_dst"] + frame["eth_src"]).replace(":", ""))
        data = macs + frame["eth_type"].to_bytes(2) + bytes(range(46))
        return [e for e in self.happen(PacketIn(switch, in_port, data, tunnel_id)) if isinstance(e, PacketOut)]

    def _out(self, switch: str, port: int, fields: dict[str, Any], frame: dict[str, Any]) -> Ends:
        if port != TUNNEL:
            return [(switch, port)]
        carried = {**frame, "tunnel_id": fields["tunnel_id"], "tun_ipv4_src": self.address(switch)}
        far = self.reached(switch, fields["tun_ipv4_dst"])
        return [(f, p) for f in far for p, _ in self.switches[f].forward(TUNNEL, carried)]

    def address(self, switch: str) -> str:
        """What a switch's frames come from, as others see it at their tunnel ports."""
        underlay = self.inventory.underlay
        return edge_address(underlay.fabric.identifier(switch)) if underlay.fabric else underlay.vtep[switch]

    def reached(self, sender: str, address: str) -> list[str]:
        """The switches that an address on the tunnel leads to: a VTEP, an edge of the fabric, or all on a tree."""
        underlay = self.inventory.underlay
        if underlay.fabric is None:
            return [name for name, vtep in underlay.vtep.items() if vtep == address]
        if address in map(tree_address, underlay.fabric.trees):
            return [name for name in underlay.vtep if name != sender]
        return [name for name in underlay.vtep if edge_address(underlay.fabric.identifier(name)) == address]

    def send(self, vm: str, destination: str) -> list[tuple[str, int]]:
        """Where a VM's frame to a MAC ends up: an IP packet, to the address of the VM that has the MAC."""
        endpoint = self.inventory.topology.vm(vm)
        frame = {"eth_src": endpoint.mac, "eth_dst": destination, "eth_type": 0x0800}
        ends = {"ipv4_src": endpoint.mac, "ipv4_dst": destination}
        address = {vm.mac: vm.ip.partition("/")[0] for vm in self.inventory.topology.vms}
        frame |= {field: address[mac] for field, mac in ends.items() if mac in address}
        return self.receivers(self.located[vm], endpoint.port, frame)

    def at(self, vm: str) -> tuple[str, int]:
        """The switch and port of a VM."""
        return self.located[vm], self.inventory.topology.vm(vm).port


def running(overlay: str = "vxlan", **options: str) -> Lab:
    """All switches and VMs up; r1 at hv2, r2 at hv3, r3 at hv1, b1 at hv2, b2 at hv3."""
    made = Lab(inventory(overlay, **options))
    made.happen(*(SwitchUp(name) for name in made.switches))
    made.happen(*(up(made, vm.name, vm.hypervisor) for vm in made.inventory.topology.vms))
    return made


def up(made: Lab, vm: str, switch: str) -> PortUp:
    """A VM's port appears at a switch."""
    endpoint = made.inventory.topology.vm(vm)
    return PortUp(switch, vm, endpoint.mac, endpoint.port)


def mac(made: Lab, vm: str) -> str:
    """A VM's MAC."""
    return made.inventory.topology.vm(vm).mac


def matches(flows: Iterable[Flow]) -> list[Key]:
    """What a switch tells flows apart by."""
    return [(flow.table, flow.priority, frozenset(flow.match)) for flow in flows]
