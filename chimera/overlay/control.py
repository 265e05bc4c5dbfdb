"""The control plane that overlays share: who is where, which flows follow, and what changes.

An overlay adds its :class:`Rules`: pure functions from places to flows. Everything about time, moves and adoption is
here: the latest place of an interface wins, a late goodbye from an old place changes nothing, and a switch
that comes back keeps what it should hold anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from chimera.model.control import (
    AdvertiseHost,
    Effect,
    Event,
    Inventory,
    PacketIn,
    PacketOut,
    PortDown,
    PortUp,
    SwitchDown,
    SwitchUp,
    WithdrawHost,
)
from chimera.model.flow import TABLE, Flow, Output
from chimera.model.topology import Segment, Topology
from chimera.overlay import pmtu, program, responder
from chimera.overlay.ports import leg_id, routed_segments
from chimera.overlay.program import Cause, Program


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


Conversations = Mapping[str, frozenset[str]]  # interface to those it talks to, and back


@dataclass(frozen=True)
class View:
    """One segment as it is now: its interfaces, their places, and who talks to whom."""

    segment: Segment
    places: Mapping[str, Place]
    interfaces: Mapping[str, Interface]
    conversations: Conversations = field(default_factory=dict)

    @cached_property
    def switches(self) -> frozenset[str]:
        """Switches with a port in the segment."""
        return frozenset(place.switch for place in self.places.values())

    def local(self, switch: str) -> list[tuple[Interface, Place]]:
        """Interfaces of the segment at one switch, by port."""
        here = [(self.interfaces[i], place) for i, place in self.places.items() if place.switch == switch]
        return sorted(here, key=lambda pair: pair[1].port)

    def talks(self, switch: str, iface_id: str) -> bool:
        """Whether an interface at the switch talks to this one."""
        others = (self.places.get(i) for i in self.conversations.get(iface_id, ()))
        return any(place.switch == switch for place in others if place)


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

    def reached(self, view: View) -> frozenset[str]:
        """Switches that get the flows of a segment's interfaces."""
        return view.switches

    def audience(self, view: View) -> frozenset[str]:
        """Switches that get a copy of a segment's broadcast and multicast frames."""
        return view.switches

    def segment_flows(self, view: View, switch: str) -> tuple[Flow, ...]:
        """Flows that depend on the ports that ``switch`` has in the segment, its switches and its audience."""
        return ()

    def directory(self, view: View) -> tuple[Flow, ...]:
        """Flows of every switch with a port in the segment that depend on nothing else."""
        return ()

    def interface_flows(self, segment: Segment, switch: str, interface: Interface, place: Place) -> tuple[Flow, ...]:
        """Flows at ``switch`` (one that is reached) that depend on this interface's place alone."""
        return ()

    def absent_flows(self, segment: Segment, interface: Interface) -> tuple[Flow, ...]:
        """Flows at a switch that knows an interface which is nowhere now."""
        return ()

    def advertised(self, segment: Segment, interface: Interface) -> tuple[str, ...]:
        """Prefixes that the underlay routes to the switch of the interface."""
        return ()

    def packet(self, view: View, asker: Interface, event: PacketIn, seen: frozenset[str]) -> tuple[Effect, ...]:
        """What to do with a packet from ``asker``; ``seen`` are the interfaces of its segment that ever came up."""
        return ()


@dataclass(frozen=True)
class State:
    """``seen``: for every interface that ever came up, its places, the latest last (none: it is gone).

    ``conversations`` began with a frame that the controller sent on; switches may have let them expire since.
    """

    seen: Mapping[str, tuple[Place, ...]] = field(default_factory=dict)
    programs: Mapping[str, Program] = field(default_factory=dict)
    connected: frozenset[str] = frozenset()
    conversations: Conversations = field(default_factory=dict)


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
    for vm in topology.vms:
        if vm.segment == key:
            addresses = (vm.ip.split("/")[0], vm.ip6.split("/")[0], responder.link_local(vm.mac) if vm.ip6 else "")
            owners |= {a: responder.Owner(vm.name, vm.mac) for a in addresses if a}
    if segment.gateway or segment.gateway6:
        link_local = responder.link_local(segment.gateway_mac) if segment.gateway6 else ""
        addresses = (segment.gateway, segment.gateway6, link_local)
        owners |= {a: responder.Owner("", segment.gateway_mac, router=True) for a in addresses if a}
    return owners


