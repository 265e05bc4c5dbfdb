"""What agents are told, and what they ask for: the events and effects of every control plane.

An agent is one party of a control plane at one node (:class:`chimera.overlay.agent.Agent`): ``step(event, now)``
returns effects. Events and effects are data, so one agent runs over sockets in a lab and in virtual time in the
simulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chimera.model.flow import CONTROLLER, Action, Flow
from chimera.model.topology import Topology
from chimera.model.underlay import Underlay

LISTENER = "LAB_OPENFLOW_LISTENER"  # environment: descriptor of the socket the lab opened for its controller

# -- events: from the network ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The agent begins, with nothing known."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram came in at ``port`` from ``source`` (address, port)."""

    port: int
    source: tuple[str, int]
    data: bytes


@dataclass(frozen=True, slots=True)
class FrameIn:
    """An Ethernet frame came in by ``interface``, from its destination address on."""

    interface: str
    data: bytes


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The timer of that name ran out."""

    name: str


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """The node's ``interface`` got or lost its link."""

    interface: str
    up: bool


@dataclass(frozen=True, slots=True)
class RowChanged:
    """A row of a database changed; ``columns`` is None where it is gone."""

    database: str
    table: str
    row: str
    columns: Mapping[str, object] | None


# -- events: from switches -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SwitchUp:
    """A VTEP's ``br-int`` connected. ``held`` are the cookies of the flows it holds."""

    switch: str
    held: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class SwitchDown:
    """The OpenFlow session of a ``br-int`` ended; its flows stay as they are."""

    switch: str


@dataclass(frozen=True, slots=True)
class PortUp:
    """A port with ``external_ids`` (``iface-id``, ``attached-mac``, ``vm-id``) is there and its link is up.

    ``iface_id`` is the endpoint's name (for a gateway's leg: ``gateway-name/tenant/segment``).
    """

    switch: str
    iface_id: str
    mac: str
    port: int


@dataclass(frozen=True, slots=True)
class PortDown:
    """A port with ``external_ids`` is gone, or its link is down."""

    switch: str
    iface_id: str


@dataclass(frozen=True, slots=True)
class PacketIn:
    """A packet the switch sent to the controller."""

    switch: str
    in_port: int
    data: bytes
    tunnel_id: int = 0


Event = (
    Started | Datagram | FrameIn | TimerFired | LinkChanged | RowChanged
    | SwitchUp | SwitchDown | PortUp | PortDown | PacketIn
)  # fmt: skip

# -- effects -------------------------------------------------------------------------------------

Cause = tuple[str, str]  # ("switch" | "segment" | "directory" | "interface", its name)
Fragments = Mapping[Cause, tuple[Flow, ...]]


@dataclass(frozen=True, slots=True)
class Hold:
    """What a switch should hold for some causes, from now on; for others it stays as it was.

    How it gets there is :mod:`chimera.overlay.programs`' business. With ``refresh``, flows that time out are sent even
    where the switch should hold them already: they may have expired there.
    """

    switch: str
    fragments: Fragments
    refresh: bool = False


@dataclass(frozen=True, slots=True)
class PacketOut:
    """Send a frame through a switch, as if it came in by ``in_port``."""

    switch: str
    data: bytes
    actions: tuple[Action, ...]
    in_port: int = CONTROLLER


@dataclass(frozen=True, slots=True)
class AdvertiseHost:
    """Have the underlay route ``prefix`` (a VM's /32 or /128) to a hypervisor."""

    prefix: str
    switch: str


@dataclass(frozen=True, slots=True)
class WithdrawHost:
    """End the underlay route of ``prefix``."""

    prefix: str


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """Send a UDP datagram from the node's ``port`` to ``destination`` (address, port)."""

    port: int
    destination: tuple[str, int]
    data: bytes


@dataclass(frozen=True, slots=True)
class SendFrame:
    """Send an Ethernet frame out of the node's ``interface``, from its destination address on."""

    interface: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Fire a timer ``after_s`` seconds from now, in place of one of that name that still runs.

    With 0 it fires when all events that wait now have been dealt with: what many of them cause is then done once.
    """

    name: str
    after_s: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Do not fire a timer."""

    name: str


@dataclass(frozen=True, slots=True)
class Located:
    """The agent now believes that an interface is at a switch; empty: nowhere."""

    iface_id: str
    switch: str


@dataclass(frozen=True, slots=True)
class Counted:
    """Something that the agent counts happened ``times`` times: a refusal, a malformed message, a retransmission."""

    what: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Noted:
    """Something of the agent's state changed that a person may want to know: an adjacency, a refusal, an election."""

    what: str
    detail: str = ""


Effect = (
    Hold | PacketOut | AdvertiseHost | WithdrawHost
    | SendDatagram | SendFrame | SetTimer | CancelTimer
    | Located | Counted | Noted
)  # fmt: skip

# -- what both sides know ------------------------------------------------------------------------


@dataclass(frozen=True)
class Inventory:
    """What the lab hands the process that runs its agents when it starts.

    Port numbers, datapath identifiers and names of ports are rules, not data: :mod:`chimera.overlay.ports`.
    ``openflow_address`` and ``openflow_port`` are where the controller listens, on the management network.
    ``options`` are the overlay's settings (``mode``, ``gateway`` …) as checked text. ``packet_limit`` is the largest IP
    packet of a VM that the underlay carries in the overlay's headers, in bytes; 0 where that is every packet.
    """

    topology: Topology
    underlay: Underlay
    overlay: str
    options: dict[str, str] = field(default_factory=dict)
    ovsdb: dict[str, str] = field(default_factory=dict)  # switch -> path of its ovsdb socket
    openflow_address: str = "127.0.0.1"
    openflow_port: int = 6653
    packet_limit: int = 0
    api: str = ""  # unix socket on which the controller reports to the session
