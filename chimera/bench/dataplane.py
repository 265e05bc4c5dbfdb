"""``lab bench dataplane``: throughput, packet rate and latency of each overlay, beside a plain bridge and VXLAN.

All paths stand at once, each in a sandbox of its own, and take turns: one short stream each per round. A ratio is
taken within a round, so that what else the machine does meanwhile hits both of its sides alike; what is reported is the
median over the rounds.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from chimera.bench.floor import plain_bridge
from chimera.bench.isolated import standing
from chimera.events import Stream
from chimera.measure.probes import read_stream
from chimera.measure.recorder import Recorder
from chimera.net import netns
from chimera.net.services import Supervisor
from chimera.overlay.registry import OVERLAYS
from chimera.session import Experiment, bring_up, need_machine, prepare

_PORT = 7007
_LATENCY_S = 1.0
_SECONDS = 1
_ROUNDS = 8
ENOUGH = 0.85  # of vxlan's throughput: what a translated format must reach
_SMALL_BYTES = 18  # the smallest Ethernet frame: 14 + 20 + 8 + 18 = 60 bytes


BRIDGE = "plain bridge"
TOPOLOGY = "rack"

LATENCY, THROUGHPUT, PACKETS = "latency", "throughput", "packets"

Figures = dict[str, float]
Ends = tuple[str, str, str]  # namespaces of sender and receiver, and the receiver's address


@dataclass(frozen=True)
class Row:
    """One path: TCP throughput, small UDP packets that arrived per second, and round trips of an idle path.

    ``of_bridge`` and ``of_vxlan`` are ratios of throughput, ``packets_of_vxlan`` of packet rates; ``translated`` says
    whether eBPF translates the frames.
    """

    path: str
    throughput_mbps: float
    packets_per_s: float
    rtt_median_ms: float
    rtt_p99_ms: float
    of_bridge: float
    of_vxlan: float
    packets_of_vxlan: float
    translated: bool = False

    @property
    def too_slow(self) -> bool:
        """A translated format that does not reach its share of VXLAN's throughput."""
        return self.translated and self.of_vxlan < ENOUGH


@dataclass(frozen=True)
class Subject:
    """What is measured: the plain bridge (no experiment), or an overlay in one of its modes."""

    label: str
    experiment: Experiment | None = None

    def builder(self, seconds: int) -> Callable[[], Callable[[str], Figures]]:
        """What sets it up in a sandbox, and then answers there."""
        if self.experiment:
            need_machine(self.experiment)

        def build() -> Callable[[str], Figures]:
            ends = _overlay(self.experiment) if self.experiment else plain_bridge(1500)
            return lambda what: _answer(what, ends, seconds)

        return build


def dataplane(progress: Callable[[str], None], seconds: int = _SECONDS, rounds: int = _ROUNDS) -> list[Row]:
    """A plain bridge and every overlay in every mode and wire, in turn, round after round."""
    paths = [Subject(BRIDGE), *_variants()]
    found: list[dict[str, Figures]] = []
    with ExitStack() as stack:
        ask = {}
        for path in paths:
            progress(f"setting up {path.label}")
            ask[path.label] = stack.enter_context(standing(path.builder(seconds)))
        idle = {label: asked(LATENCY) for label, asked in ask.items()}
        for number in range(1, rounds + 1):
            progress(f"round {number} of {rounds}")
            found.append({label: {**asked(THROUGHPUT), **asked(PACKETS)} for label, asked in ask.items()})
    return [_row(path, idle[path.label], found) for path in paths]


