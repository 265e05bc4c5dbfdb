"""LISP (RFC 9300) with hypervisors as ITR and ETR: tenants' IP packets without their Ethernet, named by address.

EIDs are VMs' addresses, RLOCs the hypervisors', and an instance ID (RFC 9300 section 5.5) is a tenant. Tables: 0 whose
frame is it; 1 frames from here, ``tunnel_id`` the segment's VNI; 3 packets from the tunnel, ``tunnel_id`` the instance
ID. What Ethernet did is done at the edge:

- Address questions, also those to one remote neighbour, are answered here. A packet to a VM's MAC is mapped by MAC
  *and* address, so a VM never receives what was sent to its MAC for an address that it has not.
- Between VMs of one segment the hypervisors are a bridge: no TTL is decremented, and the outer header does not copy it
  (RFC 9300 section 5.3 would, and a neighbour's packet with TTL 1 would die in the underlay).
- Between segments of a tenant that both have a router, the ITR is that router and sends straight to the ETR. A packet
  whose TTL ends here goes to the gateway, which can say so.
- What is for no EID goes to the gateway node, a proxy ETR: there the source's subnet tells the leg that receives it. So
  a source that is nobody's ends there.
- LISP carries unicast IP. Broadcast and multicast reach the segment's ports of the same hypervisor, and what is not IP
  reaches nobody elsewhere; neither do link-local addresses, which are no EIDs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from ipaddress import ip_network

from chimera.model.control import Inventory
from chimera.model.flow import Action, DecTtl, Flow, Goto, Output, SetField, Value
from chimera.model.ports import PortSpec
from chimera.model.topology import Segment, Topology
from chimera.model.underlay import Translator
from chimera.overlay import answers, pipeline, ports, tunnels
from chimera.overlay.agent import Agents
from chimera.overlay.base import Option, Options, Overlay, central
from chimera.overlay.central import CentralController
from chimera.overlay.control import Interface, Place, View
from chimera.overlay.pipeline import GROUP
from chimera.overlay.responder import IPV6
from chimera.overlay.tunnels import FLOOD, FROM_HERE, FROM_TUNNEL, GATEWAY, KNOWN

LISP_BYTES = 8  # RFC 9300 section 5.1
IPV4 = 0x0800
ETR_MAC = "02:4c:49:53:50:01"  # every ETR's: the source of what it delivers (nobody answers to it)
QUESTION, EXPIRING, MAPPED, UNMAPPED = 60, 50, 40, 30  # priorities in table 1, below KNOWN, what is here
TO_LEG = 20  # priority in table 3

Match = tuple[tuple[str, Value], ...]


def instance_id(topology: Topology, tenant: str) -> int:
    """A tenant's instance ID, 24 bits: tenants count from 1, in the order of the file's segments."""
    return 1 + list(dict.fromkeys(s.tenant for s in topology.segments)).index(tenant)


class Instances(tunnels.VniTunnels):
    """The tenant is on the wire, a mapping's RLOC leads to the receiver; nothing goes to all."""

    def __init__(self, inventory: Inventory) -> None:
        super().__init__(inventory.underlay)
        topology = inventory.topology
        self.of = {s.tenant: instance_id(topology, s.tenant) for s in topology.segments}

    def towards(self, segment: Segment, receiver: str) -> tuple[Action, ...]:
        """To the receiver's RLOC, in the tenant's instance."""
        return pipeline.renamed(self.of[segment.tenant], self._underlay.vtep[receiver])

    def to_all(self, segment: Segment, receivers: Sequence[str]) -> tuple[Action, ...]:
        """LISP carries no broadcast."""
        return ()


