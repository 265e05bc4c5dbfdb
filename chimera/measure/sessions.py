"""The output of ``probe tcp-client``: whether a TCP session lived through it all."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TcpSession:
    """A session at a checkpoint. ``recent_stall_ms`` is the longest stall since the checkpoint before.

    A stall is the time without an echoed byte while bytes were outstanding. ``alive``: the last request was answered.
    """

    connected: bool
    connected_at_ns: int
    connect_ms: float
    bytes_sent: int
    bytes_echoed: int
    intact: bool
    alive: bool
    longest_stall_ms: float
    longest_stall_end_ns: int
    recent_stall_ms: float
    checkpoints: int
    error: str

    @property
    def survived(self) -> bool:
        """It was open, goes on, and every byte came back as it was sent."""
        return self.connected and self.alive and self.intact and not self.error


def read_session(path: Path) -> TcpSession:
    """The session that a ``probe tcp-client`` recorded.

    Raises:
        ValueError: where the file is not such a recording.
    """
    try:
        found = json.loads(path.read_bytes())
        return TcpSession(**{f.name: found[f.name] for f in fields(TcpSession)})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the output of probe tcp-client: {error!r}") from error
