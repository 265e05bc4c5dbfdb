"""The parts of the controllers that need no switch: attachments, adoption, counting, reporting."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import controllers  # noqa: F401  makes ryu importable
from chimera.agents.adoption import Adoption
from chimera.agents.attachments import Attachments, Identity, identity
from chimera.model.control import PortDown, PortUp, SwitchUp
from controllers.framework import Framer
from controllers.report import Reporter
from controllers.watch import Rows, Watch

WEB = Identity("web", "02:00:00:00:00:01")
WEB_UP = PortUp("hv1", "web", "02:00:00:00:00:01", 5)


# -- attachments


def test_a_port_is_up_when_both_halves_are_known() -> None:
    name_first, port_first = Attachments("hv1"), Attachments("hv1")
    assert name_first.named({"v1": WEB}) == []
    assert name_first.port("v1", 5) == [WEB_UP]
    assert port_first.port("v1", 5) == []
    assert port_first.named({"v1": WEB}) == [WEB_UP]


def test_the_same_news_twice_is_no_news() -> None:
    here = Attachments("hv1")
    here.named({"v1": WEB})
    here.port("v1", 5)
    assert here.port("v1", 5) == []
    assert here.named({"v1": WEB}) == []
    assert here.ports({"v1": 5, "vxlan0": 60001}) == []
    assert here.port("v1", 6) == [PortUp("hv1", "web", "02:00:00:00:00:01", 6)]


@pytest.mark.parametrize("way", ["link", "identity", "session", "database"])
def test_a_port_goes_by_either_half(way: str) -> None:
    here = Attachments("hv1")
    here.named({"v1": WEB})
    here.port("v1", 5)
    news = {
        "link": lambda: here.port("v1", None),
        "identity": lambda: here.named({"v1": None}),
        "session": lambda: here.ports({}),
        "database": lambda: here.named({}, complete=True),
    }[way]()
    assert news == [PortDown("hv1", "web")]


def test_an_interface_that_changes_hands() -> None:
    here = Attachments("hv1")
    here.named({"v1": WEB})
    here.port("v1", 5)
    assert here.named({"v1": Identity("db", "")}) == [PortDown("hv1", "web"), PortUp("hv1", "db", "", 5)]


def test_ports_of_the_lab_itself_have_no_identity() -> None:
    assert identity({}) is None
    assert identity({"iface-id": "web", "attached-mac": "02:00:00:00:00:01", "vm-id": "x"}) == WEB


# -- adoption


def test_an_empty_switch_is_programmed_at_once() -> None:
    assert Adoption(["hv1", "hv2"]).holds(SwitchUp("hv1")) == [SwitchUp("hv1")]


def test_a_switch_with_flows_waits_until_all_ports_are_known() -> None:
    adoption = Adoption(["hv1", "hv2"])
    held = SwitchUp("hv1", frozenset({7}))
    assert adoption.database("hv1", True) == []
    assert adoption.ports("hv1") == []
    assert adoption.holds(held) == []
    assert adoption.database("hv2", True) == []
    assert adoption.ports("hv2") == [held]
    assert adoption.holds(held) == [held]  # later sessions need not wait


def test_a_hypervisor_that_is_off_is_not_waited_for() -> None:
    adoption = Adoption(["hv1", "hv2"])
    held = SwitchUp("hv1", frozenset({7}))
    adoption.database("hv1", True)
    adoption.ports("hv1")
    adoption.holds(held)
    assert adoption.database("hv2", False) == [held]


def test_a_deadline_ends_the_waiting_and_a_lost_session_is_forgotten() -> None:
    adoption = Adoption(["hv1", "hv2", "hv3"])
    first, second = (SwitchUp(name, frozenset({7})) for name in ("hv1", "hv2"))
    adoption.holds(first)
    adoption.holds(second)
    adoption.lost("hv1")
    assert adoption.deadline() == [second]


# -- counting


def message(kind: int, size: int) -> bytes:
    return struct.pack("!BBHI", 4, kind, size, 0) + bytes(size - 8)


@pytest.mark.parametrize("step", [1, 3, 8, 11, 1000])
def test_messages_are_counted_in_whatever_pieces_they_come(step: int) -> None:
    stream = message(14, 80) + message(20, 8) + message(10, 200) + message(14, 9)
    framer = Framer()
    found = [m for start in range(0, len(stream), step) for m in framer.feed(stream[start : start + step])]
    assert found == [("FLOW_MOD", 80), ("BARRIER_REQUEST", 8), ("PACKET_IN", 200), ("FLOW_MOD", 9)]


# -- reporting


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(5)
        made.bind(str(tmp_path / "api"))
        made.listen()
        yield made


def reporter(listener: socket.socket) -> Reporter:
    made = Reporter(listener.getsockname())
    threading.Thread(target=made.run, daemon=True).start()
    return made


def test_reports_and_marks(listener: socket.socket) -> None:
    made = reporter(listener)
    made.tell({"event": "listening"})
    for n in range(3):
        made.mark({"type": "FLOW_MOD", "n": n})
    connection, _ = listener.accept()
    with connection, connection.makefile() as lines:
        assert json.loads(lines.readline()) == {"event": "listening"}
        marks: list[int] = []
        while len(marks) < 3:  # in one batch or more
            marks += [m["n"] for m in json.loads(lines.readline())["messages"]]
        assert marks == [0, 1, 2]


def test_reports_survive_a_session_that_hangs_up(listener: socket.socket) -> None:
    made = reporter(listener)
    first, _ = listener.accept()
    first.close()
    second, _ = listener.accept()
    made.tell({"event": "synced"})
    with second, second.makefile() as lines:
        assert json.loads(lines.readline()) == {"event": "synced"}


# -- watching


def test_databases_that_are_not_there_are_told_of_once(tmp_path: Path) -> None:
    told: list[Rows] = []
    heard = threading.Event()

    def tell(rows: Rows) -> None:
        told.append(rows)
        heard.set()

    threading.Thread(target=Watch({"hv1": str(tmp_path / "none")}, tell).run, daemon=True).start()
    assert heard.wait(5)
    threading.Event().wait(0.1)
    assert told == [Rows("hv1", {}, reachable=False)]


def test_a_session_that_is_slow_to_read_gets_every_line_over_one_connection(listener: socket.socket) -> None:
    made = reporter(listener)
    connection, _ = listener.accept()
    sent = [{"event": "located", "interface": f"vm{n}", "switch": "x" * 200} for n in range(10_000)]
    for line in sent:
        made.tell(line)
    threading.Event().wait(0.3)  # by now the socket's buffer is full
    connection.settimeout(5)
    with connection, connection.makefile() as lines:
        assert [json.loads(lines.readline()) for _ in sent] == sent
