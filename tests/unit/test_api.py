"""The socket between commands and a running lab: answers, progress, errors, and whatever else may come along it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from chimera.api import Asker, RemoteError, Server, VersionError, ask
from chimera.model.errors import InputError, LabError, MachineError, MigrationAborted, SessionError
from chimera.model.events import Event, Progress
from chimera.model.verbs import VERSION, Request


@dataclass(frozen=True)
class Named:
    name: str
    at: str


class Add(Request[dict[str, int]], frozen=True):
    verb = "add"

    a: int
    b: int


class Refuse(Request[None], frozen=True):
    verb = "refuse"

    how: str


class Fail(Request[None], frozen=True):
    verb = "fail"


class Narrow(Request[str], frozen=True):
    verb = "narrow"

    how: Literal["cut", "set"] = "cut"
    delay_ms: Annotated[float, Meta(ge=0, le=10)] = 0.0
    named: dict[str, str] = {}  # noqa: RUF012 - msgspec copies it


class Describe(Request[list[Named]], frozen=True):
    verb = "describe"


class Unspeakable(Request[Any], frozen=True):
    verb = "unspeakable"


class Lone(Request[str], frozen=True):
    verb = "lone"


class Chatty(Request[int], frozen=True):
    """Tells so many events, and says how many it told before it was done."""

    verb = "chatty"

    count: int


def add(request: Add, asker: Asker) -> dict[str, int]:
    asker.tell(Progress("adding"))
    asker.tell(Progress("almost done"))
    return {"sum": request.a + request.b}


def refuse(request: Refuse, asker: Asker) -> None:
    kinds = {"input": InputError, "machine": MachineError, "aborted": MigrationAborted}
    raise kinds[request.how](f"no, because {request.how}")


def fail(request: Fail, asker: Asker) -> None:
    raise ZeroDivisionError("a defect")


told = threading.Event()


def chatty(request: Chatty, asker: Asker) -> int:
    for number in range(request.count):
        asker.tell(Progress(f"{number} {'x' * 1000}"))
    told.set()
    return request.count


VERBS: dict[type[Request[Any]], Callable[..., Any]] = {
    Add: add,
    Refuse: refuse,
    Fail: fail,
    Narrow: lambda request, asker: f"{request.how} {request.delay_ms:g} {request.named}",
    Describe: lambda request, asker: [Named("ü", "hv1")],
    Unspeakable: lambda request, asker: object(),
    Lone: lambda request, asker: "\udcff",
    Chatty: chatty,
}


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A lab's socket with a server behind it."""
    (tmp_path / "dual").mkdir()
    path = tmp_path / "dual" / "api.sock"
    threading.Thread(target=Server(path, VERBS).serve, daemon=True).start()
    return path


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
    heard: list[Event] = []
    assert ask(lab, Add(2, 3), heard.append) == {"sum": 5}
    assert heard == [Progress("adding"), Progress("almost done")]


def test_who_asks_and_does_not_listen_holds_nothing_up(lab: Path) -> None:
    """Of more events than are kept for it the latest are there, and then the answer."""
    told.clear()
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(lab))
        channel.sendall(b'{"version": 1, "verb": "chatty", "arguments": {"count": 5000}}\n')
        assert told.wait(10), "nobody has read a line of it"
        with channel.makefile("r", encoding="utf-8") as lines:
            replies = [json.loads(line) for line in lines]
    assert replies[-1]["result"] == 5000
    numbers = [int(reply["event"]["said"].partition(" ")[0]) for reply in replies[:-1]]
    assert numbers == sorted(numbers) and numbers[-1] == 4999 and len(numbers) < 5000


def test_types_of_the_model_are_answers_too(lab: Path) -> None:
    assert ask(lab, Describe()) == [Named("ü", "hv1")]


@pytest.mark.parametrize(("how", "status"), [("input", 2), ("machine", 3), ("aborted", 1)])
def test_an_error_keeps_its_text_and_exit_status(lab: Path, how: str, status: int) -> None:
    with pytest.raises(RemoteError) as raised:
        ask(lab, Refuse(how))
    assert (str(raised.value), raised.value.exit_status) == (f"no, because {how}", status)


def test_a_defect_is_told_and_does_not_end_the_lab(lab: Path) -> None:
    with pytest.raises(RemoteError, match="defect: ZeroDivisionError: a defect") as raised:
        ask(lab, Fail())
    assert raised.value.exit_status == 70
    assert ask(lab, Add(1, 1)) == {"sum": 2}


@pytest.mark.parametrize("request_", [Unspeakable(), Lone()])
def test_an_answer_that_cannot_be_written_is_a_defect_too(lab: Path, request_: Request[Any]) -> None:
    with pytest.raises(RemoteError, match="defect: "):
        ask(lab, request_)


