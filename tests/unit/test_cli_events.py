"""``lab events``: of a finished run and of a lab, for people and for programs, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chimera.api import Server
from chimera.events import Stream
from chimera.hold import Verbs
from chimera.model.codec import to_json
from chimera.model.events import (
    ControlMessage,
    ControlMessages,
    Event,
    LinkChanged,
    MigrationEnded,
    MigrationPhase,
    MigrationStarted,
    Progress,
    ServiceChanged,
)
from chimera.model.service import AGENTS, THE_LAB, State
from chimera.model.verbs import Events
from chimera.net import rundir

PROJECT = Path(__file__).resolve().parents[2]
T0 = 1_764_014_400.25  # 2025-11-24 20:00:00.250 UTC
RUN = [
    Progress("making 7 nodes and 9 links"),
    ServiceChanged(THE_LAB, AGENTS, State.READY),
    MigrationStarted(1, "web1", "hv1", "hv3"),
    MigrationPhase(1, "web1", "reserve", T0 + 2.5, t=T0 + 2.5125),
    ControlMessages({"hv1": {"FLOW_MOD": 2}}, 192, (ControlMessage(T0 + 4, "FLOW_MOD", "hv1", 96),)),
    LinkChanged("wan", "cut"),
    MigrationEnded(1, "web1", "hv1", "no route to host"),
]
GOLDEN = """\
     1  20:00:00.250  making 7 nodes and 9 links
     2  20:00:01.250  controller is ready
     3  20:00:02.250  migrating web1: hv1 → hv3
     4  20:00:02.762  web1: memory reserved, 12.5 ms
     5  20:00:03.250  control messages of hv1: FLOW_MOD 2; 192 bytes
     6  20:00:04.250  link wan cut
     7  20:00:05.250  migration of web1 aborted: no route to host; it stays at hv1
"""
LINES = GOLDEN.splitlines(keepends=True)


def of_run() -> Stream:
    """The stream of the run, an event each second."""
    seconds = iter(range(100))
    stream = Stream(clock=lambda: T0 + next(seconds))
    for event in RUN:
        stream.tell(event)
    return stream


def command(*words: str, labs: Path | None = None) -> subprocess.Popen[str]:
    """``lab events WORDS``, where the labs are those of a folder."""
    code = "import sys; from pathlib import Path; from chimera.net import rundir; from chimera.cli import main\n"
    code += f"rundir.ROOT = Path({str(labs or '/nonexistent')!r}); sys.argv = ['lab', 'events', *sys.argv[1:]]; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "TZ": "UTC"},
    )  # fmt: skip


def printed(*words: str, labs: Path | None = None) -> tuple[int, str, str]:
    process = command(*words, labs=labs)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


# -- a finished run ----------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    (tmp_path / "events.jsonl").write_bytes(b"".join(to_json(event) + b"\n" for event in of_run().read()))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "lines"),
    [((), LINES), (("--since", "5"), LINES[5:]), (("--since", "1.5s"), LINES[5:]), (("--since", "7"), [])],
)
def test_a_finished_run_for_people(finished: Path, words: tuple[str, ...], lines: list[str]) -> None:
    assert printed(str(finished), *words) == (0, "".join(lines), "")


def test_a_finished_run_for_programs(finished: Path) -> None:
    """The lines are those of the file, which may be named itself."""
    status, out, _ = printed(str(finished / "events.jsonl"), "--json")
    assert (status, out.encode()) == (0, (finished / "events.jsonl").read_bytes())
    assert json.loads(out.splitlines()[5]) == {
        "kind": "link-changed", "t": T0 + 4, "cursor": 6, "link": "wan", "state": "cut",
        "forward": None, "backward": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("{}", "--follow"), "--follow is for a running lab: that run is over"),
        (("{}", "--since", "soon"), "'soon' is neither an event's number, such as 120, nor seconds, such as 30s"),
        (("{}", "--since", "1m"), "'1m' is neither"),
        (("{}/none",), "lab: cannot read {}/none: No such file or directory\n    fix: name the folder"),
        (("{}/broken",), "lab: {}/broken:2:1: not an event that this version knows: Invalid value 'ufo'"),
        ((), "lab: no lab is running; start one with 'lab up'"),
    ],
)  # fmt: skip
def test_what_cannot_be_printed(finished: Path, words: tuple[str, ...], text: str) -> None:
    (finished / "broken").write_bytes(to_json(RUN[0]) + b'\n{"kind": "ufo"}\n')
    status, _, err = printed(*(word.format(finished) for word in words))
    assert status == 2 and text.format(finished) in err and "Traceback" not in err


# -- a lab that is up --------------------------------------------------------------------------


class Lab:
    """A lab that has nothing but its stream."""

    def __init__(self, folder: Path) -> None:
        self.stream = of_run()
        self.root = folder / "labs"
        claimed = rundir.claim("rack", rundir.LAB)
        claimed.describe(pid=os.getpid())
        self._session = self
        server = Server(claimed.socket, {Events: lambda request, asker: Verbs.events(self, request, asker)})  # type: ignore[arg-type]
        threading.Thread(target=server.serve, daemon=True).start()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(rundir, "ROOT", tmp_path / "labs")
    monkeypatch.delenv("LAB", raising=False)
    return Lab(tmp_path)


@contextmanager
def following(lab: Lab, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = command("--follow", *words, labs=lab.root)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read(process: subprocess.Popen[str], count: int) -> list[str]:
    """So many lines, as soon as they are there."""
    assert process.stdout
    return [process.stdout.readline() for _ in range(count)]


def test_a_lab_that_is_up(lab: Lab) -> None:
    assert printed(labs=lab.root) == (0, GOLDEN, "")
    assert printed("--since", "6", "-l", "rack", labs=lab.root) == (0, LINES[6], "")
    status, out, _ = printed("--json", labs=lab.root)
    assert status == 0 and [json.loads(line)["cursor"] for line in out.splitlines()] == [*range(1, 8)]


def test_following_shows_each_event_at_once(lab: Lab) -> None:
    with following(lab, "--since", "7") as process:
        for number in (1, 2):
            lab.stream.tell(Progress(f"now {number}", t=T0))
            assert read(process, 1) == [f"{7 + number:>6}  20:00:00.250  now {number}\n"]


def test_the_lab_may_end_in_mid_line(tmp_path: Path) -> None:
    """``lab down`` kills the session: what it was about to say is nothing."""
    (tmp_path / "labs" / "rack").mkdir(parents=True)
    event: Event = of_run().read()[0]
    with socket.socket(socket.AF_UNIX) as listener, pytest.MonkeyPatch.context() as patch:
        patch.setattr(rundir, "ROOT", tmp_path / "labs")
        claimed = rundir.claim("rack", rundir.LAB)
        claimed.describe(pid=os.getpid())
        listener.bind(str(claimed.socket))
        listener.listen()
        process = command("--follow", labs=tmp_path / "labs")
        channel, _ = listener.accept()
        with channel:
            channel.recv(65536)
            channel.sendall(b'{"version": 1, "event": ' + to_json(event) + b'}\n{"version": 1, "eve')
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, LINES[0], "")


def test_ctrl_c_ends_following_quietly(lab: Lab) -> None:
    with following(lab) as process:
        assert read(process, 7) == LINES
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_reader_that_has_enough_ends_it_quietly(lab: Lab) -> None:
    with following(lab) as process:
        assert process.stdout and process.stderr
        read(process, 1)
        process.stdout.close()
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            lab.stream.say("more")
            time.sleep(0.01)
        assert (process.returncode, process.stderr.read()) == (0, "")
