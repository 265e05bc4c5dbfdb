"""Links in the words of ip, tc and the delay line."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chimera.model.errors import SessionError
from chimera.model.topology import Impairment, Link, Port
from chimera.net import cables
from chimera.net.cables import Cable, DelayLine, _netem, _settings, make
from chimera.net.service import Says, Service
from chimera.net.services import Supervisor

A, B = Port("r1", "eth1"), Port("r2", "eth2")
MACS = {A: "02:01:00:01:00:0a", B: "02:01:00:01:00:0b"}
WAN = Impairment(bandwidth_mbps=1000, delay_ms=10)
LOSSY = Impairment(delay_ms=0.5, jitter_ms=0.25, loss_percent=1.5)
PLAIN = Link("plain", A, B)
IMPAIRED = Link("wan", A, B, forward=WAN, backward=LOSSY)


def made(links: list[Link], *, netem: bool) -> dict[str, Cable]:
    """Cables of which nobody hears when a delay line ends."""
    return make(links, 1600, MACS, Supervisor(), lambda name: None, netem=netem)


def words(impairment: Impairment) -> str:
    return " ".join(_netem(impairment))


@pytest.mark.parametrize(
    ("impairment", "said"),
    [
        # 10 ms at 1 Gbit/s are 833 full frames in flight, and 1000 may wait
        (WAN, "netem limit 1833 delay 10ms rate 1000mbit"),
        (LOSSY, "netem limit 100000 delay 0.5ms 0.25ms loss 1.5%"),
        (Impairment(jitter_ms=2), "netem limit 100000 delay 0ms 2ms"),
        (Impairment(bandwidth_mbps=2.5), "netem limit 1000 rate 2.5mbit"),
        (Impairment(), "netem limit 100000"),
    ],
)
def test_an_impairment_as_tc_reads_it(impairment: Impairment, said: str) -> None:
    assert words(impairment) == said


@pytest.mark.parametrize(
    ("impairment", "said", "whole"),
    [
        (WAN, "bandwidth_mbps=1000,delay_ms=10", "bandwidth_mbps=1000,delay_ms=10,jitter_ms=0,loss=0"),
        (LOSSY, "delay_ms=0.5,jitter_ms=0.25,loss=1.5", "bandwidth_mbps=0,delay_ms=0.5,jitter_ms=0.25,loss=1.5"),
        (Impairment(), "delay_ms=0", "bandwidth_mbps=0,delay_ms=0,jitter_ms=0,loss=0"),
    ],
)
def test_an_impairment_as_the_delay_line_reads_it(impairment: Impairment, said: str, whole: str) -> None:
    assert _settings(impairment) == said
    assert _settings(impairment, whole=True) == whole


@pytest.mark.parametrize(("netem", "how"), [(True, "netem"), (False, "delay line")])
def test_only_an_impaired_link_gets_something_in_the_middle(netem: bool, how: str) -> None:
    cables = made([PLAIN, IMPAIRED], netem=netem)
    assert {name: cable.how for name, cable in cables.items()} == {"plain": "plain veth", "wan": how}


def test_a_plain_link_is_one_veth_pair_between_its_nodes() -> None:
    (line,) = made([PLAIN], netem=True)["plain"].lines()
    assert line == (
        "link add name eth1 netns r1 address 02:01:00:01:00:0a mtu 1600 type veth "
        "peer name eth2 netns r2 address 02:01:00:01:00:0b mtu 1600"
    )


def test_an_impaired_link_is_two_pairs_with_their_inner_ends_here() -> None:
    lines = made([PLAIN, IMPAIRED], netem=False)["wan"].lines()
    assert lines == [
        "link add name k2a mtu 1600 type veth peer name eth1 netns r1 address 02:01:00:01:00:0a mtu 1600",
        "link add name k2b mtu 1600 type veth peer name eth2 netns r2 address 02:01:00:01:00:0b mtu 1600",
    ]


def test_for_netem_a_bridge_joins_the_inner_ends() -> None:
    lines = made([IMPAIRED], netem=True)["wan"].lines()
    assert lines[2:] == [
        "link add k1 mtu 1600 type bridge", "link set dev k1a master k1", "link set dev k1b master k1",
    ]  # fmt: skip


def test_a_links_own_mtu_wins() -> None:
    small = Link("small", A, B, mtu=1400)
    assert all("mtu 1400" in line for line in made([small], netem=True)["small"].lines())


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would have been run, a line each."""
    found: list[str] = []

    def run(name: str, argv: Sequence[str], **options: Any) -> str:
        found.append(f"{name}: {' '.join(argv)}")
        return ""

    monkeypatch.setattr(cables.netns, "run", run)
    monkeypatch.setattr(cables.netns, "ip_batch", lambda name, lines, **o: found.extend(f"{name}: {k}" for k in lines))
    return found


