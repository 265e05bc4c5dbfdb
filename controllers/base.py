"""The Ryu application that every overlay's application is: Open vSwitch's news in, the core's wishes out.

All that happens goes through the application's one event thread, so the core sees one event after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from ryu.base import app_manager
from ryu.controller import event, ofp_event
from ryu.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from ryu.lib import hub
from ryu.ofproto import ofproto_v1_3 as ofp

from chimera.deadline import steps
from chimera.model.codec import from_json
from chimera.model.control import (
    AddFlow,
    AdvertiseHost,
    DeleteFlow,
    Effect,
    Event,
    Inventory,
    PacketIn,
    SwitchDown,
    SwitchUp,
    WithdrawHost,
)
from chimera.overlay import program
from chimera.overlay.base import Overlay
from chimera.overlay.ports import datapath_id
from controllers import framework, translate
from controllers.attachments import Attachments
from controllers.report import Reporter
from controllers.sessions import Adoption, Session
from controllers.watch import Rows, Watch

Handler = Callable[..., None]

_ADOPTION_S = 3.0  # without news of switches (chimera.deadline); those that have not come by then are not waited for
_MOST_PENDING = 2000  # effects; more would keep switches waiting for the sake of others


def on(event_class: type, dispatchers: Any = None) -> Callable[[Handler], Handler]:
    """Like Ryu's ``set_ev_cls``; what the handler brought about goes out when no other event waits."""

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        def handle(self: OverlayController, ev: Any) -> None:
            try:
                handler(self, ev)
            finally:
                self.flush()

        decorated: Handler = set_ev_cls(event_class, dispatchers)(handle)
        return decorated

    return decorate


