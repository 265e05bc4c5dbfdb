"""The routes that nodes have been given, and how to get from them to others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from chimera.model.errors import SessionError
from chimera.model.underlay import Route


class RouteTable:
    """Routes by node and prefix, from several owners (the plan, advertised hosts)."""

    def __init__(self) -> None:
        self._held: dict[str, dict[str, dict[str, Route]]] = defaultdict(dict)  # owner -> node -> prefix

    def replace(self, owner: str, routes: Iterable[Route]) -> dict[str, list[str]]:
        """Let ``owner`` have exactly these routes; what changes, for each node, as lines of a batch of ``ip``.

        Raises:
            SessionError: some nodes could not be given theirs; the others have them. What those hold is what they
                held before, so that the next call asks for it again.
        """
        wanted: dict[str, dict[str, Route]] = defaultdict(dict)
        for route in routes:
            wanted[route.node][route.prefix] = route
        held, batches, failed = self._held[owner], dict[str, list[str]](), list[str]()
        for node in [*(held.keys() - wanted.keys()), *wanted]:
            before, after = held.get(node, {}), wanted.get(node, {})
            lines = [f"route del {prefix}" for prefix in before if prefix not in after]
            lines += [f"route replace {route_line(r)}" for prefix, r in after.items() if before.get(prefix) != r]
            if not lines:
                continue
            try:
                self.carry_out(node, lines)
            except SessionError as error:
                failed.append(str(error))
                continue
            held[node], batches[node] = after, lines
        if failed:
            raise SessionError("\n".join(failed))
        return batches

    def carry_out(self, node: str, lines: list[str]) -> None:
        """Where there is a network, change what it holds. Raises SessionError where it cannot be changed."""

    def forget(self, node: str) -> None:
        """The node lost its routes (it was powered off): the next :meth:`replace` names them all again."""
        for held in self._held.values():
            held.pop(node, None)

    def count(self, node: str) -> int:
        """How many routes the node was given."""
        return sum(len(held.get(node, ())) for held in tuple(self._held.values()))


def route_line(route: Route) -> str:
    """A route in the words of ip-route(8)."""
    if len(route.next_hops) == 1:
        (hop,) = route.next_hops
        return f"{route.prefix} via {hop.via} dev {hop.interface}"
    return f"{route.prefix} " + " ".join(f"nexthop via {h.via} dev {h.interface}" for h in route.next_hops)
