"""The routes that nodes have been given, and how to get from them to others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from chimera.model.underlay import Route


class RouteTable:
    """Routes by node and prefix, from several owners (the plan, advertised hosts)."""

    def __init__(self) -> None:
        self._held: dict[str, dict[tuple[str, str], Route]] = defaultdict(dict)

    def replace(self, owner: str, routes: Iterable[Route]) -> dict[str, list[str]]:
        """Let ``owner`` have exactly these routes; what changes, for each node, as lines of a batch of ``ip``."""
        wanted = {(r.node, r.prefix): r for r in routes}
        held = self._held[owner]
        batches: dict[str, list[str]] = defaultdict(list)
        for key in held.keys() - wanted.keys():
            batches[key[0]].append(f"route del {key[1]}")
        for key, route in wanted.items():
            if held.get(key) != route:
                batches[route.node].append(f"route replace {route_line(route)}")
        self._held[owner] = wanted
        return batches

    def forget(self, node: str) -> None:
        """The node lost its routes (it was powered off): the next :meth:`replace` names them all again."""
        for owner, held in self._held.items():
            self._held[owner] = {key: route for key, route in held.items() if key[0] != node}

    def count(self, node: str) -> int:
        """How many routes the node was given."""
        return sum(key[0] == node for held in self._held.values() for key in held)


def route_line(route: Route) -> str:
    """A route in the words of ip-route(8)."""
    if len(route.next_hops) == 1:
        (hop,) = route.next_hops
        return f"{route.prefix} via {hop.via} dev {hop.interface}"
    return f"{route.prefix} " + " ".join(f"nexthop via {h.via} dev {h.interface}" for h in route.next_hops)
