"""The output of ``probe listen`` to misdelivered frames: probes at ports where they do not belong."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chimera.model.samples import Window


@dataclass(frozen=True, slots=True)
class Stray:
    """A probe that arrived at a port whose owner's address it did not bear; ``t`` in seconds since the epoch."""

    t: float
    flow: int
    sequence: int
    direction: int
    destination_mac: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What arrived at one port: frames by kind of destination, frames the kernel could not keep, and strays.

    ``stray_count`` may exceed ``len(strays)``: the first 65536 are kept.
    """

    namespace: str
    interface: str
    owner: str
    broadcast: int
    multicast: int
    unicast: int
    dropped: int
    stray_count: int
    strays: tuple[Stray, ...]


def _heard(port: dict[str, Any]) -> Heard:
    strays = tuple(
        Stray(s["time_ns"] / 1e9, s["flow"], s["sequence"], s["direction"], s["destination"]) for s in port["strays"]
    )
    plain = ("namespace", "interface", "owner", "broadcast", "multicast", "unicast", "dropped", "stray_count")
    return Heard(**{key: port[key] for key in plain}, strays=strays)


def read_heard(path: Path) -> list[Heard]:
    """What each port of a ``probe listen`` heard, in the order it was given.

    Raises:
        ValueError: where the file is not such a recording.
    """
    try:
        return [_heard(port) for port in json.loads(path.read_bytes())["interfaces"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the output of probe listen: {error!r}") from error


def misdelivered(ports: Sequence[Heard], window: Window, flows: Collection[int] | None = None) -> int:
    """Probes that arrived in the window at a port other than their target's or prober's; of ``flows`` or of all."""
    return sum(
        window.start <= s.t <= window.end and (flows is None or s.flow in flows) for port in ports for s in port.strays
    )
