"""Labs from Python: one lab that the tests share, programs that end as a user's may, and the page's own examples."""

from __future__ import annotations

import itertools
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_support import ENVIRONMENT, PROJECT, needs_lab

import chimera
from chimera.model.errors import InputError, MigrationAborted, SessionError
from chimera.net import rundir
from chimera.report.json import read_json

pytestmark = needs_lab


@pytest.fixture(scope="module")
def lab() -> Iterator[chimera.Lab]:
    with chimera.Lab("rack", overlay="vxlan") as running:
        yield running


# -- lab.net -----------------------------------------------------------------------------------


@pytest.mark.smoke
def test_commands_run_on_the_vm_and_with_its_files(lab: chimera.Lab, tmp_path: Path) -> None:
    vm1 = lab.net["vm1"]
    assert vm1.cmd("uname -n").strip() == "vm1" and vm1.cmd("hostname").strip() == "vm1"
    assert "1 received" in vm1.cmd("ping -c1 vm3") and "1 received" in vm1.cmd("ping -c1", lab.net["vm4"].IP())
    assert vm1.MAC() in vm1.cmd("ip link show eth0")
    file = tmp_path / "mine"
    vm1.cmd(f"mkdir -p {tmp_path}; echo mine >{file}")
    assert vm1.cmd(f"cat {file}").strip() == "mine" and not file.exists()
    assert vm1.popen(["cat", str(file)], text=True).communicate()[0] == "mine\n"
    assert lab.net["vm2"].pexec("cat", str(file))[2] != 0


def test_programs_are_children_of_this_process_and_processes_of_the_lab(lab: chimera.Lab) -> None:
    sleeping = lab.net["vm2"].popen("sleep 600")
    status = Path(f"/proc/{sleeping.pid}/status").read_text()
    assert f"PPid:\t{os.getpid()}\n" in status
    inside = re.search(r"^NSpid:\t.*\t(\d+)$", status, re.MULTILINE)
    assert inside and lab.net["vm2"].cmd(f"kill -INT {inside[1]}; wait") is not None
    assert sleeping.wait(10) == -signal.SIGINT


def test_this_process_stays_where_it_is(lab: chimera.Lab, tmp_path: Path) -> None:
    def where() -> list[str]:
        return [os.readlink(f"/proc/thread-self/ns/{kind}") for kind in ("net", "mnt", "pid", "pid_for_children")]

    lab.net["vm1"].cmd("true")
    of_a_thread: list[str] = []
    thread = threading.Thread(target=lambda: of_a_thread.extend(where()))
    thread.start()
    thread.join()
    parent = [os.readlink(f"/proc/{os.getppid()}/ns/{kind}") for kind in ("net", "mnt", "pid", "pid_for_children")]
    assert where() == of_a_thread == parent
    assert subprocess.run(["cat", "/proc/self/comm"], capture_output=True, text=True).stdout == "cat\n"


def test_a_vm_that_moves_works_on_in_a_net_that_is_open(lab: chimera.Lab) -> None:
    vm2 = lab.net["vm2"]
    vm2.cmd("x=kept")
    here = lab.whereabouts("vm2")
    there = lab.hypervisor_elsewhere("vm2")
    record = lab.migrate("vm2", to=there, settle_s=0.0)
    assert (record.vm, record.source, record.destination) == ("vm2", here, there) and record.rounds
    assert lab.whereabouts("vm2") == there and "vm2" in [vm.name for vm in lab.vms_on(there)]
    assert [str(link.intf2) for link in lab.net.links if link.name == "vm2"] == [f"{there}:vm2"]
    assert vm2.cmd("echo $x").strip() == "kept" and "1 received" in vm2.cmd("ping -c1 vm1")


def test_a_vm_stands_still_while_it_is_moved_and_so_does_what_was_started_on_it(lab: chimera.Lab) -> None:
    """A clock in the VM, read every millisecond, misses the stun."""
    ticking = lab.net["vm4"].popen(
        [sys.executable, "-c", "import time\nwhile True: print(time.time(), flush=True); time.sleep(.001)"], text=True
    )
    assert ticking.stdout
    ticking.stdout.readline()
    record = lab.migrate("vm4", to=lab.hypervisor_elsewhere("vm4"), settle_s=0.2)
    ticking.terminate()
    ticks = [float(line) for line in ticking.communicate()[0].split()[:-1]]
    frozen = record.frozen
    assert frozen and ticks[-1] > frozen.end
    longest = max(b - a for a, b in itertools.pairwise(ticks))
    assert longest > 0.5 * (frozen.end - frozen.start)


