"""What happens in a lab, as data: every event is one of these, and one JSON object with its ``kind``.

Who produces an event says when it happened where that was not just now; :class:`chimera.events.Stream` numbers it and
fills in the time where it is missing. Texts are for people: progress lines, ``lab events``, the report's timeline.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Literal

import msgspec

from chimera.model.service import AGENT, AGENTS, STOPPED, THE_LAB, State, titled
from chimera.model.topology import Impairment


def _kind(name: str) -> str:
    """``LinkChanged`` as ``link-changed``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=_kind):
    """Something that happened at ``t``, seconds since the epoch; ``cursor`` is its number in the stream, from 1."""

    t: float = 0.0
    cursor: int = 0

    @property
    def text(self) -> str:
        """One line for people."""
        raise NotImplementedError


Tell = Callable[[Event], Event]  # returns the event with its cursor and time


def tell_nobody(event: Event) -> Event:
    """Where nobody is to be told."""
    return event


# -- the lab, its nodes, links and services ------------------------------------------------------


class LabUp(Event, frozen=True):
    """The lab is up: the moment that the times of a result are counted from."""

    topology: str
    overlay: str
    options: dict[str, str]
    up_s: float
    version: str

    @property
    def text(self) -> str:
        """As a progress line."""
        return f"up in {self.up_s:.2f} s"


class NodeChanged(Event, frozen=True):
    """A hypervisor or gateway was powered on or off; with ``service``, somebody started or stopped that one alone.

    What its services did then is :class:`ServiceChanged`, and its agent :class:`AgentChanged`.
    """

    node: str
    state: Literal["started", "stopped"]
    service: str = ""

    @property
    def text(self) -> str:
        """Which, and how it is now."""
        return f"{titled(self.node, self.service) if self.service else self.node} {self.state}"


class LinkChanged(Event, frozen=True):
    """A link was cut or restored, or what it does to frames was changed (``forward`` and ``backward`` are that)."""

    link: str
    state: Literal["cut", "restored", "changed"]
    forward: Impairment | None = None
    backward: Impairment | None = None

    @property
    def text(self) -> str:
        """Which, and what was done to it."""
        if self.state != "changed":
            return f"link {self.link} {self.state}"
        ways = [impairment(way) for way in (self.forward, self.backward) if way is not None]
        both = ways[:1] if len(set(ways)) == 1 else [f"forward {ways[0]}", f"backward {ways[1]}"]
        return f"link {self.link} changed: {'; '.join(both)}"


class ServiceChanged(Event, frozen=True):
    """A process that belongs to a node or link, or to the lab itself (``node`` is empty), began, ended or failed.

    ``started``: it runs; ``ready``: it does what it is for; ``ended``: it was told to, or had done its work;
    ``failed``: it ended by itself; ``restarted``: it had failed and runs again. One that is ``transient`` ends with
    its work: it records or measures something.
    """

    node: str
    service: str
    state: State
    detail: str = ""
    transient: bool = False

    @property
    def text(self) -> str:
        """Which, and how it is now."""
        what = "controller" if self.is_controller else titled(self.node, self.service)
        if self.state == State.ENDED and self.detail in ("", STOPPED):
            return f"{what} stopped"
        state = "is ready" if self.state == State.READY else str(self.state)
        return f"{what} {state}{f': {self.detail}' if self.detail else ''}"

    @property
    def is_controller(self) -> bool:
        """True for the process that the control plane runs in."""
        return (self.node, self.service) == (THE_LAB, AGENTS)


class Misrouted(Event, frozen=True):
    """A node of the core was made to send what is for a hypervisor to a neighbour."""

    node: str
    target: str
    towards: str

    @property
    def text(self) -> str:
        """Which one, and where to."""
        return f"{self.node} sends what is for {self.target} to {self.towards}"


class Repaired(Event, frozen=True):
    """Every node of the core forwards as planned again."""

    @property
    def text(self) -> str:
        """The same in words."""
        return "the core is repaired"


# -- migrations ----------------------------------------------------------------------------------


class MigrationEvent(Event, frozen=True):
    """Something about the lab's ``migration``-th migration, counted from 1, of ``vm``."""

    migration: int
    vm: str


class MigrationStarted(MigrationEvent, frozen=True):
    """A VM is to move."""

    source: str
    destination: str

    @property
    def text(self) -> str:
        """From where to where."""
        return f"migrating {self.vm}: {self.source} → {self.destination}"


_PHASES = {
    "reserve": "memory reserved",
    "stun": "stunned, last pages sent",
    "move": "switched over",
    "resume": "resumed",
    "announce": "announced",
}


