"""What Wireshark has to be told before it reads a capture of the lab's overlays right."""

from __future__ import annotations

from pathlib import Path

from chimera.wire import pcapng
from chimera.wire.headers import hints


def decode_as(path: Path) -> list[str]:
    """Values for ``-d`` (Decode As) that a capture needs, sorted; empty where Wireshark knows all of it by itself.

    Raises:
        ValueError: where the file is not pcapng.
    """
    return sorted({hint for frame in pcapng.read(path) for hint in hints(frame.data)})