class EventRows(event.EventBase):
    """News from a database."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows = rows


class EventDeadline(event.EventBase):
    """Switches that have not come by now are not waited for."""


class OverlayController(app_manager.RyuApp):
    """Runs the core of ``overlay``, which subclasses name."""

    OFP_VERSIONS = (ofp.OFP_VERSION,)
    overlay: Overlay

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        inventory = from_json(Path(self.CONF.inventory).read_bytes(), Inventory)
        self.reporter = Reporter(inventory.api)
        self.core = self.overlay.core(inventory)
        self.state = self.core.initial()
        self.names = {datapath_id(node): node.name for node in inventory.topology.vteps}
        self.sessions: dict[str, Session] = {}
        self.attachments = {name: Attachments(name) for name in self.names.values()}
        self.adoption = Adoption(inventory.ovsdb)
        self._pending: list[Effect] = []
        self._new: set[str] = set()  # switches to which the pending effects are the first program
        self._moved = False
        self.watch = Watch(inventory.ovsdb, lambda rows: self.send_event(self.name, EventRows(rows)))
        framework.install(self._on_message, lambda: self.reporter.tell({"event": "listening"}))

    def start(self) -> None:
        """Start the application's threads."""
        super().start()
        for run in (self.watch.run, self.reporter.run, self._end_adoption):
            self.threads.append(hub.spawn(run))

    def _end_adoption(self) -> None:
        for step_s in steps(_ADOPTION_S, lambda: self.adoption.heard):
            hub.sleep(step_s)
        self.send_event(self.name, EventDeadline())

    # -- news from OVSDB

    @on(EventRows)
    def rows_handler(self, ev: EventRows) -> None:
        """Interfaces got or lost an identity."""
        rows: Rows = ev.rows
        if rows.reachable:
            self._happened(self.attachments[rows.switch].named(rows.identities, complete=rows.complete))
        if rows.complete or not rows.reachable:
            self._adopt(self.adoption.database(rows.switch, rows.reachable))

    @on(EventDeadline)
    def deadline_handler(self, ev: EventDeadline) -> None:
        """Go on with the switches that are there."""
        self._adopt(self.adoption.deadline())

    # -- news from OpenFlow

    @on(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def state_handler(self, ev: Any) -> None:
        """A session with a switch began or ended."""
        datapath = ev.datapath
        name = self.names.get(datapath.id)
        if name is None:
            return
        if ev.state == MAIN_DISPATCHER:
            datapath.socket.node = name
            self.sessions[name] = Session(datapath)
            self.sessions[name].ask_state()
        elif name in self.sessions and self.sessions[name].datapath is datapath:
            del self.sessions[name]
            self.adoption.lost(name)
            self._happened([SwitchDown(name)])
            self._tell_synced()

    @on(ofp_event.EventOFPPortDescStatsReply, MAIN_DISPATCHER)
    def ports_handler(self, ev: Any) -> None:
        """The ports that a switch has (the answer to our own question: later changes come after it)."""
        found = self._session(ev.msg)
        if found is None or (ports := found[1].ports_reply(ev.msg)) is None:
            return
        name, _ = found
        up = {port.name.decode(): port.port_no for port in ports if _is_up(port)}
        self._happened(self.attachments[name].ports(up))
        self._adopt(self.adoption.ports(name))

    @on(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def port_status_handler(self, ev: Any) -> None:
        """A port came, went or changed."""
        found = self._session(ev.msg)
        if found is not None:
            port = ev.msg.desc
            here = ev.msg.reason != ofp.OFPPR_DELETE and _is_up(port)
            self._happened(self.attachments[found[0]].port(port.name.decode(), port.port_no if here else None))

    @on(ofp_event.EventOFPFlowStatsReply, MAIN_DISPATCHER)
    def flows_handler(self, ev: Any) -> None:
        """The cookies of the flows that a switch holds: with these it can be programmed."""
        found = self._session(ev.msg)
        if found is not None and (held := found[1].flows_reply(ev.msg)) is not None:
            self._adopt(self.adoption.holds(SwitchUp(found[0], held)))

    @on(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_handler(self, ev: Any) -> None:
        """A packet for the controller."""
        found = self._session(ev.msg)
        if found is not None:
            match = ev.msg.match
            self._happened([PacketIn(found[0], match["in_port"], ev.msg.data, match.get("tunnel_id", 0))])

    @on(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def barrier_handler(self, ev: Any) -> None:
        """A switch has done all it was asked."""
        found = self._session(ev.msg)
        if found is not None and found[1].barrier_reply(ev.msg.xid):
            self._tell_synced()

    @on(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
    def error_handler(self, ev: Any) -> None:
        """A switch refused a message: the lab must hear of it, its network is not what it seems."""
        found = self._session(ev.msg)
        node = found[0] if found else ""
        text = f"OpenFlow error type {ev.msg.type} code {ev.msg.code} for {bytes(ev.msg.data).hex()}"
        self.logger.error("%s: %s", node, text)
        self.reporter.tell({"event": "error", "node": node, "text": text})

    def _session(self, msg: Any) -> tuple[str, Session] | None:
        """The switch that sent the message, unless it has begun another session since."""
        name = self.names.get(msg.datapath.id)
        if name is None or name not in self.sessions or self.sessions[name].datapath is not msg.datapath:
            return None
        return name, self.sessions[name]

    # -- the core

    def _adopt(self, ready: Iterable[SwitchUp]) -> None:
        self._happened([event for event in ready if event.switch in self.sessions])

    def _happened(self, events: Sequence[Event]) -> None:
        """Step the core through the events; what it asks for is pending."""
        before = self.state
        for happened in events:
            self.state, effects = self.core.step(self.state, happened, time.monotonic())
            self._pending += effects
            if isinstance(happened, SwitchUp):
                self._new.add(happened.switch)
        if self.state is not before:
            self._tell_located(before)

    def flush(self) -> None:
        """Carry out what is pending, unless more events wait: a burst of them costs each switch one batch."""
        if not self.events.empty() and len(self._pending) < _MOST_PENDING:
            return
        effects, new, moved = program.compacted(self._pending), self._new, self._moved
        self._pending, self._new, self._moved = [], set(), False
        self._carry_out(effects, new)
        if moved:
            self._tell_synced()

    def _carry_out(self, effects: Sequence[Effect], new: set[str]) -> None:
        """Send what concerns switches, tell the session the rest; every ``new`` switch confirms, even nothing."""
        messages: dict[str, list[bytes]] = {switch: [] for switch in new}
        for effect in effects:
            if isinstance(effect, AdvertiseHost):
                self.reporter.tell({"event": "advertise", "prefix": effect.prefix, "switch": effect.switch})
            elif isinstance(effect, WithdrawHost):
                self.reporter.tell({"event": "withdraw", "prefix": effect.prefix})
            else:
                messages.setdefault(effect.switch, []).append(translate.message(effect))
        programmed = new | {effect.switch for effect in effects if isinstance(effect, AddFlow | DeleteFlow)}
        for switch, parts in messages.items():
            if switch in self.sessions:
                self.sessions[switch].send(parts, barrier=switch in programmed)

    # -- the session of the lab

    def _tell_synced(self) -> None:
        """All switches that are here have done all that they were asked."""
        if not self._pending and self.sessions and all(session.settled for session in self.sessions.values()):
            located = len(self.core.locations(self.state))
            self.reporter.tell({"event": "synced", "switches": sorted(self.sessions), "located": located})

    def _tell_located(self, before: Any) -> None:
        """Say which interfaces are elsewhere than in the state ``before``."""
        old, new = self.core.locations(before), self.core.locations(self.state)
        moved = [interface for interface in sorted(old.keys() | new.keys()) if old.get(interface) != new.get(interface)]
        for interface in moved:
            self.reporter.tell({"event": "located", "interface": interface, "switch": new.get(interface, "")})
        self._moved = self._moved or bool(moved)

    def _on_message(self, node: str, kind: str, size: int) -> None:
        self.reporter.mark({"t": time.time(), "type": kind, "node": node, "bytes": size})


def _is_up(port: Any) -> bool:
    return not (port.state & ofp.OFPPS_LINK_DOWN or port.config & ofp.OFPPC_PORT_DOWN)
