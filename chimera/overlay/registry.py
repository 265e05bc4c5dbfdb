"""The table of overlays: a new one is one line here."""

from __future__ import annotations

import runpy
from collections.abc import Iterable
from functools import lru_cache

from chimera.model.errors import InputError, did_you_mean
from chimera.overlay import fabricpath, lisp, mpls, otv, trill, vlan, vxlan
from chimera.overlay.base import Overlay


def table(overlays: Iterable[Overlay]) -> dict[str, Overlay]:
    """Overlays by name, in order. Raises ValueError where two have the same name."""
    by_name: dict[str, Overlay] = {}
    for overlay in overlays:
        if overlay.name in by_name:
            raise ValueError(f"two overlays are called {overlay.name}")
        by_name[overlay.name] = overlay
    return by_name


OVERLAYS = table(
    (
        vlan.OVERLAY,
        vxlan.OVERLAY,
        mpls.OVERLAY,
        lisp.OVERLAY,
        otv.OVERLAY,
        trill.OVERLAY,
        fabricpath.OVERLAY,
    )
)


def get(name: str) -> Overlay:
    """The overlay of that name, or the ``OVERLAY`` of the Python file of that path, which is run.

    Raises:
        InputError: where there is none, with the names there are; or the file cannot be run.
    """
    if name.endswith(".py"):
        return _from_file(name)
    if name not in OVERLAYS:
        hint = did_you_mean(name, OVERLAYS)
        fix = f"\n    fix: {hint}" if hint else ""
        raise InputError(f"there is no overlay '{name}'\n    allowed: {', '.join(OVERLAYS)}{fix}")
    return OVERLAYS[name]


@lru_cache
def _from_file(path: str) -> Overlay:
    """A user's own overlay."""
    try:
        found = runpy.run_path(path).get("OVERLAY")
    except FileNotFoundError as error:
        raise InputError(f"there is no overlay {path}") from error
    except Exception as error:  # it is the user's code
        raise InputError(f"overlay {path} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(found, Overlay):
        raise InputError(f"overlay {path} has no OVERLAY\n    fix: OVERLAY = chimera.overlay.base.Overlay(…)")
    return found
