"""The routes in the kernel: only what changed reaches it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from chimera.model.underlay import NextHop, Route
from chimera.net import routing
from chimera.net.routing import Routes
from chimera.underlay.routes import route_line

ONE = Route("leaf1", "10.0.0.0/31", (NextHop("172.16.0.1", "eth1"),))
TWO = Route("leaf1", "10.0.0.2/31", (NextHop("172.16.0.1", "eth1"), NextHop("172.16.0.3", "eth2")))
DEFAULT = Route("hv1", "default", (NextHop("172.16.0.4", "br-phy"),))
HOST = Route("leaf1", "10.1.0.11/32", (NextHop("172.16.0.5", "eth3"),))

Batches = list[tuple[str, list[str]]]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Batches:
    """What would have reached the kernel: node and lines."""
    found: Batches = []

    def ip_batch(name: str, lines: Iterable[str], *, again: bool = False) -> None:
        assert again, "a route may be gone already, with its interface"
        found.append((name, list(lines)))

    monkeypatch.setattr(routing.netns, "ip_batch", ip_batch)
    return found


@pytest.mark.parametrize(
    ("route", "line"),
    [
        (ONE, "10.0.0.0/31 via 172.16.0.1 dev eth1"),
        (TWO, "10.0.0.2/31 nexthop via 172.16.0.1 dev eth1 nexthop via 172.16.0.3 dev eth2"),
        (DEFAULT, "default via 172.16.0.4 dev br-phy"),
    ],
)
def test_a_route_in_the_words_of_ip(route: Route, line: str) -> None:
    assert route_line(route) == line


def test_each_node_gets_one_batch(batches: Batches) -> None:
    Routes().replace("plan", [ONE, DEFAULT, TWO])
    assert batches == [
        ("leaf1", [f"route replace {route_line(ONE)}", f"route replace {route_line(TWO)}"]),
        ("hv1", [f"route replace {route_line(DEFAULT)}"]),
    ]


def test_only_differences_reach_the_kernel(batches: Batches) -> None:
    routes = Routes()
    routes.replace("plan", [ONE, TWO, DEFAULT])
    batches.clear()
    routes.replace("plan", [ONE, TWO, DEFAULT])
    assert batches == []
    fewer = Route(TWO.node, TWO.prefix, TWO.next_hops[:1])
    routes.replace("plan", [fewer, DEFAULT])
    assert batches == [("leaf1", ["route del 10.0.0.0/31", "route replace 10.0.0.2/31 via 172.16.0.1 dev eth1"])]


def test_owners_do_not_take_each_others_routes(batches: Batches) -> None:
    routes = Routes()
    routes.replace("plan", [ONE])
    routes.replace("10.1.0.11/32", [HOST])
    batches.clear()
    routes.replace("10.1.0.11/32", [])
    assert batches == [("leaf1", ["route del 10.1.0.11/32"])]
    assert (routes.count("leaf1"), routes.count("hv1")) == (1, 0)


def test_a_node_that_lost_its_routes_gets_all_again_and_others_none(batches: Batches) -> None:
    routes = Routes()
    routes.replace("plan", [ONE, TWO, DEFAULT])
    routes.forget("leaf1")
    assert (routes.count("leaf1"), routes.count("hv1")) == (0, 1)
    batches.clear()
    routes.replace("plan", [ONE, TWO, DEFAULT])
    assert [(node, len(lines)) for node, lines in batches] == [("leaf1", 2)]
