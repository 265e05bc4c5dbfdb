"""VXLAN (RFC 7348) from hypervisor to hypervisor, in two ways.

``mode=controller``: the controller knows every port and programs every switch before traffic asks. Tables: 0 whose
frame is it, 1 frames from here, 2 frames from the tunnel (never back into it).

``mode=flood``: switches flood to every VTEP and learn from what they hear, as RFC 7348 section 4.1 does with
multicast. Tables: 0 whose frame is it, learning; 1 what was learned, and below it flooding.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b

from chimera.model.control import Effect, Inventory, PacketIn, PacketOut
from chimera.model.errors import InputError
from chimera.model.flow import Action, Flow, Goto, Learn, Output
from chimera.model.ports import PortSpec
from chimera.model.topology import Segment, Topology
from chimera.model.underlay import Forwarding
from chimera.overlay import pipeline, ports, responder
from chimera.overlay.base import Option, Options, Overlay, central_gateway
from chimera.overlay.control import Interface, Place, Rules, SegmentControl, View, owners_of
from chimera.overlay.pipeline import GROUP

FROM_HERE, FROM_TUNNEL = 1, 2  # tables of mode=controller
LEARNED = 1  # table of mode=flood
KNOWN, LOCAL_FLOOD, FLOOD = 100, 20, 10  # priorities in tables 1 and 2
IDLE_TIMEOUT_S = 300


class ControllerRules(Rules):
    """Everything known is programmed, address questions are answered at the first hop, unknown unicast is dropped."""

    def __init__(self, topology: Topology, vtep: Mapping[str, str], anycast: bool) -> None:
        self._vtep = vtep
        self._anycast = anycast
        self._owners = {(s.tenant, s.name): owners_of(topology, s) for s in topology.segments}

    def switch_flows(self, switch: str) -> tuple[Flow, ...]:
        """Questions to the controller, tunnel frames to their own table, misses dropped."""
        drops = tuple(pipeline.drop(table) for table in (pipeline.CLASSIFY, FROM_HERE, FROM_TUNNEL))
        questions = pipeline.resolution_to_controller(FROM_HERE)
        return (pipeline.from_tunnel(FROM_TUNNEL), *questions, *drops)

    def audience(self, view: View) -> frozenset[str]:
        """Switches with more than an anycast leg in the segment."""
        if not self._anycast:
            return view.switches
        return frozenset(p.switch for i, p in view.places.items() if not self._local_only(view.interfaces[i]))

    def segment_flows(self, view: View, switch: str) -> tuple[Flow, ...]:
        """Broadcast and multicast: to the segment's ports here, and to the VTEPs with ports in it."""
        group = (("tunnel_id", view.segment.vni), ("eth_dst", GROUP))
        local = [(interface, Output(place.port)) for interface, place in view.local(switch)]
        here = tuple(output for _, output in local)
        arriving = tuple(output for interface, output in local if not self._local_only(interface))
        remote = pipeline.tunnelled(self._vtep[s] for s in sorted(self.audience(view) - {switch}))
        return (
            Flow(FROM_HERE, FLOOD, group, (*here, *remote)),
            Flow(FROM_TUNNEL, FLOOD, group, arriving),
        )

    def interface_flows(self, segment: Segment, switch: str, interface: Interface, place: Place) -> tuple[Flow, ...]:
        """The way to an interface; where it is here, also what it may send."""
        if place.switch != switch:
            return () if self._local_only(interface) else _reach(segment.vni, place.mac, self._vtep[place.switch])
        known = (("tunnel_id", segment.vni), ("eth_dst", place.mac))
        deliver = (Output(place.port),)
        allowed = pipeline.classified(segment.vni, place, Goto(FROM_HERE))
        if self._local_only(interface):
            return (allowed, Flow(FROM_HERE, KNOWN, known, deliver), *pipeline.questions_to_controller(place))
        return (allowed, Flow(FROM_HERE, KNOWN, known, deliver), Flow(FROM_TUNNEL, KNOWN, known, deliver))

    def advertised(self, segment: Segment, interface: Interface) -> tuple[str, ...]:
        """With anycast gateways, host routes lead clients straight to a VM's hypervisor."""
        if not (self._anycast and segment.external) or interface.leg_of:
            return ()
        return tuple(f"{a}/{128 if ':' in a else 32}" for a in interface.addresses)

    def packet(self, view: View, asker: Interface, event: PacketIn, seen: frozenset[str]) -> tuple[Effect, ...]:
        """Answer address questions from the asker's segment alone; the owner must have been seen once."""
        asked = responder.question(event.data)
        if asked is None:
            return ()
        owners = self._owners[view.segment.tenant, view.segment.name]
        owner = owners.get(asked.target)
        legs = any(view.interfaces[i].leg_of for i in seen)
        if owner is None or not (owner.iface_id in seen or (owner.router and legs)):
            return ()
        reply = responder.answer(asked, owners, asker.iface_id)
        return (PacketOut(event.switch, reply, (Output(event.in_port),)),) if reply else ()

    def _local_only(self, interface: Interface) -> bool:
        """An anycast leg: every switch has its own, none is reached through a tunnel."""
        return self._anycast and bool(interface.leg_of)


