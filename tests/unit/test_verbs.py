"""Every verb's answer, from a lab that is only described, over the socket and as commands print it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chimera import hold
from chimera.api import Server, ask
from chimera.cli import lab as command
from chimera.events import Stream
from chimera.hold import Verbs
from chimera.model import verbs as v
from chimera.model.events import AgentNoted, LinkChanged
from chimera.model.hop import Hop, Trace
from chimera.model.result import LinkReport, NodeState
from chimera.model.topology import Impairment, Link
from chimera.net import rundir
from chimera.net.services import Supervisor
from chimera.session import prepare


class Cable:
    """A link of the description."""

    up, how = True, "netem"

    def __init__(self, link: Link) -> None:
        self.link = link

    def stats(self) -> dict[str, dict[str, float]]:
        return {"fwd": {"frames": 7, "late_max_us": 0.0}, "bwd": {}}


class Described:
    """A session of dual-dc over TRILL that has nothing but its plan."""

    def __init__(self) -> None:
        self.experiment = prepare("dual-dc", "trill")
        topology = self.experiment.topology
        self.stream = Stream()
        self.started, self.up_s = time.time() - 62, 1.2345
        self.links = [
            LinkReport("wan", "r1->r2", {"delay_ms": 10.0}, {"delay_ms": 10.204, "loss_percent": None}, "netem")
        ]
        location = {vm.name: vm.hypervisor for vm in topology.vms}
        self.network: Any = SimpleNamespace(
            topology=topology, stopped={"hv2"}, location=location, cables={k.name: Cable(k) for k in topology.links},
            vms_at=lambda name: [vm for vm, at in location.items() if at == name],
            fabric_counters=lambda name: {"forwarded": 5, "dropped": 0}, impair=self._impair, services=Supervisor(),
        )  # fmt: skip
        self.network.cable = self.network.cables.__getitem__
        noted = AgentNoted("hv1", "found", "hv2", t=12.5, cursor=7)
        agents = v.Agents({"hv1": "running"}, [noted], {"hv1: malformed": 2})
        controller = SimpleNamespace(running=True, errors=["OpenFlow error type 4"], agents_of=lambda name="": agents)
        self.lab = SimpleNamespace(controller=controller, migrator=SimpleNamespace(records=[1, 2]), stop=print)

    def _impair(self, name: str, forward: Impairment, backward: Impairment) -> None:
        self.stream.tell(LinkChanged(name, "changed", forward, backward))


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Described, Path]:
    """It, and the socket at which it answers."""
    monkeypatch.setattr(rundir, "ROOT", tmp_path / "labs")
    monkeypatch.delenv("LAB", raising=False)
    held = NodeState(flows=31, macs=0, mappings=3, routes=9, fabric=12)
    monkeypatch.setattr(hold.state, "states", lambda network, of="": {of or "hv1": held} if of != "web1" else {})
    hops = [Hop("hv1", "web1", "in", 0.0, 98, ["eth"], ["eth src=02:00"], ["table 0: drop"])]
    monkeypatch.setattr(hold, "trace", lambda network, a, b: Trace(a, b, False, hops, "why"))
    session: Any = Described()
    claimed = rundir.claim("dual-dc", rundir.LAB)
    claimed.describe(pid=os.getpid())
    server = Server(claimed.socket, Verbs(session, claimed).table())
    threading.Thread(target=server.serve, daemon=True).start()
    return session, claimed.socket


Printed = Callable[..., str]


@pytest.fixture
def printed(described: object, capsys: pytest.CaptureFixture[str]) -> Printed:
    """What ``lab WORDS`` prints."""

    def run(*words: str) -> str:
        capsys.readouterr()
        command(list(words), standalone_mode=False, prog_name="lab")
        return capsys.readouterr().out

    return run


# -- over the socket ---------------------------------------------------------------------------


def test_an_answer_arrives_as_it_was_given(described: tuple[Described, Path]) -> None:
    session, path = described
    verbs = Verbs(session, None)  # type: ignore[arg-type]
    asker: Any = None
    topology = session.experiment.topology
    for request, method in (
        (v.Names(), verbs.names), (v.Links(), verbs.links), (v.Inspect("web1"), verbs.inspect),
        (v.Inspect("hv1"), verbs.inspect), (v.Inspect("controller"), verbs.inspect),
        (v.Inspect("wan"), verbs.inspect), (v.ChangeLink("wan"), verbs.link),
        (v.TracePacket("web1", "web4"), verbs.trace),
    ):  # fmt: skip
        assert ask(path, request) == method(request, asker), request  # type: ignore[operator]
    whole = ask(path, v.Inspect()).lab
    assert whole and (whole.nodes, whole.endpoints) == ([*topology.nodes], [*topology.endpoints])
    assert whole.segments == [*topology.segments] and whole.addresses == [*session.experiment.underlay.addresses]
    assert whole.fabric["hv1"].planned == session.experiment.underlay.fabric.nodes["hv1"]  # type: ignore[union-attr]
    status = ask(path, v.Status())
    assert status.age_s == pytest.approx(62, abs=20) and status.stopped == ["hv2"] and status.migrations == 2


def test_every_verb_has_a_name_and_a_type_of_answer(described: tuple[Described, Path]) -> None:
    table = Verbs(described[0], None).table()  # type: ignore[arg-type]
    assert len({kind.verb for kind in table}) == len(table) == 13
    requests = {kind for kind in vars(v).values() if isinstance(kind, type) and issubclass(kind, v.Request)}
    assert set(table) == requests - {v.Request}, "every request can be asked"
    assert all(v.answer_type(kind) for kind in table)


# -- as commands print it ----------------------------------------------------------------------


def test_a_link(printed: Printed, described: tuple[Described, Path]) -> None:
    a, b = map(str, described[0].network.cables["wan"].link.ends())
    assert printed("link", "wan", "show") == (
        f"wan: up (netem)\n"
        f"  forward ({a} → {b}): 10 ms, 1000 Mbit/s\n"
        f"    so far: frames 7\n"
        f"  backward ({b} → {a}): 10 ms, 1000 Mbit/s\n"
    )  # fmt: skip
    assert "wan" in printed("link") and "10 ms, 1000 Mbit/s" in printed("link")


def test_a_change_of_one_direction(printed: Printed, described: tuple[Described, Path]) -> None:
    printed("link", "wan", "set", "--delay", "40", "--direction", "forward")
    (event,) = described[0].stream.read()
    assert event.text == "link wan changed: forward 40 ms, 1000 Mbit/s; backward 10 ms, 1000 Mbit/s"


def test_a_whole_lab(printed: Printed) -> None:
    text = printed("inspect")
    titles = ("VMs and hosts", "Segments", "Nodes and their forwarding state", "Links", "Fabric")
    for part in (*titles, "dual-dc over trill", "Impaired links: configured and measured", "r1 → r2", "10.2 ms"):
        assert part in text
    assert "forwarded 5" in text
    found = json.loads(printed("inspect", "--json"))
    assert {"topology", "location", "vtep", "state", "mtu", "cables", "addresses"} <= found.keys()
    assert found["cables"][0].keys() == {"link", "ends", "up", "how", "forward", "backward"}


def test_a_node_a_vm_and_a_link(printed: Printed) -> None:
    node = printed("inspect", "hv1")
    assert "web1" in node and "31" in node and "Ways through the fabric" in node
    assert json.loads(printed("inspect", "hv1", "--json"))["state"]["flows"] == 31
    agents = json.loads(printed("inspect", "hv1", "--json"))["agents"]
    assert agents["states"] == {"hv1": "running"} and agents["counters"] == {"hv1: malformed": 2}
    assert [(n["t"], n["node"], n["what"], n["detail"]) for n in agents["notes"]] == [(12.5, "hv1", "found", "hv2")]
    assert "VMs and hosts" in printed("inspect", "web1")
    assert json.loads(printed("inspect", "web1", "--json"))["at"] == "hv1"
    assert "10.2 ms" in printed("inspect", "wan")
    assert json.loads(printed("inspect", "wan", "--json"))["measured"][0]["direction"] == "r1->r2"


def test_a_trace(printed: Printed, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["trace", "web1", "web4"], standalone_mode=False, prog_name="lab") == 1, "it was not delivered"
    out, err = capsys.readouterr()
    assert out == (
        "      0.0 µs  ← hv1:web1     98 bytes  eth src=02:00\n"
        "                table 0: drop\n"
    )  # fmt: skip
    assert err == "why\nnot delivered: it was last seen at hv1:web1\n"
    assert json.loads(printed("trace", "web1", "web4", "--json"))["hops"][0]["bytes"] == 98
