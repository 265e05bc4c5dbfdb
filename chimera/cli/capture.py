"""``lab capture``: a link of a running lab into a pcapng file."""

from __future__ import annotations

import time
from pathlib import Path

import click

from chimera.cli import common
from chimera.cli.status import ask, complete, lab_option


@click.command()
@click.argument("link", shell_complete=complete("links"))
@click.option("--out", "-w", type=click.Path(path_type=Path), help="The file (default: LINK.pcapng); - for stdout.")
@click.option("--seconds", "-s", type=common.Decimal(0.01), default=5.0, show_default=True, help="How long.")
@lab_option
def capture(link: str, out: Path | None, seconds: float, lab_name: str | None) -> None:
    """Capture LINK with both directions and node names; Wireshark opens the file.

    \b
    Example:  sudo lab capture wan --seconds 3 --out wan.pcapng
    """
    import shutil

    from chimera import output
    from chimera.measure.wireshark import decode_as
    from chimera.model.verbs import CaptureStart, CaptureStop
    from chimera.net import rundir

    path = rundir.find(lab_name)
    target = out or Path(f"{link}.pcapng")
    with output.refusals(target), output.replacing(target) as file:
        ask(lab_name, CaptureStart(link))
        try:
            click.echo(f"capturing {link} for {seconds:g} s", err=True)
            time.sleep(seconds)
        finally:
            found = ask(lab_name, CaptureStop(link))
        handover = path / found.file
        try:
            told = decode_as(handover)
            with handover.open("rb") as captured:
                shutil.copyfileobj(captured, file)
        finally:
            handover.unlink()
    click.echo(f"{target}: {found.bytes} bytes", err=output.is_stdout(target))
    if found.note:
        click.echo(found.note, err=True)
    if told:
        click.echo(f"to decode it: tshark -r {target} {' '.join(f'-d {d}' for d in told)}", err=True)
