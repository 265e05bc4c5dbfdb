"""``lab status``, and how every verb finds the lab that it is for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chimera.model.errors import LabError, SessionError
from chimera.model.service import AGENTS, ServiceState, State, titled

if TYPE_CHECKING:
    from chimera.model.events import Event
    from chimera.model.verbs import LabStatus, Request, Summary

A = TypeVar("A")


def complete_lab(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Labs that are up and begin as what was typed."""
    from chimera.net import rundir

    return [name for name in rundir.labs() if name.startswith(typed)]


def complete(*kinds: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Names of these ``kinds`` (``nodes``, ``vms``, ``links`` …) in the lab that the command line is for."""

    def names(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
        from chimera.model.verbs import Names

        try:
            known = ask(context.params.get("lab_name") or os.environ.get("LAB"), Names())
        except LabError:
            return []  # no lab, or several: nothing to offer
        return [name for kind in kinds for name in getattr(known, kind) if name.startswith(typed)]

    return names


def lab_option(function: Any) -> Any:
    """The option that says which lab is meant."""
    return click.option(
        "--lab", "-l", "lab_name", default=None, metavar="NAME", envvar="LAB", shell_complete=complete_lab,
        help="Which lab (default: $LAB, or the only one that is up).",
    )(function)  # fmt: skip


def ask(lab_name: str | None, request: Request[A], heard: Callable[[Event], object] = lambda event: None) -> A:
    """Have a running lab do something; ``heard`` gets the events on the way."""
    from chimera import api
    from chimera.net import rundir

    rundir.sweep()
    return api.ask(rundir.find(lab_name) / "api.sock", request, heard)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Say which labs are up, where their VMs are, and what is cut or stopped.

    \b
    Example:  sudo lab status
    """
    from chimera import api
    from chimera.model.codec import to_json
    from chimera.model.verbs import Status
    from chimera.net import rundir

    rundir.sweep()
    found: dict[str, LabStatus | dict[str, Any]] = {}
    foreign: list[str] = []
    for path in (rundir.ROOT / name for name in rundir.running()):
        try:
            facts = rundir.facts(path)
            found[path.name] = api.ask(path / "api.sock", Status()) if facts["kind"] == rundir.LAB else facts
        except api.VersionError as error:
            foreign.append(f"{path.name}: {error}")
        except SessionError:
            continue  # it is just starting, or just ending
    lost = rundir.lost()
    for text in foreign:
        click.echo(text, err=as_json)
    if as_json:
        click.echo(to_json(found, indent=2).decode())
        return
    for name, known in found.items():
        _print(name, known)
    for name in lost.values():
        click.echo(f"{name}: it runs, but its run directory is gone; 'lab down --all' ends it")
    if not found and not lost and not foreign:
        click.echo("no lab is running; start one with 'lab up'")


def _print(name: str, facts: LabStatus | dict[str, Any]) -> None:
    if isinstance(facts, dict):
        scenario = f" of scenario {facts['scenario']}" if "scenario" in facts else ""
        click.echo(f"{name}: a {facts['kind']}{scenario}")
        return
    click.echo(f"{name}: {summary(facts)}")
    for hypervisor, vms in facts.hypervisors.items():
        off = " (stopped)" if hypervisor in facts.stopped else ""
        listed = ", ".join(f"{vm} ({facts.addresses[vm]})" if facts.addresses.get(vm) else vm for vm in vms)
        click.echo(f"  {hypervisor}{off}: {listed or '–'}")
    if facts.cut_links:
        click.echo(f"  cut: {' '.join(facts.cut_links)}")
    click.echo(f"  controller: {facts.controller}; migrations so far: {facts.migrations}")
    for found in facts.troubled:
        if (found.name, found.state) != (AGENTS, State.ENDED):  # the line above says it
            click.echo(f"  {_service(found)}")
    for text in facts.refused:
        click.echo(f"  {text}")


def _service(found: ServiceState) -> str:
    """A service that is, or was, not as it should be."""
    often = f", restarted {found.restarts} time{'' if found.restarts == 1 else 's'}" if found.restarts else ""
    why = f": {found.detail}" if found.detail else ""
    return f"{titled(found.node, found.name)}: {found.state}{often}{why}"


def summary(facts: Summary) -> str:
    """Which experiment a lab is, and for how long it has been up."""
    options = ", ".join(f"{k}={v}" for k, v in facts.options.items())
    what = f"{facts.topology} over {facts.overlay}{f' ({options})' if options else ''}"
    return f"{what}, up for {facts.age_s:.0f} s"
