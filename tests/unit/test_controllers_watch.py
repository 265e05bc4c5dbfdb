"""The controller's watch on the switches' databases, against a server that answers in one piece."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

from controllers.watch import Rows, Watch

UPDATE = {
    "method": "update",
    "id": None,
    "params": ["lab", {"Interface": {"u1": {"new": {
        "name": "web5",
        "external_ids": ["map", [["iface-id", "web5"], ["attached-mac", "02:00:00:00:00:05"], ["vm-id", "x"]]],
    }}}}],
}  # fmt: skip


def _answer_in_one_piece(listener: socket.socket, over: threading.Event) -> None:
    channel, _ = listener.accept()
    with channel:
        request, _ = json.JSONDecoder().raw_decode(channel.recv(65536).decode())
        reply = {"id": request["id"], "error": None, "result": {"Interface": {}}}
        channel.sendall(json.dumps(reply).encode() + json.dumps(UPDATE).encode())
        over.wait(5)


def test_an_update_that_comes_with_the_answer_is_told(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "db.sock"))
    listener.listen()
    heard, over = threading.Event(), threading.Event()

    def tell(rows: Rows) -> None:
        if "web5" in rows.identities:
            heard.set()

    threading.Thread(target=_answer_in_one_piece, args=(listener, over), daemon=True).start()
    threading.Thread(target=Watch({"hv4": str(tmp_path / "db.sock")}, tell).run, daemon=True).start()
    assert heard.wait(3), "the update that arrived together with the answer was never told"
    over.set()
