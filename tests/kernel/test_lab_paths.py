"""Where packets go in whole labs: trace, tenants with equal addresses, gateways, flooding. tcpdump is the judge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lab_support import needs_lab
from running_lab import RunningLab, up

pytestmark = needs_lab


@pytest.fixture(scope="module")
def two_sites() -> Iterator[RunningLab]:
    with up("dual-dc") as running:
        yield running


def _nodes(hops: list[dict[str, Any]]) -> list[str]:
    """Nodes in the order they are passed, each once in a row."""
    names = [hop["node"] for hop in hops]
    return [name for before, name in zip([None, *names], names, strict=False) if name != before]


# -- trace -----------------------------------------------------------------------------------------


def test_trace_names_every_hop_with_the_headers_it_has_there(two_sites: RunningLab) -> None:
    found, known = two_sites.json("trace", "web1", "web4"), two_sites.inspect()
    assert found["delivered"]
    assert _nodes(found["hops"]) == ["web1", "hv1", "leaf1", "r1", "r2", "leaf2", "hv3", "web4"]
    web = next(s for s in known["segments"] if s["tenant"] == "blue")
    for hop in found["hops"]:
        if "vxlan" not in hop["stack"]:
            assert hop["stack"] == ["eth", "ip", "udp"]
            assert hop["node"] in ("web1", "hv1", "hv3", "web4")
            continue
        assert hop["stack"] == ["eth", "ip", "udp", "vxlan", "eth", "ip", "udp"]
        assert f"source={known['vtep']['hv1']} destination={known['vtep']['hv3']}" in hop["headers"][1]
        assert hop["headers"][3] == f"vxlan vni={web['vni']}"
        assert "source=10.1.0.11 destination=10.1.0.14" in hop["headers"][5]


def test_trace_shows_the_flows_that_are_in_the_switch(two_sites: RunningLab) -> None:
    hops = two_sites.json("trace", "web1", "web4")["hops"]
    matched = {hop["node"]: hop["flows"] for hop in hops if hop["flows"]}
    assert set(matched) == {"hv1", "hv3"}
    for node, flows in matched.items():
        argv = ["env", f"OVS_RUNDIR=/run/ovs/{node}", "ovs-ofctl", "-O", "OpenFlow13", "dump-flows", "br-int"]
        held = two_sites.exec(node, *argv)
        for flow in flows:
            cookie, _, actions = flow.rpartition("cookie ")[2].partition(" actions ")
            (entry,) = [line for line in held.splitlines() if f"cookie={cookie}," in line]
            assert actions and actions.partition(", ")[0].partition(":")[0] in entry.rpartition("actions=")[2]


def test_trace_within_a_hypervisor_has_no_tunnel(two_sites: RunningLab) -> None:
    found = two_sites.json("trace", "web1", "web2")
    assert _nodes(found["hops"]) == ["web1", "hv1", "web2"]
    assert all(hop["stack"] == ["eth", "ip", "udp"] for hop in found["hops"])


def test_trace_of_somebody_who_is_not_there(two_sites: RunningLab) -> None:
    done = two_sites("trace", "web1", "web44", check=False)
    assert done.returncode == 2
    assert "no VM or host 'web44'" in done.stderr and "did you mean 'web4'?" in done.stderr


def test_trace_shows_the_vlan() -> None:
    with up("dual-dc", "--overlay", "vlan") as running:
        found, segments = running.json("trace", "web1", "web4"), running.inspect()["segments"]
        assert found["delivered"]
        vlan = next(s["vlan"] for s in segments if s["tenant"] == "blue")
        outside = [hop for hop in found["hops"] if hop["node"] in ("leaf1", "r1", "r2", "leaf2")]
        assert len(outside) == 8
        for hop in outside:
            assert hop["stack"] == ["eth", "vlan", "ip", "udp"] and hop["headers"][1] == f"vlan id={vlan}"


# -- tenants ---------------------------------------------------------------------------------------


def test_a_tenant_never_hears_the_other_whose_addresses_are_the_same(two_sites: RunningLab) -> None:
    web2, red2 = two_sites.endpoints["web2"], two_sites.endpoints["red2"]
    assert web2["ip"] == red2["ip"] and two_sites.whereabouts("red2") == two_sites.whereabouts("web4")
    blue = [two_sites.endpoints[f"web{n}"]["mac"] for n in range(1, 6)]
    two_sites.exec("web4", "ip", "neigh", "flush", "all")
    with two_sites.listening("red2", "eth0") as at_red2, two_sites.listening("web2", "eth0") as at_web2:
        assert two_sites.ping("web4", "web2", 5).lost == 0
    assert any("ICMP echo request" in line and blue[3] in line for line in at_web2)
    assert [line for line in at_red2 if any(mac in line for mac in blue)] == []
    assert f"lladdr {web2['mac']}" in two_sites.exec("web4", "ip", "neigh")


def test_the_other_tenant_talks_all_the_same(two_sites: RunningLab) -> None:
    assert two_sites.ping("red1", "red2").lost == 0
    assert f"lladdr {two_sites.endpoints['red2']['mac']}" in two_sites.exec("red1", "ip", "neigh")


# -- gateways --------------------------------------------------------------------------------------


def test_an_anycast_gateway_is_the_shorter_way(two_sites: RunningLab) -> None:
    """A client's packet to a VM at dc2: by way of the central gateway at dc1, or straight."""
    central = two_sites.json("trace", "laptop", "web4")
    around = ["laptop", "r3", "r1", "leaf1", "gw1", "leaf1", "r1", "r2", "leaf2", "hv3", "web4"]
    assert central["delivered"] and _nodes(central["hops"]) == around
    with up("dual-dc", "--set", "gateway=anycast") as running:
        straight = running.json("trace", "laptop", "web4")
        assert straight["delivered"] and _nodes(straight["hops"]) == ["laptop", "r3", "r2", "leaf2", "hv3", "web4"]
        running("migrate", "web4", "hv1")
        assert _nodes(running.json("trace", "laptop", "web4")["hops"]) == ["laptop", "r3", "r1", "leaf1", "hv1", "web4"]
        short = running.ping("laptop", "web5", 5)
        _without_a_controller(running)
    long = two_sites.ping("laptop", "web5", 5)
    assert short.lost == long.lost == 0
    assert long.lowest_ms - short.lowest_ms > 15  # the WAN, there and back


