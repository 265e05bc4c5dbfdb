"""Control planes as functional cores, and the table of overlays.

A new overlay is one file here, one thin application in ``controllers/`` and one line in the table of
:mod:`chimera.overlay.registry`.
"""
