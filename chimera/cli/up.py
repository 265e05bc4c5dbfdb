"""``lab up`` and ``lab down``: a lab that stays."""

from __future__ import annotations

import os
import select

import click

from chimera.cli import common
from chimera.cli.status import complete_lab

_AT_ONCE_S = 1.0


@click.command()
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
    run_dir = rundir.claim(name or experiment.topology.name)
    listening, ready = os.pipe()
    try:
        child = sandbox.launch(run_dir, lambda: hold(experiment, run_dir, progress, ready), detach=True)
        os.close(ready)
        try:
            run_dir.describe(
                kind="up", pid=child.pid, topology=experiment.topology.name, overlay=experiment.overlay.name,
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
@click.option("--all", "every", is_flag=True, help="End every lab.")
def down(name: str | None, every: bool) -> None:
    """End the lab called NAME, or $LAB, or the only one that runs.

    \b
    Example:  sudo lab down dual-dc
    """
    from chimera.net import rundir

    rundir.sweep()
    for path in [rundir.find(n) for n in rundir.running()] if every else [rundir.find(name)]:
        ended = _end(path.name)
        rest = "" if ended else "; the kernel is still removing its processes and interfaces"
        click.echo(f"lab {path.name} is down{rest}")


def _end(name: str) -> bool:
    """Kill the session, and sweep its directory; the kernel takes everything else with it.

    The session lets go of its directory at once, and nothing of it runs any more: its name is free. What it leaves the
    kernel to remove takes long where there are thousands of interfaces; False where that is still going on.
    """
    import signal

    from chimera.net import rundir

    path = rundir.ROOT / name
    pid = int(rundir.facts(path)["pid"])
    descriptor = os.pidfd_open(pid)
    try:
        if rundir.is_held_by(path, pid):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        ended = bool(select.select([descriptor], [], [], _AT_ONCE_S)[0])
    finally:
        os.close(descriptor)
    rundir.wait_free(path)
    rundir.sweep()
    return ended
