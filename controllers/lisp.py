"""LISP: :mod:`chimera.overlay.lisp` as a Ryu application."""

from __future__ import annotations

from chimera.overlay import lisp
from controllers.base import OverlayController


class Lisp(OverlayController):
    """Every hypervisor an ITR and ETR with all mappings of its tenants."""

    overlay = lisp.OVERLAY
