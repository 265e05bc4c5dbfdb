"""Control planes as agents, which are pure state machines, and the table of overlays.

A new overlay is one file here and one line in the table of :mod:`chimera.overlay.registry`.
"""
