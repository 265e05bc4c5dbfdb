"""Services at the command line: logs, stopping and starting, how they are, and what is said of wrong names."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner

from chimera import session as session_module
from chimera.cli import inspect as inspect_command
from chimera.cli import services as commands
from chimera.cli import status as status_command
from chimera.cli import tables
from chimera.events import Stream
from chimera.hold import Verbs
from chimera.model.codec import to_json
from chimera.model.errors import InputError, SessionError
from chimera.model.events import Event, ServiceChanged, is_turning_point
from chimera.model.service import THE_LAB, State
from chimera.model.topology import Impairment, Link, Port
from chimera.model.verbs import LabStatus, Request, answer_type
from chimera.net import cables as cables_module
from chimera.net import logs as logs_module
from chimera.net.cables import DelayLine
from chimera.net.network import Network
from chimera.net.rundir import RunDir
from chimera.net.service import Logs, Service
from chimera.net.services import Supervisor
from chimera.scenario.lab import Lab
from tests.waiting import until

SAID = "echo {name} is up; exec sleep 600"


class Nodes(Network):
    """A network of which there are only the names, and services."""

    def __init__(self, services: Supervisor) -> None:
        self.services = services
        self.stream = Stream()
        self.tell = self.stream.tell
        self.topology: Any = SimpleNamespace(by_name={"hv1": 1, "hv2": 2, "web1": 3})
        self.underlay: Any = SimpleNamespace(vtep={"hv1": "", "hv2": ""})
        self.cables: Any = {"wan": SimpleNamespace(up=True)}
        self.location = {}
        self.stopped: set[str] = set()
        self._changing = threading.RLock()


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(logs=tmp_path / "logs")
    for node, name in (("hv1", "ovsdb-server"), ("hv1", "ovs-vswitchd"), ("wan", "delay-line"), (THE_LAB, "agents")):
        made.start(Service(node, name, ("sh", "-c", SAID.format(name=name)), ready=Logs("is up")))
    yield made
    made.stop(*made.all(), kill=True)


@pytest.fixture
def verbs(services: Supervisor) -> Verbs:
    network = Nodes(services)
    nobody: Any = None
    controller: Any = SimpleNamespace(agents={}, running=False)
    lab = Lab(network, nobody, controller, nobody, {}, nobody, network.tell)
    made: Any = SimpleNamespace(
        network=network, lab=lab, experiment=SimpleNamespace(topology=network.topology), stream=network.stream
    )  # fmt: skip
    return Verbs(made, RunDir(Path("/nowhere"), -1, "up"))


@pytest.fixture
def lab(verbs: Verbs, monkeypatch: pytest.MonkeyPatch) -> Verbs:
    """Commands ask this lab, and get what JSON leaves of its answers."""

    def ask(lab_name: str | None, request: Request[Any]) -> Any:
        answer = verbs.table()[type(request)](request, nobody)
        return msgspec.json.decode(to_json(answer), type=answer_type(type(request)))

    nobody: Any = None

    monkeypatch.setattr(commands, "ask", ask)
    return verbs


def run(command: click.Command, *words: str) -> str:
    """What a command prints."""
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


# -- stopping and starting -------------------------------------------------------------------------


def test_one_service_is_stopped_and_started(lab: Verbs, services: Supervisor) -> None:
    process = services.of("hv1")["ovs-vswitchd"]
    assert run(commands.stop, "hv1", "ovs-vswitchd") == "ovs-vswitchd of hv1 is stopped\n"
    assert not process.running and services.of("hv1")["ovsdb-server"].running
    with pytest.raises(SessionError, match=r"^ovs-vswitchd of hv1 is stopped already$"):
        run(commands.stop, "hv1", "ovs-vswitchd")
    assert run(commands.start, "hv1", "ovs-vswitchd") == "ovs-vswitchd of hv1 is running\n"
    assert process.state is State.READY
    with pytest.raises(SessionError, match=r"^ovs-vswitchd of hv1 is running already$"):
        run(commands.start, "hv1", "ovs-vswitchd")
    told = [event.text for event in lab._session.stream.read() if is_turning_point(event)]
    assert told == ["ovs-vswitchd of hv1 stopped", "ovs-vswitchd of hv1 started"]


def test_a_node_that_is_on_has_what_ended_started(lab: Verbs, services: Supervisor) -> None:
    with pytest.raises(SessionError, match=r"^hv1 is not stopped$"):
        run(commands.start, "hv1")
    services.stop(*services.of("hv1").values())
    assert run(commands.start, "hv1") == "hv1 is running\n"
    assert {p.state for p in services.of("hv1").values()} == {State.READY}


def test_of_a_node_without_power_nothing_is_started(lab: Verbs) -> None:
    lab._network.stopped.add("hv1")
    with pytest.raises(SessionError, match=r"hv1 is stopped: 'lab start hv1' starts it with all of its services"):
        run(commands.start, "hv1", "ovs-vswitchd")


@pytest.mark.parametrize("command", [commands.stop, commands.start, commands.logs])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("hv1", "ovs-vswitch"), "no service 'ovs-vswitch' at hv1: there are ovsdb-server, ovs-vswitchd\n"
                                 "    fix: did you mean 'ovs-vswitchd'?"),
        (("web1", "sshd"), "no service 'sshd' at web1: there are none"),
        (("controller", "agent"), "no service 'agent' at controller: there are agents\n"
                                  "    fix: did you mean 'agents'?"),
        (("hv9", "ovs-vswitchd"), "no node or link"),
    ],
)  # fmt: skip
def test_a_name_that_nothing_has(lab: Verbs, command: click.Command, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError) as refused:
        run(command, *words)
    assert str(refused.value).startswith(said)


# -- logs ------------------------------------------------------------------------------------------


def test_the_log_of_one_service_and_of_all_of_a_node(lab: Verbs) -> None:
    assert run(commands.logs, "hv1", "ovs-vswitchd") == "ovs-vswitchd is up\n"
    both = "==> ovsdb-server <==\novsdb-server is up\n\n==> ovs-vswitchd <==\novs-vswitchd is up\n"
    assert run(commands.logs, "hv1") == both
    assert run(commands.logs, "wan") == "delay-line is up\n"
    assert run(commands.logs, "controller") == run(commands.logs, "controller", "agents") == "agents is up\n"


def test_as_many_lines_as_were_asked_for(lab: Verbs, services: Supervisor) -> None:
    log = services.of("hv1")["ovs-vswitchd"].log
    for number in range(30):
        log.note(f"line {number}")
    assert run(commands.logs, "hv1", "ovs-vswitchd", "-n", "2") == "lab: line 28\nlab: line 29\n"
    assert len(run(commands.logs, "hv1", "ovs-vswitchd").splitlines()) == 20
    assert run(commands.logs, "hv1", "ovs-vswitchd", "-n", "0") == ""


def test_a_node_without_services_says_so(lab: Verbs) -> None:
    with pytest.raises(SessionError, match=r"^web1 has no services now$"):
        run(commands.logs, "web1")


def test_logs_are_followed_until_the_lab_ends(
    lab: Verbs, services: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, asked = commands.ask, threading.Semaphore(0)

    def ask(lab_name: str | None, request: Request[Any]) -> Any:
        if ended.is_set():
            raise SessionError("lab rack does not answer")
        asked.release()
        return answer(lab_name, request)

    ended = threading.Event()
    monkeypatch.setattr(commands, "ask", ask)
    said: list[str] = []
    follower = threading.Thread(target=lambda: said.append(run(commands.logs, "hv1", "-f", "-n", "0")))
    follower.start()
    for name in ("ovsdb-server", "ovs-vswitchd"):
        asked.acquire()
        until(lambda: asked.acquire(blocking=False))  # it waits for something new
        services.of("hv1")[name].log.note(f"more of {name}")
        asked.acquire()
        asked.release(2)
    ended.set()
    services.of("hv1")["ovs-vswitchd"].log.note("the end")
    follower.join(20)
    assert said[0].startswith("==> ovsdb-server <==\nlab: more of ovsdb-server\n\n==> ovs-vswitchd <==\nlab: more of")


def test_news_come_as_soon_as_there_are_any(services: Supervisor) -> None:
    logs = {name: process.log for name, process in services.of("hv1").items()}
    after = {name: log.end for name, log in logs.items()}
    begin = time.monotonic()
    assert {name: lines.text for name, lines in logs_module.news(logs, after, 0.1).items()} == dict.fromkeys(logs, "")
    assert time.monotonic() - begin >= 0.1
    threading.Timer(0.2, logs["ovsdb-server"].note, ["new"]).start()
    begin = time.monotonic()
    assert logs_module.news(logs, after, 60)["ovsdb-server"].text == "lab: new\n"
    assert time.monotonic() - begin < 20


# -- how they are ----------------------------------------------------------------------------------


def test_completion_knows_the_services_of_the_node(lab: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "ask", lambda name, request: SimpleNamespace(services={
        owner: [*lab._services(owner)] for owner in lab._owners()
    }))  # fmt: skip
    context = click.Context(commands.logs)
    parameter = commands.logs.params[0]
    assert commands.complete_node(context, parameter, "") == ["hv1", "wan", "controller"]
    assert commands.complete_node(context, parameter, "h") == ["hv1"]
    context.params["node"] = "hv1"
    assert commands.complete_service(context, parameter, "ovs-") == ["ovs-vswitchd"]
    context.params["node"] = "controller"
    assert commands.complete_service(context, parameter, "") == ["agents"]


def test_states_in_the_table_of_a_node(
    lab: Verbs, services: Supervisor, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_PIPE_WIDTH", 200)
    process = services.of("hv1")["ovs-vswitchd"]
    pid = process.pid
    os.kill(pid or 0, signal.SIGKILL)
    until(lambda: process.state is State.FAILED)
    inspect_command._services(lab._shown_services("hv1"))
    database, switch = [line for line in capsys.readouterr().out.splitlines() if "ovs" in line]
    assert "ready" in database and str(services.of("hv1")["ovsdb-server"].pid) in database
    assert "failed" in switch and "killed by SIGKILL" in switch and str(pid) not in switch


def test_status_tells_what_is_not_as_it_should_be(services: Supervisor, capsys: pytest.CaptureFixture[str]) -> None:
    assert services.troubled(()) == []
    os.kill(services.of("wan")["delay-line"].pid or 0, signal.SIGKILL)
    until(lambda: services.of("wan")["delay-line"].state is State.FAILED)
    services.stop(services.of("hv1")["ovs-vswitchd"], services.of(THE_LAB)["agents"])
    database = services.of("hv1")["ovsdb-server"]
    database.restarts = 2
    facts = LabStatus(
        topology="rack", overlay="vxlan", options={}, up_s=1, age_s=1, hypervisors={}, stopped=[], cut_links=[],
        controller="stopped", migrations=0, refused=[], cursor=0, addresses={},
        troubled=[process.shown() for process in services.troubled(())],
    )  # fmt: skip
    status_command._print("rack", facts)
    assert capsys.readouterr().out.splitlines()[2:] == [
        "  ovsdb-server of hv1: ready, restarted 2 times",
        "  ovs-vswitchd of hv1: ended: stopped",
        "  delay-line of wan: failed: killed by SIGKILL",
    ]
    assert [p.service.name for p in services.troubled({"hv1"})] == ["delay-line", "agents"], "hv1 is off: that is all"
    database.restarts = 0


def changed(t: float, node: str, name: str, state: State, detail: str = "", **more: Any) -> ServiceChanged:
    return ServiceChanged(node, name, state, detail, t=t, **more)


def test_a_run_tells_of_what_ended_on_its_own_once() -> None:
    told: list[Event] = [
        changed(999.0, "hv1", "ovs-vswitchd", State.READY),
        changed(1003.5, "hv1", "ovs-vswitchd", State.FAILED, "killed by SIGKILL; it starts again in 0.1 s"),
        changed(1003.6, "hv1", "ovs-vswitchd", State.RESTARTED),
        changed(1003.62, "hv1", "probe", State.FAILED, "exit status 1", transient=True),
        changed(1003.65, "hv2", "ovsdb-server", State.FAILED, "exit status 1; it starts again in 0.1 s"),
        changed(1003.92, "hv1", "ovs-vswitchd", State.READY),
        changed(1004.0, "wan", "delay-line", State.FAILED, "exit status 1: no such device"),
        changed(1004.5, "hv2", "ovsdb-server", State.FAILED, "exit status 1; it is not started again"),
        changed(1005.0, "wan", "delay-line", State.ENDED, "stopped"),
        changed(1006.0, "wan", "delay-line", State.STARTED),
        changed(1006.1, "wan", "delay-line", State.READY),
    ]
    assert session_module._failures(told, 1000.0) == [
        "ovs-vswitchd of hv1 ended on its own at 3.50 s (killed by SIGKILL; it starts again in 0.1 s), "
        "and was ready again 0.42 s later",
        "ovsdb-server of hv2 ended on its own at 3.65 s (exit status 1; it is not started again)",
        "delay-line of wan ended on its own at 4.00 s (exit status 1: no such device)",
    ]
    assert [mark.text for mark in session_module._marks(told, 1000.0)] == [
        "ovs-vswitchd of hv1 failed: killed by SIGKILL; it starts again in 0.1 s",
        "ovs-vswitchd of hv1 restarted",
        "ovsdb-server of hv2 failed: exit status 1; it starts again in 0.1 s",
        "delay-line of wan failed: exit status 1: no such device",
        "ovsdb-server of hv2 failed: exit status 1; it is not started again",
    ]


def test_what_happens_to_a_service_is_told_as_an_event(tmp_path: Path) -> None:
    stream = Stream()
    made = Supervisor(lambda process: stream.tell(session_module._service_changed(process)), tmp_path / "logs")
    process = made.start(Service("hv1", "daemon", ("sleep", "600")))
    os.kill(process.pid or 0, signal.SIGKILL)
    until(lambda: process.state is State.FAILED)
    assert [event.text for event in stream.read()] == [
        "daemon of hv1 started", "daemon of hv1 is ready", "daemon of hv1 failed: killed by SIGKILL",
    ]  # fmt: skip
    assert stream.read()[-1].t == process.since


# -- delay lines -----------------------------------------------------------------------------------

WAN = Impairment(delay_ms=10)
LINE = """
import sys
print("ready", flush=True)
for line in sys.stdin:
    if line == "stats\\n":
        print('{"fwd": {"frames": 1}, "bwd": {"frames": 2}}', flush=True)
    else:
        print(line, end="", file=sys.stderr, flush=True)
