"""What overlays with tunnels from hypervisor to hypervisor share: everything but the wire format.

The controller knows every port and programs every switch before traffic asks. Tables: 0 whose frame is it, 1 frames
from here, 2 frames from a known VTEP whose segment has another identifier on the wire than its VNI, 3 frames from the
tunnel (never back into it). Between the tables ``tunnel_id`` is the segment's VNI; what it is on the wire, and who gets
a copy of a broadcast, is the business of an :class:`Encapsulation`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from chimera.model.control import Effect, Inventory, PacketIn, PacketOut
from chimera.model.flow import Action, Flow, Goto, Output
from chimera.model.ports import PortSpec
from chimera.model.topology import Segment, Topology
from chimera.model.underlay import Fabric, Forwarding, Underlay, edge_address, tree_address
from chimera.overlay import answers, pipeline, ports, responder
from chimera.overlay.agent import Agents
from chimera.overlay.base import Option, Options, central, central_gateway
from chimera.overlay.central import CentralController
from chimera.overlay.control import Interface, Place, Rules, View, owners_of
from chimera.overlay.pipeline import GROUP

FROM_HERE, ARRIVED, FROM_TUNNEL = 1, 2, 3  # tables
KNOWN, FLOOD = 100, 10  # priorities in tables 1 and 2

ETHERNET_BYTES, IPV4_BYTES, UDP_BYTES = 14, 20, 8  # RFC 894, RFC 791 section 3.1, RFC 768

GATEWAY = Option(
    "gateway", ("central", "anycast"), "central", "default gateway: one node holds it, or every hypervisor"
)


class Encapsulation(ABC):
    """How a segment's frames are named between switches, in the fields of the one tunnel port."""

    @abstractmethod
    def towards(self, segment: Segment, receiver: str) -> tuple[Action, ...]:
        """Send a frame of the segment, or one copy of it, to another switch."""

    def to_all(self, segment: Segment, receivers: Sequence[str]) -> tuple[Action, ...]:
        """A broadcast's or multicast's way to other switches: a copy for each (head-end replication)."""
        return tuple(action for receiver in receivers for action in self.towards(segment, receiver))

    @abstractmethod
    def arrivals(self, switch: str) -> tuple[Flow, ...]:
        """Flows at ``switch`` that let in what known VTEPs send, to ``ARRIVED`` or straight to ``FROM_TUNNEL``."""

    def arriving(self, segment: Segment, switch: str) -> tuple[Flow, ...]:
        """Flows at ``switch`` that hand frames of one segment from ``ARRIVED`` to ``FROM_TUNNEL``."""
        return ()


class VniTunnels(Encapsulation):
    """The VNI itself is on the wire (VXLAN and what is spelled like it), IP leads to the receiver."""

    def __init__(self, underlay: Underlay) -> None:
        self._underlay = underlay

    def towards(self, segment: Segment, receiver: str) -> tuple[Action, ...]:
        """To the receiver's address; the identifier is there already."""
        return pipeline.tunnelled(self._underlay.vtep[receiver])

    def arrivals(self, switch: str) -> tuple[Flow, ...]:
        """Of all segments."""
        return pipeline.from_tunnel(self._underlay.known_to(switch), FROM_TUNNEL)


class FabricEdges(Encapsulation):
    """A layer 2 fabric leads to the receiver, the segment's VLAN is on the wire, broadcasts are one frame on a tree.

    All edges get that frame, and those without ports in the segment drop it.
    """

    def __init__(self, inventory: Inventory) -> None:
        fabric = inventory.underlay.fabric
        if fabric is None:
            raise ValueError(f"the underlay was planned without the fabric that overlay {inventory.overlay} needs")
        self._fabric = fabric
        self._edges = {name: edge_address(fabric.identifier(name)) for name in inventory.underlay.vtep}

    def arrivals(self, switch: str) -> tuple[Flow, ...]:
        """From the fabric's edges, by the ingress nickname or switch ID on the wire."""
        return pipeline.from_tunnel((edge for name, edge in self._edges.items() if name != switch), ARRIVED)

    def towards(self, segment: Segment, receiver: str) -> tuple[Action, ...]:
        """To the receiver's nickname or switch ID."""
        return pipeline.renamed(segment.vlan, self._edges[receiver])

    def to_all(self, segment: Segment, receivers: Sequence[str]) -> tuple[Action, ...]:
        """One frame on the segment's tree, where it is for anybody."""
        return pipeline.renamed(segment.vlan, tree_address(tree(self._fabric, segment))) if receivers else ()

    def arriving(self, segment: Segment, switch: str) -> tuple[Flow, ...]:
        """The VLAN stands for the segment, at every switch."""
        return (pipeline.identified(ARRIVED, segment.vlan, segment.vni, FROM_TUNNEL),)


def tree(fabric: Fabric, segment: Segment) -> int:
    """The distribution tree of a segment: segments share the load among a fabric's trees."""
    return fabric.trees[segment.vlan % len(fabric.trees)]


