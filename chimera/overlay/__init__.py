"""Control planes as agents, which are pure state machines, and the table of overlays.

A new overlay is one file here, one line in the table of :mod:`chimera.overlay.registry`, and where its header is new
the table of that in :mod:`chimera.wire.formats`: ``docs/new-overlay.md`` adds one.
"""