@lru_cache(maxsize=65536)
def _reach(vni: int, mac: str, vtep: str) -> tuple[Flow]:
    """The way through the tunnel, one and the same at every switch but the interface's own."""
    known = (("tunnel_id", vni), ("eth_dst", mac))
    return (Flow(FROM_HERE, KNOWN, known, pipeline.tunnelled([vtep])),)


class FloodRules(Rules):
    """Flood and learn with head-end replication to every VTEP of the lab."""

    def __init__(self, vtep: Mapping[str, str]) -> None:
        self._vtep = vtep

    def switch_flows(self, switch: str) -> tuple[Flow, ...]:
        """Learn which VTEP a MAC is behind; misses are dropped."""
        behind = Learn(
            LEARNED,
            KNOWN,
            match=(("eth_src", "eth_dst"), ("tunnel_id", "tunnel_id")),
            load=(("tun_ipv4_src", "tun_ipv4_dst"),),
            output_from="in_port",
            idle_timeout_s=IDLE_TIMEOUT_S,
        )
        return (
            pipeline.from_tunnel(LEARNED, behind),
            pipeline.drop(pipeline.CLASSIFY),
            pipeline.drop(LEARNED),
        )

    def segment_flows(self, view: View, switch: str) -> tuple[Flow, ...]:
        """What nothing was learned about: to all ports here and all VTEPs; from the tunnel to the ports only."""
        here = tuple(Output(place.port) for _, place in view.local(switch))
        everywhere = pipeline.tunnelled(vtep for name, vtep in sorted(self._vtep.items()) if name != switch)
        segment = ("tunnel_id", view.segment.vni)
        return (
            Flow(LEARNED, LOCAL_FLOOD, (("in_port", ports.TUNNEL), segment), here),
            Flow(LEARNED, FLOOD, (segment,), (*here, *everywhere)),
        )

    def interface_flows(self, segment: Segment, switch: str, interface: Interface, place: Place) -> tuple[Flow, ...]:
        """Learn the port of what is here; the learned flow goes when the port goes."""
        if place.switch != switch:
            return ()
        return (pipeline.classified(segment.vni, place, _learn_port(segment.vni, place), Goto(LEARNED)),)


def _learn_port(vni: int, place: Place) -> Action:
    text = repr(("learned", vni, place)).encode()
    return Learn(
        LEARNED,
        KNOWN,
        match=(("eth_src", "eth_dst"), ("tunnel_id", "tunnel_id")),
        output_from="in_port",
        idle_timeout_s=IDLE_TIMEOUT_S,
        cookie=int.from_bytes(blake2b(text, digest_size=8).digest()) or 1,
    )


def _gateway_holders(topology: Topology, options: Options) -> tuple[str, ...]:
    """Every hypervisor with ``gateway=anycast``, else the first gateway node."""
    if options.get("gateway") == "anycast":
        return tuple(node.name for node in topology.hypervisors)
    return central_gateway(topology, options)


def _core(inventory: Inventory) -> SegmentControl:
    vtep, options = inventory.underlay.vtep, inventory.options
    anycast = options.get("gateway") == "anycast"
    flood = options.get("mode") == "flood"
    rules: Rules = FloodRules(vtep) if flood else ControllerRules(inventory.topology, vtep, anycast)
    return SegmentControl(inventory, rules, _gateway_holders(inventory.topology, options))


def _conflict(options: Options) -> None:
    if (options["mode"], options["gateway"]) == ("flood", "anycast"):
        raise InputError(
            "overlay vxlan: gateway=anycast needs mode=controller\n"
            "    found: mode=flood, which would learn the gateway's one MAC from every hypervisor\n"
            "    fix: leave mode out, or use gateway=central"
        )


def _routed(options: Options) -> Forwarding:
    return Forwarding.ROUTED


def _tunnel_port(inventory: Inventory, switch: str) -> tuple[PortSpec, ...]:
    return (ports.vxlan_port(inventory.underlay.vtep[switch]),)


OVERLAY = Overlay(
    name="vxlan",
    summary="VXLAN between hypervisors (RFC 7348), programmed by a controller or flooding and learning",
    application="controllers.vxlan",
    forwarding=_routed,
    core=_core,
    ports=_tunnel_port,
    options=(
        Option("mode", ("controller", "flood"), "controller", "the controller knows every port, or switches learn"),
        Option("gateway", ("central", "anycast"), "central", "default gateway: one node holds it, or every hypervisor"),
    ),
    gateway_holders=_gateway_holders,
    conflict=_conflict,
)
