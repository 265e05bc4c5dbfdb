"""Services as small real processes: ready, ended, restarted, and what they wrote."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chimera.load.problems import Refused
from chimera.load.values import LONG_NAME
from chimera.model.errors import DeadlineError, MachineError, SessionError
from chimera.model.service import THE_LAB, State
from chimera.net import kernel
from chimera.net import services as module
from chimera.net.logs import Log, news
from chimera.net.service import Accepts, Answers, Listens, Logs, Makes, Readiness, Restart, Says, Service
from chimera.net.services import Process, Supervisor
from tests.waiting import until

SOON = Restart(times=3, within_s=60, first_s=0.01, most_s=0.04)


class Watched(Supervisor):
    """A supervisor whose changes are kept."""

    def __init__(self, logs: Path) -> None:
        super().__init__(self._note, logs)
        self.events: list[tuple[str, str, str, str]] = []

    def _note(self, process: Process) -> None:
        self.events.append((process.service.node, process.service.name, process.state, process.detail))

    def states(self, name: str) -> list[str]:
        """What happened to a service, in order."""
        return [state for _, each, state, _ in self.events if each == name]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path / "logs")
    yield made
    made.stop(*made.all(), kill=True)


def shell(name: str, script: str, **options: Any) -> Service:
    """A service that is a shell script."""
    return Service("hv1", name, ("sh", "-c", script), **options)


def python(name: str, script: str, **options: Any) -> Service:
    """A service that is a Python script."""
    return Service("hv1", name, (sys.executable, "-c", script), **options)


SLEEP = "exec sleep 600"
LISTEN_LATER = """
import socket, sys, time
channel = socket.socket(socket.AF_UNIX)
channel.bind(sys.argv[1] if len(sys.argv) > 1 else {path!r})
time.sleep(0.05)
channel.listen()
time.sleep(600)
"""
ACCEPT = """
import socket, time
time.sleep(0.05)
server = socket.create_server(("127.0.0.1", {port}))
time.sleep(600)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# -- becoming ready ------------------------------------------------------------------------------


def test_it_runs_is_ready_and_ends_when_told(supervisor: Watched) -> None:
    process = supervisor.start(shell("daemon", SLEEP))
    assert process.running and process.pid and os.path.exists(f"/proc/{process.pid}")
    shown = process.shown()
    assert (shown.node, shown.name, shown.state, shown.restarts) == ("hv1", "daemon", State.READY, 0)
    supervisor.stop(process)
    assert supervisor.states("daemon") == ["started", "ready", "ended"]
    assert not process.running and process.pid is None and supervisor.of("hv1") == {"daemon": process}


def test_ready_by_a_file(supervisor: Watched, tmp_path: Path) -> None:
    path = tmp_path / "made"
    supervisor.start(shell("daemon", f"sleep 0.05; touch {path}; {SLEEP}", ready=Makes(path)))
    assert path.exists()


