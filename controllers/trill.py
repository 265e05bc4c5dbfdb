"""TRILL: :mod:`chimera.overlay.trill` as a Ryu application."""

from __future__ import annotations

from chimera.overlay import trill
from controllers.base import OverlayController


class Trill(OverlayController):
    """Tells every RBridge behind which nickname a MAC is."""

    overlay = trill.OVERLAY
