"""Searches in a graph, for whoever has one: the underlay's routes and fabrics, a topology's file, a drawn map.

A graph is a function: a node to its neighbours, each with the cost of the step there. So whoever searches says what may
be passed through (other nodes have no steps), and nothing is copied to ask.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from itertools import count
from typing import TypeVar

N = TypeVar("N", bound=Hashable)
Steps = Callable[[N], Iterable[tuple[N, int]]]


def neighbours(edges: Iterable[tuple[N, N]]) -> dict[N, list[N]]:
    """The nodes next to each end of an edge, in the order of the edges; a parallel edge names its ends again."""
    found: dict[N, list[N]] = {}
    for a, b in edges:
        found.setdefault(a, []).append(b)
        found.setdefault(b, []).append(a)
    return found


def hops(near: Mapping[N, Iterable[N]], through: Callable[[N], bool] = lambda node: True) -> Steps[N]:
    """Steps that cost one each, from nodes that ``through`` holds for."""
    return lambda node: [(other, 1) for other in near.get(node, ())] if through(node) else []


def distances(origin: N, steps: Steps[N]) -> dict[N, int]:
    """The least cost from ``origin`` to every node that is reached, nearest first (Dijkstra; no cost below 0)."""
    return {node: cost for node, cost, _ in _search(origin, steps)}


def shortest_path(origin: N, goal: N, steps: Steps[N]) -> list[N]:
    """The nodes after ``origin`` on a shortest way to ``goal``; none where there is no way, or nowhere to go."""
    before: dict[N, N] = {}
    for node, _, previous in _search(origin, steps):
        before[node] = previous
        if node == goal:
            break
    way = []
    while goal in before and goal != origin:
        way.append(goal)
        goal = before[goal]
    return way[::-1]


def count_shortest(origin: N, steps: Steps[N]) -> dict[N, int]:
    """How many shortest ways lead from ``origin`` to every node that is reached; parallel edges are so many ways.

    Every step must cost something.
    """
    distance = distances(origin, steps)
    counted = dict.fromkeys(distance, 0)
    counted[origin] = 1
    for node, so_far in distance.items():
        for other, cost in steps(node):
            if distance[other] == so_far + cost:
                counted[other] += counted[node]
    return counted


def components(nodes: Iterable[N], near: Mapping[N, Iterable[N]]) -> Iterator[list[N]]:
    """The connected parts of a graph, in the order of ``nodes``, each from its first node outwards."""
    seen: set[N] = set()
    for node in nodes:
        if node not in seen:
            part = list(distances(node, hops(near)))
            seen.update(part)
            yield part


def has_cycle(edges: Iterable[tuple[N, N]]) -> bool:
    """True where a graph has more edges than a tree in each of its parts; two parallel edges are a cycle."""
    edges = list(edges)
    near = neighbours(edges)
    return len(edges) > len(near) - sum(1 for _ in components(near, near))


def _search(origin: N, steps: Steps[N]) -> Iterator[tuple[N, int, N]]:
    """Every node that is reached, its cost, and the node before it; of equal ways, the one that was found first."""
    order = count()  # nodes need not compare
    waiting = [(0, next(order), origin, origin)]
    least = {origin: 0}
    while waiting:
        cost, _, node, before = heapq.heappop(waiting)
        if cost == least[node]:  # or else a shorter way was found while this one waited
            yield node, cost, before
            for other, step in steps(node):
                if other not in least or cost + step < least[other]:
                    least[other] = cost + step
                    heapq.heappush(waiting, (cost + step, next(order), other, node))
