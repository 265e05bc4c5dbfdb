"""``lab run SCENARIO --overlay all``: what it prints while overlay after overlay runs, and in the end."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from chimera.model.codec import to_json
from chimera.report.figures import largest, moved, ms
from chimera.tour import PAGE, Finished, Leg, tour

_CLEAR = "\r\x1b[K"


def run_several(
    planned: Sequence[Leg], *, out: Path | None, capture: bool, as_json: bool, quiet: bool, settings: Mapping[str, str]
) -> int:
    """Run them all, print the comparison, and return the exit status."""
    watch = Watch(planned, quiet)
    try:
        comparison, finished = tour(
            planned, out=out, record_all=capture, settings=settings, began=watch.began, ended=watch.ended
        )
    except BaseException:
        watch.left(out)
        raise
    if as_json:
        results = {each.run.name: each.result for each in finished if each.result}
        click.echo(to_json({"comparison": comparison, "results": results}, indent=2).decode())
    else:
        _print(finished, out)
    return comparison.exit_status


def _print(finished: Sequence[Finished], out: Path | None) -> None:
    from rich.console import Console

    from chimera.report.compare_terminal import print_comparison

    print_comparison([each.column for each in finished], Console())
    if out:
        click.echo(f"comparison: {out / PAGE}")
    else:
        click.echo("add --out DIR for the comparison as a page, and a report of each overlay")


class Watch:
    """Progress on stderr: which overlay runs, how far all of it is, a line for each that has ended.

    On a terminal what goes on within a run stands in one line that is written anew; in a pipe it is left out.
    """

    def __init__(self, planned: Sequence[Leg], quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._planned, self._quiet, self._clock = planned, quiet, clock
        self._start = clock()
        self._terminal = sys.stderr.isatty()
        self._done: list[Finished] = []

    def began(self, number: int, leg: Leg) -> Callable[[str], None]:
        """A leg starts; returns what hears of its progress."""
        head = f"[{number + 1}/{len(self._planned)}] {leg.name}"
        self._say(f"{head}: {self.times()}")
        return lambda text: self._rewrite(f"{self._stamp()}  {head}: {text}")

    def ended(self, finished: Finished) -> None:
        """A leg has ended."""
        self._done.append(finished)
        self._say(summary(finished))

    def left(self, out: Path | None) -> None:
        """All of it was ended early: what is there."""
        if self._terminal:
            click.echo(_CLEAR, err=True, nl=False)
        names = ", ".join(each.run.name for each in self._done if each.result) or "none"
        where = f"; what is complete is in {out}" if out and self._done else ""
        click.echo(f"lab: {len(self._done)} of {len(self._planned)} overlays had run ({names}){where}", err=True)

    def times(self) -> str:
        """Elapsed, and what is to be expected: the mean of those that ran, for each of the others."""
        ran = [each.seconds for each in self._done if each.result]
        if not ran:
            return f"the first of {len(self._planned)}" if not self._done else "starting"
        waiting = [leg for leg in self._planned[len(self._done) :] if leg.experiment]
        rest = sum(ran) / len(ran) * len(waiting)
        return f"{duration(self._clock() - self._start)} so far, about {duration(rest)} to go"

    def _stamp(self) -> str:
        return f"{self._clock() - self._start:7.1f} s"

    def _say(self, text: str) -> None:
        if not self._quiet:
            click.echo(f"{_CLEAR if self._terminal else ''}{self._stamp()}  {text}", err=True)

    def _rewrite(self, text: str) -> None:
        if self._terminal and not self._quiet:
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"{_CLEAR}{text[:width]}", err=True, nl=False)


def summary(finished: Finished) -> str:
    """One line on a leg that has ended."""
    column, result = finished.column, finished.result
    parts = [f"{column.mark} {column.name}: {column.verdict}"]
    if result:
        outage = largest(m.network_outage_ms for m in moved(result))
        parts += [f"network outage at most {ms(outage)}"] if outage is not None else []
        parts.append(f"in {duration(finished.seconds)}")
        parts += [] if result.fit else ["on a machine that was too busy"]
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as ``48 s`` or ``3 min 20 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
