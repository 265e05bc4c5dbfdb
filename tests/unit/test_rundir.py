"""Run directories: one owner each, and nothing left of an owner that died."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import click
import pytest

from chimera.cli.status import complete_lab
from chimera.model.errors import InputError, LabError, MachineError, SessionError
from chimera.net import rundir
from chimera.net.rundir import PARTIAL

FORK = multiprocessing.get_context("fork")
DEADLINE_S = 20


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rundir, "ROOT", tmp_path / "chimera")
    return tmp_path / "chimera"


@pytest.fixture
def dead(root: Path, tmp_path: Path) -> str:
    """The name of a lab that was killed while it wrote into ``tmp_path/out``."""
    here, there = FORK.Pipe()

    def session() -> None:
        run = rundir.claim("dead", rundir.RUN)
        run.describe(out=str(tmp_path / "new" / "out"))
        (tmp_path / f"{PARTIAL}dead").mkdir()
        (tmp_path / f"{PARTIAL}dead" / "result.json").write_text("half")
        there.send("up")
        signal.pause()

    process = FORK.Process(target=session, daemon=True)
    process.start()
    assert here.poll(DEADLINE_S) and here.recv() == "up"
    assert "dead" in rundir.running()
    process.kill()
    process.join(DEADLINE_S)
    return "dead"


@pytest.fixture
def alive(root: Path) -> Iterator[rundir.RunDir]:
    run = rundir.claim("alive", rundir.LAB)
    yield run
    if run.path.exists():
        run.remove()


def test_a_lab_is_there_from_its_claim_to_its_removal(root: Path) -> None:
    run = rundir.claim("one", rundir.LAB)
    run.describe(pid=7)
    assert rundir.running() == rundir.labs() == ["one"]
    assert rundir.find(None) == rundir.find("one") == root / "one" == run.path
    assert rundir.facts(run.path) == {"kind": "up", "pid": 7}
    assert run.socket == run.path / "api.sock" and run.name == "one"
    run.remove()
    assert rundir.running() == []
    assert not root.exists()  # the last one out leaves nothing


def test_a_name_that_runs_is_refused(alive: rundir.RunDir) -> None:
    with pytest.raises(InputError, match="'alive' is already running; 'lab down alive' ends it"):
        rundir.claim("alive", rundir.LAB)
    assert rundir.running() == ["alive"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a b", "x" * 42, "é", "a\n"])
def test_a_name_that_is_no_folder_is_refused(name: str, root: Path) -> None:
    with pytest.raises(InputError, match="letters, digits"):
        rundir.claim(name, rundir.LAB)
    assert not root.exists()


def test_of_a_killed_lab_nothing_stays(dead: str, root: Path, tmp_path: Path) -> None:
    (tmp_path / f"{PARTIAL}other").mkdir()  # another lab writes there, too
    assert rundir.running() == []
    assert rundir.sweep() == [dead]
    assert {p.name for p in tmp_path.iterdir()} == {f"{PARTIAL}other"}
    assert rundir.sweep() == []


def test_a_killed_labs_name_is_free(dead: str) -> None:
    run = rundir.claim(dead, rundir.LAB)
    assert rundir.facts(run.path) == {"kind": "up"}, "what the dead one said of itself is gone"
    run.remove()


def test_what_lives_is_not_swept(alive: rundir.RunDir, dead: str) -> None:
    assert rundir.sweep() == [dead]
    assert rundir.running() == ["alive"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"out": null}', '{"out": ""}'])
def test_a_half_written_description_does_not_stop_the_sweep(root: Path, text: str) -> None:
    (root / "odd").mkdir(parents=True)
    (root / "odd" / "session.json").write_text(text)
    assert rundir.sweep() == ["odd"]


def test_a_description_is_replaced_in_one_step(alive: rundir.RunDir) -> None:
    with pytest.raises(SessionError, match="it is still starting"):
        rundir.session_pid(alive.path)
    alive.describe(pid=1)
    assert rundir.session_pid(alive.path) == 1
    assert json.loads((alive.path / "session.json").read_text()) == {"kind": "up", "pid": 1}
    assert {p.name for p in alive.path.iterdir()} == {"lock", "session.json"}


def test_finding_without_a_name_wants_exactly_one_lab() -> None:
    with pytest.raises(InputError, match="no lab is running; start one with 'lab up'"):
        rundir.find(None)
    runs = [rundir.claim(name, rundir.LAB) for name in ("alpha", "beta")]
    with pytest.raises(InputError, match=r"several labs are running \(alpha, beta\): say which"):
        rundir.find(None)
    with pytest.raises(
        InputError, match=r"no lab called 'alpa' is running \(running: alpha, beta\) did you mean 'alpha'"
    ):
        rundir.find("alpa")
    for run in runs:
        run.remove()


def test_what_ends_by_itself_is_no_lab_to_talk_to(alive: rundir.RunDir) -> None:
    """A run or a bench beside a lab does not make a verb ask which one is meant."""
    others = [rundir.claim("run-1-1", rundir.RUN), rundir.claim("bench-1", rundir.BENCH)]
    others[0].describe(out=None, scenario="vmotion")
    assert rundir.labs() == ["alive"] and len(rundir.running()) == 3
    assert rundir.find(None) == alive.path
    assert complete_lab(click.Context(click.Command("down")), click.Argument(["name"]), "") == ["alive"]
    with pytest.raises(InputError, match="'run-1-1' is not a lab that stays up: it ends by itself"):
        rundir.find("run-1-1")
    alive.remove()
    with pytest.raises(InputError, match="no lab is running"):
        rundir.find(None)
    for run in others:
        run.remove()


@pytest.mark.parametrize("gone", ["session.json", "."])
def test_a_lab_that_vanishes_while_it_is_looked_at(alive: rundir.RunDir, gone: str) -> None:
    shutil.rmtree(alive.path) if gone == "." else (alive.path / gone).unlink()
    assert rundir.labs() == []
    assert rundir.is_held_by(alive.path, os.getpid()) is (gone != ".")
    with pytest.raises(SessionError, match="still starting, or ended just now"):
        rundir.session_pid(alive.path)


def test_a_process_that_ended_holds_nothing(alive: rundir.RunDir) -> None:
    process = FORK.Process(target=lambda: None)
    process.start()
    process.join(DEADLINE_S)
    assert process.pid and not rundir.is_held_by(alive.path, process.pid)


def test_nothing_but_a_sandbox_counts_as_a_lost_lab(alive: rundir.RunDir) -> None:
    shutil.rmtree(alive.path)
    assert rundir.lost() == {}, "this process has the lock that is gone, and leads no sandbox"


def test_a_pid_counts_only_while_it_holds_the_lock(alive: rundir.RunDir, dead: str, root: Path) -> None:
    assert rundir.is_held_by(alive.path, os.getpid())
    assert not rundir.is_held_by(alive.path, os.getppid())
    assert not rundir.is_held_by(root / dead, os.getpid())


def test_somebody_who_may_not_look_is_told_so(alive: rundir.RunDir) -> None:
    def look(answer: Connection) -> None:
        os.chmod(alive.path / "lock", 0)
        if os.geteuid() == 0:
            os.seteuid(65534)
        try:
            rundir.running()
        except LabError as error:
            answer.send((type(error), str(error)))

    for folder in (alive.path, *alive.path.parents):  # pytest's own folders are for their owner alone
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
        if folder.name.startswith("pytest-of-"):
            break
    here, there = FORK.Pipe()
    process = FORK.Process(target=look, args=(there,))
    process.start()
    assert here.poll(DEADLINE_S)
    assert here.recv() == (MachineError, "lab alive belongs to root\n  to fix: run the command with sudo")
    process.join(DEADLINE_S)


@pytest.mark.parametrize("again", [True, False])
def test_a_lock_on_a_folder_that_was_just_swept_is_no_lock(
    root: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """Between opening the file and locking it, another command removed it, and a third one may have made a new one."""
    lock = fcntl.flock

    def swept(fd: int, operation: int) -> None:
        monkeypatch.setattr(rundir.fcntl, "flock", lock)
        shutil.rmtree(root / "one")
        if again:
            (root / "one").mkdir()
            (root / "one" / "lock").touch()
        lock(fd, operation)

    monkeypatch.setattr(rundir.fcntl, "flock", swept)
    run = rundir.claim("one", rundir.LAB)
    assert os.fstat(run.lock).st_ino == (root / "one" / "lock").stat().st_ino
    run.remove()


# -- several at once ---------------------------------------------------------------------------


def _claim_and_report(name: str, start: int, answer: Connection) -> None:
    os.read(start, 1)  # all at the same time
    try:
        rundir.claim(name, rundir.LAB)
    except InputError:
        answer.send("taken")
    else:
        answer.send("mine")
        signal.pause()


def test_of_many_that_claim_a_dead_labs_name_one_gets_it(dead: str) -> None:
    start, go = os.pipe()
    pipes = [FORK.Pipe() for _ in range(8)]
    processes = [FORK.Process(target=_claim_and_report, args=(dead, start, p[1]), daemon=True) for p in pipes]
    for process in processes:
        process.start()
    os.write(go, b"x" * len(processes))
    answers = []
    for here, _ in pipes:
        assert here.poll(DEADLINE_S)
        answers.append(here.recv())
    assert sorted(answers) == ["mine"] + ["taken"] * 7
    assert rundir.running() == [dead]
    for process in processes:
        process.kill()
        process.join(DEADLINE_S)
    os.close(start)
    os.close(go)
    assert rundir.sweep() == [dead]


def _sweep_until_told(stop: Connection) -> None:
    while not stop.poll(0):
        rundir.sweep()
        rundir.running()


def test_commands_that_look_around_do_not_keep_a_lab_from_starting() -> None:
    pipes = [FORK.Pipe() for _ in range(3)]
    sweepers = [FORK.Process(target=_sweep_until_told, args=(there,), daemon=True) for _, there in pipes]
    for sweeper in sweepers:
        sweeper.start()
    try:
        for number in range(60):
            rundir.claim(f"lab-{number % 3}", rundir.LAB).remove()
    finally:
        for (here, _), sweeper in zip(pipes, sweepers, strict=True):
            here.send("stop")
            sweeper.join(DEADLINE_S)
