"""FabricPath: :mod:`chimera.overlay.fabricpath` as a Ryu application."""

from __future__ import annotations

from chimera.overlay import fabricpath
from controllers.base import OverlayController


class FabricPath(OverlayController):
    """Tells a switch behind which switch ID a MAC is when the two have something to say."""

    overlay = fabricpath.OVERLAY
