"""The heartbeat inside a VM: how long it was stunned as it saw that itself, and how long the machine did not run it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from chimera.model.samples import Gap, Heartbeat, Window


def read_heartbeat(path: Path, vm: str) -> Heartbeat:
    """The heartbeat that a ``probe echo`` recorded.

    Raises:
        ValueError: where the file is not such a recording.
    """
    try:
        found = json.loads(path.read_bytes())
        pauses = tuple(Gap(start / 1e9, end / 1e9) for start, end in found["pauses"])
        return Heartbeat(
            vm, found["interval_us"] / 1000, found["started_ns"] / 1e9, found["ended_ns"] / 1e9, pauses
        )  # fmt: skip
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the heartbeat of probe echo: {error!r}") from error


def beating(heartbeats: Iterable[Heartbeat], vm: str, window: Window) -> Heartbeat | None:
    """The heartbeat of a VM that was recorded all through a window; None where there was none."""
    return next((h for h in heartbeats if h.vm == vm and h.start <= window.start and window.end <= h.end), None)


def stun(heartbeat: Heartbeat, frozen: Window) -> Gap | None:
    """The pause in which the VM was frozen: the longest that touches the window in which its freezing was ordered.

    None where the heartbeat did not pause, so that it cannot have been frozen with the VM.
    """
    return max(_touching(heartbeat.pauses, frozen), key=_length, default=None)


def stall_ms(heartbeat: Heartbeat, window: Window, stunned: Gap | None) -> float:
    """The longest time in the window, but for the stun, between two beats: the machine did not run the process.

    About one interval when all is well.
    """
    pauses = (pause for pause in _touching(heartbeat.pauses, window) if pause != stunned)
    return max((pause.ms for pause in pauses), default=heartbeat.interval_ms)


def _touching(pauses: Sequence[Gap], window: Window) -> Iterator[Gap]:
    return (pause for pause in pauses if pause.start <= window.end and window.start <= pause.end)


def _length(pause: Gap) -> float:
    return pause.end - pause.start
