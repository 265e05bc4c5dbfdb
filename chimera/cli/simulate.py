"""``lab simulate``: a control plane in virtual time, for networks larger than a machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from chimera.cli import common

_SHARES = (16, 4, 1)  # the sizes that are simulated: so many times smaller than what was asked for


@click.command()
@click.option("--overlay", "-o", default=None, metavar="O", shell_complete=common.complete_overlay,
              help="The overlay (default: vxlan).")  # fmt: skip
@click.option("--hypervisors", type=common.Whole(2, 10_000), default=100, show_default=True, help="How many.")
@click.option("--vms", type=common.Whole(1, 1_000_000), default=1000, show_default=True, help="How many.")
@click.option("--moves", type=common.Whole(0, 1_000_000), default=100, show_default=True, help="One after the other.")
@click.option("--segment-vms", type=common.Whole(1, 250), default=100, show_default=True, help="VMs in one segment.")
@click.option("--delay", type=common.Decimal(0), default=1.0, show_default=True, metavar="MS",
              help="One-way delay between nodes, in milliseconds.")  # fmt: skip
@click.option("--jitter", type=common.Decimal(0), default=0.0, metavar="MS", help="Added to it, at random up to this.")
@click.option("--loss", type=common.Decimal(0, 100), default=0.0, metavar="PERCENT", help="Of messages between agents.")
@click.option("--seed", type=common.Whole(0), default=1, show_default=True, help="Another seed is another execution.")
@common.set_option
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for a page and JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def simulate(
    overlay: str | None, hypervisors: int, vms: int, moves: int, segment_vms: int, delay: float, jitter: float,
    loss: float, seed: int, settings: tuple[str, ...], out: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Run the agents of an overlay in virtual time, and count what they say and hold.

    They are the ones that a lab runs, over a modelled underlay; nothing is started, and no root is needed. The
    network is simulated at the size asked for and at a quarter and a sixteenth of it, to show how figures grow; one
    seed is one execution. Convergence is the time from a moved VM's new port to the last change in any switch's table.

    \b
    Example:  lab simulate --overlay vxlan --hypervisors 1000 --vms 100000 --moves 1000 --out simulated
    """
    from chimera import output
    from chimera.agents import scaling
    from chimera.agents.simulator import Weather
    from chimera.model.codec import to_json
    from chimera.model.simulated import Size

    show = common.progress(quiet)
    weather = Weather(delay_s=delay / 1000, jitter_s=jitter / 1000, loss=loss / 100, management_s=delay / 1000)
    asked, options = Size(hypervisors, vms, moves, segment_vms), common.parse_settings(settings)
    costs = []
    for size in dict.fromkeys(asked.scaled(share) for share in _SHARES):
        show(f"simulating {size.vms} VMs on {size.hypervisors} hypervisors")
        inventory = scaling.made_up(overlay or common.DEFAULT_OVERLAY, options, size, seed)
        costs.append(scaling.simulate(inventory, size, seed, weather, show))
    text = to_json([asdict(cost) for cost in costs], indent=2).decode() + "\n"
    if out:
        from chimera.report.scaling import render

        output.write_text(text, out / "simulate.json")
        output.write_text(render(costs), out / "simulate.html")
    if as_json:
        click.echo(text, nl=False)
        return
    from rich.console import Console
    from rich.table import Column, Table

    from chimera.report.scaling import HEADINGS, cells

    columns = [cells(cost) for cost in costs]
    shown = Table(
        "", *(Column(column[0], justify="right") for column in columns), title=f"{costs[0].overlay}, seed {seed}"
    )
    for heading, *values in list(zip(HEADINGS, *columns, strict=True))[1:]:
        shown.add_row(heading, *values)
    shown.columns[0].header = HEADINGS[0]
    Console().print(shown)
