"""Events a control plane hears and the actions it asks for.

A control plane is ``step(state, event, now) -> (state, actions)``: no sockets, no clock, no
logging. Controllers translate Open vSwitch's messages to events and actions to messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from chimera.model.flow import CONTROLLER, Action, Flow
from chimera.model.topology import Topology
from chimera.model.underlay import Underlay

LISTENER = "LAB_OPENFLOW_LISTENER"  # environment: descriptor of the socket the lab opened for its controller

# -- events --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SwitchUp:
    """A hypervisor's or gateway's ``br-int`` connected. ``held`` are the cookies of the flows it holds."""

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


Event = SwitchUp | SwitchDown | PortUp | PortDown | PacketIn

# -- actions -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddFlow:
    """Install a flow."""

    switch: str
    flow: Flow


@dataclass(frozen=True, slots=True)
class DeleteFlow:
    """Remove exactly the flows that carry ``cookie``."""

    switch: str
    cookie: int


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


Effect = AddFlow | DeleteFlow | PacketOut | AdvertiseHost | WithdrawHost


# -- what both sides know ------------------------------------------------------------------


@dataclass(frozen=True)
class Inventory:
    """What the lab hands its controller when it starts.

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
