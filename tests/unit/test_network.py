"""What a network does to its links and routes while it runs, without the kernel: the words it would be told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from chimera.model.errors import SessionError
from chimera.model.topology import Node
from chimera.net import cables, netns, network, sysctl
from chimera.net.network import Network
from chimera.net.ovs import OpenVSwitch
from chimera.session import prepare

Said = list[tuple[str, str]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    """Commands for the kernel: node and words."""
    found: Said = []

    def run(name: str, argv: Sequence[str], **options: Any) -> str:
        found.append((name, " ".join(argv[1:])))
        return ""

    def ip_batch(name: str, lines: Iterable[str], **options: Any) -> None:
        found.extend((name, line) for line in lines)

    monkeypatch.setattr(netns, "run", run)
    monkeypatch.setattr(netns, "ip_batch", ip_batch)
    monkeypatch.setattr(sysctl, "write", lambda *_: None)
    monkeypatch.setattr(OpenVSwitch, "appctl", lambda *_: "")
    monkeypatch.setattr(OpenVSwitch, "ofctl", lambda *_: "")
    return found


Made = Callable[..., Network]


@pytest.fixture
def made(said: Said, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A network that is up, where daemons of switches run but for those in ``dark``."""

    def make(topology: str, overlay: str, dark: Iterable[str] = ()) -> Network:
        experiment = prepare(topology, overlay)
        monkeypatch.setattr(OpenVSwitch, "forwards", property(lambda switch: switch.node not in dark))
        built = Network(experiment.topology, experiment.underlay, experiment.wiring, "tcp:192.0.2.1:6653")
        built.cables = cables.make(
            built.topology.links, 1600, built._macs, built.services, built.follow_link, netem=True
        )  # fmt: skip
        built.routes.replace("plan", built.underlay.routes)
        said.clear()
        return built

    return make


def node(built: Network, name: str) -> Node:
    return built.topology.node(name)


# -- routes --------------------------------------------------------------------------------------


def test_a_switch_without_its_daemon_is_given_routes_when_that_is_back(made: Made, said: Said) -> None:
    dark = {"hv1"}
    built = made("dual-dc", "vxlan", dark)
    for up in (False, True):
        built.set_link("hv1--leaf1", up)
    assert not [line for at, line in said if at == "hv1" and line.startswith("route replace")]
    dark.clear()
    said.clear()
    built._switch_is_back(node(built, "hv1"))
    assert [line for at, line in said if at == "hv1" and line.startswith("route replace default")]


def test_a_node_that_refuses_routes_costs_no_other_its_own_and_is_asked_again(
    made: Made, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, take = made("leaf-spine", "vxlan"), netns.ip_batch
    (name,) = [link.name for link in built.topology.links_of("leaf1") if "spine1" in str(link.ends())]
    whole = {n.name: dict(built.routes._held["plan"].get(n.name, {})) for n in built.topology.nodes}

    def refuse(at: str, lines: Iterable[str], **options: Any) -> None:
        if at == "leaf1":
            raise SessionError("leaf1 refuses")
        take(at, lines, **options)

    with monkeypatch.context() as patch:
        patch.setattr(netns, "ip_batch", refuse)
        with pytest.raises(SessionError, match="leaf1 refuses"):
            built.set_link(name, False)
    assert built.routes._held["plan"]["leaf1"] == whole["leaf1"], "it is as it was"
    others = {at for at, line in said if line.startswith("route")}
    assert len(others) > 1 and "leaf1" not in others
    said.clear()
    built.set_link(name, False)
    assert {at for at, line in said if line.startswith("route")} == {"leaf1"}


def test_a_host_is_routed_to_while_a_node_takes_its_time_to_start(made: Made, said: Said) -> None:
    """What the control plane reports waits for nothing but routes: other reports wait behind it."""
    built = made("dual-dc", "vxlan")
    with built._changing:
        thread = threading.Thread(target=built.advertise, args=("10.1.0.11/32", "hv1"), daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    assert ("leaf1", "route replace 10.1.0.11/32") in [(at, line.split(" via ")[0]) for at, line in said]
    said.clear()
    built.withdraw("10.1.0.11/32")
    assert ("leaf1", "route del 10.1.0.11/32") in said


@pytest.mark.parametrize("verb", ["misroute", "repair", "advertise", "withdraw", "set_link"])
def test_routes_are_changed_by_one_at_a_time(made: Made, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    built, alone = made("leaf-spine", "vxlan"), []  # type: ignore[var-annotated]

    def replace(owner: str, routes: Any) -> dict[str, list[str]]:
        other = threading.Thread(target=lambda: alone.append(not built._routing.acquire(blocking=False)))
        other.start()
        other.join(10)
        return {}

    monkeypatch.setattr(built.routes, "replace", replace)
    monkeypatch.setattr(network.ways, "wrong_route", lambda *_: None)
    arguments = {
        "misroute": ("leaf1", "hv1", "spine1"), "advertise": ("10.1.0.11/32", "hv1"), "withdraw": ("10.1.0.11/32",),
        "set_link": (next(iter(built.cables)), False),
    }  # fmt: skip
    getattr(built, verb)(*arguments.get(verb, ()))
    assert alone and all(alone)


# -- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", ["vlan", "vxlan"])
def test_a_plain_link_that_is_cut_stays_so_when_the_switches_at_its_ends_are_back(
    made: Made, said: Said, overlay: str
) -> None:
    built = made("dual-dc", overlay)
    link = built.cable("hv1--leaf1").link
    assert built.cable(link.name).how == "plain veth"
    built.set_link(link.name, False)
    said.clear()
    ups = [(port.node, f"link set dev {port.interface} up") for port in link.ends() if port.node in built.switches]
    for name in dict(ups):
        built._switch_is_back(node(built, name))
    assert ups and not set(ups) & set(said)
    built.set_link(link.name, True)
    said.clear()
    for name in dict(ups):
        built._switch_is_back(node(built, name))
    assert set(ups) <= set(said)


def test_the_ends_of_an_impaired_link_are_up_also_while_it_is_cut(made: Made, said: Said) -> None:
    """They have no carrier then, and restoring it does not touch them."""
    built = made("dual-dc", "vlan")
    cable = next(c for c in built.cables.values() if c.link.impaired and built.switches.keys() & {c.link.a.node})
    built.set_link(cable.link.name, False)
    said.clear()
    built._switch_is_back(node(built, cable.link.a.node))
    assert (cable.link.a.node, f"link set dev {cable.link.a.interface} up") in said
