"""Agents in virtual time: the same state machines that a lab runs, over a modelled underlay, from one seed.

The simulator owns time, order and faults; nothing in it asks the machine's clock or a random source but its own, so a
seed is one execution. What it models is stated where it is: paths by delay, jitter, loss and duplication
(:class:`Weather`), nodes' clocks by offset and rate, OpenFlow sessions as streams that keep their order and may end,
switches as tables that hold what they are told. An agent's own work takes no virtual time.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count

from chimera.agents.adoption import ADOPTION_S, Adoption
from chimera.agents.attachments import Attachments, Identity
from chimera.agents.host import Host
from chimera.model.control import (
    AdvertiseHost,
    Counted,
    Datagram,
    Effect,
    Event,
    FrameIn,
    Located,
    Noted,
    PacketIn,
    PacketOut,
    SendDatagram,
    SendFrame,
    Started,
    SwitchDown,
    SwitchUp,
    WithdrawHost,
)
from chimera.model.flow import Flow
from chimera.overlay.agent import CONTROLLER, Agents
from chimera.overlay.programs import Batch
from chimera.wire import openflow


@dataclass(frozen=True)
class Weather:
    """What paths do to messages between agents: seconds, and shares of 1.

    ``jitter_s`` is added at random, up to that much: with it messages overtake each other. ``management_s`` is the
    delay of the out-of-band network to the switches, whose sessions keep their order. Clocks are off by at most
    ``clock_offset_s`` and run at a rate that differs from 1 by at most ``clock_drift``.
    """

    delay_s: float = 0.001
    jitter_s: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    management_s: float = 0.0002
    management_jitter_s: float = 0.0
    clock_offset_s: float = 0.0
    clock_drift: float = 0.0


@dataclass
class Switch:
    """One switch: its tables, its ports, and the session with whoever programs it."""

    name: str
    attachments: Attachments
    table: dict[object, Flow] = field(default_factory=dict)  # by place
    up: dict[str, int] = field(default_factory=dict)  # interface -> port
    session: int = 0  # number of the session, 0 where there is none
    sessions: int = 0

    def apply(self, batch: Batch) -> None:
        """Carry out a batch: additions, then deletions."""
        for flow in batch.added:
            self.table[flow.place] = flow
        if batch.deleted:
            gone = set(batch.deleted)
            for place in [place for place, flow in self.table.items() if flow.cookie in gone]:
                del self.table[place]

    @property
    def cookies(self) -> frozenset[int]:
        """The cookies of all that it holds."""
        return frozenset(flow.cookie for flow in self.table.values())


@dataclass
class _Clock:
    offset_s: float
    rate: float

    def now(self, t: float) -> float:
        return self.offset_s + t * self.rate


class Simulation:
    """A lab's agents and switches in virtual time.

    ``addresses`` are the nodes' addresses for datagrams, ``wires`` says which ends an interface's frames reach. With
    ``exact`` false switches only count what they are told: of a large network their tables would fill the memory.
    """

    def __init__(
        self,
        agents: Agents,
        switches: Iterable[str],
        *,
        seed: int,
        weather: Weather = Weather(),
        addresses: Mapping[str, str] | None = None,
        wires: Mapping[tuple[str, str], Iterable[tuple[str, str]]] | None = None,
        exact: bool = True,
    ) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.weather = weather
        self.messages: Counter[str] = Counter()
        self.bytes = 0
        self.counted: Counter[tuple[str, str]] = Counter()  # what agents counted, by node
        self.noted: list[tuple[float, str, str, str]] = []  # time, node, what, detail
        self.located: dict[str, str] = {}
        self.advertised: dict[str, str] = {}
        self.last_change = 0.0  # of any table
        self.cut: set[frozenset[str]] = set()
        self.switches = {name: Switch(name, Attachments(name)) for name in switches}
        self.hosts: dict[str, Host] = {}
        self._agents, self._exact = agents, exact
        self._sizes: dict[int, int] = {}  # bytes of a flow, by cookie
        self._adoption = Adoption(self.switches)
        self._node_of = {address: node for node, address in (addresses or {}).items()}
        self._address_of = dict(addresses or {})
        self._wires = {end: tuple(others) for end, others in (wires or {}).items()}
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self._stream_at: dict[tuple[str, str], float] = {}
        off = self.random.uniform
        self._clocks = {
            node: _Clock(off(-1, 1) * weather.clock_offset_s, 1 + off(-1, 1) * weather.clock_drift) for node in agents
        }
        for node in agents:
            self.begin(node)
        for name in self.switches:
            self._adoption.database(name, reachable=True)
        self.at(ADOPTION_S, lambda: self._adopt(self._adoption.deadline()))

    # -- time

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Do something at a time; what is due at the same time goes in the order it was asked for."""
        heapq.heappush(self._queue, (max(when, self.now), next(self._number), act))

    def run(self, until: float) -> None:
        """Let everything happen that is due until then."""
        self._work_off(until)
        self.now = max(self.now, until)

    def settle(self, longest_s: float = 60.0) -> None:
        """Run until nothing is due any more, for at most so long."""
        self._work_off(self.now + longest_s)

    def _work_off(self, end: float) -> None:
        while self._queue and self._queue[0][0] <= end:
            self.now, _, act = heapq.heappop(self._queue)
            act()

    # -- agents

    def begin(self, node: str) -> None:
        """An agent begins, knowing nothing; it is told what its switches have: all their ports, then what they hold."""
        self.hosts[node] = host = Host(node, self._agents[node])
        self._step(host, Started())
        mine = [switch for switch in self.switches.values() if node in (switch.name, CONTROLLER)]
        for switch in mine:
            for event in switch.attachments.again():
                self._step(host, event)
        for switch in mine:
            if switch.session:
                self._ask_state(switch)

    def kill(self, node: str) -> None:
        """An agent ends; what switches hold stays."""
        self.hosts.pop(node, None)

    def _step(self, host: Host, event: Event) -> None:
        """An event at a node, and in its turn what it causes."""
        if self.hosts.get(host.node) is not host:
            return  # it was for an agent that has ended
        self._carry_out(host, host.step(event, self._clocks[host.node].now(self.now)))
        self.at(self.now, lambda: self._turn(host))

    def _turn(self, host: Host) -> None:
        """Fire what is due and send what follows; all events of this moment have been dealt with."""
        if self.hosts.get(host.node) is not host:
            return
        clock = self._clocks[host.node]
        due = host.due()
        if due is not None and due <= clock.now(self.now) + 1e-9:
            self._carry_out(host, host.fire(clock.now(self.now) + 1e-9))
            due = host.due()
        for batch in host.batches():
            self._send(host, batch)
        if due is not None:
            self.at((due - clock.offset_s) / clock.rate, lambda: self._turn(host))

    def _carry_out(self, host: Host, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendDatagram(port, (address, to), data):
                    self._count("datagram", len(data))
                    source = (self._address_of.get(host.node, ""), port)
                    self._travel(host.node, self._node_of.get(address, ""), Datagram(to, source, data))
                case SendFrame(interface, data):
                    self._count("frame", len(data))
                    for node, end in self._wires.get((host.node, interface), ()):
                        self._travel(host.node, node, FrameIn(end, data))
                case PacketOut(_, data, actions):
                    self._count("PACKET_OUT", openflow.packet_out_bytes(data, actions))
                case AdvertiseHost(prefix, switch):
                    self.advertised[prefix] = switch
                case WithdrawHost(prefix):
                    self.advertised.pop(prefix, None)
                case Located(iface_id, switch):
                    self.located[iface_id] = switch
                case Counted(what, times):
                    self.counted[host.node, what] += times
                case Noted(what, detail):
                    self.noted.append((self.now, host.node, what, detail))

    def _count(self, kind: str, size: int, times: int = 1) -> None:
        self.messages[kind] += times
        self.bytes += size

    def _travel(self, source: str, target: str, event: Event) -> None:
        """A message crosses the underlay, or is lost on its way; it may arrive twice, and after a later one."""
        weather = self.weather
        for _ in range(1 + (self.random.random() < weather.duplication)):
            lost = self.random.random() < weather.loss
            delay_s = weather.delay_s + self.random.random() * weather.jitter_s
            if not lost and target and frozenset((source, target)) not in self.cut:
                self.at(self.now + delay_s, lambda: self._arrive(source, target, event))

    def _arrive(self, source: str, target: str, event: Event) -> None:
        if target in self.hosts and frozenset((source, target)) not in self.cut:
            self._step(self.hosts[target], event)

    # -- switches

    def _hosts_of(self, switch: str) -> list[Host]:
        """The agents that a switch's news reach: its node's own, and the controller."""
        return [self.hosts[node] for node in (switch, CONTROLLER) if node in self.hosts]

    def entries(self, name: str) -> int:
        """How many entries a switch should hold, as agents say."""
        return sum(len(flows) for host in self._hosts_of(name) for flows in host.programs[name].fragments.values())

    def connect(self, name: str) -> None:
        """A switch opens a session."""
        switch = self.switches[name]
        if not switch.session:
            switch.sessions += 1
            switch.session = switch.sessions
            self._ask_state(switch)

    def _ask_state(self, switch: Switch) -> None:
        """Ask a switch what ports it has, then what it holds: it answers after all that it was sent before."""
        session = switch.session
        self._count("PORT_DESC_REQUEST", openflow.STATS_REQUEST_BYTES)
        self._count("FLOW_STATS_REQUEST", openflow.FLOW_STATS_REQUEST_BYTES)

        def asked() -> None:
            if switch.session == session:
                self._answer_state(switch, dict(switch.up), switch.cookies)

        self._stream("", switch.name, asked)

    def _answer_state(self, switch: Switch, ports: dict[str, int], held: frozenset[int]) -> None:
        self._count("PORT_DESC", openflow.STATS_BYTES + openflow.PORT_BYTES * len(ports))
        self._count("FLOW_STATS", openflow.STATS_BYTES + sum(map(self._size, switch.table.values())))

        def told() -> None:
            self._tell(switch, switch.attachments.ports(ports))
            released = [*self._adoption.ports(switch.name), *self._adoption.holds(SwitchUp(switch.name, held))]
            self._adopt(released)

        self._over_session(switch, told)

    def _adopt(self, released: Iterable[SwitchUp]) -> None:
        for up in released:
            switch = self.switches[up.switch]
            if switch.session:
                self._tell(switch, [up])

    def disconnect(self, name: str, *, forgets: bool = False) -> None:
        """A switch loses its session, and with ``forgets`` what it holds: it began anew."""
        switch = self.switches[name]
        if forgets:
            switch.table.clear()
        if switch.session:
            switch.session = 0
            self._adoption.lost(name)
            self._tell(switch, [SwitchDown(name)])

    def plug(self, name: str, iface_id: str, mac: str, port: int) -> None:
        """A port with an interface's identity comes up: the database tells whose it is, OpenFlow that it is there.

        Either may arrive first.
        """
        switch = self.switches[name]
        switch.up[iface_id] = port
        who = Identity(iface_id, mac)
        self._over_database(switch, lambda: self._tell(switch, switch.attachments.named({iface_id: who})))
        self._port_status(switch, iface_id, port)

    def unplug(self, name: str, iface_id: str) -> None:
        """A port goes."""
        switch = self.switches[name]
        if switch.up.pop(iface_id, None) is not None:
            self._over_database(switch, lambda: self._tell(switch, switch.attachments.named({iface_id: None})))
            self._port_status(switch, iface_id, None)

    def _port_status(self, switch: Switch, iface_id: str, port: int | None) -> None:
        if switch.session:
            self._count("PORT_STATUS", openflow.PORT_STATUS_BYTES)
            self._over_session(switch, lambda: self._tell(switch, switch.attachments.port(iface_id, port)))

    def _tell(self, switch: Switch, events: Iterable[Event]) -> None:
        """Events of a switch reach agents."""
        for event in events:
            for host in self._hosts_of(switch.name):
                self._step(host, event)

    def _over_database(self, switch: Switch, arrive: Callable[[], None]) -> None:
        self._stream(f"{switch.name} database", "", arrive)

    def _over_session(self, switch: Switch, arrive: Callable[[], None]) -> None:
        """From a switch, unless its session ends on the way."""
        session = switch.session

        def arrived() -> None:
            if switch.session == session:
                arrive()

        self._stream(switch.name, "", arrived)

    def packet(self, name: str, event: PacketIn) -> None:
        """A switch sends up a packet."""
        switch = self.switches[name]
        if switch.session:
            self._count("PACKET_IN", openflow.PACKET_BYTES + len(event.data))
            self._over_session(switch, lambda: self._tell(switch, [event]))

    def _send(self, host: Host, batch: Batch) -> None:
        """A batch goes to a switch, which confirms it."""
        switch, times = self.switches[batch.switch], len(batch.added) + len(batch.deleted)
        session = switch.session
        self._count("FLOW_MOD", sum(map(self._size, batch.added)) + openflow.DELETE_BYTES * len(batch.deleted), times)
        self._count("BARRIER_REQUEST", openflow.BARRIER_BYTES)

        def told() -> None:
            if switch.session == session:
                self.last_change = self.now if times else self.last_change
                if self._exact:
                    switch.apply(batch)
                self._count("BARRIER_REPLY", openflow.BARRIER_BYTES)

        self._stream("", switch.name, told)

    def _stream(self, source: str, target: str, arrive: Callable[[], None]) -> None:
        """Over a session, which keeps its order."""
        weather = self.weather
        at = self.now + weather.management_s + self.random.random() * weather.management_jitter_s
        at = self._stream_at[source, target] = max(at, self._stream_at.get((source, target), 0.0))
        self.at(at, arrive)

    def _size(self, flow: Flow) -> int:
        """What one flow is on the wire; one flow goes to many switches."""
        size = self._sizes.get(flow.cookie)
        if size is None:
            size = self._sizes[flow.cookie] = openflow.flow_mod_bytes(flow)
        return size
