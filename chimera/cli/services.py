"""``lab stop``, ``start`` and ``logs``: nodes of a lab that is up, and their services."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from chimera.cli import common
from chimera.cli.status import ask, lab_option
from chimera.model.errors import LabError
from chimera.model.service import Lines

if TYPE_CHECKING:
    from chimera.model.verbs import Logs

_NEWS_S = 10.0  # how long the lab waits for something new before it is asked again


def _known(context: click.Context) -> dict[str, list[str]]:
    """Services by node, of the lab that the command line is for."""
    from chimera.model.verbs import Names

    try:
        return ask(context.params.get("lab_name") or os.environ.get("LAB"), Names()).services
    except LabError:
        return {}  # no lab, or several: nothing to offer


def complete_node(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Names of nodes and links that have services."""
    return [name for name in _known(context) if name.startswith(typed)]


def complete_service(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Names of the services of the node on the command line."""
    return [name for name in _known(context).get(context.params.get("node", ""), ()) if name.startswith(typed)]


def node_and_service(function: Any) -> Any:
    """The arguments NODE and SERVICE."""
    function = click.argument("service", default="", shell_complete=complete_service)(function)
    return click.argument("node", shell_complete=complete_node)(function)


@click.command()
@node_and_service
@lab_option
def stop(node: str, service: str, lab_name: str | None) -> None:
    """Stop NODE: a hypervisor, a gateway, or the word 'controller'; or only one SERVICE of any node or link.

    A hypervisor that is stopped is without power, and its VMs stand still. A service that is stopped is not started
    again before 'lab start' does; 'lab inspect NODE' lists a node's services.

    \b
    Example:  sudo lab stop controller
              sudo lab stop hv1 ovs-vswitchd
    """
    from chimera.model.verbs import Stop

    click.echo(f"{ask(lab_name, Stop(node, service)).stopped} is stopped")


@click.command()
@node_and_service
@lab_option
def start(node: str, service: str, lab_name: str | None) -> None:
    """Start NODE again after 'lab stop', or one SERVICE of it; returns when it takes part again.

    Of a node that is on, it starts the services that have ended.

    \b
    Example:  sudo lab start controller
              sudo lab start hv1 ovs-vswitchd
    """
    from chimera.model.verbs import Start

    click.echo(f"{ask(lab_name, Start(node, service)).started} is running")


@click.command()
@node_and_service
@lab_option
@click.option("--lines", "-n", type=common.Whole(0), default=20, show_default=True, metavar="LINES",
              help="How many of each log, from its end.")  # fmt: skip
@click.option("--follow", "-f", is_flag=True, help="Go on with what is added, until Ctrl-C or the lab's end.")
def logs(node: str, service: str, lab_name: str | None, lines: int, follow: bool) -> None:
    """Print the logs of the services of NODE (a node, a link, or the word 'controller'), or that of one SERVICE.

    \b
    Example:  sudo lab logs hv1 ovs-vswitchd -n 50
              sudo lab logs controller -f
    """
    from chimera.cli import Interrupted
    from chimera.model.verbs import Logs

    shown, last = "", Logs(node, service, lines)
    try:
        for found in _following(lab_name, last) if follow else [ask(lab_name, last)]:
            for name, log in found.items():
                if log.text or not follow:
                    shown = _print(name, log.text, shown, titled=len(found) > 1)
    except Interrupted:
        raise click.exceptions.Exit(130) from None  # the lab goes on: there is nothing to say


def _print(name: str, text: str, before: str, *, titled: bool) -> str:
    """Print lines of a log, under its name where those ``before`` were another one's; returns the name."""
    if titled and name != before:
        gap = "\n" if before else ""
        click.echo(f"{gap}==> {name} <==")
    click.echo(text, nl=False)
    return name


def _following(lab_name: str | None, last: Logs) -> Iterator[dict[str, Lines]]:
    """The last lines, then what is added to them, until the lab ends."""
    from chimera.api import RemoteError
    from chimera.model.verbs import Logs

    found = ask(lab_name, last)
    while True:
        yield found
        ends = {name: log.end for name, log in found.items()}
        try:
            found = ask(lab_name, Logs(last.node, last.service, after=ends, wait_s=_NEWS_S))
        except RemoteError:
            raise
        except LabError:
            return
