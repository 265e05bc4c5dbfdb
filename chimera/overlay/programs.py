"""What switches should hold, and the changes that lead there: adoption, differences and batches, for every agent.

A switch's program is a set of *fragments*, each what follows from one cause (the switch itself, a segment, an
interface): an event touches few causes, so cost grows with what changed and not with the lab. Entries are
content-addressed: ``cookie`` is a hash of all that an entry says, ``place`` is what it replaces another one by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from chimera.model.control import Cause, Hold
from chimera.model.flow import Flow, Learn


@dataclass(frozen=True, slots=True)
class Batch:
    """What one switch is asked for at once: flows to add, then cookies of flows to delete.

    ``first``: it is the switch's first program, and to be confirmed even where it is empty.
    """

    switch: str
    added: tuple[Flow, ...]
    deleted: tuple[int, ...]
    first: bool = False


@dataclass
class Program:
    """What one switch should hold, by cause, and what has changed of it since the last batch.

    Until its agent has said of a switch what it should hold, even if nothing, the switch is not its own to program.
    """

    fragments: dict[Cause, tuple[Flow, ...]] = field(default_factory=dict)
    before: dict[Cause, tuple[Flow, ...]] = field(default_factory=dict)  # as the switch was last asked for
    refresh: set[Cause] = field(default_factory=set)
    claimed: bool = False
    connected: bool = False
    held: frozenset[int] | None = None  # cookies at a switch that waits to be adopted
    fresh: bool = False  # it has been asked for nothing in this session

    def revise(self, hold: Hold) -> None:
        """Have the switch hold other fragments for the causes named; empty ones are left out."""
        self.claimed = True
        fragments, before = self.fragments, self.before
        if self.connected and not self.fresh:
            for cause in hold.fragments:
                if cause not in before:
                    before[cause] = fragments.get(cause, ())
            if hold.refresh:
                self.refresh.update(hold.fragments)
        fragments.update(hold.fragments)
        for cause, flows in hold.fragments.items():
            if not flows:
                del fragments[cause]

    def flows(self) -> Iterator[Flow]:
        """All flows."""
        for fragment in self.fragments.values():
            yield from fragment

    def difference(self) -> tuple[list[Flow], list[int]]:
        """Flows to add and cookies to delete since the last batch.

        A flow whose match an added one has needs no deletion: adding replaces it (OpenFlow 1.3.5 section 6.4), and
        there is no moment without either. As all flows of a switch differ in their matches, no cause that has not
        changed wants one that is deleted.
        """
        before = {flow.cookie: flow for fragment in self.before.values() for flow in fragment}
        after = {flow.cookie: flow for cause in self.before for flow in self.fragments.get(cause, ())}
        added = [flow for cookie, flow in after.items() if cookie not in before]
        again = {
            flow.cookie: flow
            for cause in self.refresh
            for flow in self.fragments.get(cause, ())
            if flow.idle_timeout_s and flow.cookie in before
        }
        gone = {cookie: flow for cookie, flow in before.items() if cookie not in after}
        if gone:
            replaced = {flow.place for flow in added}
            gone = {cookie: flow for cookie, flow in gone.items() if flow.place not in replaced}
        return _ordered([*added, *again.values()]), [flow.cookie for flow in _ordered(gone.values())]

    def adoption(self, held: frozenset[int]) -> tuple[list[Flow], list[int]]:
        """Flows to add and cookies to delete at a switch that holds flows with the cookies ``held``.

        Cookie 0 is not ours; what our flows learned stays, as the flow that learned it does.
        """
        if not held:
            return _ordered(self.flows()), []
        wanted = {flow.cookie: flow for flow in self.flows()}
        learned = {action.cookie for f in wanted.values() for action in f.actions if isinstance(action, Learn)}
        added = _ordered(flow for cookie, flow in wanted.items() if cookie not in held)
        return added, sorted(held - wanted.keys() - learned - {0})

    def batch(self, switch: str) -> Batch | None:
        """What is to be asked of the switch now; it counts as asked."""
        if not self.connected or not self.claimed:
            return None
        held, first = self.held, self.held is not None
        added, deleted = self.difference()
        if held is not None:  # what it told of itself may be older than what it was asked for since
            missing, stale = self.adoption(held)
            added = [*{flow.cookie: flow for flow in (*missing, *added)}.values()]
            deleted = [*dict.fromkeys((*deleted, *stale))]
        self.before, self.refresh, self.held, self.fresh = {}, set(), None, False
        return Batch(switch, tuple(added), tuple(deleted), first) if added or deleted or first else None


class Programs:
    """The programs of all switches that one agent programs."""

    def __init__(self) -> None:
        self.by_switch: dict[str, Program] = {}
        self._changed: dict[str, None] = {}  # in the order in which they are to be asked

    def __getitem__(self, switch: str) -> Program:
        """A switch's program."""
        return self.by_switch.setdefault(switch, Program())

    def hold(self, hold: Hold) -> None:
        """A switch should hold something else."""
        self[hold.switch].revise(hold)
        self._changed[hold.switch] = None

    def connected(self, switch: str, held: frozenset[int]) -> None:
        """A switch is there, and holds flows with these cookies."""
        program = self[switch]
        program.fresh = program.fresh or not program.connected
        program.connected, program.held = True, held
        self._changed[switch] = None

    def disconnected(self, switch: str) -> None:
        """A switch went; what it holds is not known any more."""
        program = self[switch]
        program.connected, program.held = False, None
        program.before.clear()
        program.refresh.clear()

    def batches(self) -> list[Batch]:
        """What is to be asked of which switch, in the order of their changes."""
        changed, self._changed = self._changed, {}
        return [batch for switch in changed if (batch := self.by_switch[switch].batch(switch))]


def _ordered(flows: Iterable[Flow]) -> list[Flow]:
    """Later tables first, so that nothing is sent on to a table that is not ready."""
    return sorted(flows, key=_order)


def _order(flow: Flow) -> int:
    return -flow.table
