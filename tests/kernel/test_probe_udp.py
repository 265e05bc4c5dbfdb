"""Probes through a real network whose outages are made here, and the listener for strays."""

from __future__ import annotations

import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from native_support import Namespace, finish, namespaces, needs_root, tell, tool

from chimera.measure.heartbeat import read_heartbeat, stun
from chimera.measure.listen import misdelivered, read_heard
from chimera.measure.probes import count, outage, read_stream, rtt_ms
from chimera.model.samples import ProbeStream, Window

pytestmark = needs_root
ALWAYS = Window(0, 2e9 * 2)


@pytest.fixture
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    with namespaces(2) as (a, b):
        a.link("a0", b, "b0")
        for namespace, interface, host in ((a, "a0", 1), (b, "b0", 2)):
            namespace.address(interface, f"10.0.0.{host}/24")
            namespace.address(interface, f"fd00::{host}/64")
        b.start(tool("probe"), "echo", "--port", "7000")
        yield a, b


def sender(a: Namespace, out: Path, to: str = "10.0.0.2", *options: str) -> subprocess.Popen[str]:
    return a.start(tool("probe"), "send", "--to", to, "--port", "7000", "--flow", "7", "--out", str(out), *options)


def stream(out: Path) -> ProbeStream:
    return read_stream(out, vantage="a", target="b", relation="neighbour")


@pytest.mark.alone
@pytest.mark.parametrize(("to", "bind"), [("10.0.0.2", "10.0.0.1"), ("fd00::2", "fd00::1")])
def test_every_probe_is_answered_at_a_steady_rate(
    pair: tuple[Namespace, Namespace], tmp_path: Path, to: str, bind: str
) -> None:
    process = sender(pair[0], tmp_path / "p", to, "--bind", bind)
    time.sleep(1)
    finish(process)
    seen = stream(tmp_path / "p")
    counts = count(seen, ALWAYS)
    assert 500 < counts.probes_sent <= 1100  # a busy machine skips some
    assert (counts.probes_lost, counts.probes_duplicated) == (0, 0)
    sent = [r.sent for r in seen.records]
    assert statistics.median(b - a for a, b in pairwise(sent)) == pytest.approx(0.001, abs=0.0001)
    median = rtt_ms(seen, ALWAYS)
    assert median and median < 2


def test_an_outage_is_measured_and_its_probes_are_lost(tmp_path: Path) -> None:
    with namespaces(3) as (a, middle, b):
        a.link("a0", middle, "toa")
        b.link("b0", middle, "tob")
        a.address("a0", "10.0.0.1/24")
        b.address("b0", "10.0.0.2/24")
        line = middle.start(tool("delayline"), "toa", "tob", "--fwd", "delay_ms=5")
        b.start(tool("probe"), "echo", "--port", "7000")
        process = sender(a, tmp_path / "p")
        time.sleep(0.4)
        tell(line, "cut")
        down = time.time()
        time.sleep(0.3)
        tell(line, "restore")
        up = time.time()
        time.sleep(0.8)
        finish(process)
    seen = stream(tmp_path / "p")
    gap = outage(seen, Window(down, up))
    assert up - down - 0.05 < gap.end - gap.start < up - down + 0.1
    assert count(seen, Window(down, up)).probes_lost > 150
    assert not gap.open


