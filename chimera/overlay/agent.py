"""What an agent is: one party of a control plane at one node, as a pure state machine.

It has no sockets, no clock and no log: what happened comes in, with the time, and what is to be done goes out. Its
state is its own and changes in place; agents share no object, so what one knows, its own events told it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chimera.model.control import Effect, Event

CONTROLLER = "controller"  # the node of an agent that is at no node of the topology


@dataclass(frozen=True, slots=True)
class Udp:
    """An agent receives datagrams at this port of its node."""

    port: int


@dataclass(frozen=True, slots=True)
class Frames:
    """An agent receives frames of this EtherType (or LLC, below 1536) at an interface of its node.

    ``group`` is a multicast address that the interface is to receive as well.
    """

    interface: str
    ether_type: int
    group: str = ""


@dataclass(frozen=True, slots=True)
class Links:
    """An agent is told when interfaces of its node get or lose their link."""


Listen = Udp | Frames | Links


class Agent(Protocol):
    """One party of a control plane."""

    def listens(self) -> Sequence[Listen]:
        """What it receives; asked once, before the first event."""

    def step(self, event: Event, now: float) -> Iterable[Effect]:
        """What to do about an event, in that order; ``now`` is the node's own clock in seconds, from any epoch."""


Agents = Mapping[str, Callable[[], Agent]]  # by node: how its agent begins, with nothing known
