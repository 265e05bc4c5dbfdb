"""The OVSDB client against a scripted server, and the operations it builds."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chimera.model.errors import DeadlineError
from chimera.model.ports import PortSpec
from chimera.ovsdb import Ovsdb, OvsdbError
from chimera.wire import ovsdb


class Server:
    """One session of a database server that says what it is told to; ``heard`` are the client's messages."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.heard: list[dict[str, Any]] = []
        self._replies: list[list[bytes]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def then(self, *chunks: bytes | dict[str, Any]) -> Server:
        """When the client next speaks, send these; ``"ID"`` stands for the number of its message."""
        self._replies.append([c if isinstance(c, bytes) else json.dumps(c).encode() for c in chunks])
        return self

    def _serve(self) -> None:
        self.connection, _ = self._listener.accept()
        decoder = json.JSONDecoder()
        text = ""
        while data := self.connection.recv(65536):
            text += data.decode()
            while text:
                message, end = decoder.raw_decode(text)
                text = text[end:]
                self.heard.append(message)
                if "method" in message and self._replies:
                    for chunk in self._replies.pop(0):
                        self.connection.sendall(chunk.replace(b'"ID"', str(message["id"]).encode()))

    def close(self) -> None:
        self._listener.close()
        if hasattr(self, "connection"):
            self.connection.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self.connection.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "db.sock")
    yield made
    made.close()


def result(*results: Any) -> dict[str, Any]:
    return {"id": "ID", "result": list(results), "error": None}


def update(name: str) -> dict[str, Any]:
    row = {"new": {"name": name, "external_ids": ["map", [["iface-id", name]]]}}
    return {"method": "update", "params": ["lab", {"Interface": {"u1": row}}], "id": None}


def test_values() -> None:
    assert ovsdb.python_value(["set", [["uuid", "a"], 1]]) == ["a", 1]
    assert ovsdb.python_value(["map", [["k", "v"]]]) == {"k": "v"}
    assert ovsdb.python_value(["named-uuid", "x"]) == "x"
    assert ovsdb.python_value("set") == "set"
    assert ovsdb.python_value(ovsdb.omap((("a", "1"),))) == {"a": "1"}
    assert ovsdb.python_value(ovsdb.oset([ovsdb.uuid("u"), ovsdb.named_uuid("n")])) == ["u", "n"]


def test_answers_come_in_pieces_and_together(server: Server) -> None:
    whole = json.dumps(result({"rows": [{"name": "é"}]})).encode("utf-8")
    whole = whole.replace(b"\\u00e9", "é".encode())
    middle = whole.index("é".encode()) + 1  # inside the character
    server.then(json.dumps(update("a")).encode() + whole[:middle], whole[middle:] + json.dumps(update("b")).encode())
    with Ovsdb(server.path) as db:
        assert db.rows("Bridge") == [{"name": "é"}]
        names = [u["Interface"]["u1"]["new"]["name"] for u in db.updates(timeout_s=0.2)]
        assert names == ["a", "b"]


def test_echo_is_answered_while_waiting(server: Server) -> None:
    server.then({"method": "echo", "params": ["still there"], "id": "e1"}, result({}))
    with Ovsdb(server.path) as db:
        db.transact(ovsdb.select("Bridge"))
        db.close()
    server._thread.join()
    assert server.heard[1] == {"result": ["still there"], "error": None, "id": "e1"}


def test_errors_carry_the_servers_words(server: Server) -> None:
    server.then({"id": "ID", "result": None, "error": "unknown database"})
    server.then(result({}, {"error": "constraint violation", "details": "two bridges br-int"}))
    with Ovsdb(server.path) as db:
        with pytest.raises(OvsdbError, match="unknown database"):
            db.transact(ovsdb.select("Bridge"))
        with pytest.raises(OvsdbError, match="constraint violation: two bridges br-int"):
            db.transact(ovsdb.select("Bridge"), ovsdb.select("Port"))


def test_a_server_that_is_not_there_says_where(tmp_path: Path) -> None:
    with pytest.raises(OvsdbError, match=r"no database server on .*nowhere: No such file"):
        Ovsdb(str(tmp_path / "nowhere"))


def test_a_server_that_does_not_answer(server: Server) -> None:
    with Ovsdb(server.path, timeout_s=0.1) as db, pytest.raises(OvsdbError, match="no answer to transact"):
        db.transact(ovsdb.select("Bridge"))


