"""Recordings to figures: pure functions on files that probes and captures left."""