def test_pings_and_iperf(lab: chimera.Lab) -> None:
    assert lab.net.pingAll() == 0.0 and lab.net.pingPair() == 0.0
    arrived, sent = lab.net.iperf(lab.net.get("vm1", "vm3"), seconds=1)
    assert all(re.fullmatch(r"[\d.]+ [KMG]bits/sec", rate) for rate in (arrived, sent))
    asked, arrived, _ = lab.net.iperf(lab.net.get("vm1", "vm3"), l4Type="UDP", udpBw="2M", seconds=1)
    assert asked == "2M" and arrived.endswith("Mbits/sec") and 1 < float(arrived.split()[0]) < 3
    with pytest.raises(SessionError, match=r"iperf3 on vm1 failed: "):
        lab.net.iperf(lab.net.get("vm1", "vm3"), fmt="?", seconds=1)


def test_a_link_of_the_net_is_the_labs(lab: chimera.Lab) -> None:
    lab.net.configLinkStatus("hv1", "tor", "down")
    assert lab.net["vm1"].pexec("ping", "-c1", "-W1", lab.net["vm3"].IP())[2] or lab.whereabouts("vm3") == "hv1"
    lab.net.configLinkStatus("hv1", "tor", "up")
    assert "received" in lab.net["vm1"].cmd("ping -c1 -w5 vm3")
    told = [event.text for event in lab.events() if "link hv1--tor" in event.text]
    assert told == ["link hv1--tor cut", "link hv1--tor restored"]


# -- verbs and their errors --------------------------------------------------------------------


def test_errors_are_the_labs_and_leave_it_as_it_is(lab: chimera.Lab) -> None:
    with pytest.raises(InputError, match=r"no VM 'vm9'\n    allowed: vm1, vm2, vm3, vm4"):
        lab.migrate("vm9", "hv2")
    with pytest.raises(InputError, match="no hypervisor 'hv9'"):
        lab.migrate("vm1", "hv9", settle_s=0.0)
    with pytest.raises(InputError, match="no hypervisor 'hv9'"):
        lab.start_migration("vm1", "hv9")
    with pytest.raises(InputError, match="no link 'nosuch'"):
        lab.cut("nosuch")
    with pytest.raises(TypeError, match="unexpected keyword argument 'til'"):
        lab.migrate("vm1", "hv2", til="noon")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing a required argument"):
        lab.watch()  # type: ignore[call-arg]
    lab.note("all is well")
    assert lab.notes[-1] == "all is well" and lab.running


def test_a_migration_that_is_given_up_is_an_error_to_catch_within_a_watch(lab: chimera.Lab) -> None:
    here = lab.whereabouts("vm1")
    there = lab.hypervisor_elsewhere("vm1")
    lab.stop(there)
    try:
        with lab.watch("vm1"), pytest.raises(MigrationAborted, match=f"it runs at {here}"):
            lab.migrate("vm1", to=there, settle_s=0.0)
    finally:
        lab.start(there)
    move = lab.result().migrations[-1]
    assert move.aborted and move.vm == "vm1" and lab.whereabouts("vm1") == here


def test_results_may_be_asked_for_again_and_again(lab: chimera.Lab) -> None:
    before = len(lab.result().migrations)
    there = lab.hypervisor_elsewhere("vm3")
    with lab.tcp_session("vm3"), lab.watch("vm3"):
        moving = lab.start_migration("vm3", to=there)
        lab.wait(0.1)
        lab.net["vm1"].cmd("ping -c1 vm3")  # meanwhile
        moving.join(30)
        assert not moving.is_alive()
        lab.wait(0.3)
    found = lab.result()
    assert len(found.migrations) == before + 1
    move = found.migrations[-1]
    assert (move.vm, move.destination) == ("vm3", there) and move.outage_ms and move.probes_sent > 100
    assert move.network_outage_ms is not None and found.lab.overlay == "vxlan" and found.machine


def test_claims_are_in_the_result_and_a_report_is_written(lab: chimera.Lab, tmp_path: Path) -> None:
    lab.expect("it rained", False, "it did not")
    page = lab.report(tmp_path / "r")
    assert page == tmp_path / "r" / "report.html" and "it rained" in page.read_text()
    found = read_json(tmp_path / "r" / "result.json")
    assert not found.passed and [e.name for e in found.expectations] == ["it rained"]
    with pytest.raises(InputError, match="a result is not replaced"):
        lab.report(tmp_path / "r")
    lab.report(tmp_path / "r", force=True)
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["events.jsonl", "report.html", "result.json"]


