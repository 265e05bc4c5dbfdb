"""Routes of the underlay in the kernel: a refused one is never hidden, and all are there again after a power cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_support import PROJECT, needs_lab, on_a_host_of_its_own
from running_lab import RunningLab, up

from chimera.model.errors import SessionError
from chimera.model.underlay import NextHop, Route
from chimera.net import netns
from chimera.net.routing import Routes

pytestmark = needs_lab

HOP = (NextHop("172.16.0.1", "eth1"),)
REFUSED = {
    "IPv6 by an IPv4 next hop": Route("r1", "fd00::11/128", HOP),
    "a next hop on no link": Route("r1", "10.1.0.11/32", (NextHop("192.0.2.1", "eth1"),)),
    "an interface that is not there": Route("r1", "10.1.0.11/32", (NextHop("172.16.0.1", "eth9"),)),
}


def _ask_the_kernel() -> dict[str, Any]:
    netns.ip_batch("", ["netns add r1"])
    netns.ip_batch("r1", ["link add name eth1 type veth peer name far", "link set dev far up", "link set dev eth1 up",
                          "addr add 172.16.0.0/31 dev eth1"])  # fmt: skip
    said = {}
    for name, route in REFUSED.items():
        try:
            Routes().replace("plan", [route])
        except SessionError as error:
            said[name] = str(error)
    routes = Routes()
    routes.replace("plan", [Route("r1", "10.1.0.11/32", HOP), Route("r1", "10.1.0.12/32", HOP)])
    netns.ip_batch("r1", ["route del 10.1.0.11/32"])  # as the kernel does when an interface goes
    routes.replace("plan", [Route("r1", "10.1.0.13/32", HOP)])
    return {"said": said, "left": netns.run("r1", ["ip", "route", "show", "via", "172.16.0.1"]).split()[::5]}


def test_refused_routes_are_errors_and_routes_that_have_gone_are_not() -> None:
    found = on_a_host_of_its_own(_ask_the_kernel)
    assert found["said"].keys() == REFUSED.keys()
    assert all("r1" in text for text in found["said"].values()), found["said"]
    assert found["left"] == ["10.1.0.13"]


def _with_ipv6(folder: Path) -> str:
    text = (PROJECT / "topologies" / "dual-dc.yaml").read_text()
    path = folder / "dual-dc.yaml"
    path.write_text(text.replace("external: true}", "external: true, subnet6: auto}"))
    return str(path)


@pytest.fixture(scope="module")
def anycast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with up(_with_ipv6(tmp_path_factory.mktemp("ipv6")), "--set", "gateway=anycast") as running:
        yield running


def test_every_host_route_is_in_every_kernel_of_the_core(anycast: RunningLab) -> None:
    wanted = {anycast.address(f"web{number}") for number in range(1, 6)}
    for node in ("r1", "r2", "r3", "leaf1", "leaf2"):
        held = json.loads(anycast.exec(node, "ip", "-j", "route"))
        assert wanted <= {route["dst"] for route in held}, node
    assert anycast.state()["refused"] == []


def test_ipv6_stays_within_the_tenant(anycast: RunningLab) -> None:
    web4 = anycast.endpoints["web4"]["ip6"].partition("/")[0]
    assert anycast.ping("web1", web4).lost == 0
    assert anycast.ping("web1", "2001:db8::1", 1).received == 0
    assert anycast.exec("r1", "ip", "-6", "route", "show", "table", "all") == ""


def _held(running: RunningLab, node: str) -> list[str]:
    """Every route and rule of a node, but for what the kernel adds by itself when IPv6 starts."""
    tables = "ip route show table all; ip -6 route show table all | grep -v 'fe80::\\|ff00::'"
    script = f"{tables}; ip rule; ip -6 rule"
    return sorted(running.exec(node, "sh", "-c", script).splitlines())


def test_a_router_of_every_tenant_has_its_routes_again_after_a_power_cut(anycast: RunningLab) -> None:
    before = _held(anycast, "hv2")
    anycast("stop", "hv2")
    anycast("start", "hv2")
    assert _held(anycast, "hv2") == before


@pytest.mark.parametrize("node", ["hv1", "gw1"])
def test_a_node_has_its_default_route_again_after_a_power_cut(bridged: RunningLab, node: str) -> None:
    before = _held(bridged, node)
    assert any("default via" in line for line in before)
    bridged("stop", node)
    bridged("start", node)
    assert _held(bridged, node) == before


@pytest.fixture(scope="module")
def bridged() -> Iterator[RunningLab]:
    with up("dual-dc", "--overlay", "vlan") as running:
        yield running