class LispRules(tunnels.TunnelRules):
    """Every ITR has the mappings of the tenants it has ports of, before traffic asks."""

    def __init__(self, inventory: Inventory) -> None:
        self._instances = Instances(inventory)
        super().__init__(inventory.topology, self._instances, tunnels.is_anycast(inventory.options))
        self._switches = frozenset(node.name for node in inventory.topology.vteps)
        routed = ports.routed_segments(inventory.topology)
        self._siblings = {
            (s.tenant, s.name): tuple(o for o in routed if o.tenant == s.tenant and o != s and not self._anycast)
            for s in inventory.topology.segments
        }

    def switch_flows(self, switch: str) -> tuple[Flow, ...]:
        """As all tunnels do, and questions to a remote neighbour alone are answered, too: LISP carries none."""
        return (*super().switch_flows(switch), *answers.to_one(FROM_HERE, QUESTION))

    def reached(self, view: View) -> AbstractSet[str]:
        """Every switch, where other segments of the tenant are routed to this one at the ITR."""
        return self._switches if self._siblings[view.segment.tenant, view.segment.name] else view.switches

    def segment_flows(self, view: View, switch: str) -> tuple[Flow, ...]:
        """Broadcast and multicast: to the segment's ports here."""
        group: Match = (("tunnel_id", view.segment.vni), ("eth_dst", GROUP))
        return (Flow(FROM_HERE, FLOOD, group, tuple(Output(place.port) for _, place in view.local(switch))),)

    def here(self, segment: Segment, interface: Interface, place: Place) -> tuple[Flow, ...]:
        """The way to an interface by MAC, and by address from the tenant's other segments."""
        return (*self._here(segment, interface, place), *self._routed_here(segment, interface, place))

    def elsewhere(self, segment: Segment, interface: Interface, place: Place) -> tuple[Flow, ...]:
        """The way to an interface by mapping."""
        if self._local_only(interface):
            return ()
        way = self._instances.towards(segment, place.switch)
        if interface.leg_of:
            return tuple(self._to_gateway(segment, place, way))
        return tuple(self._mapping(segment, interface, place, way))

    def _here(self, segment: Segment, interface: Interface, place: Place) -> Iterator[Flow]:
        """An interface at this switch: what it may send, what is for it, and what arrives for its EIDs."""
        yield pipeline.classified(segment.vni, place, Goto(FROM_HERE))
        yield Flow(FROM_HERE, KNOWN, (("tunnel_id", segment.vni), ("eth_dst", place.mac)), (Output(place.port),))
        yield from answers.of_own(segment, interface, place)
        if self._local_only(interface):
            yield from answers.of_leg(segment.vni, place)
            return
        instance = ("tunnel_id", self._instances.of[segment.tenant])
        deliver = _delivered(place)
        for address in interface.addresses:
            yield Flow(FROM_TUNNEL, KNOWN, (instance, *_destination(address)), deliver)
        if interface.leg_of:
            for subnet in filter(None, (segment.subnet, segment.subnet6)):
                yield Flow(FROM_TUNNEL, TO_LEG, (instance, *_source(subnet)), deliver)

    def _mapping(self, segment: Segment, interface: Interface, place: Place, way: tuple[Action, ...]) -> Iterator[Flow]:
        """EIDs of a remote VM, to be asked for by neighbours and through the routers of other segments."""
        for address in interface.addresses:
            known: Match = (("tunnel_id", segment.vni), ("eth_dst", place.mac), *_destination(address))
            yield Flow(FROM_HERE, MAPPED, known, way)
            yield from self._from_siblings(segment, address, (DecTtl(), *way))

    def _routed_here(self, segment: Segment, interface: Interface, place: Place) -> Iterator[Flow]:
        """From the tenant's other segments to a VM at the same hypervisor."""
        for address in interface.addresses:
            yield from self._from_siblings(segment, address, (DecTtl(), *_delivered(place)))

    def _from_siblings(self, segment: Segment, address: str, actions: tuple[Action, ...]) -> Iterator[Flow]:
        """Packets for an EID that neighbours in other segments hand to their router; it must have the way back, too."""
        if not _router(segment, address):
            return
        for sibling in self._siblings[segment.tenant, segment.name]:
            if _router(sibling, address):
                match: Match = (("tunnel_id", sibling.vni), ("eth_dst", sibling.gateway_mac), *_destination(address))
                yield Flow(FROM_HERE, MAPPED, match, actions)

    def _to_gateway(self, segment: Segment, place: Place, way: tuple[Action, ...]) -> Iterator[Flow]:
        """What a segment's VMs send to their router and no mapping takes."""
        for kind in (IPV4, IPV6):
            match: Match = (("tunnel_id", segment.vni), ("eth_dst", place.mac), ("eth_type", kind))
            yield Flow(FROM_HERE, UNMAPPED, match, way)
            if self._siblings[segment.tenant, segment.name]:
                yield Flow(FROM_HERE, EXPIRING, (*match, ("nw_ttl", 1)), way)


def _delivered(place: Place) -> tuple[Action, ...]:
    """Give a packet an Ethernet header again, and the interface the frame."""
    return SetField("eth_src", ETR_MAC), SetField("eth_dst", place.mac), Output(place.port)


def _destination(address: str) -> Match:
    if ":" in address:
        return ("eth_type", IPV6), ("ipv6_dst", address)
    return ("eth_type", IPV4), ("ipv4_dst", address)


def _source(subnet: str) -> Match:
    network = ip_network(subnet)
    masked = (str(network.network_address), str(network.netmask))
    if network.version == 6:
        return ("eth_type", IPV6), ("ipv6_src", masked)
    return ("eth_type", IPV4), ("ipv4_src", masked)


def _router(segment: Segment, address: str) -> str:
    """The default router of a segment for addresses of this family; empty where it has none."""
    return segment.gateway6 if ":" in address else segment.gateway


def _agents(inventory: Inventory) -> Agents:
    holders = tunnels.gateway_holders(inventory.topology, inventory.options)
    return central(lambda: CentralController(inventory, LispRules(inventory), holders))


def _ports(inventory: Inventory, switch: str) -> tuple[PortSpec, ...]:
    return (ports.lisp_port(inventory.underlay.vtep[switch]),)


def _translator(options: Options) -> Translator | None:
    return Translator("lisp") if options["wire"] == "lisp" else None


def _added_bytes(options: Options) -> int:
    return tunnels.IPV4_BYTES + tunnels.UDP_BYTES + LISP_BYTES  # no Ethernet inside


OVERLAY = Overlay(
    name="lisp",
    summary="LISP (RFC 9300) between hypervisors: IP inside, tenants are instances, EIDs mapped by the controller",
    forwarding=tunnels.routed,
    agents=_agents,
    ports=_ports,
    options=(
        Option(
            "wire", ("lisp", "gpe"), "lisp", "LISP's header (RFC 9300), or its generic protocol extension (RFC 9305)"
        ),
        GATEWAY,
    ),
    gateway_holders=tunnels.gateway_holders,
    translator=_translator,
    added_bytes=_added_bytes,
)
