"""``lab trace``: each hop of a packet, its headers there, and the flows it met."""

from __future__ import annotations

import json
from typing import Any

import click

from chimera.cli.status import ask, lab_option


@click.command(short_help="Follow a packet from VM to VM: headers and flows at each hop.")
@click.argument("source")
@click.argument("destination")
@lab_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def trace(source: str, destination: str, lab_name: str | None, as_json: bool) -> None:
    """Send a packet from SOURCE to DESTINATION and show every interface that saw it.

    \b
    Example:  sudo lab trace web1 web4
    """
    found = ask(lab_name, "trace", source=source, destination=destination)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        _print(found)
    if not found["delivered"]:
        raise click.exceptions.Exit(1)


def _print(found: dict[str, Any]) -> None:
    for hop in found["hops"]:
        arrow = "→" if hop["direction"] == "out" else "←"
        click.echo(
            f"{hop['us']:9.1f} µs  {arrow} {hop['node']}:{hop['interface']}  {hop['bytes']} bytes  "
            f"{' / '.join(hop['stack'])}"
        )
        click.echo(f"{'':14}{' | '.join(hop['headers'])}")
        for flow in hop["flows"]:
            click.echo(f"{'':14}{flow}")
    if not found["delivered"]:
        last = found["hops"][-1] if found["hops"] else None
        where = f"it was last seen at {last['node']}:{last['interface']}" if last else "it was seen nowhere"
        click.echo(f"not delivered: {where}", err=True)