def test_a_server_that_ends_the_session(server: Server) -> None:
    server.then(result({}))
    with Ovsdb(server.path) as db:
        db.transact(ovsdb.select("Bridge"))
        server.connection.shutdown(socket.SHUT_RDWR)
        with pytest.raises(OvsdbError, match="ended the session"):
            next(db.updates(timeout_s=5))


def test_waiting_that_times_out_is_a_missed_deadline(server: Server) -> None:
    server.then(result({"error": "timed out", "details": '"wait" timed out'}))
    with Ovsdb(server.path) as db, pytest.raises(DeadlineError):
        db.wait_for("Open_vSwitch", [], ["cur_cfg"], {"cur_cfg": 5}, timeout_ms=100)
    (wait,) = server.heard[0]["params"][1:]
    assert (wait["op"], wait["until"], wait["timeout"]) == ("wait", "==", 100)


def test_apply_waits_for_the_switch_without_polling(server: Server) -> None:
    def state(current: int) -> dict[str, Any]:
        return result({"rows": [{"cur_cfg": current, "next_cfg": 8}]})

    server.then(result({"count": 1}, {"rows": [{"next_cfg": 7}]})).then(state(5))
    server.then(result({})).then(state(6)).then(result({})).then(state(8))  # somebody else bumped it, too
    with Ovsdb(server.path) as db:
        db.apply()
    operations = [message["params"][1]["op"] for message in server.heard]
    assert operations == ["mutate", "select", "wait", "select", "wait", "select"]
    waits = [m["params"][1] for m in server.heard if m["params"][1]["op"] == "wait"]
    assert [(w["until"], w["rows"]) for w in waits] == [("!=", [{"cur_cfg": 5}]), ("!=", [{"cur_cfg": 6}])]


def test_monitor_returns_what_is_there_as_python_values(server: Server) -> None:
    server.then({"id": "ID", "result": update("web1")["params"][1], "error": None})
    with Ovsdb(server.path) as db:
        content = db.monitor({"Interface": ["name", "external_ids"]})
        assert content["Interface"]["u1"]["new"] == {"name": "web1", "external_ids": {"iface-id": "web1"}}
        assert db.poll() == []
        server.connection.sendall(json.dumps(update("web2")).encode())
        (news,) = [next(db.updates(timeout_s=5))]
        assert news["Interface"]["u1"]["new"]["name"] == "web2"


def test_a_bridge_is_one_transaction_that_refers_to_its_own_rows() -> None:
    ports = [PortSpec("web1", ofport=3, tag=10, external_ids=(("iface-id", "web1"),)), PortSpec("vx-1", type="vxlan")]
    operations = ovsdb.add_bridge("br-int", fail_mode="secure", controllers=["tcp:10.0.0.1:6653"], ports=ports,
                                  hwaddr="02:00:00:00:00:01", datapath_id=0x1001)  # fmt: skip
    inserted = {op["uuid-name"]: op for op in operations if op["op"] == "insert"}
    assert len(inserted) == 8  # LOCAL and two ports with an interface each, controller, bridge
    bridge = next(op["row"] for op in inserted.values() if op["table"] == "Bridge")
    assert {inserted[name]["row"]["name"] for name in ovsdb.python_value(bridge["ports"])} == {"br-int", "web1", "vx-1"}
    assert ovsdb.python_value(bridge["other_config"]) == {
        "hwaddr": "02:00:00:00:00:01",
        "datapath-id": "0000000000001001",
    }
    (controller,) = ovsdb.python_value(bridge["controller"])
    assert inserted[controller]["row"]["target"] == "tcp:10.0.0.1:6653"
    web = next(op["row"] for op in inserted.values() if op["table"] == "Port" and op["row"]["name"] == "web1")
    interface = inserted[ovsdb.python_value(web["interfaces"])]["row"]
    assert (web["tag"], interface["ofport_request"], interface["type"]) == (10, 3, "")
    assert all(name.replace("_", "").isalnum() for name in inserted)


def test_a_port_is_a_trunk_an_access_port_or_one_for_what_has_no_tag() -> None:
    specs = PortSpec("a"), PortSpec("b", tag=10), PortSpec("c", untagged=True)
    rows = [next(op["row"] for op in ovsdb.add_port("br", spec) if op.get("table") == "Port") for spec in specs]
    assert [row.get("tag") for row in rows] == [None, 10, 0]


def test_names_that_differ_have_rows_that_differ() -> None:
    names = ["a-b", "a_b", "a.b", "ab", "a_2d_b"]
    references = [ovsdb.add_port("br", PortSpec(name))[1]["uuid-name"] for name in names]
    assert len(set(references)) == len(names)