@pytest.mark.parametrize("call", ["inotify_init1", "inotify_add_watch"])
def test_ready_by_a_file_where_the_kernel_tells_of_no_change(
    supervisor: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Other labs have all the instances, or all the watches, that a user may have."""

    class Exhausted:
        def __getattr__(self, name: str) -> Any:
            return refuse if name == call else getattr(libc, name)

    def refuse(*arguments: Any) -> int:
        ctypes.set_errno(errno.EMFILE if call == "inotify_init1" else errno.ENOSPC)
        return -1

    libc, path = kernel._libc, tmp_path / "made"
    monkeypatch.setattr(kernel, "_libc", Exhausted())
    monkeypatch.setattr("chimera.deadline.STEP_S", 60.0)
    process = supervisor.start(shell("daemon", f"sleep 0.05; touch {path}; echo up; {SLEEP}", ready=Makes(path)))
    assert path.exists()
    until(lambda: process.log.end)
    found = news({"daemon": process.log}, {}, 20)
    assert found["daemon"].text == "up\n"
    threading.Timer(0.1, lambda: process.log.note("more")).start()
    assert news({"daemon": process.log}, {"daemon": found["daemon"].end}, 20)["daemon"].text == "lab: more\n"


def test_ready_by_a_socket_that_listens_not_by_one_that_has_only_its_name(supervisor: Watched, tmp_path: Path) -> None:
    path = tmp_path / "sock"
    supervisor.start(python("daemon", LISTEN_LATER.format(path=str(path)), ready=Listens(path)))
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(path))


def test_ready_by_a_port(supervisor: Watched) -> None:
    port = free_port()
    supervisor.start(python("daemon", ACCEPT.format(port=port), ready=Accepts(port)))
    socket.create_connection(("127.0.0.1", port)).close()


def test_ready_by_a_line_of_its_log_written_by_this_start(supervisor: Watched, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"sleep 0.05; touch {mark}; echo it is up; {SLEEP}"
    process = supervisor.start(shell("daemon", script, ready=Logs("is up")))
    assert mark.exists()
    supervisor.stop(process)
    mark.unlink()
    supervisor.start_again(process)
    assert mark.exists(), "the line of the start before is none of this one's"


def test_ready_by_a_line_on_its_output_and_by_a_command(supervisor: Watched, tmp_path: Path) -> None:
    process = supervisor.start(shell("one", f"sleep 0.05; echo ready; {SLEEP}", ready=Says(), stdout=True))
    assert process.log.end == 0, "what it prints there is its owner's"
    path = tmp_path / "made"
    supervisor.start(shell("two", f"sleep 0.1; touch {path}; {SLEEP}", ready=Answers(("test", "-e", str(path)))))
    assert path.exists()


def test_many_get_ready_side_by_side(supervisor: Watched, tmp_path: Path) -> None:
    """Twenty that each take 0.5 s are ready long before they would be one after the other."""
    begin = time.monotonic()
    paths = [tmp_path / f"made-{number}" for number in range(20)]
    launched = [
        supervisor.launch(shell(f"daemon-{n}", f"sleep 0.5; touch {path}; {SLEEP}", ready=Makes(path)))
        for n, path in enumerate(paths)
    ]
    supervisor.wait_ready(launched)
    assert all(path.exists() for path in paths) and {p.state for p in launched} == {State.READY}
    assert time.monotonic() - begin < 5


def test_one_that_talks_on_when_it_is_ready_does_not_keep_who_waits_for_another_busy(
    supervisor: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, unready = [], module._unready
    monkeypatch.setattr(module, "_unready", lambda processes: looks.append(1) or unready(processes))
    talking = shell("talks", f"echo ready; sleep 0.1; echo more; {SLEEP}", ready=Says(), stdout=True)
    waiting = shell("waits", f"sleep 0.5; touch {tmp_path / 'made'}; {SLEEP}", ready=Makes(tmp_path / "made"))
    launched = [supervisor.launch(service) for service in (talking, waiting)]
    supervisor.wait_ready(launched)
    assert len(looks) < 20


def test_one_thread_waits_for_all_and_ends_with_the_last(supervisor: Watched) -> None:
    def threads() -> int:
        return sum(thread.name == "services" for thread in threading.enumerate())

    until(lambda: threads() == 0)  # other tests'
    made = [supervisor.start(shell(f"daemon-{n}", SLEEP)) for n in range(5)]
    assert threads() == 1
    supervisor.stop(*made)
    until(lambda: threads() == 0)
    supervisor.start_again(made[0])
    os.kill(made[0].pid or 0, signal.SIGKILL)
    until(lambda: supervisor.states("daemon-0")[-1] == "failed")


# -- not becoming ready --------------------------------------------------------------------------


def test_one_that_ends_instead_says_why(supervisor: Watched, tmp_path: Path) -> None:
    service = shell("daemon", "echo before; echo no such bridge >&2; exit 3", ready=Makes(tmp_path / "never"))
    with pytest.raises(SessionError, match=r"^daemon of hv1 ended before it was ready: before\nno such bridge$"):
        supervisor.start(service)
    assert supervisor.states("daemon") == ["started", "failed"]
    assert supervisor.of("hv1")["daemon"].detail == "exit status 3: no such bridge"


def test_one_that_is_late_is_killed(supervisor: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chimera.deadline.slowness", lambda: 1.0)
    service = shell("daemon", SLEEP, ready=Makes(tmp_path / "never"), patience_s=0.3)
    with pytest.raises(DeadlineError, match=r"^daemon of hv1 did not get ready within 0.3 s"):
        supervisor.start(service)
    assert not supervisor.of("hv1")["daemon"].running


def test_a_program_that_is_not_there_is_a_matter_of_the_machine(supervisor: Watched) -> None:
    service = Service("hv1", "zebra", ("no-such-zebra",), package="frr")
    with pytest.raises(MachineError, match=r"no-such-zebra is not installed(.|\n)*apt-get install frr"):
        supervisor.start(service)
    assert supervisor.all() == []


def test_it_is_not_started_twice(supervisor: Watched) -> None:
    process = supervisor.start(shell("daemon", SLEEP))
    for again in (lambda: supervisor.start(process.service), lambda: supervisor.start_again(process)):
        with pytest.raises(SessionError, match=r"^daemon of hv1 is running already$"):
            again()
    assert len(supervisor.all()) == 1


# -- ending --------------------------------------------------------------------------------------


def test_one_that_will_not_end_is_killed_after_its_grace(supervisor: Watched) -> None:
    stubborn = shell("daemon", "trap '' TERM; echo up; while :; do sleep 0.1; done", ready=Logs("up"), grace_s=0.3)
    process = supervisor.start(stubborn)
    supervisor.stop(process)
    assert process.program.returncode == -signal.SIGKILL and process.state is State.ENDED


def test_told_to_end_it_has_time_to_put_things_in_order(supervisor: Watched, tmp_path: Path) -> None:
    path = tmp_path / "tidy"
    script = f"trap 'touch {path}; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    process = supervisor.start(shell("daemon", script, ready=Logs("up")))
    supervisor.stop(process)
    assert path.exists()
    supervisor.start_again(process)
    path.unlink()
    supervisor.stop(process, kill=True)
    assert not path.exists()


def test_its_end_is_noticed_at_once(supervisor: Watched) -> None:
    process = supervisor.start(shell("daemon", SLEEP))
    pid = process.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    begin = time.monotonic()
    until(lambda: process.state is State.FAILED)
    assert time.monotonic() - begin < 1
    assert supervisor.events[-1] == ("hv1", "daemon", "failed", "killed by SIGKILL")
    assert supervisor.states("daemon") == ["started", "ready", "failed"]
    assert "lab: daemon of hv1 ended: killed by SIGKILL" in process.log.last(5).text
    assert not os.path.exists(f"/proc/{pid}"), "it is reaped"


def test_a_signal_without_a_name_is_told_by_its_number(supervisor: Watched) -> None:
    odd, other = (supervisor.start(shell(name, SLEEP, restart=SOON)) for name in ("odd", "other"))
    os.kill(odd.pid or 0, signal.SIGRTMIN + 3)
    until(lambda: odd.restarts == 1 and odd.state is State.READY)
    assert [d for _, name, s, d in supervisor.events if (name, s) == ("odd", "failed")] == [
        f"killed by signal {signal.SIGRTMIN + 3}; it starts again in 0.01 s"
    ]
    os.kill(other.pid or 0, signal.SIGKILL)
    until(lambda: other.restarts == 1)


def test_an_end_that_cannot_be_dealt_with_keeps_no_other_from_being_noticed(
    supervisor: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (supervisor.start(shell(name, SLEEP, restart=SOON)) for name in ("one", "two"))

    def admit(self: Supervisor, process: Process, why: str) -> float | None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Supervisor, "_admit_failure", admit)
        os.kill(one.pid or 0, signal.SIGKILL)
        until(lambda: one.state is State.FAILED)
    assert one.detail == "its end could not be dealt with: can't start new thread"
    os.kill(two.pid or 0, signal.SIGKILL)
    until(lambda: two.restarts == 1)
    supervisor.start_again(one)
    assert one.state is State.READY


def test_a_log_that_cannot_be_read_keeps_no_end_from_being_noticed(
    supervisor: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def since(self: Log, start: int, *, unfinished: bool = False) -> Any:
        raise OSError(24, "Too many open files")

    process = supervisor.start(shell("daemon", "sleep 0.1; exit 3"))
    monkeypatch.setattr(Log, "since", since)
    until(lambda: process.state is State.FAILED)
    assert process.detail == "exit status 3"


def test_one_that_ends_by_itself_has_failed_whatever_its_status(supervisor: Watched) -> None:
    process = supervisor.start(shell("daemon", "sleep 0.05; echo enough"))
    until(lambda: process.state is State.FAILED)
    assert process.detail == "exit status 0: enough"


def test_what_its_node_does_when_it_ends(supervisor: Watched) -> None:
    lost: list[str] = []
    process = supervisor.start(shell("daemon", SLEEP), lost=lambda: lost.append("lost"))
    os.kill(process.pid or 0, signal.SIGKILL)
    until(lambda: lost)
    supervisor.start_again(process)
    supervisor.stop(process)
    assert lost == ["lost", "lost"]


# -- starting again ------------------------------------------------------------------------------


def test_it_is_started_again_and_its_node_makes_it_whole(supervisor: Watched) -> None:
    made: list[int | None] = []
    process = supervisor.start(
        shell("daemon", SLEEP, restart=SOON), again=lambda: made.append(process.pid)
    )  # fmt: skip
    first = process.pid
    os.kill(first or 0, signal.SIGKILL)
    until(lambda: process.restarts and process.state is State.READY)
    assert made == [process.pid] and process.pid != first and process.restarts == 1
    assert supervisor.states("daemon") == ["started", "ready", "failed", "restarted", "ready"]
    assert supervisor.events[2][3] == "killed by SIGKILL; it starts again in 0.01 s"


def test_what_its_node_cannot_do_when_it_ends_keeps_it_from_no_restart(supervisor: Watched) -> None:
    def lost() -> None:
        raise ValueError("no such link")

    process = supervisor.start(shell("daemon", SLEEP, restart=SOON), lost=lost)
    os.kill(process.pid or 0, signal.SIGKILL)
    until(lambda: process.restarts == 1 and process.state is State.READY)
    assert "lab: what follows its end could not be done: no such link" in process.log.last(5).text
    process.lost = module.nothing  # the test's own end goes well


def test_it_is_given_up_where_it_fails_too_often(supervisor: Watched) -> None:
    process = supervisor.start(shell("daemon", "sleep 0.02; exit 4", restart=SOON))
    until(lambda: "it is not started again" in process.detail)
    assert process.detail == "exit status 4; it is not started again after 4 failures in 60 s"
    assert process.restarts == 3 and supervisor.states("daemon").count("restarted") == 3
    supervisor.start_again(process)  # by hand it is
    assert process.state is State.READY


def test_one_that_cannot_get_ready_again_counts_as_failed(supervisor: Watched, tmp_path: Path) -> None:
    path = tmp_path / "works"
    path.touch()
    script = f"test -e {path} || exit 5; echo up; {SLEEP}"
    process = supervisor.start(shell("daemon", script, restart=SOON, ready=Logs("up")))
    path.unlink()
    os.kill(process.pid or 0, signal.SIGKILL)
    until(lambda: "not started again" in process.detail)
    assert process.restarts == 3 and process.state is State.FAILED and not process.running


@pytest.mark.parametrize("error", [SessionError, ValueError])
def test_where_its_node_cannot_make_it_whole_it_is_ended_and_tried_again(
    supervisor: Watched, error: type[Exception]
) -> None:
    tries: list[int | None] = []

    def again() -> None:
        tries.append(process.pid)
        if len(tries) == 1:
            raise error("no bridge")

    process = supervisor.start(shell("daemon", SLEEP, restart=SOON), again=again)
    os.kill(process.pid or 0, signal.SIGKILL)
    until(lambda: len(tries) == 2 and process.state is State.READY)
    assert len(tries) == 2 and tries[0] != tries[1] and process.pid == tries[1]
    assert not os.path.exists(f"/proc/{tries[0]}")
    assert [detail for *_, state, detail in supervisor.events if state == "failed"][1].startswith("no bridge; ")


def test_forty_that_are_started_by_eight_threads_and_killed_at_once_are_all_back(supervisor: Watched) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: supervisor.start(shell(f"daemon-{n}", SLEEP, restart=SOON)), range(40)))
    for process in made:
        os.kill(process.pid or 0, signal.SIGKILL)
    until(lambda: all(process.restarts == 1 and process.state is State.READY for process in made))
    assert {tuple(supervisor.states(f"daemon-{n}")) for n in range(40)} == {
        ("started", "ready", "failed", "restarted", "ready")
    }
    supervisor.stop(*made, kill=True)
    assert {process.state for process in made} == {State.ENDED}


def test_what_is_stopped_while_it_waits_stays_stopped(supervisor: Watched) -> None:
    process = supervisor.start(shell("daemon", SLEEP, restart=Restart(first_s=0.3)))
    os.kill(process.pid or 0, signal.SIGKILL)
    until(lambda: process.state is State.FAILED)
    supervisor.stop(process)
    time.sleep(0.5)
    assert not process.running and process.state is State.ENDED
    assert supervisor.states("daemon") == ["started", "ready", "failed", "ended"]


def test_what_is_started_by_hand_while_it_waits_is_started_once(supervisor: Watched) -> None:
    process = supervisor.start(shell("daemon", SLEEP, restart=Restart(first_s=0.2)))
    os.kill(process.pid or 0, signal.SIGKILL)
    until(lambda: process.state is State.FAILED)
    supervisor.start_again(process)
    pid = process.pid
    time.sleep(0.4)
    assert process.pid == pid and supervisor.states("daemon") == ["started", "ready", "failed", "started", "ready"]


def test_waits_get_longer_up_to_a_bound_and_then_there_are_none() -> None:
    restart = Restart(times=4, within_s=60, first_s=0.1, most_s=0.5)
    assert [restart.wait_s(count) for count in range(1, 6)] == [0.1, 0.2, 0.4, 0.5, None]


def test_failures_long_ago_do_not_count(supervisor: Watched) -> None:
    few = Restart(times=1, within_s=0.3, first_s=0.01)
    process = supervisor.start(shell("daemon", SLEEP, restart=few))
    for count in (1, 2, 3):
        os.kill(process.pid or 0, signal.SIGKILL)
        until(lambda: process.restarts == count and process.state is State.READY)  # noqa: B023
        time.sleep(0.4)


# -- those that end with their work --------------------------------------------------------------


def recorder(script: str) -> Service:
    return shell("probe", script, ready=Says(), stdout=True, transient=True, grace_s=10)


RECORD = "trap 'echo the counts; exit 0' TERM; echo ready; while :; do sleep 0.01; done"


def test_what_it_printed_until_its_end_is_its_owners(supervisor: Watched) -> None:
    one, two = supervisor.start(recorder(RECORD)), supervisor.start(recorder(RECORD))
    assert list(supervisor.of("hv1")) == ["probe", "probe-2"]
    assert supervisor.finish(one) == b"the counts\n"
    assert list(supervisor.of("hv1")) == ["probe-2"] and not one.log.path.exists()
    three = supervisor.start(recorder(RECORD))
    assert list(supervisor.of("hv1")) == ["probe-2", "probe"]
    for process in (two, three):
        assert supervisor.finish(process) == b"the counts\n"
    assert supervisor.all() == [] and "failed" not in [state for *_, state, _ in supervisor.events]


def test_its_end_is_told_once_however_late_it_is_noticed(supervisor: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    notice, noticed = Supervisor._has_ended, threading.Event()

    def late(self: Supervisor, process: Process) -> None:
        time.sleep(0.2)
        notice(self, process)
        noticed.set()

    process = supervisor.start(recorder(RECORD))
    monkeypatch.setattr(Supervisor, "_has_ended", late)
    assert supervisor.finish(process) == b"the counts\n"
    assert noticed.wait(20)
    assert supervisor.states("probe") == ["started", "ready", "ended"]


def test_one_that_failed_is_told_to_its_owner(supervisor: Watched) -> None:
    process = supervisor.start(recorder("echo ready; sleep 0.05; echo disk full >&2; exit 1"))
    until(lambda: process.state is State.FAILED)
    assert "probe" in supervisor.of("hv1"), "until its owner knows"
    with pytest.raises(SessionError, match=r"^probe of hv1 failed: disk full$"):
        supervisor.finish(process)
    assert supervisor.all() == []


def test_one_that_has_done_its_work_is_forgotten(supervisor: Watched) -> None:
    process = supervisor.start(recorder("echo ready; sleep 0.05; echo the counts"))
    until(lambda: not supervisor.all())
    other = supervisor.start(recorder(RECORD))
    assert supervisor.finish(process) == b"the counts\n"
    assert supervisor.all() == [other], "the other has its name, and stays"


def test_one_that_never_got_ready_is_forgotten(supervisor: Watched) -> None:
    with pytest.raises(SessionError, match="probe of hv1 ended before it was ready: no such interface"):
        supervisor.start(recorder("echo no such interface >&2; exit 1"))
    assert supervisor.all() == []


def test_commands_go_in_and_answers_come_out(supervisor: Watched) -> None:
    process = supervisor.start(shell("line", "echo ready; exec cat", ready=Says(), stdin=True, stdout=True))
    assert process.stdin and process.stdout
    process.stdin.write(b"stats\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"stats\n"


# -- as what it runs -----------------------------------------------------------------------------


def test_its_environment_and_its_terminal(supervisor: Watched) -> None:
    service = shell(
        "daemon", f"echo value $VALUE of $(id -un); {SLEEP}", environment={"VALUE": "7"}, ready=Logs("value")
    )
    process = supervisor.start(service)
    assert process.said().startswith("value 7 of ")
    assert os.getsid(process.pid or 0) == process.pid, "Ctrl-C at the lab's terminal is not for it"


def test_a_user_that_is_not_there_is_a_matter_of_the_machine(supervisor: Watched) -> None:
    with pytest.raises(MachineError, match=r"there is no user 'no-such-frr'(.|\n)*apt-get install frr"):
        supervisor.start(shell("daemon", SLEEP, user="no-such-frr", package="frr"))
    assert supervisor.all() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_its_user_owns_its_folder_and_its_log(supervisor: Watched, tmp_path: Path) -> None:
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    folder = tmp_path / "files"
    script = f"touch {folder}/made; id -un; id -Gn; {SLEEP}"
    process = supervisor.start(shell("daemon", script, user="nobody", folder=folder, ready=Makes(folder / "made")))
    until(lambda: len(process.said().splitlines()) == 2)
    assert process.said().splitlines()[0] == "nobody" and "root" not in process.said()
    assert (folder / "made").owner() == process.log.path.owner() == "nobody"


# -- logs ----------------------------------------------------------------------------------------


def test_who_bounds_a_log_beside_another_loses_nothing_of_it(tmp_path: Path) -> None:
    log, barrier = Log(tmp_path / "daemon.log", 1000), threading.Barrier(4)
    log.path.write_bytes(b"line\n" * 1000)

    def bound() -> None:
        barrier.wait()
        log.bound()

    threads = [threading.Thread(target=bound) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.old.read_bytes() == b"line\n" * 200 and log.end == 5000


def test_a_log_is_bounded_while_its_writer_goes_on(
    supervisor: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BOUND_S", 0.02)
    # Whole lines, as daemons write them: of one in two parts, the first may be lost while the file is cut.
    script = "import itertools, os\nfor n in itertools.count():\n    os.write(1, b'line %09d\\n' % n)\n"
    process = supervisor.start(python("daemon", script))
    process.log._limit_bytes = 20_000
    until(lambda: process.log.end > 500_000)
    until(process.log.old.exists)  # it is cut while it is written
    supervisor.stop(process)
    process.log.bound()
    held = process.log.path.stat().st_size + process.log.old.stat().st_size
    assert held <= 40_000 and process.log.end > 500_000
    numbers = [int(line.split()[1]) for line in process.log.last(1000).text.splitlines()]
    assert len(numbers) == 1000 and numbers == sorted(numbers), "what is kept is the end of it"


def test_positions_in_a_log_outlive_its_being_cut(tmp_path: Path) -> None:
    log = Log(tmp_path / "daemon.log", limit_bytes=100)

    def write(text: str) -> None:
        descriptor = log.open()
        os.write(descriptor, text.encode())
        os.close(descriptor)

    write("".join(f"line {n}\n" for n in range(10)))  # 70 bytes
    early = log.since(0)
    assert (early.end, log.last(2).text) == (70, "line 8\nline 9\n")
    write("".join(f"line {n}\n" for n in range(10, 20)))  # 80 bytes more
    log.bound()
    assert log.path.stat().st_size == 0 and log.old.stat().st_size == 100 and log.end == 150
    write("line 20\nhalf")
    assert log.since(early.end).text == "".join(f"line {n}\n" for n in range(10, 21))
    assert log.since(150) == log.since(158 - 8) and log.since(150).text == "line 20\n"
    assert log.since(0).text.startswith("line 8\n") or log.since(0).text.splitlines()[1] == "line 8"
    assert log.since(158).text == "" and log.since(158).end == 158
    write(" a line\n")
    assert log.since(158).text == "half a line\n"
    assert log.since(158, unfinished=True).text == "half a line\n"
    assert log.last(1).text == "half a line\n" and log.last(0).text == ""


def test_the_labs_own_logs_are_in_a_folder_that_nothing_can_be_called(tmp_path: Path) -> None:
    services = Supervisor(logs=tmp_path)
    own, link = (
        services.start(Service(node, name, ("sleep", "600")))
        for node, name in ((THE_LAB, "agents"), ("agents.log", "x"))
    )
    assert own.log.path == tmp_path / "_lab" / "agents.log" and link.log.path == tmp_path / "agents.log" / "x.log"
    services.stop(own, link, kill=True)
    with pytest.raises(Refused):
        LONG_NAME.parse("_lab")


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    log = Log(tmp_path / "none.log")
    log.bound()
    assert (log.end, log.last(5).text) == (0, "")


def test_readiness_without_a_sign_is_running(supervisor: Watched) -> None:
    process: Process = supervisor.start(shell("daemon", SLEEP, ready=Readiness()))
    assert process.state is State.READY
