"""``lab migrate`` and ``lab link``: acting on a lab that is up."""

from __future__ import annotations

from typing import Literal

import click

from chimera.cli import common
from chimera.cli.status import ask, complete, lab_option


@click.command()
@click.argument("vm", shell_complete=complete("vms"))
@click.argument("hypervisor", shell_complete=complete("hypervisors"))
@lab_option
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", shell_complete=complete("settings"),
              help="How: announce=, pace_mbps=, …")  # fmt: skip
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
def migrate(vm: str, hypervisor: str, lab_name: str | None, settings: tuple[str, ...], quiet: bool) -> None:
    """Move VM to HYPERVISOR while it runs.

    \b
    Example:  sudo lab migrate web1 hv3 --set announce=garp

    Exit status 1 where the VM moved and something went wrong all the same: the last lines say what.
    """
    from chimera.model.verbs import Migrate

    done = ask(lab_name, Migrate(vm, hypervisor, common.parse_settings(settings)), common.show_events(quiet))
    rounds = len(done.rounds)
    stunned = "the stun was not measured" if done.stun_ms is None else f"stunned for {done.stun_ms:.1f} ms"
    click.echo(
        f"{vm}: {done.source} → {done.destination}, "
        f"pre-copy {done.precopy_s:.2f} s in {rounds} round{'' if rounds == 1 else 's'}, {stunned}"
    )
    for warning in done.warnings:
        click.echo(f"  warning: {warning}")
    if done.warnings:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("name", default="", shell_complete=complete("links"))
@click.argument("action", type=click.Choice(["show", "cut", "restore", "set"]), default="show")
@lab_option
@click.option("--delay", type=common.Decimal(0), metavar="MS", help="One-way delay.")
@click.option("--jitter", type=common.Decimal(0), metavar="MS", help="Jitter, plus or minus.")
@click.option("--loss", type=common.Decimal(0, 100), metavar="PERCENT", help="Random loss.")
@click.option("--bandwidth", type=common.Decimal(0), metavar="MBPS", help="Bandwidth, 0 for unlimited.")
@click.option("--direction", type=click.Choice(["both", "forward", "backward"]), default="both", show_default=True)
def link(
    name: str, action: Literal["show", "cut", "restore", "set"], lab_name: str | None, delay: float | None,
    jitter: float | None, loss: float | None, bandwidth: float | None,
    direction: Literal["both", "forward", "backward"],
) -> None:  # fmt: skip
    """Show link NAME, cut or restore it, or set what it does to frames; without a name, list the links.

    \b
    Example:  sudo lab link
              sudo lab link wan cut
              sudo lab link wan set --delay 40 --loss 0.5
    """
    given = {"delay_ms": delay, "jitter_ms": jitter, "loss_percent": loss, "bandwidth_mbps": bandwidth}
    changes = {key: value for key, value in given.items() if value is not None}
    if action == "set" and not changes:
        raise click.UsageError("nothing to set: give --delay, --jitter, --loss or --bandwidth")
    if action != "set" and changes:
        raise click.UsageError(f"--{next(iter(changes)).partition('_')[0]} goes with 'set'")
    from chimera.model.events import impairment
    from chimera.model.verbs import ChangeLink, Changes, Links

    if not name:
        from chimera.cli.inspect import links

        every = ask(lab_name, Links())
        links(every)
        return
    found = ask(lab_name, ChangeLink(name, action, Changes(**changes), direction))
    click.echo(f"{found.link}: {'up' if found.up else 'cut'} ({found.how})")
    a, b = found.ends
    ways = (("forward", "fwd", f"{a} → {b}", found.forward), ("backward", "bwd", f"{b} → {a}", found.backward))
    for side, counted, way, does in ways:
        click.echo(f"  {side} ({way}): {impairment(does)}")
        counters = found.counters.get(counted, {}) if found.counters else {}
        shown = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in counters.items() if value)
        if counters:
            click.echo(f"    so far: {shown or 'nothing'}")