@pytest.mark.parametrize(
    ("verb", "arguments", "said"),
    [
        ("add", {"a": 1}, "add: Object missing required field `b`"),
        ("add", {"a": 1, "b": 2, "c": 3}, "add: Object contains unknown field `c`"),
        ("add", {"a": "1", "b": 2}, "add: Expected `int`, got `str` - at `a`"),
        ("describe", {"x": 1}, "describe: Object contains unknown field `x`\n    allowed: nothing"),
        ("narrow", {"how": "explode"}, "narrow: Invalid enum value 'explode' - at `how`"),
        ("narrow", {"delay_ms": -1}, "narrow: Expected `float` >= 0.0 - at `delay_ms`"),
        ("narrow", {"delay_ms": None}, "narrow: Expected `float`, got `null`"),
        ("narrow", {"delay_ms": 20}, "allowed: how (cut | set), delay_ms (0 to 10), named (object)"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_done(
    lab: Path, verb: str, arguments: dict[str, Any], said: str
) -> None:
    answer = say(lab, json.dumps({"version": VERSION, "verb": verb, "arguments": arguments}).encode() + b"\n")
    assert said in answer["error"] and answer["exit"] == 2


def test_an_unknown_verb_lists_those_there_are(lab: Path) -> None:
    answer = say(lab, b'{"version": 1, "verb": "ad"}\n')
    assert answer["error"].startswith("no verb 'ad': there are add, refuse, fail") and answer["exit"] == 1


def test_a_command_of_another_version_is_refused_before_anything_is_done(lab: Path) -> None:
    for asked, said in (({"version": 7}, 7), ({}, 0)):
        answer = say(lab, json.dumps({"verb": "fail", "arguments": {}, **asked}).encode() + b"\n")
        assert answer["version"] == VERSION and answer["exit"] == 1
        assert answer["error"].startswith(f"the lab speaks version 1 of the API and this command version {said}: ")
        assert "fix: use the 'lab' that started it, or end it with 'lab down'" in answer["error"]


@pytest.mark.parametrize(("version", "said"), [({"version": 2}, 2), ({}, 0)])
def test_a_lab_of_another_version_is_not_believed(tmp_path: Path, version: dict[str, int], said: int) -> None:
    reply = json.dumps({"result": {"sum": 5}, **version}).encode() + b"\n"
    with answering(tmp_path / "api.sock", reply), pytest.raises(VersionError) as raised:
        ask(tmp_path / "api.sock", Add(2, 3))
    assert str(raised.value).startswith(
        f"lab {tmp_path.name} speaks version {said} of the API and this command version 1"
    )
    assert isinstance(raised.value, SessionError)


def test_what_is_no_text_is_not_sent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="refuse: '\\?' is not text in UTF-8"):
        ask(tmp_path / "api.sock", Refuse("\udcff"))


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
        b'{"version": 1, "verb": "add", "arguments": 3}\n',
        b"GET / HTTP/1.1\r\n\r\n",
        b"[" * 100_000 + b"\n",
        b'{"verb": null}\n',
        b'{"version": 1, "verb": "narrow", "arguments": {"delay_ms": NaN}}\n',
        b'{"version": 1, "verb": "narrow", "arguments": {"delay_ms": 1e999}}\n',
        b"x" * (1 << 20),
    ],
)
def test_what_is_no_request_gets_an_error_and_does_no_harm(lab: Path, request_: bytes) -> None:
    answer = say(lab, request_)
    assert answer["error"].startswith(("not a request", "add: Expected `object`", "narrow: Number")) and answer[
        "exit"
    ] in (1, 2)
    assert ask(lab, Add(1, 1)) == {"sum": 2}


def test_somebody_who_says_nothing_does_not_keep_others_waiting(lab: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(lab))
        assert ask(lab, Add(1, 1)) == {"sum": 2}


def test_somebody_who_leaves_before_the_answer_does_no_harm(lab: Path) -> None:
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as hasty:
            hasty.connect(str(lab))
            hasty.sendall(b'{"version": 1, "verb": "add", "arguments": {"a": 1, "b": 1}}\n')
    assert ask(lab, Add(1, 1)) == {"sum": 2}


def test_nobody_but_the_owner_may_ask(lab: Path) -> None:
    assert lab.stat().st_mode & 0o777 == 0o600


# -- a lab that is not there, or not any more --------------------------------------------------


def test_a_lab_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=f"lab {tmp_path.name} does not answer: No such file"):
        ask(tmp_path / "api.sock", Fail())


def test_a_lab_that_ended_leaves_a_socket_nobody_listens_at(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "api.sock"))
        gone.listen()
    with pytest.raises(SessionError, match="does not answer: Connection refused"):
        ask(tmp_path / "api.sock", Fail())


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (True, b""),
        (True, b'{"version": 1, "event": {"kind": "progress", "said": "x"}}\n'),
        (True, b'{"result": {"su'),
        (False, b""),
        (True, b"\xff\n"),
    ],
)
def test_a_lab_that_dies_while_it_answers(tmp_path: Path, read: bool, said: bytes) -> None:
    """With its request unread, the kernel resets the connection instead of ending it."""
    with (
        answering(tmp_path / "api.sock", said, read=read),
        pytest.raises(LabError, match=f"lab {tmp_path.name} ended before it had answered") as raised,
    ):
        ask(tmp_path / "api.sock", Fail())
    assert isinstance(raised.value, SessionError)


@contextmanager
def answering(path: Path, said: bytes, *, read: bool = True) -> Iterator[None]:
    """Something that answers one request with these bytes, and hangs up."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            channel, _ = listener.accept()
            channel.recv(65536 if read else 1)
            channel.sendall(said)
            channel.close()

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join(10)
