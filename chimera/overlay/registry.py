"""The table of overlays: a new one is one line here."""

from __future__ import annotations

from collections.abc import Iterable

from chimera.model.errors import InputError, did_you_mean
from chimera.overlay import fabricpath, geneve, lisp, mpls, otv, trill, vlan, vxlan
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
        geneve.OVERLAY,
        mpls.OVERLAY,
        lisp.OVERLAY,
        otv.OVERLAY,
        trill.OVERLAY,
        fabricpath.OVERLAY,
    )
)


def get(name: str) -> Overlay:
    """The overlay of that name.

    Raises:
        InputError: where there is none, with the names there are.
    """
    if name not in OVERLAYS:
        hint = did_you_mean(name, OVERLAYS)
        fix = f"\n    fix: {hint}" if hint else ""
        raise InputError(f"there is no overlay '{name}'\n    allowed: {', '.join(OVERLAYS)}{fix}")
    return OVERLAYS[name]
