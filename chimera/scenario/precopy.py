"""The arithmetic of live migration: how many rounds, and when to stop (Clark et al., NSDI 2005, sections 3 and 4).

Pure: the sender tells how long a round took, the answer is how much was dirtied meanwhile and
whether what is left fits into the downtime that is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Limits:
    """When pre-copy ends.

    ``downtime_ms``: stop when what is left can be sent in this time; ``max_rounds``: stop anyway. ``max_stun_ms``: a
    migration whose last pages would take longer than this is given up rather than inflicted on the guest.
    """

    downtime_ms: float = 30.0
    max_rounds: int = 12
    max_stun_ms: float = 2000.0


@dataclass(frozen=True, slots=True)
class Guest:
    """What pre-copy needs to know of a VM: its memory, and how fast it writes to it."""

    memory_bytes: int
    dirty_bytes_s: float


def dirtied(guest: Guest, seconds: float) -> int:
    """Bytes the guest wrote to in ``seconds``; never more than it has."""
    return min(guest.memory_bytes, int(guest.dirty_bytes_s * seconds))


def on_slow_machine(guest: Guest, slowness: float) -> Guest:
    """A guest on a machine that is so many times slower than usual: it writes as much more slowly."""
    return replace(guest, dirty_bytes_s=guest.dirty_bytes_s / slowness)


def verdict(limits: Limits, number: int, sent_bytes: int, seconds: float, left_bytes: int) -> str:
    """Why pre-copy ends after round ``number``, or an empty text where another round is worth it.

    A round that leaves more than it sent will not get better: the guest writes faster than the network carries.
    """
    if last_pages_ms(sent_bytes, seconds, left_bytes) <= limits.downtime_ms:
        return f"what is left fits into {limits.downtime_ms:g} ms"
    if left_bytes >= sent_bytes:
        return "the guest writes faster than the network carries"
    if number >= limits.max_rounds:
        return f"{limits.max_rounds} rounds are the limit"
    return ""


def last_pages_ms(sent_bytes: int, seconds: float, left_bytes: int) -> float:
    """How long the bytes that are left will take, at the rate of the round that just ended."""
    return left_bytes * seconds * 1000 / sent_bytes if sent_bytes else 0.0
