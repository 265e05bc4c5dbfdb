"""``lab up`` and ``lab down``: a lab that stays."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

import click

from chimera.cli import common
from chimera.cli.status import complete_lab
from chimera.model.settings import DEFAULT_OVERLAY, DEFAULT_TOPOLOGY

_AT_ONCE_S = 1.0
_STILL = {True: "", False: "; the kernel is still removing its processes and interfaces"}


@click.command()
@click.argument("topology", default=DEFAULT_TOPOLOGY, shell_complete=common.complete_topology)
@common.overlay_option
@common.set_option
@click.option("--name", help="What to call the lab (default: the topology's name).")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
def up(topology: str, overlay: str | None, settings: tuple[str, ...], name: str | None, quiet: bool) -> None:
    """Start a lab on TOPOLOGY and leave it running; the other commands talk to it.

    \b
    Example:  sudo lab up dual-dc --overlay vxlan --set gateway=anycast
    """
    common.need_addresses()  # before what needs many is imported
    from chimera.hold import hold
    from chimera.net import rundir, sandbox
    from chimera.session import need_machine, prepare

    if name is not None:
        rundir.check_name(name)
    experiment = prepare(topology, overlay or DEFAULT_OVERLAY, settings=common.parse_settings(settings))
    common.need_root()
    need_machine(experiment)
    progress = common.progress(quiet)
    run_dir = rundir.claim(experiment.topology.name if name is None else name, rundir.LAB)
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


@click.command()
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
        click.echo(f"lab {lab} is down{_STILL[_end(lab)]}")
    for pid, lab in rundir.lost().items() if every else ():
        ended = _kill(pid, lambda pid: pid in rundir.lost())
        click.echo(f"lab {lab}, whose run directory was gone, is down{_STILL[ended]}")


def _end(name: str) -> bool:
    """Kill the session, and sweep its directory; the kernel takes everything else with it.

    The session lets go of its directory at once, and nothing of it runs any more: its name is free. What it leaves the
    kernel to remove takes long where there are thousands of interfaces; False where that is still going on.
    """
    from chimera.net import rundir

    path = rundir.ROOT / name
    ended = _kill(rundir.session_pid(path), lambda pid: rundir.is_held_by(path, pid))
    rundir.wait_free(path)
    rundir.sweep()
    return ended


def _kill(pid: int, is_it: Callable[[int], bool]) -> bool:
    """Kill a session, unless the PID is another process's by now; True where nothing is left of it."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if is_it(pid):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return bool(select.select([descriptor], [], [], _AT_ONCE_S)[0])
    except ProcessLookupError:
        return True  # it has ended meanwhile
    finally:
        os.close(descriptor)