def test_errors_of_the_prober_are_lost_probes_and_do_not_end_it(
    pair: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    a, _ = pair
    process = sender(a, tmp_path / "p")
    time.sleep(0.2)
    a.run("ip", "link", "set", "dev", "a0", "down")
    time.sleep(0.2)
    a.run("ip", "link", "set", "dev", "a0", "up")
    time.sleep(0.6)
    finish(process)
    seen = stream(tmp_path / "p")
    assert count(seen, ALWAYS).probes_lost > 100
    assert seen.records[-1].answers


def test_a_frozen_target_answers_after_the_thaw_and_a_frozen_prober_does_not_burst(
    pair: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    a, b = pair
    process = sender(a, tmp_path / "p")
    time.sleep(0.3)
    b.processes[0].send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    b.processes[0].send_signal(signal.SIGCONT)
    time.sleep(0.3)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    process.send_signal(signal.SIGCONT)
    time.sleep(0.3)
    finish(process)
    records = stream(tmp_path / "p").records
    assert all(r.answers for r in records)
    late = [r.answers[0] - r.sent for r in records]
    assert 0.25 < max(late) < 0.6
    spacing = [later.sent - earlier.sent for earlier, later in pairwise(records)]
    assert max(spacing) > 0.28
    assert sum(gap < 0.0005 for gap in spacing) < len(spacing) / 10
    assert [r.sequence for r in records] == list(range(len(records)))


def test_the_heartbeat_of_who_answers_covers_the_silence_of_a_freeze(tmp_path: Path) -> None:
    """Frozen from one time to another: the heartbeat knows from when to when, and no answer was given meanwhile."""
    with namespaces(2) as (a, b):
        a.link("a0", b, "b0")
        a.address("a0", "10.0.0.1/24")
        b.address("b0", "10.0.0.2/24")
        echo = b.start(tool("probe"), "echo", "--port", "7000", "--out", str(tmp_path / "beats"))
        prober = sender(a, tmp_path / "p")
        time.sleep(0.3)
        start = time.time()
        echo.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        echo.send_signal(signal.SIGCONT)
        frozen = Window(start, time.time())
        time.sleep(0.3)
        finish(prober)
        finish(echo)
    beats, seen = read_heartbeat(tmp_path / "beats", "b"), stream(tmp_path / "p")
    stunned = stun(beats, frozen)
    assert stunned is not None and beats.interval_ms == 0.5
    assert 190 < stunned.ms < 200 + (frozen.end - frozen.start - 0.2) * 1000 + 100
    given = [moment for record in seen.records for moment in record.given]
    assert len(given) > 300
    assert [moment for moment in given if stunned.start < moment < stunned.end] == []
    gap = outage(seen, Window(frozen.start - 0.05, frozen.end), stunned)
    assert gap.ms - stunned.ms >= -0.001, "what the freeze silenced is in the stun, to the microsecond"


def test_a_heartbeat_alone_beats_as_asked(tmp_path: Path) -> None:
    with namespaces(1) as (b,):
        options = ("--out", str(tmp_path / "beats"), "--interval-us", "20000")
        echo = b.start(tool("probe"), "echo", "--port", "7000", *options)
        time.sleep(0.3)
        echo.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 5
        while not (tmp_path / "beats").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        early = read_heartbeat(tmp_path / "beats", "b")
        finish(echo)
    late = read_heartbeat(tmp_path / "beats", "b")
    assert (early.interval_ms, early.start) == (20.0, late.start)
    assert 0.25 < early.end - early.start < late.end - late.start


def test_a_snapshot_is_a_recording_so_far(pair: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    process = sender(pair[0], tmp_path / "p")
    time.sleep(0.5)
    process.send_signal(signal.SIGUSR1)
    deadline = time.monotonic() + 5
    while not (tmp_path / "p").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    early = len(stream(tmp_path / "p").records)
    time.sleep(0.2)
    finish(process)
    assert 100 < early < len(stream(tmp_path / "p").records)


def test_the_listener_tells_strays_from_what_belongs(pair: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    a, b = pair
    begin = time.time()
    out = tmp_path / "heard"
    specs = ("--netns", f"{b.path}:b0:10.0.0.2,fd00::2", "--netns", f"{a.path}:a0:10.0.0.77")
    with namespaces(1) as (elsewhere,):
        listener = elsewhere.start(tool("probe"), "listen", "--out", str(out), *specs)
        probers = [sender(a, tmp_path / "4"), sender(a, tmp_path / "6", "fd00::2")]
        time.sleep(0.3)
        for process in probers:
            finish(process)
        finish(listener)
    at_target, at_prober = read_heard(out)
    assert (at_target.stray_count, at_target.dropped) == (0, 0)
    assert at_target.unicast >= 100
    assert at_prober.stray_count > 100  # answers at a port that, by its owner, is somebody else's
    answers = len(stream(tmp_path / "4").records) + len(stream(tmp_path / "6").records)
    assert misdelivered([at_target, at_prober], Window(begin, time.time()), flows={7}) == pytest.approx(answers, abs=2)
    assert misdelivered([at_prober], Window(0, begin)) == 0
