"""``lab bench``: the lab itself measured, as ratios within one run."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Column, Table

from chimera.cli import common
from chimera.model import numbers
from chimera.model.settings import DEFAULT_OVERLAY
from chimera.report.figures import NOT_MEASURED, decimal


@click.group()
def bench() -> None:
    """Measure the lab itself. Figures of one run compare with each other, not with another day's.

    \b
    Example:  sudo lab bench startup
    """


@bench.command()
@click.option("--sizes", default="100,200,400", show_default=True, help="Numbers of VMs, ten to a hypervisor.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def startup(sizes: str, as_json: bool) -> None:
    """Start, stop and memory: stock Mininet (linear,10,10), the bare floor, and this lab.

    The floor is what cannot be avoided: namespaces, links and addresses through 'ip -batch' and the Open
    vSwitch daemons. The lab adds Mininet's objects, the underlay's routes, the controller and its flows.

    \b
    Example:  sudo lab bench startup --json
    """
    from chimera.bench.startup import startup as measure

    common.need_root()
    chosen = tuple(numbers.whole(word) or 0 for word in sizes.split(","))
    if any(n < 10 or n % 10 or n > 1000 for n in chosen):
        raise click.BadParameter("numbers of VMs between 10 and 1000, each a multiple of 10", param_hint="--sizes")
    rows = measure(common.progress(), chosen)
    stock, first_floor = rows[0], rows[1]
    floors = {row.vms: row for row in rows if row.what == "bare floor"}
    if as_json:
        click.echo(json.dumps([{**asdict(r), "total_s": r.total_s} for r in rows], indent=2))
        return
    table = Table("", "VMs", "start s", "stop s", "memory MB", "start × floor", "stock Mininet ÷ this")
    for row in rows:
        floor = floors.get(row.vms, first_floor)
        beside = f"{stock.total_s / row.total_s:.1f}" if row.vms == stock.vms and row is not stock else ""
        table.add_row(
            row.what, str(row.vms), f"{row.start_s:.2f}", f"{row.stop_s:.2f}", f"{row.memory_mb:.0f}",
            f"{row.start_s / floor.start_s:.2f}" if row.what == "this lab" else "", beside,
        )  # fmt: skip
    Console().print(table)


@bench.command()
@click.option("--seconds", type=common.Whole(1, 60), default=1, show_default=True, help="How long each stream runs.")
@click.option("--rounds", type=common.Whole(1, 50), default=8, show_default=True, help="How often all is measured.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def dataplane(seconds: int, rounds: int, as_json: bool) -> None:
    """Throughput, packet rate and latency of every overlay, beside a plain bridge and VXLAN on the same path.

    Figures are medians over the rounds, ratios are taken within each. Exit status 1 where a format that eBPF translates
    (marked *) reaches less than 0.85 of VXLAN's throughput.

    \b
    Example:  sudo lab bench dataplane --rounds 20
    """
    from chimera.bench.dataplane import ENOUGH
    from chimera.bench.dataplane import dataplane as measure

    common.need_root()
    rows = measure(common.progress(), seconds, rounds)
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        path = Column("path", no_wrap=True)
        table = Table(path, "Mbit/s", "× bridge", "× vxlan", "pkt/s", "× vxlan", "RTT ms", "p99 ms", box=None)
        for row in rows:
            table.add_row(
                row.path + (" *" if row.translated else ""), f"{row.throughput_mbps:.0f}", f"{row.of_bridge:.2f}",
                f"{row.of_vxlan:.2f}", f"{row.packets_per_s:.0f}", f"{row.packets_of_vxlan:.2f}",
                f"{row.rtt_median_ms:.3f}", f"{row.rtt_p99_ms:.3f}",
            )  # fmt: skip
        Console().print(table)
    slow = [row.path for row in rows if row.too_slow]
    if slow:
        click.echo(f"below {ENOUGH} of vxlan's throughput: {', '.join(slow)}", err=True)
        raise click.exceptions.Exit(1)


def _signed(value: float | None) -> str:
    """Milliseconds with their sign."""
    return NOT_MEASURED if value is None else f"{value:+.1f}"


@bench.command()
@click.option("--runs", type=common.Whole(1, 100), default=10, show_default=True, help="How many times.")
@common.topology_option
@common.overlay_option
@common.set_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def vmotion(runs: int, topology: str | None, overlay: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Run the scenario vmotion several times: what the network added to the stun, its median and its spread.

    'network' is the silence minus the stun, with its sign; it is exact to '±', and a run below minus that has measured
    wrong. Several overlays take turns. Exit status 1 where a median exceeds one WAN round trip plus 10 ms, a run has
    measured wrong, a probe was answered twice or a TCP session broke.

    \b
    Example:  sudo lab bench vmotion --runs 5 --overlay all
    """
    from chimera.bench.vmotion import vmotion as measure
    from chimera.chosen import choose_several

    planned = choose_several("vmotion", topology, overlay or DEFAULT_OVERLAY, common.parse_settings(settings))
    common.need_root()
    experiments = {leg.name: leg.experiment for leg in planned if leg.experiment}
    rows = measure(runs, experiments, common.progress())
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        names = (Column(name, no_wrap=True) for name in ("overlay", "migration", "seen from"))
        figures = ("network", "from … to", "±", "limit", "stun")
        right = (Column(name, justify="right", no_wrap=True) for name in figures)
        table = Table(*names, *right, box=None, padding=(0, 1, 0, 0))
        for row in rows:
            table.add_row(
                row.overlay, row.migration, row.vantage, _signed(row.network_outage_ms),
                f"{_signed(row.least_ms)} … {_signed(row.worst_ms)}", decimal(row.resolution_ms), f"{row.allowed_ms:g}",
                decimal(row.stun_ms),
            )  # fmt: skip
        Console().print(table)
    for name in dict.fromkeys(row.overlay for row in rows if row.unfit):
        unfit = max(row.unfit for row in rows if row.overlay == name)
        click.echo(f"the machine was too busy during {unfit} of {runs} runs of {name}", err=True)
    for row in rows:
        for fault in row.faults:
            click.echo(f"{row.overlay}, {row.migration}, {row.vantage}: {fault}", err=True)
    if any(row.failed for row in rows):
        raise click.exceptions.Exit(1)