def _row(path: Subject, idle: Figures, found: Sequence[Mapping[str, Figures]]) -> Row:
    """A path's medians over the rounds; ratios are taken within each."""

    def median(figure: str) -> float:
        return round(statistics.median(figures[path.label][figure] for figures in found), 1)

    def ratio(figure: str, beside: str) -> float:
        return round(statistics.median(f[path.label][figure] / f[beside][figure] for f in found), 3)

    return Row(
        path.label,
        throughput_mbps=median("throughput_mbps"),
        packets_per_s=median("packets_per_s"),
        rtt_median_ms=idle["rtt_median_ms"],
        rtt_p99_ms=idle["rtt_p99_ms"],
        of_bridge=ratio("throughput_mbps", BRIDGE),
        of_vxlan=ratio("throughput_mbps", "vxlan"),
        packets_of_vxlan=ratio("packets_per_s", "vxlan"),
        translated=bool(path.experiment and path.experiment.wiring.translator),
    )


def _variants() -> Iterator[Subject]:
    """Every overlay as it is by default, and with each mode and wire it has besides."""
    for overlay in OVERLAYS.values():
        yield Subject(overlay.name, prepare(TOPOLOGY, overlay.name))
        for option in overlay.options:
            for value in option.allowed if option.name in ("mode", "wire") else ():
                if value != option.default:
                    settings = {option.name: value}
                    label = f"{overlay.name} {option.name}={value}"
                    yield Subject(label, prepare(TOPOLOGY, overlay.name, settings=settings))


def _overlay(experiment: Experiment) -> Ends:
    """A lab that is up, and two of its VMs that are not at one hypervisor."""
    vms = experiment.topology.vms
    far = next(vm for vm in vms if vm.hypervisor != vms[0].hypervisor)
    bring_up(experiment, Stream())
    return vms[0].name, far.name, far.ip.partition("/")[0]


def _answer(what: str, ends: Ends, seconds: int) -> Figures:
    """One measurement of the path between two namespaces, in the sandbox this process is the first of."""
    if what == LATENCY:
        netns.run(ends[0], ["ping", "-c", "3", "-i", "0.3", "-w", "10", ends[2]])  # switches have learned
        trips = _latency(*ends)
        p99 = statistics.quantiles(trips, n=100)[98]
        return {"rtt_median_ms": round(statistics.median(trips), 4), "rtt_p99_ms": round(p99, 4)}
    if what == THROUGHPUT:
        return {"throughput_mbps": _iperf(*ends, seconds)["end"]["sum_received"]["bits_per_second"] / 1e6}
    return {"packets_per_s": _packets(_iperf(*ends, seconds, "-u", "-b", "0", "-l", str(_SMALL_BYTES)))}


def _latency(a: str, b: str, address: str) -> list[float]:
    services, path = Supervisor(), Path("/run/lab/latency")
    echo = Recorder(services, b, "probe", "echo", "--port", str(_PORT))
    argv = ["send", "--to", address, "--port", str(_PORT), "--flow", "1", "--out", str(path)]
    probe = Recorder(services, a, "probe", *argv)
    time.sleep(_LATENCY_S)
    probe.stop()
    echo.stop()
    stream = read_stream(path, vantage=a, target=b, relation="")
    return [(r.answers[0] - r.sent) * 1000 for r in stream.records[100:] if r.answers]


def _iperf(a: str, b: str, address: str, seconds: int, *options: str) -> dict[str, dict[str, dict[str, float]]]:
    server = netns.start(b, ["iperf3", "--server", "--one-off"], stdout=netns.DEVNULL)
    _wait_listening(b)
    argv = ["iperf3", "--client", address, "--time", str(seconds), "--json", "--get-server-output", *options]
    found = json.loads(netns.run(a, argv))
    server.wait()
    return dict(found)


def _packets(found: dict[str, dict[str, dict[str, float]]]) -> float:
    total = found["end"]["sum"]
    return (total["packets"] - total["lost_packets"]) / total["seconds"]


def _wait_listening(namespace: str, timeout_s: float = 5) -> None:
    """iperf3 does not say when it listens; the kernel does."""
    deadline = time.monotonic() + timeout_s
    while (
        ":5201" not in netns.run(namespace, ["ss", "--listening", "--tcp", "--numeric"]) and time.monotonic() < deadline
    ):
        time.sleep(0.01)
