"""The one Ryu application: it hosts the OpenFlow sessions of a lab's switches, and decides nothing.

What Open vSwitch tells, in OpenFlow and in its databases, becomes events for the agents; what agents want of switches
becomes messages. Everything that comes from a switch goes through the application's one event thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from ryu.base import app_manager
from ryu.controller import event, ofp_event
from ryu.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from ryu.lib import hub
from ryu.ofproto import ofproto_v1_3 as ofp

from chimera.agents.adoption import ADOPTION_S, Adoption
from chimera.agents.attachments import Attachments
from chimera.agents.runner import Runner
from chimera.agents.sockets import Sockets
from chimera.deadline import steps
from chimera.model.codec import from_json
from chimera.model.control import Inventory, PacketIn, PacketOut, SwitchDown, SwitchUp
from chimera.overlay import registry
from chimera.overlay.ports import datapath_id
from chimera.overlay.programs import Batch
from controllers import framework, translate
from controllers.report import Reporter
from controllers.sessions import Session
from controllers.watch import Rows, Watch


class EventRows(event.EventBase):
    """News from a database."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows = rows


class EventDeadline(event.EventBase):
    """Switches that have not come by now are not waited for."""


class EventTellAgain(event.EventBase):
    """An agent has begun again and wants to know what these switches have."""

    def __init__(self, switches: Collection[str]) -> None:
        super().__init__()
        self.switches = switches


