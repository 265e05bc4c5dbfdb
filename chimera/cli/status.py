"""``lab status`` and ``lab inspect``."""

from __future__ import annotations

import json
from typing import Any

import click

from chimera.model.errors import SessionError


def lab_option(function: Any) -> Any:
    """The option that says which lab is meant."""
    return click.option(
        "--lab", "-l", "lab_name", default=None, metavar="NAME", help="Which lab (default: the only one)."
    )(function)


def ask(lab_name: str | None, verb: str, **arguments: Any) -> Any:
    """Have a running lab do something."""
    from chimera import api
    from chimera.net import rundir

    rundir.sweep()
    return api.ask(rundir.find(lab_name) / "api.sock", verb, **arguments)


@click.command(short_help="Which labs are up, and what is in them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Say which labs are up, where their VMs are, and what is cut or stopped.

    \b
    Example:  sudo lab status
    """
    from chimera.net import rundir

    rundir.sweep()
    found = {}
    for name in rundir.running():
        try:
            facts = rundir.facts(rundir.ROOT / name)
            found[name] = ask(name, "status") if facts.get("kind") == "up" else facts
        except SessionError:
            continue  # it is just starting, or just ending
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not found:
        click.echo("no lab is running; start one with 'lab up'")
    for name, facts in {} if as_json else found.items():
        _print(name, facts)


def _print(name: str, facts: dict[str, Any]) -> None:
    if "hypervisors" not in facts:
        click.echo(f"{name}: a running scenario ({facts.get('scenario', '')})")
        return
    options = ", ".join(f"{k}={v}" for k, v in facts["options"].items())
    click.echo(
        f"{name}: {facts['topology']} over {facts['overlay']}{f' ({options})' if options else ''}, "
        f"up for {facts['age_s']:.0f} s"
    )
    for hypervisor, vms in facts["hypervisors"].items():
        off = " (stopped)" if hypervisor in facts["stopped"] else ""
        click.echo(f"  {hypervisor}{off}: {' '.join(vms) or '–'}")
    if facts["cut_links"]:
        click.echo(f"  cut: {' '.join(facts['cut_links'])}")
    click.echo(f"  controller: {facts['controller']}; migrations so far: {facts['migrations']}")
    for text in facts["refused"]:
        click.echo(f"  a switch refused: {text}")


@click.command(short_help="Everything known about a running lab or a node of it.")
@click.argument("node", default="")
@lab_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(node: str, lab_name: str | None, as_json: bool) -> None:
    """Show what a running lab knows of itself: nodes, addresses, links, forwarding state; or of one NODE.

    \b
    Example:  sudo lab inspect hv1 --json
    """
    found = ask(lab_name, "inspect", node=node)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    _show(found, 0)


def _show(value: Any, depth: int) -> None:
    """Nested data as indented lines."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value, start=1):
        if isinstance(item, dict | list) and item and not _flat(item):
            click.echo(f"{'  ' * depth}{key}:")
            _show(item, depth + 1)
        else:
            click.echo(f"{'  ' * depth}{key}: {_line(item)}")


def _flat(item: Any) -> bool:
    parts = item.values() if isinstance(item, dict) else item
    return not any(isinstance(p, dict | list) and p for p in parts)


def _line(item: Any) -> str:
    if isinstance(item, dict):
        return ", ".join(f"{k} {v}" for k, v in item.items() if v not in ("", None, [], {})) or "–"
    return ", ".join(map(str, item)) or "–" if isinstance(item, list) else str(item)
