"""``lab bench dataplane``: throughput, packet rate and latency of each overlay, beside a plain bridge and VXLAN.

Everything is measured once per round, and a ratio is taken within a round: what else the machine does meanwhile hits
both of its sides alike. What is reported is the median over the rounds.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chimera.bench.isolated import isolated
from chimera.measure.probes import read_stream
from chimera.measure.recorder import Recorder
from chimera.net import netns, stock
from chimera.overlay.registry import OVERLAYS
from chimera.session import Experiment, bring_up, need_machine, prepare

_PORT = 7007
_LATENCY_S = 1.0
_SECONDS = 2
_ROUNDS = 3
ENOUGH = 0.85  # of vxlan's throughput: what a translated format must reach
_SMALL_BYTES = 18  # the smallest Ethernet frame: 14 + 20 + 8 + 18 = 60 bytes


BRIDGE = "plain bridge"
TOPOLOGY = "rack"

Figures = dict[str, float]


@dataclass(frozen=True)
class Row:
    """One path: TCP throughput, small UDP packets that arrived per second, and round trips of an idle path.

    ``of_bridge`` and ``of_vxlan`` are ratios of throughput, ``packets_of_vxlan`` of packet rates; ``translated`` says
    whether eBPF respells the frames.
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


def dataplane(progress: Callable[[str], None], seconds: int = _SECONDS, rounds: int = _ROUNDS) -> list[Row]:
    """A plain bridge and every overlay in every mode, one after the other, round after round."""
    paths = [Subject(BRIDGE), *_variants()]
    found: list[dict[str, Figures]] = []
    for number in range(1, rounds + 1):
        found.append({})
        for path in paths:
            progress(f"round {number} of {rounds}: {path.label}")
            found[-1][path.label] = _figures(path, seconds)
    return [_row(path, found) for path in paths]


def _row(path: Subject, found: Sequence[Mapping[str, Figures]]) -> Row:
    """A path's medians over the rounds; ratios are taken within each."""

    def median(figure: str) -> float:
        return statistics.median(figures[path.label][figure] for figures in found)

    def ratio(figure: str, beside: str) -> float:
        return round(statistics.median(f[path.label][figure] / f[beside][figure] for f in found), 3)

    return Row(
        path.label,
        **{figure: median(figure) for figure in ("throughput_mbps", "packets_per_s", "rtt_median_ms", "rtt_p99_ms")},
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


def _figures(path: Subject, seconds: int) -> Figures:
    if path.experiment:
        return _overlay(path.experiment, seconds)

    def bridge(tell: Callable[[Figures], None]) -> None:
        tell(_measure(*stock.plain_bridge(1500), seconds))

    return isolated("bridge", bridge)[0]


def _overlay(experiment: Experiment, seconds: int) -> Figures:
    need_machine(experiment)
    vms = experiment.topology.vms
    far = next(vm for vm in vms if vm.hypervisor != vms[0].hypervisor)

    def measure(tell: Callable[[Figures], None]) -> None:
        bring_up(experiment, lambda text: None)
        tell(_measure(vms[0].name, far.name, far.ip.partition("/")[0], seconds))

    return isolated(experiment.overlay.name, measure)[0]


def _measure(a: str, b: str, address: str, seconds: int) -> Figures:
    """Figures of the path from namespace ``a`` to ``b``, in the sandbox this process is the first of."""
    netns.run(a, ["ping", "-c", "3", "-i", "0.3", "-w", "10", address])  # switches have learned
    trips = _latency(a, b, address)
    return {
        "rtt_median_ms": round(statistics.median(trips), 4),
        "rtt_p99_ms": round(statistics.quantiles(trips, n=100)[98], 4),
        "throughput_mbps": round(_iperf(a, b, address, seconds)["end"]["sum_received"]["bits_per_second"] / 1e6, 1),
        "packets_per_s": round(_packets(_iperf(a, b, address, seconds, "-u", "-b", "0", "-l", str(_SMALL_BYTES)))),
    }


def _latency(a: str, b: str, address: str) -> list[float]:
    echo = Recorder(b, "probe", "echo", "--port", str(_PORT))
    path = Path("/run/lab/latency")
    probe = Recorder(a, "probe", "send", "--to", address, "--port", str(_PORT), "--flow", "1", "--out", str(path))
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