class OpenFlow(app_manager.RyuApp):
    """OpenFlow sessions, and the runner of the agents that use them."""

    OFP_VERSIONS = (ofp.OFP_VERSION,)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        inventory = from_json(Path(self.CONF.inventory).read_bytes(), Inventory)
        self.reporter = Reporter(inventory.api, self._command)
        self.names = {datapath_id(node): node.name for node in inventory.topology.vteps}
        self.sessions: dict[str, Session] = {}
        self.attachments = {name: Attachments(name) for name in self.names.values()}
        self.adoption = Adoption(inventory.ovsdb)
        self.watch = Watch(inventory.ovsdb, lambda rows: self.send_event(self.name, EventRows(rows)))
        agents, sockets = registry.get(inventory.overlay).agents(inventory), Sockets(inventory.underlay.vtep)
        self.runner = Runner(agents, self, sockets, self.reporter.tell)
        self._lock = threading.Lock()  # of sessions: one thread has them come and go, another programs them
        framework.install(self._on_message, lambda: self.reporter.tell({"event": "listening"}))

    def start(self) -> None:
        """Start the application's threads."""
        super().start()
        for run in (self.watch.run, self.reporter.run, self._end_adoption, self.runner.run):
            self.threads.append(hub.spawn(run))

    def _end_adoption(self) -> None:
        for step_s in steps(ADOPTION_S, lambda: self.adoption.heard):
            hub.sleep(step_s)
        self.send_event(self.name, EventDeadline())

    # -- news from OVSDB

    @set_ev_cls(EventRows)
    def rows_handler(self, ev: EventRows) -> None:
        """Interfaces got or lost an identity."""
        rows: Rows = ev.rows
        if rows.reachable:
            self.runner.post(self.attachments[rows.switch].named(rows.identities, complete=rows.complete))
        if rows.complete or not rows.reachable:
            self._adopt(self.adoption.database(rows.switch, rows.reachable))

    @set_ev_cls(EventDeadline)
    def deadline_handler(self, ev: EventDeadline) -> None:
        """Go on with the switches that are there."""
        self._adopt(self.adoption.deadline())

    @set_ev_cls(EventTellAgain)
    def again_handler(self, ev: EventTellAgain) -> None:
        """All ports of these switches first, so that nobody programs a switch without knowing of another's."""
        for name in ev.switches:
            self.runner.post(self.attachments[name].again())
        for name in ev.switches:
            if name in self.sessions:
                self.sessions[name].ask_state()

    # -- news from OpenFlow

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def state_handler(self, ev: Any) -> None:
        """A session with a switch began or ended."""
        datapath = ev.datapath
        name = self.names.get(datapath.id)
        if name is None:
            return
        if ev.state == MAIN_DISPATCHER:
            datapath.socket.node = name
            with self._lock:
                self.sessions[name] = Session(datapath)
            self.sessions[name].ask_state()
        elif name in self.sessions and self.sessions[name].datapath is datapath:
            with self._lock:
                del self.sessions[name]
            self.adoption.lost(name)
            self.runner.post([SwitchDown(name)])

    @set_ev_cls(ofp_event.EventOFPPortDescStatsReply, MAIN_DISPATCHER)
    def ports_handler(self, ev: Any) -> None:
        """The ports that a switch has (the answer to our own question: later changes come after it)."""
        found = self._session(ev.msg)
        if found is None or (ports := found[1].ports_reply(ev.msg)) is None:
            return
        name, _ = found
        up = {port.name.decode(): port.port_no for port in ports if _is_up(port)}
        self.runner.post(self.attachments[name].ports(up))
        self._adopt(self.adoption.ports(name))

    @set_ev_cls(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def port_status_handler(self, ev: Any) -> None:
        """A port came, went or changed."""
        found = self._session(ev.msg)
        if found is not None:
            port = ev.msg.desc
            here = ev.msg.reason != ofp.OFPPR_DELETE and _is_up(port)
            self.runner.post(self.attachments[found[0]].port(port.name.decode(), port.port_no if here else None))

    @set_ev_cls(ofp_event.EventOFPFlowStatsReply, MAIN_DISPATCHER)
    def flows_handler(self, ev: Any) -> None:
        """The cookies of the flows that a switch holds: with these it can be programmed."""
        found = self._session(ev.msg)
        if found is not None and (held := found[1].flows_reply(ev.msg)) is not None:
            self._adopt(self.adoption.holds(SwitchUp(found[0], held)))

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_handler(self, ev: Any) -> None:
        """A packet for the controller."""
        found = self._session(ev.msg)
        if found is not None:
            match = ev.msg.match
            self.runner.post([PacketIn(found[0], match["in_port"], ev.msg.data, match.get("tunnel_id", 0))])

    @set_ev_cls(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def barrier_handler(self, ev: Any) -> None:
        """A switch has done all it was asked."""
        found = self._session(ev.msg)
        if found is not None:
            with self._lock:
                found[1].barrier_reply(ev.msg.xid)
            self.runner.confirmed()

    @set_ev_cls(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
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

    def _adopt(self, ready: Iterable[SwitchUp]) -> None:
        self.runner.post([event for event in ready if event.switch in self.sessions])

    # -- what the runner asks for, in its thread

    def program(self, batches: Iterable[Batch], others: Iterable[PacketOut]) -> None:
        """See :class:`chimera.agents.runner.Switches`."""
        later: list[Batch] = []
        for batch in batches:
            if batch.deleted:
                later.append(batch)
            if batch.added or not batch.deleted:
                parts = [translate.added(flow) for flow in batch.added]
                self._send(batch.switch, parts, barrier=not batch.deleted)
        for packet in others:
            message = translate.packet_out(packet.data, packet.actions, packet.in_port)
            self._send(packet.switch, [message], barrier=False)
        for batch in later:
            self._send(batch.switch, [translate.deleted(cookie) for cookie in batch.deleted], barrier=True)

    def _send(self, switch: str, parts: Sequence[bytes], *, barrier: bool) -> None:
        with self._lock:
            session = self.sessions.get(switch)
            data = session.framed(parts, barrier=barrier) if session else b""
        if session and data:
            session.datapath.send(data)

    def settled(self) -> Collection[str] | None:
        """See :class:`chimera.agents.runner.Switches`."""
        with self._lock:
            return frozenset(self.sessions) if all(s.settled for s in self.sessions.values()) else None

    def tell_again(self, switches: Collection[str]) -> None:
        """See :class:`chimera.agents.runner.Switches`."""
        self.send_event(self.name, EventTellAgain(switches or self.names.values()))

    # -- the session of the lab

    def _command(self, line: dict[str, Any]) -> None:
        """Begin or end one node's agent."""
        act = {"start": self.runner.start_agent, "stop": self.runner.stop_agent}[line["command"]]
        act(line["node"])

    def _on_message(self, node: str, kind: str, size: int) -> None:
        self.reporter.mark({"t": time.time(), "type": kind, "node": node, "bytes": size})


def _is_up(port: Any) -> bool:
    return not (port.state & ofp.OFPPS_LINK_DOWN or port.config & ofp.OFPPC_PORT_DOWN)
