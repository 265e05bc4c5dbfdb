"""OTV: :mod:`chimera.overlay.otv` as a Ryu application."""

from __future__ import annotations

from chimera.overlay import otv
from controllers.base import OverlayController


class Otv(OverlayController):
    """Tells every edge device behind which other one a MAC is."""

    overlay = otv.OVERLAY