def _without_a_controller(anycast: RunningLab) -> None:
    """VMs and every hypervisor's gateway find each other again when they have forgotten each other."""
    leg = f"g{anycast.inspect()['segments'][0]['vni']}"
    anycast("stop", "controller")
    for node, interface in (("web5", "eth0"), ("web1", "eth0"), ("hv4", leg), ("hv1", leg)):
        anycast.exec(node, "ip", "neigh", "flush", "dev", interface)
    assert anycast.ping("laptop", "web5").lost == 0
    assert anycast.ping("web1", "web5").lost == 0


# -- flooding --------------------------------------------------------------------------------------


def test_flooding_reaches_the_uninvolved_until_the_switches_have_learned() -> None:
    with up("dual-dc", "--set", "mode=flood") as running:
        nobody = ("10.1.0.99", "lladdr", "02:00:00:00:00:99")
        running.exec("web1", "ip", "neigh", "replace", *nobody, "dev", "eth0")
        assert running.ping("web1", "web4").lost == 0  # from now on, who is who has been learned
        with running.listening("hv2", "eth0", "udp", "port", "4789") as heard:
            assert running.ping("web1", "web4", 5).lost == 0
            assert running.ping("web1", "10.1.0.99", 5).received == 0
        echoes = [line for line in heard if "ICMP echo" in line]
        assert len([line for line in echoes if "> 10.1.0.99" in line]) == 5, heard
        assert [line for line in echoes if "> 10.1.0.99" not in line] == []