class MigrationPhase(MigrationEvent, frozen=True):
    """A phase of a migration ended at ``t``; it began at ``start``, and was not ``completed`` where it failed.

    Phases are ``reserve``, ``precopy 1`` …, ``stun``, ``move``, ``resume`` and ``announce``.
    """

    phase: str
    start: float
    completed: bool = True
    detail: str = ""

    @property
    def text(self) -> str:
        """What was done, and how long it took."""
        done = _PHASES.get(self.phase, self.phase) if self.completed else f"{self.phase} failed"
        return f"{self.vm}: {done}, {(self.t - self.start) * 1000:.1f} ms{f', {self.detail}' if self.detail else ''}"


class PrecopyRound(MigrationEvent, frozen=True):
    """A round of memory was copied; ``megabytes`` is what had arrived where the network failed in it."""

    number: int
    megabytes: float
    seconds: float
    mbps: float

    @property
    def text(self) -> str:
        """How much, and how fast."""
        return f"{self.vm}: round {self.number}, {self.megabytes:.1f} MB at {self.mbps:.0f} Mbit/s"


class MigrationEnded(MigrationEvent, frozen=True):
    """A migration is over, and the VM runs at ``at``; ``aborted`` says why that is its source, empty where it moved."""

    at: str
    aborted: str = ""

    @property
    def text(self) -> str:
        """Where the VM runs."""
        if self.aborted:
            return f"migration of {self.vm} aborted: {self.aborted}; it stays at {self.at}"
        return f"{self.vm} runs at {self.at}"


# -- the control plane ---------------------------------------------------------------------------


class InterfaceLocated(Event, frozen=True):
    """The control plane knows a VM's or gateway leg's interface (its ``iface-id``) to be at a node; empty: nowhere."""

    interface: str
    node: str

    @property
    def text(self) -> str:
        """Which, and where."""
        return f"the control plane has {self.interface} at {self.node or 'no node'}"


class ControlMessage(msgspec.Struct, frozen=True, array_like=True):
    """One control message: seconds since the epoch, type, the switch that sent or received it, bytes."""

    t: float
    type: str
    node: str
    bytes: int


class ControlMessages(Event, frozen=True):
    """Control messages of a moment, counted by switch and type.

    ``near`` are single ones near a migration; some of them were counted in earlier events, when it had not begun.
    """

    counts: dict[str, dict[str, int]]
    bytes: int
    near: tuple[ControlMessage, ...] = ()

    @property
    def text(self) -> str:
        """How many of which type."""
        if not self.counts:
            return f"control messages near a migration: {len(self.near)}"
        kinds: dict[str, int] = {}
        for by_type in self.counts.values():
            for kind, count in by_type.items():
                kinds[kind] = kinds.get(kind, 0) + count
        listed = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
        switches = f"{len(self.counts)} switches" if len(self.counts) > 1 else next(iter(self.counts)) or "a switch"
        return f"control messages of {switches}: {listed}; {self.bytes} bytes"


class Refused(Event, frozen=True):
    """A switch refused what its control plane asked of it."""

    node: str
    reason: str

    @property
    def text(self) -> str:
        """Which, and why."""
        return f"{self.node or 'a switch'} refused: {self.reason}"


class RouteChanged(Event, frozen=True):
    """The control plane has the underlay route a prefix to a node, or no longer."""

    prefix: str
    node: str
    state: Literal["advertised", "withdrawn"]

    @property
    def text(self) -> str:
        """Which, and to where."""
        return f"route {self.prefix} {self.state}{f' to {self.node}' if self.node else ''}"


class AgentChanged(Event, frozen=True):
    """A node's agent began or ended; ``detail`` says why it is in this state.

    ``failed``: a defect ended it, and it begins again, soon. ``waiting``: it cannot begin yet, as before its node has
    an address.
    """

    node: str
    state: Literal["running", "stopped", "failed", "waiting"]
    detail: str = ""

    @property
    def text(self) -> str:
        """Which, and how it is now."""
        state = {"failed": "failed", "stopped": "has ended"}.get(self.state, f"is {self.state}")
        return f"{titled(self.node, AGENT)} {state}{f': {self.detail}' if self.detail else ''}"


class AgentNoted(Event, frozen=True):
    """An agent says something of its own state: ``what`` happened, such as a neighbour found, and to whom."""

    node: str
    what: str
    detail: str = ""

    @property
    def text(self) -> str:
        """Whose, and what."""
        return f"{titled(self.node, AGENT)}: {self.what}{f' {self.detail}' if self.detail else ''}"


class AgentsCounted(Event, frozen=True):
    """What agents refused, and whatever else they count, of a moment: by node and by what it was."""

    counts: dict[str, dict[str, int]]

    @property
    def text(self) -> str:
        """All of it."""
        nodes = (
            f"{node} {', '.join(f'{what} {times}' for what, times in by_what.items())}"
            for node, by_what in self.counts.items()
        )
        return f"counted by agents: {'; '.join(nodes)}"


# -- measuring -----------------------------------------------------------------------------------


