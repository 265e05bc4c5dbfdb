"""What of a topology the command line may change (``--set``), held to the rules of its file."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import replace

from chimera.load.problems import Refused
from chimera.load.tables import MTU
from chimera.model.errors import InputError
from chimera.model.topology import Topology

TOPOLOGY_SETTINGS = {"underlay_mtu": MTU}


def take_settings(topology: Topology, given: MutableMapping[str, str]) -> Topology:
    """The topology with those of :data:`TOPOLOGY_SETTINGS` that are ``given``; they are removed from it.

    Raises:
        InputError: a value that cannot be.
    """
    for name in TOPOLOGY_SETTINGS.keys() & given:
        kind, text = TOPOLOGY_SETTINGS[name], given.pop(name)
        try:
            topology = replace(topology, **{name: kind.parse(text)})
        except Refused:
            raise InputError(f"{name}: '{text}' is not a valid value\n    allowed: {kind.allowed}") from None
    return topology
