"""Ethernet over MPLS: :mod:`chimera.overlay.mpls` as a Ryu application."""

from __future__ import annotations

from chimera.overlay import mpls
from controllers.base import OverlayController


class Mpls(OverlayController):
    """Hands out labels for every switch, and tells the others."""

    overlay = mpls.OVERLAY
