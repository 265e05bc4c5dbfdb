"""``lab capture``: a link of a running lab into a pcapng file."""

from __future__ import annotations

import time
from pathlib import Path

import click

from chimera.cli.status import ask, complete, lab_option
from chimera.model.errors import InputError


@click.command()
@click.argument("link", shell_complete=complete("links"))
@click.option("--out", "-w", type=click.Path(path_type=Path), help="The file (default: LINK.pcapng).")
@click.option("--seconds", "-s", type=click.FloatRange(0.01), default=5.0, show_default=True, help="How long.")
@lab_option
def capture(link: str, out: Path | None, seconds: float, lab_name: str | None) -> None:
    """Capture LINK with both directions and node names; Wireshark opens the file.

    \b
    Example:  sudo lab capture wan --seconds 3 --out wan.pcapng
    """
    import shutil

    from chimera.measure.wireshark import decode_as
    from chimera.net import rundir

    path = rundir.find(lab_name)
    target = out or Path(f"{link}.pcapng")
    if not target.absolute().parent.is_dir():
        raise InputError(f"--out {target}: there is no folder {target.absolute().parent}")
    ask(lab_name, "capture_start", link=link)
    handover = path / f"capture-{time.monotonic_ns()}.pcapng"
    try:
        click.echo(f"capturing {link} for {seconds:g} s", err=True)
        time.sleep(seconds)
    finally:
        found = ask(lab_name, "capture_stop", link=link, to=str(handover))
    shutil.move(handover, target)
    click.echo(f"{target}: {found['bytes']} bytes")
    if found["note"]:
        click.echo(found["note"], err=True)
    told = decode_as(target)
    if told:
        click.echo(f"Wireshark has to be told: tshark -r {target} {' '.join(f'-d {d}' for d in told)}", err=True)
