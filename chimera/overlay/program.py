"""From the flows that are wanted to the changes a switch needs.

A switch's program is a set of *fragments*, each the flows that follow from one cause (the switch itself, a
segment, an interface): an event touches few causes, so cost grows with what changed and not with the lab.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from chimera.model.control import AddFlow, DeleteFlow, Effect
from chimera.model.flow import Flow, Learn

Cause = tuple[str, str]  # ("switch" | "segment" | "directory" | "interface", its name)
Program = Mapping[Cause, tuple[Flow, ...]]


def flows_of(program: Program) -> Iterator[Flow]:
    """All flows of a program."""
    for fragment in program.values():
        yield from fragment


def revised(program: Program, fragments: Mapping[Cause, tuple[Flow, ...]]) -> Program:
    """The program with some fragments replaced; empty ones are left out."""
    merged = dict(program)
    for cause, flows in fragments.items():
        if flows:
            merged[cause] = flows
        else:
            merged.pop(cause, None)
    return merged


def change(old: Program, new: Program, causes: Iterable[Cause]) -> tuple[list[Flow], list[int]]:
    """Flows to add and cookies to delete when ``old`` becomes ``new``, which differ at most in ``causes``.

    A flow whose match an added one has needs no deletion: adding replaces it (OpenFlow 1.3.5 section 6.4),
    and there is no moment without either.
    """
    before = {flow for cause in causes for flow in old.get(cause, ())}
    after = {flow for cause in causes for flow in new.get(cause, ())}
    added = sorted(after - before, key=_order)
    gone = before - after
    if not gone:
        return added, []
    replaced = {_place(flow) for flow in added}
    gone = {flow for flow in gone if _place(flow) not in replaced}
    gone -= set(flows_of(new)) if gone else set()
    return added, [flow.cookie for flow in sorted(gone, key=_order)]


def adoption(program: Program, held: Iterable[int]) -> tuple[list[Flow], list[int]]:
    """Flows to add and cookies to delete at a switch that holds flows with the cookies ``held``.

    Cookie 0 is not ours; what our flows learned stays, as the flow that learned it does.
    """
    wanted = set(flows_of(program))
    kept = {flow.cookie for flow in wanted}
    learned = {action.cookie for flow in wanted for action in flow.actions if isinstance(action, Learn)}
    held = set(held)
    added = sorted((flow for flow in wanted if flow.cookie not in held), key=_order)
    return added, sorted(held - kept - learned - {0})


def effects(switch: str, added: Iterable[Flow], deleted: Iterable[int]) -> tuple[list[Effect], list[Effect]]:
    """Additions and deletions at a switch, as effects."""
    return [AddFlow(switch, flow) for flow in added], [DeleteFlow(switch, cookie) for cookie in deleted]


def compacted(effects: Iterable[Effect]) -> list[Effect]:
    """The effects of several steps without the additions that a later one replaces."""
    kept: list[Effect] = []
    later: set[tuple[object, ...]] = set()
    for effect in reversed(list(effects)):
        if isinstance(effect, AddFlow):
            where = (effect.switch, *_place(effect.flow))
            if where in later:
                continue
            later.add(where)
        kept.append(effect)
    return kept[::-1]


def _place(flow: Flow) -> tuple[object, ...]:
    return flow.table, flow.priority, frozenset(flow.match)


def _order(flow: Flow) -> tuple[int, int, int]:
    """Later tables first, so that nothing is sent on to a table that is not ready."""
    return -flow.table, -flow.priority, flow.cookie
