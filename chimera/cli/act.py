"""``lab migrate``, ``link``, ``stop`` and ``start``: acting on a lab that is up."""

from __future__ import annotations

import click

from chimera.cli import common
from chimera.cli.status import ask, lab_option


@click.command(short_help="Move a VM of a running lab.")
@click.argument("vm")
@click.argument("hypervisor")
@lab_option
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="How: announce=, pace_mbps=, …")
def migrate(vm: str, hypervisor: str, lab_name: str | None, settings: tuple[str, ...]) -> None:
    """Move VM to HYPERVISOR while it runs.

    \b
    Example:  sudo lab migrate web1 hv3 --set announce=garp
    """
    show = common.progress()
    done = ask(lab_name, "migrate", vm=vm, to=hypervisor, settings=common.parse_settings(settings), progress=show)
    click.echo(
        f"{vm}: {done['source']} → {done['destination']}, "
        f"pre-copy {done['precopy_s']:.2f} s in {len(done['rounds'])} rounds, "
        f"stunned for {done['stun_ms']:.1f} ms"
    )


@click.command(short_help="Cut, restore or change a link of a running lab.")
@click.argument("name")
@click.argument("action", type=click.Choice(["show", "cut", "restore", "set"]), default="show")
@lab_option
@click.option("--delay", type=click.FloatRange(0), metavar="MS", help="One-way delay.")
@click.option("--jitter", type=click.FloatRange(0), metavar="MS", help="Jitter, plus or minus.")
@click.option("--loss", type=click.FloatRange(0, 100), metavar="PERCENT", help="Random loss.")
@click.option("--bandwidth", type=click.FloatRange(0), metavar="MBPS", help="Bandwidth, 0 for unlimited.")
@click.option("--direction", type=click.Choice(["both", "forward", "backward"]), default="both", show_default=True)
def link(
    name: str, action: str, lab_name: str | None, delay: float | None, jitter: float | None, loss: float | None,
    bandwidth: float | None, direction: str,
) -> None:  # fmt: skip
    """Show link NAME, cut or restore it, or set what it does to frames.

    \b
    Example:  sudo lab link wan cut
              sudo lab link wan set --delay 40 --loss 0.5
    """
    given = {"delay_ms": delay, "jitter_ms": jitter, "loss_percent": loss, "bandwidth_mbps": bandwidth}
    changes = {key: value for key, value in given.items() if value is not None}
    if action == "set" and not changes:
        raise click.UsageError("nothing to set: give --delay, --jitter, --loss or --bandwidth")
    if action != "set" and changes:
        raise click.UsageError(f"--{next(iter(changes)).partition('_')[0]} goes with 'set'")
    found = ask(lab_name, "link", name=name, action=action, changes=changes, direction=direction)
    click.echo(f"{found['link']}: {'up' if found['up'] else 'cut'} ({found['how']})")
    for side in ("forward", "backward"):
        values = ", ".join(f"{key} {value:g}" for key, value in found[side].items() if value)
        click.echo(f"  {side}: {values or 'not impaired'}")
    for side, counters in found["counters"].items():
        shown = ", ".join(f"{key} {value}" for key, value in counters.items() if value)
        click.echo(f"  {side} so far: {shown or 'nothing'}")


@click.command(short_help="Power off a hypervisor or gateway, or end the controller.")
@click.argument("node")
@lab_option
def stop(node: str, lab_name: str | None) -> None:
    """Stop NODE: a hypervisor, a gateway, or the word 'controller'.

    \b
    Example:  sudo lab stop controller
    """
    click.echo(f"{ask(lab_name, 'stop', node=node)['stopped']} is stopped")


@click.command(short_help="Power it on again.")
@click.argument("node")
@lab_option
def start(node: str, lab_name: str | None) -> None:
    """Start NODE again after 'lab stop'; returns when it takes part again.

    \b
    Example:  sudo lab start controller
    """
    click.echo(f"{ask(lab_name, 'start', node=node)['started']} is running")
