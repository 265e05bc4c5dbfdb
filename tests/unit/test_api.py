"""The socket between commands and a running lab: answers, progress, errors, and whatever else may come along it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from chimera.api import RemoteError, Server, ask
from chimera.model.errors import InputError, LabError, MachineError, MigrationAborted, SessionError

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Answer:
    name: str
    at: str


def add(progress: Progress, a: int, b: int) -> dict[str, int]:
    progress("adding")
    progress("almost done")
    return {"sum": a + b}


def refuse(progress: Progress, how: str) -> None:
    raise {"input": InputError, "machine": MachineError, "aborted": MigrationAborted}[how](f"no, because {how}")


def fail(progress: Progress) -> None:
    raise ZeroDivisionError("a defect")


def narrow(
    progress: Progress,
    how: Literal["cut", "set"] = "cut",
    delay_ms: Annotated[float, Meta(ge=0, le=10)] = 0.0,
    named: dict[str, str] = {},  # noqa: B006
) -> str:
    return f"{how} {delay_ms:g} {named}"


VERBS: dict[str, Callable[..., Any]] = {
    "add": add,
    "refuse": refuse,
    "fail": fail,
    "narrow": narrow,
    "describe": lambda progress: [Answer("ü", "hv1")],
    "unspeakable": lambda progress: object(),
    "lone": lambda progress: "\udcff",
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Path]:
    """A lab's socket with a server behind it."""
    (tmp_path / "dual").mkdir()
    path = tmp_path / "dual" / "api.sock"
    server = Server(path, VERBS)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield path
    server.done.set()
    thread.join(10)
    assert not thread.is_alive()


