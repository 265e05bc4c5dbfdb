"""Chimera Lab: a virtual lab for overlay networks and VM mobility.

From Python: :class:`Lab` is a lab for a ``with`` block, :func:`run` does what ``lab run`` does, :func:`topology` makes
a network; docs/python.md has examples. Errors derive from :class:`LabError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chimera.lab import Lab, run, topology
    from chimera.model.errors import DeadlineError, InputError, LabError, MachineError, MigrationAborted, SessionError
    from chimera.model.result import Result

__version__ = "0.1.0"
__all__ = [
    "DeadlineError",
    "InputError",
    "Lab",
    "LabError",
    "MachineError",
    "MigrationAborted",
    "Result",
    "SessionError",
    "run",
    "topology",
]

_PLACES = {"chimera.lab": ("Lab", "run", "topology"), "chimera.model.result": ("Result",)}


def __getattr__(name: str) -> Any:
    """What is public is loaded when it is first used: the command line imports this package and needs none of it."""
    if name not in __all__:
        raise AttributeError(f"module 'chimera' has no attribute '{name}'")
    place = next((place for place, names in _PLACES.items() if name in names), "chimera.model.errors")
    found = globals()[name] = getattr(import_module(place), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
