"""``lab bench dataplane``: throughput, packet rate and latency of each overlay, beside a plain bridge."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chimera.bench.isolated import isolated
from chimera.measure.probes import read_stream
from chimera.measure.recorder import Recorder
from chimera.net import netns, stock
from chimera.overlay.registry import OVERLAYS
from chimera.session import bring_up, prepare

_PORT = 7007
_LATENCY_S = 1.0
_SECONDS = 3
_SMALL_BYTES = 18  # the smallest Ethernet frame: 14 + 20 + 8 + 18 = 60 bytes


@dataclass(frozen=True)
class Row:
    """One path: TCP throughput, small UDP packets that arrived per second, and round trips of an idle path."""

    path: str
    throughput_mbps: float
    packets_per_s: float
    rtt_median_ms: float
    rtt_p99_ms: float


def dataplane(progress: Callable[[str], None], seconds: int = _SECONDS) -> list[Row]:
    """A plain bridge, then every overlay in every mode, one after the other."""
    return list(_rows(progress, seconds))


def _rows(progress: Callable[[str], None], seconds: int) -> Iterator[Row]:
    progress("a plain bridge")

    def bridge(tell: Callable[[dict[str, float]], None]) -> None:
        tell(_measure(*stock.plain_bridge(1500), seconds))

    yield Row("plain bridge", **isolated("bridge", bridge)[0])
    for name, settings in _variants():
        label = " ".join([name, *(f"{k}={v}" for k, v in settings.items())])
        progress(f"overlay {label}")
        yield Row(label, **_overlay(name, settings, seconds))


def _variants() -> Iterator[tuple[str, dict[str, str]]]:
    """Every overlay as it is by default, and with each mode it has besides."""
    for overlay in OVERLAYS.values():
        yield overlay.name, {}
        for option in overlay.options:
            if option.name in ("mode", "wire"):
                yield from ((overlay.name, {option.name: v}) for v in option.allowed if v != option.default)


def _overlay(name: str, settings: dict[str, str], seconds: int) -> dict[str, float]:
    experiment = prepare("rack", name, settings=settings)
    vms = experiment.topology.vms
    far = next(vm for vm in vms if vm.hypervisor != vms[0].hypervisor)

    def measure(tell: Callable[[dict[str, float]], None]) -> None:
        bring_up(experiment, lambda text: None)
        tell(_measure(vms[0].name, far.name, far.ip.partition("/")[0], seconds))

    return isolated(name, measure)[0]


def _measure(a: str, b: str, address: str, seconds: int) -> dict[str, float]:
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