def say(path: Path, request: bytes) -> dict[str, Any]:
    """What the server answers to bytes."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(10)
        channel.connect(str(path))
        channel.sendall(request)
        channel.shutdown(socket.SHUT_WR)
        with channel.makefile("r", encoding="utf-8") as lines:
            (line,) = lines.readlines()
    return dict(json.loads(line))


def test_an_answer_comes_after_its_progress(lab: Path) -> None:
    heard: list[str] = []
    assert ask(lab, "add", progress=heard.append, a=2, b=3) == {"sum": 5}
    assert heard == ["adding", "almost done"]


def test_types_of_the_model_are_answers_too(lab: Path) -> None:
    assert ask(lab, "describe") == [{"name": "ü", "at": "hv1"}]


@pytest.mark.parametrize(("how", "status"), [("input", 2), ("machine", 3), ("aborted", 1)])
def test_an_error_keeps_its_text_and_exit_status(lab: Path, how: str, status: int) -> None:
    with pytest.raises(RemoteError) as raised:
        ask(lab, "refuse", how=how)
    assert (str(raised.value), raised.value.exit_status) == (f"no, because {how}", status)


def test_a_defect_is_told_and_does_not_end_the_lab(lab: Path) -> None:
    with pytest.raises(RemoteError, match="defect: ZeroDivisionError: a defect") as raised:
        ask(lab, "fail")
    assert raised.value.exit_status == 70
    assert ask(lab, "add", a=1, b=1) == {"sum": 2}


@pytest.mark.parametrize("verb", ["unspeakable", "lone"])
def test_an_answer_that_cannot_be_written_is_a_defect_too(lab: Path, verb: str) -> None:
    with pytest.raises(RemoteError, match="defect: "):
        ask(lab, verb)


@pytest.mark.parametrize(
    ("verb", "arguments", "said"),
    [
        ("add", {"a": 1}, "add: Object missing required field `b`"),
        ("add", {"a": 1, "b": 2, "c": 3}, "add: Object contains unknown field `c`"),
        ("add", {"a": "1", "b": 2}, "add: Expected `int`, got `str` - at `a`"),
        ("add", {"a": 1, "b": 2, "progress": 3}, "unknown field `progress`"),
        ("describe", {"x": 1}, "describe: Object contains unknown field `x`\n    allowed: nothing"),
        ("narrow", {"how": "explode"}, "narrow: Invalid enum value 'explode' - at `how`"),
        ("narrow", {"delay_ms": -1}, "narrow: Expected `float` >= 0.0 - at `delay_ms`"),
        ("narrow", {"delay_ms": float("nan")}, "narrow: Expected `float` >= 0.0"),
        ("narrow", {"delay_ms": float("inf")}, "narrow: Expected `float` <= 10.0"),
        ("narrow", {"delay_ms": None}, "narrow: Expected `float`, got `null`"),
        ("narrow", {"delay_ms": 20}, "allowed: how (cut | set), delay_ms (0 to 10), named (object)"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_done(
    lab: Path, verb: str, arguments: dict[str, Any], said: str
) -> None:
    answer = say(lab, json.dumps({"verb": verb, "arguments": arguments}).encode() + b"\n")
    assert said in answer["error"] and answer["exit"] == 2


def test_an_unknown_verb_lists_those_there_are(lab: Path) -> None:
    with pytest.raises(RemoteError, match="no verb 'ad': there are add, refuse, fail") as raised:
        ask(lab, "ad")
    assert raised.value.exit_status == 1


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[]\n",
        b"7\n",
        b"\xff\xfe\n",
        b"{",
        b'{"verb": ["add"]}\n',
        b'{"verb": "add", "arguments": 3}\n',
        b"GET / HTTP/1.1\r\n\r\n",
        b"[" * 100_000 + b"\n",
        b'{"verb": null}\n',
        b"x" * (1 << 20),
    ],
)
def test_what_is_no_request_gets_an_error_and_does_no_harm(lab: Path, request_: bytes) -> None:
    answer = say(lab, request_)
    assert "not a request" in answer["error"] or "no verb" in answer["error"]
    assert answer["exit"] == 1
    assert ask(lab, "add", a=1, b=1) == {"sum": 2}


def test_somebody_who_says_nothing_does_not_keep_others_waiting(lab: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(lab))
        assert ask(lab, "add", a=1, b=1) == {"sum": 2}


def test_somebody_who_leaves_before_the_answer_does_no_harm(lab: Path) -> None:
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as hasty:
            hasty.connect(str(lab))
            hasty.sendall(b'{"verb": "add", "arguments": {"a": 1, "b": 1}}\n')
    assert ask(lab, "add", a=1, b=1) == {"sum": 2}


def test_nobody_but_the_owner_may_ask(lab: Path) -> None:
    assert lab.stat().st_mode & 0o777 == 0o600


# -- a lab that is not there, or not any more --------------------------------------------------


def test_a_lab_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=f"lab {tmp_path.name} does not answer: No such file"):
        ask(tmp_path / "api.sock", "status")


def test_a_lab_that_ended_leaves_a_socket_nobody_listens_at(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "api.sock"))
        gone.listen()
    with pytest.raises(SessionError, match="does not answer: Connection refused"):
        ask(tmp_path / "api.sock", "status")


@pytest.mark.parametrize(
    ("read", "said"),
    [(True, b""), (True, b'{"progress": "x"}\n'), (True, b'{"result": {"su'), (False, b""), (True, b"\xff\n")],
)
def test_a_lab_that_dies_while_it_answers(tmp_path: Path, read: bool, said: bytes) -> None:
    """With its request unread, the kernel resets the connection instead of ending it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "api.sock"))
        listener.listen()

        def die() -> None:
            channel, _ = listener.accept()
            channel.recv(65536 if read else 1)
            channel.sendall(said)
            channel.close()

        thread = threading.Thread(target=die)
        thread.start()
        with pytest.raises(LabError, match=f"lab {tmp_path.name} ended before it had answered") as raised:
            ask(tmp_path / "api.sock", "status")
        thread.join(10)
    assert isinstance(raised.value, SessionError)
