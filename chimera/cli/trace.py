"""``lab trace``: the way of a packet, what changes at each hop, and the flows that decided."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import click

from chimera.cli.status import ask, complete, lab_option

if TYPE_CHECKING:
    from chimera.model.hop import Trace

_ASIDE = re.compile(r", (?:priority \d+|cookie 0x[0-9a-f]+)")  # of a flow, what only -v shows


@click.command()
@click.argument("source", shell_complete=complete("endpoints"))
@click.argument("destination", shell_complete=complete("endpoints"))
@lab_option
@click.option("--verbose", "-v", is_flag=True, help="Every header whole at every hop, and flows with their cookies.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def trace(source: str, destination: str, lab_name: str | None, verbose: bool, as_json: bool) -> None:
    """Send a packet from SOURCE to DESTINATION and show every interface that saw it.

    A line for each: when, where, whether it came in (←) or went out (→), its length, and which headers changed since
    the line before; below it the OpenFlow entries that matched, with their actions.

    \b
    Example:  sudo lab trace web1 web4
    """
    from chimera.model.codec import to_json
    from chimera.model.verbs import TracePacket

    found = ask(lab_name, TracePacket(source, destination))
    if as_json:
        click.echo(to_json(found, indent=2).decode())
    else:
        _print(found, verbose)
    if not found.delivered:
        raise click.exceptions.Exit(1)


def _print(found: Trace, verbose: bool) -> None:
    before: list[str] = []
    width = max((len(f"{hop.node}:{hop.interface}") for hop in found.hops), default=0)
    for hop in found.hops:
        arrow = "→" if hop.direction == "out" else "←"
        place = f"{hop.node}:{hop.interface}"
        shown = hop.headers if verbose or not before else list(changes(before, hop.headers))
        line = f"{hop.us:9.1f} µs  {arrow} {place:<{width}}  {hop.bytes:>5} bytes  {' | '.join(shown)}"
        click.echo(line.rstrip())
        for flow in hop.flows:
            click.echo(f"{'':16}{flow if verbose else _ASIDE.sub('', flow)}")
        before = hop.headers
    if found.note:
        click.echo(found.note, err=True)
    if not found.delivered:
        last = found.hops[-1] if found.hops else None
        where = f"it was last seen at {last.node}:{last.interface}" if last else "no interface saw it"
        click.echo(f"not delivered: {where}", err=True)


def changes(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """What a packet's headers (outermost first, ``name key=value …`` each) are that they were not ``before``.

    Where the stack is another one, the innermost headers are the same packet: what stood around them is named behind
    ``-``, what stands there now is shown whole behind ``+``. Of a header that stayed, only fields with another value
    are shown.
    """
    names, new = ([header.partition(" ")[0] for header in headers] for headers in (before, after))
    same = len(before) if names == new else _common_suffix(names, new)
    if removed := names[: len(names) - same]:
        yield f"- {' '.join(removed)}"
    yield from (f"+ {header}" for header in after[: len(after) - same])
    for old, header in zip(before[len(before) - same :], after[len(after) - same :], strict=True):
        name, *fields = header.split(" ")
        if changed := [field for field in fields if field not in old.split(" ")]:
            yield " ".join([name, *changed])


def _common_suffix(a: Sequence[str], b: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(reversed(a), reversed(b), strict=False)))
