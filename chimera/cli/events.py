"""``lab events``: what happened in a running lab or a finished run, and what happens now."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from chimera.cli import Interrupted
from chimera.cli.status import lab_option
from chimera.model.codec import to_json
from chimera.model.events import Event


class Since(NamedTuple):
    """Where to begin: after a cursor, or so many seconds ago."""

    cursor: int = 0
    seconds: float | None = None


class SinceType(click.ParamType):
    """A cursor, or seconds with their unit."""

    name = "since"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Since:
        """``120`` or ``30s``."""
        found = re.fullmatch(r"([0-9]{1,15})|([0-9]{1,9}(?:\.[0-9]{1,6})?)s", str(value), re.ASCII)
        if found is None:
            self.fail(f"'{value}' is neither an event's number, such as 120, nor seconds, such as 30s", param, ctx)
        return Since(int(found[1])) if found[1] else Since(seconds=float(found[2]))


@click.command()
@click.argument("run", required=False, default=None, type=click.Path(path_type=Path), metavar="[DIR]")
@lab_option
@click.option("--since", type=SinceType(), default="0", metavar="NUMBER|SECONDS",
              help="Those after the event of this number, or of the last seconds: 120, 30s.")  # fmt: skip
@click.option("--follow", "-f", is_flag=True, help="Go on with those that come, until the lab ends or Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
def events(run: Path | None, lab_name: str | None, since: Since, follow: bool, as_json: bool) -> None:
    """Print what happened in a running lab, an event a line: its number, when, and what; or in the finished run in DIR.

    A running lab keeps its latest 20,000 events; 'lab run --out DIR' writes all of them to DIR/events.jsonl.

    \b
    Example:  sudo lab events --follow
              sudo lab events --json --since 30s
              lab events results
    """
    if run and follow:
        raise click.UsageError("--follow is for a running lab: that run is over")
    try:
        for event in _of_run(run, since) if run else _of_lab(lab_name, since, follow):
            click.echo(to_json(event).decode() if as_json else line(event))
    except Interrupted:
        if not follow:
            raise
    except BrokenPipeError:  # whoever read our output has enough; click would make that exit status 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def line(event: Event) -> str:
    """An event for people: number, time of day, text."""
    clock = time.strftime("%H:%M:%S", time.localtime(event.t))
    stamp = f"{event.cursor:>6}  {clock}.{int(event.t % 1 * 1000):03}"
    return f"{click.style(stamp, dim=True)}  {event.text}"


def _of_lab(lab_name: str | None, since: Since, follow: bool) -> Iterator[Event]:
    from chimera import api
    from chimera.model.verbs import Events
    from chimera.net import rundir

    rundir.sweep()
    return api.follow(rundir.find(lab_name) / "api.sock", Events(since.cursor, since.seconds, follow))


def _of_run(path: Path, since: Since) -> Sequence[Event]:
    from chimera.report.folders import read_events

    found = [event for event in read_events(path) if event.cursor > since.cursor]
    if since.seconds is None or not found:
        return found
    begin = max(event.t for event in found) - since.seconds
    return [event for event in found if event.t >= begin]
