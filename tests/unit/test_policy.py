"""Policy routing of gateways, clients' ports and VTEPs: which table decides, by the lines that ip(8) gets."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from chimera.model.topology import Segment
from chimera.net import policy

WEB = Segment("web", "blue", 10001, 101, "10.1.0.0/24", "10.1.0.1", "02:00:5e:00:01:01", "fd00::/64", "fd00::1", True)
DB = Segment("db", "blue", 10002, 102, "10.2.0.0/24", "10.2.0.1", "02:00:5e:00:01:02")
APP = Segment("app", "red", 10003, 103, "10.1.0.0/24", "10.1.0.1", "02:00:5e:00:01:03", "fd01::/64", "fd01::1")
BARE = Segment("bare", "red", 10004, 104, "10.4.0.0/24")
LEGS = [policy.Leg("g1", WEB, 1), policy.Leg("g2", DB, 1), policy.Leg("g3", APP, 2), policy.Leg("g4", BARE, 2)]
OUTSIDE = ["10.1.0.0/24", "198.18.0.6"]
MARKS = {"g1": 1001, "g2": 1001, "g3": 1002, "g4": 0, "br-phy": 0, "lo": 0}


def tables(lines: list[str], interface: str, target: str, mark: int | None = None) -> list[str]:
    """The tables that are asked about a packet, in turn; ``unreachable`` is the end."""
    rules = [line.split() for line in lines if line.startswith("rule add ")]
    asked = []
    for words in sorted(rules, key=lambda words: int(words[words.index("pref") + 1])):
        said = dict(zip(words[2::2], words[3::2], strict=False))
        if said.get("iif", interface) != interface:
            continue
        if "fwmark" in said and int(said["fwmark"]) != (MARKS[interface] if mark is None else mark):
            continue
        if "to" in said and ip_address(target) not in ip_network(said["to"]):
            continue
        if "unreachable" in words:
            return [*asked, "unreachable"]
        asked.append(said["lookup"])
    return asked


def node() -> list[str]:
    """All of a gateway's lines."""
    gate = policy.gate("br-phy", ["172.16.0.4", "10.1.0.1"], ["10.1.0.0/24"])
    return [*policy.local_later(), *policy.legs(LEGS, OUTSIDE), *gate]


@pytest.mark.parametrize("target", ["172.16.0.4", "172.16.0.5", "100.64.0.1", "127.0.0.1", "10.3.0.1", "192.0.2.1"])
@pytest.mark.parametrize("leg", ["g1", "g2", "g3"])
def test_a_leg_reaches_its_tenant_and_nothing_that_carries_it(leg: str, target: str) -> None:
    assert tables(node(), leg, target) == [str(MARKS[leg]), "unreachable"]


def test_only_an_external_segment_reaches_clients() -> None:
    assert tables(node(), "g1", "198.18.0.6") == ["1001", "main", "unreachable"]
    assert tables(node(), "g2", "198.18.0.6") == ["1001", "unreachable"]
    assert tables(node(), "g1", "198.18.0.7") == ["1001", "unreachable"], "the router's end of a client's link"


def test_what_a_node_answers_a_tenant_goes_to_that_tenant() -> None:
    assert tables(node(), "lo", "10.1.0.11", mark=1002) == ["1002", "unreachable"]
    assert tables(node(), "lo", "10.1.0.11") == ["local"]


def test_the_underlay_reaches_the_vtep_and_external_segments() -> None:
    assert tables(node(), "br-phy", "172.16.0.4") == ["local", "unreachable"]
    assert tables(node(), "br-phy", "10.1.0.1") == ["local", "main", "unreachable"]
    assert tables(node(), "br-phy", "10.1.0.11") == ["main", "unreachable"]
    for other in ("10.2.0.11", "100.64.0.2", "10.2.0.1"):
        assert tables(node(), "br-phy", other) == ["unreachable"]


def test_the_kernels_own_first_rule_comes_later() -> None:
    lines = [*policy.local_later()]
    assert lines[-1] == "rule del pref 0"
    assert all(int(line.split()[-1]) < int(lines[0].split()[-1]) for line in node()[2:] if line.startswith("rule"))


def test_a_tenants_table_has_its_subnets_and_its_gateways_only() -> None:
    lines = node()
    held = {line for line in lines if line.endswith("table 1002") or "table 1002 " in line}
    assert held == {
        "route replace local 10.1.0.1 dev g3 table 1002",
        "route replace 10.1.0.0/24 dev g3 src 10.1.0.1 table 1002",
    }
    assert "route del local 10.1.0.1 dev g3 table local" in lines, "no address of the node's to anybody else"
    assert not [line for line in lines if "g4" in line and "up" not in line], (
        "a segment without a gateway is not routed"
    )


def test_each_rule_is_said_once() -> None:
    """A tenant with two segments has one table, and the kernel refuses a rule that it has."""
    rules = [line for line in node() if line.startswith("rule")]
    assert len(rules) == len(set(rules))


def test_ipv6_stays_within_the_tenant() -> None:
    lines = [*policy.legs6(LEGS)]
    for leg, others in (("g1", "fd01::1"), ("g3", "fd00::1")):
        for target in (others, "::1", "2001:db8::1"):
            assert tables(lines, leg, target) == [str(MARKS[leg]), "unreachable"]
        assert tables(lines, leg, "ff02::1:ff00:1") == [str(MARKS[leg]), "local", "unreachable"]
        assert tables(lines, leg, "fe80::1") == [str(MARKS[leg]), "local", "main", "unreachable"]
    assert [*policy.legs6(LEGS[1:2])] == []


def test_every_leg_marks_what_it_receives() -> None:
    text = policy.marks(LEGS[:3])
    assert [line.split()[1] for line in text.splitlines() if line.startswith("chain")] == ["g1", "g2", "g3"]
    assert text.count("meta mark set 1001") == 2 and text.count("meta mark set 1002") == 1
    assert text.startswith("table netdev tenants\ndelete table netdev tenants\n"), "again after the switch came back"