def test_frames_towards_b_are_impaired_where_they_leave_for_b(commands: list[str]) -> None:
    cable = made([IMPAIRED], netem=True)["wan"]
    cable.start()
    assert commands[-2:] == [
        ": tc qdisc add dev k1b root netem limit 1833 delay 10ms rate 1000mbit",
        ": tc qdisc add dev k1a root netem limit 100000 delay 0.5ms 0.25ms loss 1.5%",
    ]
    commands.clear()
    cable.impair(LOSSY, WAN)
    assert [c.split()[3:6] for c in commands] == [["replace", "dev", "k1b"], ["replace", "dev", "k1a"]]
    assert (cable.link.forward, cable.link.backward) == (LOSSY, WAN)


def test_cutting_a_plain_link_takes_both_ends_down_and_an_impaired_one_its_middle(commands: list[str]) -> None:
    cables = made([PLAIN, IMPAIRED], netem=True)
    cables["plain"].set_up(False)
    assert commands == ["r1: ip link set dev eth1 down", "r2: ip link set dev eth2 down"]
    commands.clear()
    cables["wan"].set_up(False)
    cables["wan"].set_up(True)
    assert commands == [f": link set dev {i} {state}" for state in ("down", "up") for i in ("k2a", "k2b")]
    assert (cables["plain"].up, cables["wan"].up) == (False, True)


def test_a_plain_link_says_what_would_make_it_changeable() -> None:
    with pytest.raises(SessionError, match=r"link plain was made without impairments; give it a delay"):
        made([PLAIN], netem=True)["plain"].impair(WAN, WAN)


# -- the delay line as a process -------------------------------------------------------------------

ANSWER = 'echo ready; n=0; while read line; do n=$((n+1)); echo "{\\"fwd\\": {\\"frames\\": $n}}"; done'


@pytest.fixture
def line(commands: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DelayLine]:
    """A delay line that answers and delays nothing."""
    services = Supervisor(logs=tmp_path / "logs")
    found: dict[str, Cable] = {}

    def service(line: DelayLine) -> Service:
        return Service("wan", cables.SERVICE, ("sh", "-c", ANSWER), ready=Says(), stdin=True, stdout=True)

    monkeypatch.setattr(DelayLine, "_service", service)
    found |= make([IMPAIRED], 1600, MACS, services, lambda name: found[name].follow(), netem=False)
    made = found["wan"]
    assert isinstance(made, DelayLine)
    made.start()
    made.wait_ready()
    yield made
    services.stop(made._process, kill=True)


def test_a_link_is_down_while_its_delay_line_is(line: DelayLine, commands: list[str]) -> None:
    services, process = line._services, line._process
    services.stop(process)
    assert not line.up and commands[-1].endswith("k1b down")
    services.start_again(process)
    assert line.up and commands[-1].endswith("k1b up")
    services.stop(process)
    line.set_up(True)
    assert line.up and process.running, "to restore the link is to start it"


def test_a_link_that_its_user_cut_stays_so_when_its_delay_line_is_back(line: DelayLine, commands: list[str]) -> None:
    services, process = line._services, line._process
    line.set_up(False)
    services.stop(process)
    commands.clear()
    services.start_again(process)
    assert not line.up and not [command for command in commands if command.endswith("up")]
    line.set_up(True)
    assert line.up and commands[-1].endswith("k1b up")


def test_a_link_that_is_cut_while_its_delay_line_is_down_is_cut(line: DelayLine) -> None:
    services, process = line._services, line._process
    services.stop(process)
    line.set_up(False)
    services.start_again(process)
    assert not line.up


def test_everybody_who_asks_at_once_for_counters_has_an_answer(
    line: DelayLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, ready = itertools.count(), cables.ready

    def late(file: Any, limit_s: float) -> bool:
        """Some look when another one's answer has come, too: whoever reads first has both in its buffer."""
        time.sleep(0.01 * (next(order) % 3))
        return ready(file, 1, slow=lambda: 1.0)

    monkeypatch.setattr(cables, "ready", late)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: line.stats()["fwd"]["frames"], range(30)))
    assert sorted(found) == [*range(1, 31)]