class SegmentControl:
    """A :class:`~chimera.overlay.base.ControlPlane` from an overlay's rules."""

    def __init__(self, inventory: Inventory, rules: Rules, gateway_holders: Iterable[str]) -> None:
        self._topology = inventory.topology
        self._rules = rules
        self._limit = inventory.packet_limit
        self._interfaces = interfaces_of(inventory.topology, gateway_holders)
        self._members: dict[str, dict[str, Interface]] = {}
        for interface in self._interfaces.values():
            self._members.setdefault(interface.segment, {})[interface.iface_id] = interface

    def initial(self) -> State:
        """No switch connected, nothing attached, every switch with its static flows."""
        names = [node.name for node in self._topology.vteps]
        return State(programs={n: self._revised({}, {("switch", n): self._rules.switch_flows(n)}) for n in names})

    def locations(self, state: State) -> dict[str, str]:
        """The switch at which each interface is now."""
        return {iface_id: places[-1].switch for iface_id, places in state.seen.items() if places}

    def step(self, state: State, event: Event, now: float) -> tuple[State, tuple[Effect, ...]]:
        """See :class:`~chimera.overlay.base.ControlPlane`. Interfaces and switches that the lab lacks are ignored."""
        match event:
            case SwitchUp(switch, held) if switch in state.programs:
                added, deleted = program.effects(switch, *program.adoption(state.programs[switch], held))
                return replace(state, connected=state.connected | {switch}), (*added, *deleted)
            case SwitchDown(switch):
                return replace(state, connected=state.connected - {switch}), ()
            case PortUp(switch, iface_id, mac, port) if iface_id in self._interfaces and switch in state.programs:
                place = Place(switch, port, mac or self._interfaces[iface_id].mac)
                return self._moved(state, iface_id, (*_elsewhere(state, iface_id, switch), place))
            case PortDown(switch, iface_id) if iface_id in state.seen:
                return self._moved(state, iface_id, _elsewhere(state, iface_id, switch))
            case PacketIn():
                return self._packet(state, event)
        return state, ()

    def _view(self, state: State, segment: str) -> View:
        members = self._members[segment]
        places = {i: state.seen[i][-1] for i in members if state.seen.get(i)}
        return View(self._topology.segment(segment), places, members, state.conversations)

    def _moved(self, state: State, iface_id: str, places: tuple[Place, ...]) -> tuple[State, tuple[Effect, ...]]:
        """An interface's places changed: revise the programs of the switches of its segment, destination first."""
        segment = self._interfaces[iface_id].segment
        moved = replace(state, seen={**state.seen, iface_id: places})
        old, new = self._view(state, segment), self._view(moved, segment)
        if old == new:
            return moved, ()
        regrouped = old.switches != new.switches or self._rules.audience(old) != self._rules.audience(new)
        programs = dict(state.programs)
        additions: list[Effect] = []
        deletions: list[Effect] = []
        for switch in self._urgency(old, new, iface_id):
            fragments = self._revision(old, new, switch, iface_id, regrouped)
            programs[switch] = self._revised(state.programs[switch], fragments)
            if switch in state.connected:
                change = program.change(state.programs[switch], programs[switch], fragments)
                added, deleted = program.effects(switch, *change)
                additions += added
                deletions += deleted
        routes = self._routes(old, new, iface_id)
        return replace(moved, programs=programs), (*additions, *routes, *deletions)

    def _revised(self, old: Program, fragments: Mapping[Cause, tuple[Flow, ...]]) -> Program:
        guarded = {cause: pmtu.guarded(flows, self._limit) for cause, flows in fragments.items()}
        return program.revised(old, guarded)

    def _revision(
        self, old: View, new: View, switch: str, iface_id: str, regrouped: bool
    ) -> dict[Cause, tuple[Flow, ...]]:
        """The fragments of ``switch`` that may differ after the interface moved."""
        joined_or_left = (switch in self._rules.reached(old)) != (switch in self._rules.reached(new))
        touched = {view.places[iface_id].switch for view in (old, new) if iface_id in view.places}
        fragments: dict[Cause, tuple[Flow, ...]] = {}
        peers = new.conversations.get(iface_id, frozenset()) if switch in touched else ()
        for each in new.interfaces if joined_or_left else (iface_id, *peers):
            fragments["interface", each] = self._interface_fragment(new, switch, each)
        here, key = switch in new.switches, f"{new.segment.tenant}/{new.segment.name}"
        if switch in touched or regrouped:
            fragments["segment", key] = self._rules.segment_flows(new, switch) if here else ()
        if here != (switch in old.switches):
            fragments["directory", key] = self._rules.directory(new) if here else ()
        return fragments

    def _urgency(self, old: View, new: View, iface_id: str) -> list[str]:
        """The switches that a move concerns, in the order that keeps its outage short.

        The destination must accept the interface's frames first; then the source, whose neighbours are the nearest
        senders.
        """
        ends = [view.places[iface_id].switch for view in (new, old) if iface_id in view.places]
        rest = sorted((self._rules.reached(old) | self._rules.reached(new)) - set(ends))
        return list(dict.fromkeys([*ends, *rest]))

    def _interface_fragment(self, view: View, switch: str, iface_id: str) -> tuple[Flow, ...]:
        interface, place = view.interfaces[iface_id], view.places.get(iface_id)
        here = place is not None and place.switch == switch
        known = here or not self._rules.conversational or view.talks(switch, iface_id)
        if not known or switch not in self._rules.reached(view):
            return ()
        if place is None:
            return self._rules.absent_flows(view.segment, interface)
        return self._rules.interface_flows(view.segment, switch, interface, place)

    def _routes(self, old: View, new: View, iface_id: str) -> list[Effect]:
        prefixes = self._rules.advertised(new.segment, new.interfaces[iface_id])
        before, after = (view.places.get(iface_id) for view in (old, new))
        if after is None:
            return [WithdrawHost(prefix) for prefix in prefixes]
        if before is not None and before.switch == after.switch:
            return []
        return [AdvertiseHost(prefix, after.switch) for prefix in prefixes]

    def _packet(self, state: State, event: PacketIn) -> tuple[State, tuple[Effect, ...]]:
        """A packet to the controller; an announcement from a known place makes that place the latest."""
        asker, place = self._at(state, event.switch, event.in_port)
        if asker is None or place is None or len(event.data) < 14:
            return state, ()
        if pmtu.is_large(event.data, self._limit):
            return state, self._too_large(self._view(state, asker.segment), asker, event)
        announced: tuple[Effect, ...] = ()
        if responder.is_announcement(event.data):
            places = (*_elsewhere(state, asker.iface_id, place.switch), place)
            state, announced = self._moved(state, asker.iface_id, places)
        view = self._view(state, asker.segment)
        if self._rules.conversational and (found := _addressee(view, event)):
            state, effects = self._conversed(state, view, asker, found, event)
            return state, (*announced, *effects)
        seen = frozenset(self._members[asker.segment].keys() & state.seen.keys())
        return state, (*announced, *self._rules.packet(view, asker, event, seen))

    def _conversed(
        self, state: State, view: View, asker: Interface, found: str, event: PacketIn
    ) -> tuple[State, tuple[Effect, ...]]:
        """The switches of two interfaces learn the ways to each other, and the frame that told goes on its way.

        Flows are added even where a switch should hold them: they may have expired there.
        """
        old = state.conversations
        pair = {a: old.get(a, frozenset()) | {b} for a, b in ((asker.iface_id, found), (found, asker.iface_id))}
        view = replace(view, conversations={**old, **pair})
        there, place = (event.switch, found), view.places.get(found)
        ends = [(place.switch, asker.iface_id), there] if place else [there]
        learned = {(switch, iface_id): self._interface_fragment(view, switch, iface_id) for switch, iface_id in ends}
        if not learned[there]:
            return state, ()
        programs, effects = dict(state.programs), list[Effect]()
        for (switch, iface_id), flows in learned.items():
            cause = ("interface", iface_id)
            programs[switch] = self._revised(programs[switch], {cause: flows})
            added = programs[switch].get(cause, ()) if switch in state.connected else ()
            effects += program.effects(switch, added, ())[0]
        sent_on = (PacketOut(event.switch, event.data, flow.actions) for flow in learned[there] if flow.actions)
        return replace(state, programs=programs, conversations=view.conversations), (*effects, *sent_on)

    def _too_large(self, view: View, sender: Interface, event: PacketIn) -> tuple[Effect, ...]:
        """Tell the sender, or take the packet apart; neither where it has reached its receiver here already."""
        here = {responder.mac_bytes(place.mac) for _, place in view.local(event.switch)}
        if event.data[:6] in here:
            return ()
        told = pmtu.message(event.data, self._limit, None if sender.leg_of else view.segment)
        if told:
            return (PacketOut(event.switch, told, (Output(event.in_port),)),)
        parts = pmtu.fragments(event.data, self._limit)
        return tuple(PacketOut(event.switch, part, (Output(TABLE),), event.in_port) for part in parts)

    def _at(self, state: State, switch: str, port: int) -> tuple[Interface | None, Place | None]:
        for iface_id, places in state.seen.items():
            for place in places:
                if (place.switch, place.port) == (switch, port):
                    return self._interfaces[iface_id], place
        return None, None


def _elsewhere(state: State, iface_id: str, switch: str) -> tuple[Place, ...]:
    return tuple(place for place in state.seen.get(iface_id, ()) if place.switch != switch)


def _addressee(view: View, event: PacketIn) -> str:
    """Whom a frame is for that the switch knew no way for; empty for a MAC of nobody, or of somebody at the switch.

    Frames that a switch classified come with their segment's VNI, what it sends up before that with none.
    """
    if event.tunnel_id != view.segment.vni:
        return ""
    for iface_id, interface in view.interfaces.items():
        place = view.places.get(iface_id)
        mac = place.mac if place else interface.mac
        if responder.mac_bytes(mac) == event.data[:6]:
            return "" if place and place.switch == event.switch else iface_id
    return ""
