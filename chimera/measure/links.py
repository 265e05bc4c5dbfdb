"""The output of ``native/linkprobe`` to what the report prints beside each impaired link."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from chimera.model.result import LinkReport
from chimera.model.topology import Impairment, Link

HOW = (
    "{sent} frames each way over this link alone, sender's clock to receiver's kernel stamp: delay is the median, "
    "jitter half the range that holds the middle 90 %, scaled to the whole; bandwidth from the arrival "
    "times of back-to-back frames, median of five bursts"
)
FASTER = "; the sender was not faster than the link, so its bandwidth was not measured"
UNIFORM_MIDDLE = 0.9  # of a uniform distribution's width lies between its 5th and 95th percentile


def _asked(impairment: Impairment) -> dict[str, float]:
    every = {
        "delay_ms": impairment.delay_ms,
        "jitter_ms": impairment.jitter_ms,
        "loss_percent": impairment.loss_percent,
        "bandwidth_mbps": impairment.bandwidth_mbps,
    }
    return {key: value for key, value in every.items() if value}


def _jitter_ms(found: dict[str, Any]) -> float | None:
    """The +- of a uniform jitter: comparable with what was asked for, and not moved by a rare stall of the machine."""
    if found["delay_ms"] is None:
        return None
    middle: float = found["delay_p95_ms"] - found["delay_p5_ms"]
    return round(middle / 2 / UNIFORM_MIDDLE, 4)


def _got(found: dict[str, Any]) -> dict[str, float | None]:
    return {
        "delay_ms": found.get("delay_p50_ms"),
        "jitter_ms": _jitter_ms(found),
        "loss_percent": found["loss_percent"],
        "bandwidth_mbps": None if found["limited_by_sender"] else found["bandwidth_mbps"],
    }


def _report(link: Link, direction: str, asked: Impairment, found: dict[str, Any]) -> LinkReport:
    how = HOW.format(sent=found["sent"]) + (FASTER if found["limited_by_sender"] else "")
    return LinkReport(link.name, direction, _asked(asked), _got(found), how)


def link_reports(output: str, links: Sequence[Link]) -> list[LinkReport]:
    """Two reports for each link, ``a->b`` and ``b->a``.

    ``output`` is what ``linkprobe`` printed, ``links`` those it was given, in the same order, end ``a`` first.

    Raises:
        ValueError: where the output is not linkprobe's, or about another number of links.
    """
    try:
        measured = json.loads(output)["links"]
        reports = []
        for link, found in zip(links, measured, strict=True):
            a, b = link.a.node, link.b.node
            reports.append(_report(link, f"{a}->{b}", link.forward, found["forward"]))
            reports.append(_report(link, f"{b}->{a}", link.backward, found["backward"]))
        return reports
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the output of linkprobe: {error!r}") from error
