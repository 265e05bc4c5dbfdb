"""Stretched VLANs: :mod:`chimera.overlay.vlan` as a Ryu application."""

from __future__ import annotations

from chimera.overlay import vlan
from controllers.base import OverlayController


class Vlan(OverlayController):
    """Tells every switch to learn by itself."""

    overlay = vlan.OVERLAY
