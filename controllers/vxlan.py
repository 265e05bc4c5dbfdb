"""VXLAN: :mod:`chimera.overlay.vxlan` as a Ryu application."""

from __future__ import annotations

from chimera.overlay import vxlan
from controllers.base import OverlayController


class Vxlan(OverlayController):
    """Controller-driven or flood-and-learn VXLAN, as the inventory's options say."""

    overlay = vxlan.OVERLAY
