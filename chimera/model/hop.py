"""A packet's way through the lab, as it was captured: one hop per interface it was seen at."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Hop:
    """A sighting: node, interface, microseconds since the first sighting, headers and the flows that matched.

    ``direction`` is ``in`` or ``out``; ``stack`` names the headers, outermost first; ``headers`` has each one's
    identifying fields; ``flows`` are OpenFlow entries of that node's ``br-int`` with their actions, in table order
    (where the packet enters its pipeline here).
    """

    node: str
    interface: str
    direction: str
    us: float
    bytes: int
    stack: list[str]
    headers: list[str] = field(default_factory=list)
    flows: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trace:
    """All hops of one packet; ``delivered`` says whether it was seen at its destination.

    ``note`` says why it could not be, where the two belong to different tenants, and what the capture lacks.
    """

    source: str
    destination: str
    delivered: bool
    hops: list[Hop] = field(default_factory=list)
    note: str = ""