def test_verbs_may_be_called_from_several_threads(lab: chimera.Lab) -> None:
    begin = time.monotonic()
    threads = [threading.Thread(target=lab.paths, args=(f"look {n}",), kwargs={"throughput": False}) for n in range(2)]
    threads.append(threading.Thread(target=lab.wait, args=(1.0,)))
    for thread in threads:
        thread.start()
    assert lab.whereabouts("vm1") and time.monotonic() - begin < 1.0
    for thread in threads:
        thread.join(30)
    assert lab.running


# -- how it ends -------------------------------------------------------------------------------

PROGRAM = """
import os, sys, time
import chimera

lab = chimera.Lab("rack", overlay="vlan")
with lab:
    shell = lab.net["vm1"]
    shell.cmd("sleep 600 &")
    program = lab.net["vm2"].popen("sleep 600")
    print("up", *(os.readlink(f"/proc/{pid}/ns/pid") for pid in (shell.pid,)), flush=True)
    LINE
print("after", lab.result().lab.topology, lab.running, program.poll(), flush=True)
"""


def _program(line: str) -> subprocess.Popen[str]:
    """A user's program, once its lab is up; ``line`` is what its block does then."""
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("LINE", line)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=ENVIRONMENT, cwd=PROJECT, start_new_session=True,
    )  # fmt: skip
    assert started.stdout and started.stderr
    word, _, sandbox = started.stdout.readline().strip().partition(" ")
    assert word == "up", started.stderr.read()
    started.sandbox = sandbox  # type: ignore[attr-defined]
    return started


def _left(program: subprocess.Popen[str]) -> list[str]:
    """Processes in the program's sandbox, and run directories of its labs, once they have had time to go."""
    deadline = time.monotonic() + 10
    while found := [*_processes(program.sandbox), *_folders(program.pid)]:  # type: ignore[attr-defined]
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return found


def _processes(sandbox: str) -> Iterator[str]:
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{entry}/ns/pid") == sandbox:
                yield Path(f"/proc/{entry}/comm").read_text().strip()
        except OSError:
            continue


def _folders(pid: int) -> list[str]:
    return [path.name for path in rundir.ROOT.glob(f"python-{pid}-*")]


def test_after_the_block_the_lab_is_gone_and_its_result_is_there() -> None:
    program = _program("lab.wait(0)")
    assert _folders(program.pid) or program.poll() is not None
    said, why = program.communicate(timeout=60)
    assert said == f"after rack False {-signal.SIGKILL}\n" and program.returncode == 0, why
    assert _left(program) == []


def test_an_error_in_the_block_is_the_users_own_and_ends_the_lab() -> None:
    program = _program("raise ZeroDivisionError('mine')")
    said, why = program.communicate(timeout=60)
    assert program.returncode == 1 and said == "" and why.splitlines()[-1] == "ZeroDivisionError: mine"
    assert len(why.splitlines()) <= 4, "nothing of the engine's is in the traceback"
    assert _left(program) == []


@pytest.mark.parametrize("line", ["time.sleep(600)", "lab.wait(600)", "lab.net['vm3'].cmd('sleep 600')"])
def test_an_interrupt_ends_it_all(line: str) -> None:
    program = _program(f"print('go', flush=True); {line}")
    assert program.stdout and program.stdout.readline() == "go\n"
    time.sleep(0.2)
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does
    said, why = program.communicate(timeout=20)
    assert why.splitlines()[-1] == "KeyboardInterrupt" and said == ""
    assert _left(program) == []


def test_an_interrupt_while_the_lab_comes_up_leaves_nothing() -> None:
    code = "import chimera\nprint('go', flush=True)\nwith chimera.Lab('dual-dc'): print('up', flush=True)"
    program = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        cwd=PROJECT, start_new_session=True,
    )  # fmt: skip
    assert program.stdout and program.stdout.readline() == "go\n"
    deadline = time.monotonic() + 20
    while not _folders(program.pid):
        assert time.monotonic() < deadline and program.poll() is None
        time.sleep(0.01)
    os.killpg(program.pid, signal.SIGINT)
    assert program.communicate(timeout=20)[0] == ""
    assert _folders(program.pid) == []


def test_a_python_that_is_killed_takes_its_lab_along() -> None:
    program = _program("time.sleep(600)")
    program.kill()
    program.communicate()
    assert _left(program) == []


