"""``lab exec`` and ``lab cli``: going into a running lab."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chimera.cli.status import ask, complete, lab_option
from chimera.model.errors import InputError, not_one_of

if TYPE_CHECKING:
    from chimera.model.control import Inventory


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},  # the program's are its own
)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="NODE COMMAND…",
                shell_complete=complete("nodes", "endpoints"))  # fmt: skip
@click.option("--all", "every", is_flag=True, help="On every VM, one after the other, instead of on NODE.")
@lab_option
def execute(words: tuple[str, ...], every: bool, lab_name: str | None) -> None:
    """Run COMMAND on NODE, with this terminal; its exit status is ours.

    With --all it runs on every VM, its name above what it prints; the exit status is 1 if it failed on one.

    On a VM, host or client what COMMAND writes stays there: it sees this machine's files, and changes none.

    \b
    Example:  sudo lab exec web1 -- ping -c3 10.1.0.14
              sudo lab exec --all -- ip -brief address
    """
    node, command = ("", words) if every else (words[0], words[1:])
    argv = command[1:] if command[:1] == ("--",) else command
    if not argv:
        raise click.UsageError("no program to run: give it after '--'")
    from chimera.model.verbs import Names

    known = ask(lab_name, Names())
    if every:
        failed = [vm for vm in known.vms if _titled(lab_name, vm, argv)]
        raise click.exceptions.Exit(1 if failed else 0)
    if node not in known.nodes:
        raise InputError(not_one_of("node", node, known.nodes))
    raise click.exceptions.Exit(_run(lab_name, node, argv))


def _titled(lab_name: str | None, vm: str, argv: tuple[str, ...]) -> int:
    click.echo(click.style(f"── {vm}", bold=True))
    return _run(lab_name, vm, argv)


def _run(lab_name: str | None, node: str, argv: tuple[str, ...]) -> int:
    def run() -> None:
        from chimera.net import userland

        wrapped = userland.command(_inventory().topology, node, argv)
        os.execvp(wrapped[0], wrapped)

    return _inside(lab_name, run)


@click.command()
@lab_option
def cli(lab_name: str | None) -> None:
    """Start Mininet's CLI on a running lab: 'nodes', 'net', 'web1 ping web4', 'link r1 r2 down', 'help'.

    \b
    Example:  sudo lab cli
    """
    from chimera import api
    from chimera.model.verbs import ChangeLink, Inspect
    from chimera.net import rundir

    path = rundir.find(lab_name)

    def place() -> dict[str, str]:
        everything = api.ask(path / "api.sock", Inspect()).lab
        assert everything
        return everything.location

    def set_link(name: str, up: bool) -> None:
        api.ask(path / "api.sock", ChangeLink(name, "restore" if up else "cut"))

    def talk() -> None:
        from chimera.net.mn import mininet_view, run_cli

        inventory = _inventory()
        run_cli(mininet_view(inventory.topology, inventory.underlay, place, set_link))

    raise click.exceptions.Exit(_inside(lab_name, talk))


def _inventory() -> Inventory:
    """The lab's inventory, from within its sandbox."""
    from chimera.model.codec import from_json
    from chimera.model.control import Inventory

    return from_json(Path("/run/lab/inventory.json").read_bytes(), Inventory)


def _inside(lab_name: str | None, act) -> int:  # type: ignore[no-untyped-def]
    """Run ``act`` in a child inside the lab's sandbox; it ends with the lab, or when we do.

    To be ended politely is passed on: a program that changes its user, as tcpdump does, would outlive us otherwise.
    """
    from chimera.net import rundir, sandbox

    pid = rundir.session_pid(rundir.find(lab_name))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program
    child = sandbox.enter(pid, act)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: os.kill(child.pid, number))
    sys.stdout.flush()
    return child.wait()
