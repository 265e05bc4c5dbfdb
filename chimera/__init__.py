"""Chimera Lab: a virtual lab for overlay networks and VM mobility."""

__version__ = "0.1.0"
