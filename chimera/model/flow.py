"""OpenFlow state as data: what a control plane wants a switch to hold.

Flows are *content-addressed*: a flow's cookie is a hash of what it says (RFC-less, ours;
cookies are opaque per OpenFlow 1.3.5 section 5.9), so a controller that comes back after
a crash reads the cookies a switch holds, keeps those it would install anyway, adds what is
missing and deletes the rest, without an outage.

Fields are named as OpenFlow 1.3's OXM fields (``eth_dst``, ``tunnel_id``, ``arp_tpa`` …); values are
integers, dotted or colon-separated addresses, or ``(value, mask)`` pairs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

Value = int | str | tuple[int, int] | tuple[str, str]

CONTROLLER = 0xFFFFFFFD  # OFPP_CONTROLLER
IN_PORT = 0xFFFFFFF8  # OFPP_IN_PORT
LOCAL = 0xFFFFFFFE  # OFPP_LOCAL
TABLE = 0xFFFFFFF9  # OFPP_TABLE: only for packets of the controller, which then go through the flows
NORMAL = 0xFFFFFFFA  # OFPP_NORMAL


class _Spelled:
    """Has its text at hand: most of the millions of actions in flows to all switches of a segment are shared."""

    @cached_property
    def text(self) -> str:
        """The action, spelled out: actions that differ have texts that differ."""
        return repr(self)


@dataclass(frozen=True)
class Output(_Spelled):
    """Send a copy of the packet out of ``port``."""

    port: int


@dataclass(frozen=True)
class SetField(_Spelled):
    """Write a header or metadata field."""

    field: str
    value: int | str


@dataclass(frozen=True)
class Move(_Spelled):
    """Copy field ``source`` into ``target`` (Nicira extension ``NXAST_REG_MOVE``), both whole."""

    source: str
    target: str


@dataclass(frozen=True)
class DecTtl(_Spelled):
    """Decrement the IPv4 TTL or IPv6 hop limit."""


@dataclass(frozen=True)
class CheckLarger(_Spelled):
    """Set ``reg0`` to 1 where the frame, Ethernet header included, has more bytes (``NXAST_CHECK_PKT_LARGER``)."""

    frame_bytes: int


@dataclass(frozen=True)
class Goto(_Spelled):
    """Continue in a later table (an instruction: the last element of a flow's actions)."""

    table: int


@dataclass(frozen=True)
class Learn(_Spelled):
    """Add a flow from the packet at hand (Nicira ``NXAST_LEARN``).

    The learned flow stands in ``table`` with ``priority`` and times out after
    ``idle_timeout_s``/``hard_timeout_s``. ``match`` holds ``(field of the packet, field matched)`` pairs or
    ``(constant, field)``; ``load`` holds ``(field of the packet or constant, field written)`` pairs;
    ``output_from`` names the field whose value is the port to output to, or is empty. Learned flows carry
    ``cookie``; where it is not 0 they go when the flow that learned them goes (``NX_LEARN_F_DELETE_LEARNED``).
    """

    table: int
    priority: int
    match: tuple[tuple[str | int, str], ...]
    load: tuple[tuple[str | int, str], ...] = ()
    output_from: str = ""
    idle_timeout_s: int = 300
    hard_timeout_s: int = 0
    cookie: int = 0


Action = Output | SetField | Move | DecTtl | CheckLarger | Goto | Learn


@dataclass(frozen=True)
class Flow:
    """One OpenFlow entry; an empty ``actions`` drops. What nothing hits for ``idle_timeout_s`` (not 0) goes."""

    table: int
    priority: int
    match: tuple[tuple[str, Value], ...]
    actions: tuple[Action, ...]
    idle_timeout_s: int = 0

    @cached_property
    def cookie(self) -> int:
        """64-bit hash of the flow's content, never 0 (0 is what learned and hand-made flows carry)."""
        text = repr((self.table, self.priority, self.match, self.idle_timeout_s))
        text += "".join([action.text for action in self.actions])
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) or 1

    @cached_property
    def place(self) -> tuple[int, int, frozenset[tuple[str, Value]]]:
        """What a switch tells flows apart by: of one place it holds one."""
        return self.table, self.priority, frozenset(self.match)