class Checked(Event, frozen=True):
    """An expectation was held against the figures."""

    name: str
    passed: bool
    detail: str = ""

    @property
    def text(self) -> str:
        """Whether it holds."""
        verdict = "holds" if self.passed else "does not hold"
        return f"{verdict}: {self.name}{f' ({self.detail})' if self.detail else ''}"


class Counters(Event, frozen=True):
    """Figures of a node or link, as they were counted at ``t``."""

    of: str
    values: dict[str, int | float]

    @property
    def text(self) -> str:
        """Those that are not 0."""
        return (
            f"{self.of}: {', '.join(f'{name} {value:g}' for name, value in self.values.items() if value) or 'nothing'}"
        )


class CaptureStarted(Event, frozen=True):
    """Frames on these links are being recorded; ``what`` names the capture."""

    what: str
    links: tuple[str, ...]

    @property
    def text(self) -> str:
        """Which, and how many links."""
        return f"{self.what} began ({len(self.links)} {'link' if len(self.links) == 1 else 'links'})"


class CaptureEnded(Event, frozen=True):
    """A capture is over; ``dropped`` frames came when the machine was too busy. ``failed`` says why there is none."""

    what: str
    frames: int = 0
    dropped: int = 0
    failed: str = ""

    @property
    def text(self) -> str:
        """What it has."""
        if self.failed:
            return f"{self.what} failed: {self.failed}"
        return f"{self.what} ended: {self.frames} frames{f', {self.dropped} dropped' if self.dropped else ''}"


# -- words ---------------------------------------------------------------------------------------


class Progress(Event, frozen=True):
    """What the lab is busy with."""

    said: str

    @property
    def text(self) -> str:
        """The same."""
        return self.said


class Noted(Event, frozen=True):
    """Something a scenario wants the report to say."""

    said: str

    @property
    def text(self) -> str:
        """The same."""
        return f"note: {self.said}"


class Warned(Event, frozen=True):
    """Something went wrong, and the lab goes on; ``about`` is the VM, node or route that it is about."""

    about: str
    said: str

    @property
    def text(self) -> str:
        """The same."""
        return f"warning: {self.said}"


class Dropped(Event, frozen=True):
    """In the place of ``count`` events that were overwritten before whoever reads this had read them."""

    count: int

    @property
    def text(self) -> str:
        """How many."""
        return f"{self.count} earlier events are not kept any more"


KINDS = (
    LabUp, NodeChanged, LinkChanged, ServiceChanged, Misrouted, Repaired, MigrationStarted, MigrationPhase,
    PrecopyRound, MigrationEnded, InterfaceLocated, ControlMessages, Refused, RouteChanged, AgentChanged, AgentNoted,
    AgentsCounted, Checked, Counters, CaptureStarted, CaptureEnded, Progress, Noted, Warned, Dropped,
)  # fmt: skip
_decoder = msgspec.json.Decoder(
    LabUp | NodeChanged | LinkChanged | ServiceChanged | Misrouted | Repaired | MigrationStarted | MigrationPhase
    | PrecopyRound | MigrationEnded | InterfaceLocated | ControlMessages | Refused | RouteChanged | AgentChanged
    | AgentNoted | AgentsCounted | Checked | Counters | CaptureStarted | CaptureEnded | Progress | Noted | Warned
    | Dropped
)  # fmt: skip


def event_from_json(line: bytes) -> Event:
    """The event that a JSON object is.

    Raises:
        ValueError: it is none of this version's (msgspec's text says where).
    """
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error


def is_turning_point(event: Event) -> bool:
    """True for what belongs on the time axis of a report beside migrations: something was done to the lab, or broke."""
    if isinstance(event, ServiceChanged):
        broke = event.state in (State.FAILED, State.RESTARTED) and not event.transient
        return broke or (event.is_controller and event.state != State.READY)
    if isinstance(event, AgentChanged):
        return event.state == "failed"
    return isinstance(event, NodeChanged | LinkChanged | Misrouted | Repaired | Refused)


def is_progress(event: Event) -> bool:
    """True for what who waits for the lab wants to read."""
    if isinstance(event, MigrationEvent):
        return not isinstance(event, MigrationPhase)
    if isinstance(event, ServiceChanged) and event.state == State.FAILED:
        return True
    return is_turning_point(event) or isinstance(event, LabUp | Progress | Warned)


def impairment(of: Impairment) -> str:
    """What a link does to frames in one direction: ``10 ms, 1000 Mbit/s``."""
    return impairments(asdict(of)) or "not impaired"


def impairments(figures: Mapping[str, float | None]) -> str:
    """The same of figures by their names; empty where there are none."""
    units = (("delay_ms", "{:g} ms"), ("jitter_ms", "±{:g} ms"), ("loss_percent", "{:g} % loss"),
             ("bandwidth_mbps", "{:g} Mbit/s"))  # fmt: skip
    return ", ".join(text.format(figures[key]) for key, text in units if figures.get(key))