class TunnelRules(Rules):
    """Everything known is programmed, address questions are answered at the first hop, unknown unicast is dropped.

    The switch answers what the segment's directory has, the controller the rest.
    """

    idle_timeout_s = 0  # of the ways to interfaces elsewhere; 0: they stay

    def __init__(self, topology: Topology, encapsulation: Encapsulation, anycast: bool) -> None:
        self._encapsulation = encapsulation
        self._anycast = anycast
        self._owners = {(s.tenant, s.name): owners_of(topology, s) for s in topology.segments}
        self._directories: dict[tuple[str, str], tuple[Flow, ...]] = {}  # what every switch holds alike

    def switch_flows(self, switch: str) -> tuple[Flow, ...]:
        """Questions to who answers them, known VTEPs' tunnel frames to a table of their own, misses dropped."""
        drops = tuple(pipeline.drop(table) for table in (pipeline.CLASSIFY, FROM_HERE, ARRIVED, FROM_TUNNEL))
        questions = (*answers.switch_flows(FROM_HERE), *pipeline.resolution_to_controller(FROM_HERE))
        return (*self._encapsulation.arrivals(switch), *questions, *drops)

    def directory(self, view: View) -> tuple[Flow, ...]:
        """Who has which address; the router's only where a gateway has a leg, or will have one."""
        key = view.segment.tenant, view.segment.name
        if key not in self._directories:
            routed = any(interface.leg_of for interface in view.interfaces.values())
            owners = {a: owner for a, owner in self._owners[key].items() if routed or not owner.router}
            self._directories[key] = answers.directory(view.segment.vni, owners)
        return self._directories[key]

    def receives_groups(self, view: View, switch: str) -> bool:
        """Where it has more than an anycast leg in the segment."""
        return not self._anycast or any(not self._local_only(interface) for interface, _ in view.local(switch))

    def segment_flows(self, view: View, switch: str) -> tuple[Flow, ...]:
        """What arrives; broadcast and multicast: to the segment's ports here, and to the switches with ports in it."""
        group = (("tunnel_id", view.segment.vni), ("eth_dst", GROUP))
        local = [(interface, Output(place.port)) for interface, place in view.local(switch)]
        here = tuple(output for _, output in local)
        arriving = tuple(output for interface, output in local if not self._local_only(interface))
        remote = self._encapsulation.to_all(view.segment, sorted(view.audience - {switch}))
        return (
            *self._encapsulation.arriving(view.segment, switch),
            Flow(FROM_HERE, FLOOD, group, (*here, *remote)),
            Flow(FROM_TUNNEL, FLOOD, group, arriving),
        )

    def elsewhere(self, segment: Segment, interface: Interface, place: Place) -> tuple[Flow, ...]:
        """The way through the tunnel."""
        if self._local_only(interface):
            return ()
        way = self._encapsulation.towards(segment, place.switch)
        known = (("tunnel_id", segment.vni), ("eth_dst", place.mac))
        return (Flow(FROM_HERE, KNOWN, known, way, self.idle_timeout_s),)

    def here(self, segment: Segment, interface: Interface, place: Place) -> tuple[Flow, ...]:
        """The way to its port, and what it may send."""
        known = (("tunnel_id", segment.vni), ("eth_dst", place.mac))
        deliver = (Output(place.port),)
        allowed = pipeline.classified(segment.vni, place, Goto(FROM_HERE))
        own = (allowed, Flow(FROM_HERE, KNOWN, known, deliver), *answers.of_own(segment, interface, place))
        if self._local_only(interface):
            return (*own, *answers.of_leg(segment.vni, place))
        return (*own, Flow(FROM_TUNNEL, KNOWN, known, deliver))

    def advertised(self, segment: Segment, interface: Interface) -> tuple[str, ...]:
        """With anycast gateways, host routes lead clients straight to a VM's hypervisor: IPv4's, as the underlay is."""
        if not (self._anycast and segment.external) or interface.leg_of:
            return ()
        return tuple(f"{address}/32" for address in interface.addresses if ":" not in address)

    def packet(self, view: View, asker: Interface, event: PacketIn) -> tuple[Effect, ...]:
        """Answer address questions from the asker's segment alone; the owner must have been seen once."""
        asked = responder.question(event.data)
        if asked is None:
            return ()
        owners = self._owners[view.segment.tenant, view.segment.name]
        owner = owners.get(asked.target)
        legs = any(view.interfaces[i].leg_of for i in view.seen)
        if owner is None or not (owner.iface_id in view.seen or (owner.router and legs)):
            return ()
        reply = responder.answer(asked, owners, asker.iface_id)
        return (PacketOut(event.switch, reply, (Output(event.in_port),)),) if reply else ()

    def _local_only(self, interface: Interface) -> bool:
        """An anycast leg: every switch has its own, none is reached through a tunnel."""
        return self._anycast and bool(interface.leg_of)


def agents(inventory: Inventory, encapsulation: Encapsulation, rules_of: type[TunnelRules] = TunnelRules) -> Agents:
    """The control plane of an overlay that has little of its own but its wire format: one controller."""
    holders = gateway_holders(inventory.topology, inventory.options)
    rules = rules_of(inventory.topology, encapsulation, is_anycast(inventory.options))
    return central(lambda: CentralController(inventory, rules, holders))


def is_anycast(options: Options) -> bool:
    """Whether every hypervisor is a default gateway."""
    return options.get("gateway") == "anycast"


def gateway_holders(topology: Topology, options: Options) -> tuple[str, ...]:
    """Every hypervisor with ``gateway=anycast``, else the first gateway node."""
    if is_anycast(options):
        return tuple(node.name for node in topology.hypervisors)
    return central_gateway(topology, options)


def routed(options: Options) -> Forwarding:
    """The physical network routes IP."""
    return Forwarding.ROUTED


def tunnel_port(inventory: Inventory, switch: str) -> tuple[PortSpec, ...]:
    """The VXLAN port that every format starts from: what is another format on the wire is translated at the uplink."""
    return (ports.vxlan_port(inventory.underlay.vtep[switch]),)


def growth(*headers_bytes: int) -> int:
    """By how much a VM's IP packet grows: the VM's own Ethernet header and the ``headers_bytes`` in front of it.

    The outer Ethernet header is not counted, as no MTU counts it; so the figure is also by how much frames grow.
    """
    return ETHERNET_BYTES + sum(headers_bytes)