"""


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DelayLine]:
    """A delay line that only talks; the network follows it as :class:`Network` does."""
    path = tmp_path / "delayline"
    path.write_text(f"#!{sys.executable}\n{LINE}")
    path.chmod(0o755)
    monkeypatch.setattr(cables_module, "native_tool", lambda name: path)
    monkeypatch.setattr(cables_module.netns, "ip_batch", lambda name, lines: None)
    link = Link("wan", Port("r1", "eth1"), Port("r2", "eth1"), forward=WAN, backward=WAN)
    macs = dict.fromkeys(link.ends(), "02:00:00:00:00:01")
    services = Supervisor(logs=tmp_path / "logs")
    made = DelayLine(link, 1, 1600, macs, services, lambda name: made.follow())
    made.start()
    made.wait_ready()
    yield made
    services.stop(*services.all(), kill=True)


def test_a_delay_line_answers_and_takes_settings(line: DelayLine) -> None:
    assert line.stats() == {"fwd": {"frames": 1}, "bwd": {"frames": 2}}
    line.impair(Impairment(delay_ms=40), WAN)
    line.stats()
    assert line._process.said().splitlines()[0] == "set fwd bandwidth_mbps=0,delay_ms=40,jitter_ms=0,loss=0"


def test_a_link_whose_delay_line_ended_is_down_until_it_is_restored(line: DelayLine) -> None:
    line.impair(Impairment(delay_ms=40), WAN)
    os.kill(line._process.pid or 0, signal.SIGKILL)
    until(lambda: not line.up)
    assert line.stats() == {}
    with pytest.raises(SessionError, match=r"link wan: its delay line has ended.*; 'lab link wan restore' starts it"):
        line.impair(WAN, WAN)
    time.sleep(0.3)
    assert not line._process.running, "nobody starts it but who restores the link"
    line.set_up(True)
    assert line.up and line._process.state is State.READY and line.stats()
    assert "delay_ms=40" in line._process.service.argv, "as it was set while it ran"


def test_starting_the_service_restores_the_link_and_stopping_it_cuts_the_link(line: DelayLine) -> None:
    services, process = line._services, line._process
    services.stop(process)
    assert not line.up
    services.start_again(process)
    assert line.up
    line.set_up(False)
    assert process.running, "a cut does not end it"
