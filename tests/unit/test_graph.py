"""Searches in a graph, against a search that tries every way."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from chimera.graph import (
    components,
    count_shortest,
    distances,
    has_cycle,
    hops,
    neighbours,
    shortest_path,
)

DIAMOND = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "e")]
Weighted = dict[int, list[tuple[int, int]]]


def every_way(graph: Weighted, here: int, goal: int, passed: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """All ways without a repeated node: cost, then the nodes after the first."""
    if here == goal:
        yield (0,)
        return
    for other, cost in graph[here]:
        if other not in passed:
            for total, *rest in every_way(graph, other, goal, (*passed, here)):
                yield total + cost, other, *rest


def some_graph(seed: int) -> Weighted:
    chance = random.Random(seed)
    graph: Weighted = {node: [] for node in range(7)}
    for a in graph:
        for b in graph:
            if a < b and chance.random() < 0.4:
                cost = chance.randint(1, 3)
                graph[a].append((b, cost))
                graph[b].append((a, cost))
    return graph


@pytest.mark.parametrize("seed", range(40))
def test_costs_counts_and_ways_are_those_of_a_search_that_tries_every_way(seed: int) -> None:
    graph = some_graph(seed)
    costs, counts = distances(0, graph.__getitem__), count_shortest(0, graph.__getitem__)
    assert list(costs.values()) == sorted(costs.values())
    for goal in graph:
        ways = list(every_way(graph, 0, goal))
        least = min((way[0] for way in ways), default=None)
        assert costs.get(goal) == least
        assert counts.get(goal, 0) == sum(way[0] == least for way in ways)
        found = shortest_path(0, goal, graph.__getitem__)
        assert (least, *found) in ways if ways else found == []


def test_a_step_may_cost_nothing() -> None:
    lans: Weighted = {1: [(10, 1), (11, 1)], 2: [(10, 1)], 3: [(11, 1)], 10: [(1, 0), (2, 0)], 11: [(1, 0), (3, 0)]}
    assert distances(2, lans.__getitem__) == {2: 0, 10: 1, 1: 1, 11: 2, 3: 2}


def test_nothing_passes_through_a_node_without_steps() -> None:
    near = neighbours(DIAMOND)
    assert distances("a", hops(near, lambda node: node != "d")) == {"a": 0, "b": 1, "c": 1, "d": 2}
    assert shortest_path("a", "e", hops(near, lambda node: node != "d")) == []


def test_of_equal_ways_the_first_named_is_taken() -> None:
    assert shortest_path("a", "e", hops(neighbours(DIAMOND))) == ["b", "d", "e"]
    assert shortest_path("a", "e", hops(neighbours([DIAMOND[1], DIAMOND[0], *DIAMOND[2:]]))) == ["c", "d", "e"]
    assert shortest_path("a", "a", hops(neighbours(DIAMOND))) == []


def test_parallel_edges_are_so_many_ways() -> None:
    assert count_shortest("a", hops(neighbours([("a", "b"), ("a", "b"), ("b", "c")])))["c"] == 2


def test_parts_come_in_the_order_of_their_first_nodes() -> None:
    near = neighbours([("a", "b"), ("x", "y"), ("b", "c")])
    assert list(components(["lonely", "y", "a", "b", "c", "x"], near)) == [["lonely"], ["y", "x"], ["a", "b", "c"]]


@pytest.mark.parametrize(
    ("edges", "cycle"),
    [
        ([], False),
        (DIAMOND, True),
        (DIAMOND[1:], False),
        ([("a", "b"), ("b", "a")], True),
        ([("a", "b"), ("x", "y"), ("y", "z"), ("z", "x")], True),
        ([("a", "b"), ("x", "y")], False),
    ],
)
def test_more_edges_than_a_tree_has_make_a_cycle(edges: list[tuple[str, str]], cycle: bool) -> None:
    assert has_cycle(edges) is cycle
