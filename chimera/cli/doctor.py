"""``lab doctor``: what this machine can do, what follows from each gap, and the command that fixes it."""

from __future__ import annotations

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from chimera.model.codec import to_json
from chimera.model.errors import MachineError
from chimera.net.machine import Capability, missing, survey
from chimera.overlay import registry
from chimera.overlay.mtu import needs
from chimera.wire.wireformat import VXLAN

_STATE = {True: ("yes", "green"), False: ("no", "yellow"), None: ("untried", "yellow")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON on stdout.")
def doctor(as_json: bool) -> None:
    """Try what a lab needs of this machine, and say what follows from each gap and how to fix it.

    Exit status 3 where a lab could not run.

    Example: sudo lab doctor
    """
    capabilities = survey()
    lacking = missing(capabilities)
    if as_json:
        findings = {"can_run": not lacking, "capabilities": capabilities, "mtu": needs(registry.OVERLAYS.values())}
        click.echo(to_json(findings, indent=2))
    else:
        _show(capabilities, Console(soft_wrap=True, highlight=False))
    if lacking:
        raise SystemExit(MachineError.exit_status)
    if not as_json:
        click.echo("A lab can run here.")
        _show_needs(Console(soft_wrap=True, highlight=False))


def _show(capabilities: list[Capability], console: Console) -> None:
    console.print(_table(capabilities))
    for gap in (c for c in capabilities if c.present is False):
        console.print(f"[bold]{gap.name}[/bold]: {gap.consequence}")
        console.print(f"    to fix: {gap.remedy}", markup=False)
    untried = [c for c in capabilities if c.present is None]
    if untried:
        console.print(f"not tried: {', '.join(c.name for c in untried)}")
        console.print(f"    try them with: {untried[0].remedy}", markup=False)
    lacking = missing(capabilities)
    if lacking:
        console.print(f"A lab cannot run here: {', '.join(c.name for c in lacking)} missing.", style="red")


def _show_needs(console: Console) -> None:
    """What each overlay has on the links, and needs of the underlay's MTU; the lab sizes that, unless it is told."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("overlay", "headers on the links", "made by"):
        table.add_column(heading, overflow="fold")
    for heading in ("bytes around a VM's packet", "underlay MTU for packets of 1500"):
        table.add_column(heading, justify="right")
    for need in needs(registry.OVERLAYS.values()):
        maker = "eBPF" if need.translated else "Open vSwitch"
        table.add_row(need.overlay, need.headers, maker, str(need.added_bytes), str(need.underlay_mtu))
    console.print(table)
    console.print(
        "The lab's underlay has 1600 and more; with less (--set underlay_mtu=1500) tunnels tell VMs what fits,"
    )
    console.print(
        "and 'lab inspect' says it. What eBPF makes leaves Open vSwitch as VXLAN, "
        f"{VXLAN.added_bytes} bytes longer than the VM's packet."
    )


def _table(capabilities: list[Capability]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("check", "available", "needed", "detail"):
        table.add_column(heading, overflow="fold")
    for item in capabilities:
        word, colour = _STATE[item.present]
        if item.required and not item.present:
            colour = "red"
        table.add_row(
            item.name, f"[{colour}]{word}[/{colour}]", "required" if item.required else "optional", escape(item.detail)
        )
    return table
