"""``lab up`` and ``lab down``: a lab that stays."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

import click

from chimera.cli import common
from chimera.cli.status import complete_lab


@click.command(short_help="Start a lab that stays up.")
@click.argument("topology", default=common.DEFAULT_TOPOLOGY, shell_complete=common.complete_topology)
@common.overlay_option
@common.set_option
@click.option("--name", help="What to call the lab (default: the topology's name).")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
def up(topology: str, overlay: str | None, settings: tuple[str, ...], name: str | None, quiet: bool) -> None:
    """Start a lab on TOPOLOGY and leave it running; the other commands talk to it.

    \b
    Example:  sudo lab up dual-dc --overlay vxlan --set gateway=anycast
    """
    from chimera.hold import hold
    from chimera.net import rundir, sandbox
    from chimera.session import need_machine, prepare

    experiment = prepare(topology, overlay or common.DEFAULT_OVERLAY, settings=common.parse_settings(settings))
    common.need_root()
    need_machine(experiment)
    progress = common.progress(quiet)
    run_dir = rundir.claim(name or experiment.topology.name, rundir.LAB)
    listening, ready = os.pipe()
    try:
        child = sandbox.launch(run_dir, lambda: hold(experiment, run_dir, progress, ready), detach=True)
        os.close(ready)
        try:
            run_dir.describe(
                pid=child.pid, topology=experiment.topology.name, overlay=experiment.overlay.name,
                options=experiment.options,
            )  # fmt: skip
            select.select([listening], [], [])
            if os.read(listening, 1) != b"1":
                raise click.exceptions.Exit(child.wait())
        except BaseException:
            child.kill()
            raise
    except BaseException:
        run_dir.remove()
        raise
    click.echo(f"lab {run_dir.name} is up: {experiment.topology.name} over {experiment.overlay.name}")


@click.command(short_help="End a lab.")
@click.argument("name", required=False, envvar="LAB", shell_complete=complete_lab)
@click.option("--all", "every", is_flag=True, help="End every lab that stays up.")
def down(name: str | None, every: bool) -> None:
    """End the lab called NAME, or $LAB, or the only one that runs.

    \b
    Example:  sudo lab down dual-dc
    """
    from chimera.net import rundir

    rundir.sweep()
    for lab in rundir.labs() if every else [rundir.find(name).name]:
        _end(lab)
        click.echo(f"lab {lab} is down")
    for pid, lab in rundir.lost().items() if every else ():
        _kill(pid, lambda pid: pid in rundir.lost())
        click.echo(f"lab {lab}, whose run directory was gone, is down")


def _end(name: str) -> None:
    """Kill the session: the kernel takes everything else with it; then sweep its directory."""
    from chimera.net import rundir

    path = rundir.ROOT / name
    _kill(rundir.session_pid(path), lambda pid: rundir.is_held_by(path, pid))
    rundir.sweep()


def _kill(pid: int, is_it: Callable[[int], bool]) -> None:
    """End a session and wait until it has ended, unless the PID is another process's by now."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if is_it(pid):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], 30)
    except ProcessLookupError:
        pass  # it has ended meanwhile
    finally:
        os.close(descriptor)
