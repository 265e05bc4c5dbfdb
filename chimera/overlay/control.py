"""What overlays under one central controller share: interfaces, their places, and rules from places to flows.

An overlay adds its :class:`Rules`: pure functions of a :class:`View`. Everything about time, moves and order is in
:mod:`chimera.overlay.central`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from chimera.model.control import Effect, PacketIn
from chimera.model.flow import Flow
from chimera.model.topology import Segment, Topology
from chimera.overlay import responder
from chimera.overlay.ports import leg_id, routed_segments


@dataclass(frozen=True, slots=True)
class Interface:
    """What attaches to a segment: a VM, or a gateway's leg (``leg_of`` names its holder)."""

    iface_id: str
    segment: str
    mac: str
    addresses: tuple[str, ...] = ()
    leg_of: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an interface is: a port of a switch, and the MAC seen there."""

    switch: str
    port: int
    mac: str


class View:
    """One segment as it is now: its interfaces, their places, and who talks to whom. It changes as events come."""

    def __init__(self, segment: Segment, interfaces: Mapping[str, Interface]) -> None:
        self.segment = segment
        self.key = f"{segment.tenant}/{segment.name}"
        self.interfaces = interfaces
        self.places: dict[str, Place] = {}
        self.audience: set[str] = set()  # switches that get a copy of broadcast and multicast frames
        self.conversations: dict[str, frozenset[str]] = {}  # interface to those it talks to, and back
        self.seen: set[str] = set()  # interfaces that ever came up
        self._here: dict[str, dict[str, Place]] = {}
        self._by_mac: dict[str, dict[str, None]] = {}
        for iface_id, interface in interfaces.items():
            self._by_mac.setdefault(interface.mac, {})[iface_id] = None

    @property
    def switches(self) -> AbstractSet[str]:
        """Switches with a port in the segment."""
        return self._here.keys()

    def local(self, switch: str) -> list[tuple[Interface, Place]]:
        """Interfaces of the segment at one switch, by port."""
        here = [(self.interfaces[i], place) for i, place in self._here.get(switch, {}).items()]
        return sorted(here, key=lambda pair: pair[1].port)

    def talks(self, switch: str, iface_id: str) -> bool:
        """Whether an interface at the switch talks to this one."""
        here = self._here.get(switch, {})
        return any(i in here for i in self.conversations.get(iface_id, ()))

    def having(self, mac: str) -> str:
        """The interface that has a MAC; empty where none has."""
        return next(iter(self._by_mac.get(mac, ())), "")

    def put(self, iface_id: str, place: Place | None) -> None:
        """An interface is at another place, or nowhere."""
        old = self.places.pop(iface_id, None)
        if old:
            here = self._here[old.switch]
            del here[iface_id]
            if not here:
                del self._here[old.switch]
        if place:
            self.places[iface_id] = place
            self._here.setdefault(place.switch, {})[iface_id] = place
            self.seen.add(iface_id)
        own = self.interfaces[iface_id].mac
        before, after = (p.mac if p else own for p in (old, place))
        if before != after:
            self._by_mac[before].pop(iface_id, None)
            self._by_mac.setdefault(after, {})[iface_id] = None


class Rules:
    """What one overlay wants of its switches; by default nothing.

    All flows of all fragments of a switch differ in their matches. With ``conversational``, a switch learns the way to
    an interface elsewhere by the first unicast frame between that interface and one of its own; when either moves, the
    conversation goes with it.
    """

    conversational = False

    def switch_flows(self, switch: str) -> tuple[Flow, ...]:
        """Flows that do not depend on who is where."""
        return ()

    def reached(self, view: View) -> AbstractSet[str]:
        """Switches that get the flows of a segment's interfaces."""
        return view.switches

    def receives_groups(self, view: View, switch: str) -> bool:
        """Whether a switch with ports in the segment gets a copy of its broadcast and multicast frames."""
        return True

    def segment_flows(self, view: View, switch: str) -> tuple[Flow, ...]:
        """Flows that depend on the ports that ``switch`` has in the segment, its switches and its audience."""
        return ()

    def directory(self, view: View) -> tuple[Flow, ...]:
        """Flows of every switch with a port in the segment that depend on nothing else."""
        return ()

    def here(self, segment: Segment, interface: Interface, place: Place) -> tuple[Flow, ...]:
        """Flows at the switch where the interface is that depend on its place alone."""
        return ()

    def elsewhere(self, segment: Segment, interface: Interface, place: Place) -> tuple[Flow, ...]:
        """Flows at every other switch that is reached: the same at all of them."""
        return ()

    def absent(self, segment: Segment, interface: Interface) -> tuple[Flow, ...]:
        """Flows at a switch that knows an interface which is nowhere now."""
        return ()

    def advertised(self, segment: Segment, interface: Interface) -> tuple[str, ...]:
        """Prefixes that the underlay routes to the switch of the interface."""
        return ()

    def packet(self, view: View, asker: Interface, event: PacketIn) -> tuple[Effect, ...]:
        """What to do with a packet from ``asker``."""
        return ()


def interfaces_of(topology: Topology, gateway_holders: Iterable[str]) -> dict[str, Interface]:
    """Every interface that may attach to an overlay, by ``iface-id``."""
    vms = [
        Interface(vm.name, vm.segment, vm.mac, tuple(a.split("/")[0] for a in (vm.ip, vm.ip6) if a))
        for vm in topology.vms
        if vm.segment
    ]
    legs = [
        Interface(leg_id(h, s), f"{s.tenant}/{s.name}", s.gateway_mac, leg_of=h)
        for h in gateway_holders
        for s in routed_segments(topology)
    ]
    return {interface.iface_id: interface for interface in (*vms, *legs)}


def owners_of(topology: Topology, segment: Segment) -> dict[str, responder.Owner]:
    """Who has which address of a segment, link-local ones of interfaces with IPv6 included."""
    key = f"{segment.tenant}/{segment.name}"
    owners: dict[str, responder.Owner] = {}
    for vm in topology.vms_in(key):
        addresses = (vm.ip.split("/")[0], vm.ip6.split("/")[0], responder.link_local(vm.mac) if vm.ip6 else "")
        owner = responder.Owner(vm.name, vm.mac)
        owners |= {a: owner for a in addresses if a}
    if segment.gateway or segment.gateway6:
        link_local = responder.link_local(segment.gateway_mac) if segment.gateway6 else ""
        addresses = (segment.gateway, segment.gateway6, link_local)
        owners |= {a: responder.Owner("", segment.gateway_mac, router=True) for a in addresses if a}
    return owners