def test_a_lab_that_is_killed_says_so_and_lets_its_user_go_on() -> None:
    line = textwrap.dedent("""\
        print("go", flush=True)
            end = time.monotonic() + 10
            while lab.running and time.monotonic() < end:  # until the kernel has taken the sandbox apart
                time.sleep(0.1)
            try:
                lab.migrate("vm1", "hv2")
            except chimera.SessionError as error:
                print(lab.running, error, program.poll(), flush=True)
            os._exit(0)""")
    program = _program(line)
    assert program.stdout and program.stdout.readline() == "go\n"
    (first,) = _session_pids(program.pid)
    os.kill(first, signal.SIGKILL)
    said, why = program.communicate(timeout=30)
    assert said == f"False the lab has ended {-signal.SIGKILL}\n", why
    assert _left(program) == []


def _session_pids(user: int) -> list[int]:
    """The first processes of sandboxes that a program's launchers have started."""
    launchers = _children(user)
    return [pid for launcher in launchers for pid in _children(launcher) if _is_first(pid)]


def _children(pid: int) -> list[int]:
    tasks = os.listdir(f"/proc/{pid}/task")
    return [int(child) for task in tasks for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]


def _is_first(pid: int) -> bool:
    return bool(re.search(r"^NSpid:\t.*\t1$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))


def test_a_process_that_is_still_watched_does_not_keep_a_lab_from_ending() -> None:
    """What a program forks has the socket to its lab open, too."""
    program = _program("os.fork() or (time.sleep(3), os._exit(0))")
    said, why = program.communicate(timeout=60)
    assert "after rack" in said, why
    assert _left(program) == []


def test_captures_outlive_the_lab(tmp_path: Path) -> None:
    with chimera.Lab("rack", overlay="vxlan", capture=True) as lab:
        lab.net["vm1"].cmd("ping -c3 -i0.2 vm3")
        first = lab.report(tmp_path / "early")
    lab.report(tmp_path / "r")
    assert first.exists() and not (tmp_path / "early" / "captures").exists()
    files = sorted((tmp_path / "r" / "captures").iterdir())
    assert [f.name for f in files] == ["hv1--tor.pcapng", "hv2--tor.pcapng"]
    assert all(f.read_bytes()[:4] == b"\n\r\r\n" and f.stat().st_size > 1000 for f in files)
    assert lab.result().timing.down_s > 0 and lab.result().captures == [f"captures/{f.name}" for f in files]
    with pytest.raises(SessionError, match="has ended: make another one"):
        lab.up()


# -- chimera.run, and the page -----------------------------------------------------------------


def test_a_run_is_what_lab_run_gives(tmp_path: Path) -> None:
    said: list[str] = []
    script = tmp_path / "mine.py"
    script.write_text(
        "def run(lab):\n    lab.note(lab.net['vm1'].cmd('uname -n').strip())\n"
        "def check(result, expect):\n    expect('dry', False, 'it rains')\n"
    )
    found = chimera.run(str(script), topology="rack", overlay="vlan", out=tmp_path / "r", progress=said.append)
    assert found.notes[0] == "vm1" and not found.passed and found.lab.scenario == "mine"
    assert read_json(tmp_path / "r" / "result.json").notes == found.notes
    assert any("up in" in line for line in said)
    with pytest.raises(InputError, match="did you mean 'vmotion'"):
        chimera.run("vmotio")
    script.write_text("def run(lab):\n    lab.nowhere\n")
    with pytest.raises(chimera.LabError, match=r"mine.py:2:5: this scenario failed: AttributeError"):
        chimera.run(str(script), topology="rack")


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    code = "import chimera\nchimera.run('vmotion', 'rack', out='r', progress=lambda text: print(text, flush=True))"
    program = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    assert program.stdout
    while "up in" not in (line := program.stdout.readline()):
        assert line
    (session,) = [pid for launcher in _children(program.pid) for pid in _children(launcher) if _is_first(pid)]
    process = os.pidfd_open(session)
    os.killpg(program.pid, signal.SIGINT)
    _, why = program.communicate(timeout=20)
    assert why.splitlines()[-1] == "KeyboardInterrupt"
    assert select.select([process], [], [], 10)[0] and os.listdir(tmp_path) == []
    os.close(process)


def test_the_pages_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = PROJECT / "docs" / "python.md"
    names: dict[str, object] = {"__name__": "page"}
    text = page.read_text()
    blocks = list(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))
    assert len(blocks) > 5
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], str(page), "exec"), names)
    assert sorted(p.name for p in (tmp_path / "results").iterdir()) == ["events.jsonl", "report.html", "result.json"]
    assert set(names["outages"]) == {"vlan", "vxlan"}  # type: ignore[call-overload]
