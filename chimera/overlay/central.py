"""The agent of an overlay that has one controller for all switches: who is where, and which flows follow.

The latest place of an interface wins, a late goodbye from an old place changes nothing. What ports do is noted at once
and *settled* when no event waits any more: a thousand ports that come up together cost each switch one program. Which
flows follow from the places is the business of an overlay's :class:`~chimera.overlay.control.Rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from chimera.model.control import (
    AdvertiseHost,
    Cause,
    Effect,
    Event,
    Hold,
    Inventory,
    Located,
    PacketIn,
    PacketOut,
    PortDown,
    PortUp,
    SetTimer,
    Started,
    TimerFired,
    WithdrawHost,
)
from chimera.model.flow import TABLE, Flow, Output
from chimera.overlay import pmtu, responder
from chimera.overlay.agent import Listen
from chimera.overlay.control import Interface, Place, Rules, View, interfaces_of

SETTLE = "settle"  # the timer
_GONE: tuple[Flow, ...] = ()


@dataclass
class _Segment:
    """A segment, and what of it the switches have not been told yet."""

    view: View
    causes: dict[Cause, tuple[Flow, ...]]  # of every interface, with no flows
    moved: dict[str, None] = field(default_factory=dict)  # interfaces, in order
    touched: dict[str, None] = field(default_factory=dict)  # switches at either end of a move, destinations first
    peers: dict[str, set[str]] = field(default_factory=dict)  # switch -> interfaces that its own may talk to no more
    switches: frozenset[str] = frozenset()  # as when last settled, like those that follow
    reached: frozenset[str] = frozenset()
    audience: frozenset[str] = frozenset()


class CentralController:
    """An :class:`~chimera.overlay.agent.Agent` from an overlay's rules; it programs every VTEP."""

    def __init__(self, inventory: Inventory, rules: Rules, gateway_holders: Iterable[str]) -> None:
        self._rules = rules
        self._limit = inventory.packet_limit
        self._switches = [node.name for node in inventory.topology.openflow_switches]
        self._known = frozenset(self._switches)
        self._interfaces = interfaces_of(inventory.topology, gateway_holders)
        members: dict[str, dict[str, Interface]] = {}
        for interface in self._interfaces.values():
            members.setdefault(interface.segment, {})[interface.iface_id] = interface
        self._segments = {
            key: _Segment(View(inventory.topology.segment(key), of), {("interface", i): _GONE for i in of})
            for key, of in members.items()
        }
        self._places: dict[str, tuple[Place, ...]] = {}  # of every interface seen, the latest last; none: it is gone
        self._at_port: dict[tuple[str, int], str] = {}
        self._unsettled: dict[str, None] = {}
        self._advertised: dict[str, str] = {}  # prefix -> switch

    def listens(self) -> Sequence[Listen]:
        """Nothing but what switches send."""
        return ()

    def view_of(self, iface_id: str) -> View:
        """The segment of an interface, as the controller believes it to be."""
        return self._segments[self._interfaces[iface_id].segment].view

    def step(self, event: Event, now: float) -> list[Effect]:
        """See :class:`~chimera.overlay.agent.Agent`. Interfaces and switches that the lab lacks are ignored."""
        match event:
            case Started():
                return [Hold(s, self._guarded({("switch", s): self._rules.switch_flows(s)})) for s in self._switches]
            case PortUp(switch, iface_id, mac, port) if iface_id in self._interfaces and switch in self._known:
                place = Place(switch, port, mac or self._interfaces[iface_id].mac)
                return self._moved(iface_id, (*self._elsewhere(iface_id, switch), place))
            case PortDown(switch, iface_id) if iface_id in self._places:
                return self._moved(iface_id, self._elsewhere(iface_id, switch))
            case PacketIn():
                return self._packet(event)
            case TimerFired(name) if name == SETTLE:
                return list(self._settled())
        return []

    # -- places

    def _elsewhere(self, iface_id: str, switch: str) -> tuple[Place, ...]:
        return tuple(place for place in self._places.get(iface_id, ()) if place.switch != switch)

    def _moved(self, iface_id: str, places: tuple[Place, ...]) -> list[Effect]:
        """An interface's places changed: note what that concerns."""
        for place in self._places.get(iface_id, ()):
            self._at_port.pop((place.switch, place.port), None)
        for place in places:
            self._at_port[place.switch, place.port] = iface_id
        self._places[iface_id] = places
        key = self._interfaces[iface_id].segment
        of, new = self._segments[key], places[-1] if places else None
        old = of.view.places.get(iface_id)
        if old == new:
            return []
        of.view.put(iface_id, new)
        ends = [place.switch for place in (new, old) if place]
        of.touched = dict.fromkeys([*ends, *of.touched])
        of.moved[iface_id] = None
        for switch in ends:
            of.peers.setdefault(switch, set()).update(of.view.conversations.get(iface_id, ()))
            if switch in of.view.switches and self._rules.receives_groups(of.view, switch):
                of.view.audience.add(switch)
            else:
                of.view.audience.discard(switch)
        waiting, self._unsettled[key] = bool(self._unsettled), None
        located = Located(iface_id, new.switch if new else "")
        moved_away = (old.switch if old else "") != located.switch
        return [*([located] if moved_away else []), *([] if waiting else [SetTimer(SETTLE, 0)])]

    # -- what follows from the places

    def _settled(self) -> Iterator[Effect]:
        """Revise the programs of the switches that are concerned by what has changed."""
        unsettled, self._unsettled = self._unsettled, {}
        for key in unsettled:
            of = self._segments[key]
            yield from self._programs(of)
            yield from self._routes(of)
            of.moved, of.touched, of.peers = {}, {}, {}

    def _programs(self, of: _Segment) -> Iterator[Hold]:
        """Destinations first, which must accept a moved interface's frames; then sources, with the nearest senders."""
        view = of.view
        old, was_reached, audience = of.switches, of.reached, of.audience
        of.switches, of.audience = frozenset(view.switches), frozenset(view.audience)
        of.reached = frozenset(self._rules.reached(view))
        regrouped = old != of.switches or audience != of.audience
        away = self._away(view, view.interfaces if of.reached - was_reached else of.moved)
        concerned = [*of.touched, *sorted((was_reached | of.reached) - of.touched.keys())]
        for switch in concerned:
            joined_or_left = (switch in was_reached) != (switch in of.reached)
            fragments = self._interface_fragments(of, switch, away, joined_or_left)
            here = switch in of.switches
            if switch in of.touched or regrouped:
                fragments["segment", view.key] = self._rules.segment_flows(view, switch) if here else _GONE
            if here != (switch in old):
                fragments["directory", view.key] = self._rules.directory(view) if here else _GONE
            yield Hold(switch, self._guarded(fragments))

    def _away(self, view: View, iface_ids: Iterable[str]) -> dict[Cause, tuple[Flow, ...]]:
        """The ways to interfaces that are elsewhere or nowhere: the same at all that know every interface."""
        if self._rules.conversational:
            return {}
        return {("interface", i): self._way(view, i) for i in iface_ids}

    def _way(self, view: View, iface_id: str) -> tuple[Flow, ...]:
        interface, place = view.interfaces[iface_id], view.places.get(iface_id)
        if place is None:
            return self._rules.absent(view.segment, interface)
        return self._rules.elsewhere(view.segment, interface, place)

    def _interface_fragments(
        self, of: _Segment, switch: str, away: dict[Cause, tuple[Flow, ...]], joined_or_left: bool
    ) -> dict[Cause, tuple[Flow, ...]]:
        """What a switch should hold for the interfaces that moved, or for all where it joined or left."""
        view, peers = of.view, of.peers.get(switch, ())
        if switch not in of.reached:
            return dict(of.causes) if joined_or_left else dict.fromkeys((("interface", i) for i in of.moved), _GONE)
        concerned = view.interfaces if joined_or_left else of.moved
        if self._rules.conversational:
            return {("interface", i): self._fragment(view, switch, i) for i in (*concerned, *peers)}
        fragments = (
            dict(away) if len(away) == len(concerned) else {("interface", i): away["interface", i] for i in concerned}
        )
        for interface, place in view.local(switch) if joined_or_left else self._here(view, switch, concerned):
            fragments["interface", interface.iface_id] = self._rules.here(view.segment, interface, place)
        return fragments

    def _here(self, view: View, switch: str, iface_ids: Iterable[str]) -> Iterator[tuple[Interface, Place]]:
        for iface_id in iface_ids:
            place = view.places.get(iface_id)
            if place and place.switch == switch:
                yield view.interfaces[iface_id], place

    def _fragment(self, view: View, switch: str, iface_id: str) -> tuple[Flow, ...]:
        """What one switch should hold for one interface, where switches know those they talk to (conversational)."""
        place = view.places.get(iface_id)
        if place and place.switch == switch:
            return self._rules.here(view.segment, view.interfaces[iface_id], place)
        if not view.talks(switch, iface_id):
            return _GONE
        return self._way(view, iface_id) if switch in self._rules.reached(view) else _GONE

    def _guarded(self, fragments: dict[Cause, tuple[Flow, ...]]) -> dict[Cause, tuple[Flow, ...]]:
        if not self._limit:
            return fragments
        return {cause: pmtu.guarded(flows, self._limit) for cause, flows in fragments.items()}

    def _routes(self, of: _Segment) -> Iterator[Effect]:
        for iface_id in of.moved:
            place = of.view.places.get(iface_id)
            for prefix in self._rules.advertised(of.view.segment, of.view.interfaces[iface_id]):
                if place is None:
                    if self._advertised.pop(prefix, None):
                        yield WithdrawHost(prefix)
                elif self._advertised.get(prefix) != place.switch:
                    self._advertised[prefix] = place.switch
                    yield AdvertiseHost(prefix, place.switch)

    # -- packets

    def _packet(self, event: PacketIn) -> list[Effect]:
        """A packet to the controller; an announcement from a known place makes that place the latest."""
        iface_id = self._at_port.get((event.switch, event.in_port), "")
        if not iface_id or len(event.data) < pmtu.ETHERNET_BYTES:
            return []
        asker = self._interfaces[iface_id]
        view = self._segments[asker.segment].view
        if pmtu.is_large(event.data, self._limit):
            return self._too_large(view, asker, event)
        effects: list[Effect] = []
        if responder.is_announcement(event.data):
            place = next(p for p in self._places[iface_id] if p.switch == event.switch)
            effects += self._moved(iface_id, (*self._elsewhere(iface_id, event.switch), place))
        if self._rules.conversational and (found := _addressee(view, event)):
            return [*effects, *self._conversed(view, asker, found, event)]
        return [*effects, *self._rules.packet(view, asker, event)]

    def _conversed(self, view: View, asker: Interface, found: str, event: PacketIn) -> list[Effect]:
        """The switches of two interfaces learn the ways to each other, and the frame that told goes on its way.

        Flows are added even where a switch should hold them: they may have expired there.
        """
        before, there = dict(view.conversations), view.places.get(found)
        for one, other in ((asker.iface_id, found), (found, asker.iface_id)):
            view.conversations[one] = view.conversations.get(one, frozenset()) | {other}
        way = self._fragment(view, event.switch, found)
        if not way:
            view.conversations = before
            return []
        back = {("interface", asker.iface_id): self._fragment(view, there.switch, asker.iface_id)} if there else {}
        holds = [Hold(there.switch, self._guarded(back), refresh=True)] if there else []
        holds.append(Hold(event.switch, self._guarded({("interface", found): way}), refresh=True))
        return [*holds, *(PacketOut(event.switch, event.data, flow.actions) for flow in way if flow.actions)]

    def _too_large(self, view: View, sender: Interface, event: PacketIn) -> list[Effect]:
        """Tell the sender, or take the packet apart; neither where it has reached its receiver here already."""
        here = {responder.mac_bytes(place.mac) for _, place in view.local(event.switch)}
        if event.data[:6] in here:
            return []
        told = pmtu.message(event.data, self._limit, None if sender.leg_of else view.segment)
        if told:
            return [PacketOut(event.switch, told, (Output(event.in_port),))]
        parts = pmtu.fragments(event.data, self._limit)
        return [PacketOut(event.switch, part, (Output(TABLE),), event.in_port) for part in parts]


def _addressee(view: View, event: PacketIn) -> str:
    """Whom a frame is for that the switch knew no way for; empty for a MAC of nobody, or of somebody at the switch.

    Frames that a switch classified come with their segment's VNI, what it sends up before that with none.
    """
    if event.tunnel_id != view.segment.vni:
        return ""
    found = view.having(responder.mac_text(event.data[:6]))
    place = view.places.get(found)
    return "" if place and place.switch == event.switch else found
