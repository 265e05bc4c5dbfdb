"""A process that belongs to a node, as the lab shows it: what it is called, and how it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

THE_LAB = ""  # the node of what belongs to no node: the lab's own services
AGENT = "agent"  # of a node: not a process of its own, but one of those that AGENTS runs
AGENTS = "agents"  # the lab's own service that the control plane runs in
STOPPED = "stopped"  # the detail of what ended because it was told to


class State(StrEnum):
    """What happened to a service last."""

    STARTED = "started"  # it runs, and is not ready yet
    READY = "ready"
    ENDED = "ended"  # as it was told, or with its work
    FAILED = "failed"  # on its own
    RESTARTED = "restarted"  # after it failed; it runs, and is not ready yet


@dataclass(frozen=True, slots=True)
class ServiceState:
    """A service now; ``since`` is in seconds since the epoch, ``restarts`` counts those after it failed.

    ``detail`` says why it is in this state; ``pid`` is the sandbox's, None where it does not run.
    """

    node: str
    name: str
    state: State
    detail: str
    pid: int | None
    since: float
    restarts: int


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines of a service's log, and where the next ones will begin."""

    text: str
    end: int


def titled(node: str, name: str) -> str:
    """A service in a sentence: ``ovs-vswitchd of hv1``."""
    return f"{name} of {node}" if node else name
