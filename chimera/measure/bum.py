"""Captures of inter-site links to broadcast, unknown-unicast and multicast copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable

from chimera.measure.pcapng import Frame
from chimera.model.result import Bum
from chimera.wire.headers import Carried, carried

BROADCAST = b"\xff" * 6

Toward = Callable[[Frame, Carried], str]
Located = Callable[[str, float], Collection[str]]


def toward_vtep(_frame: Frame, vm: Carried) -> str:
    """For tunnels: a copy goes to the tunnel endpoint it is addressed to."""
    return vm.outer_destination


def toward_side(receiving: dict[str, str], sending: dict[str, str]) -> Toward:
    """For tagged frames: a copy goes to the side of the link where it arrives.

    ``receiving`` names, for each captured interface, the side that a frame which arrives there has reached;
    ``sending`` the side that a frame which leaves there goes to.
    """

    def toward(frame: Frame, _vm: Carried) -> str:
        return (sending if frame.inbound is False else receiving)[frame.interface]

    return toward


def _kind(frame: Frame, vm: Carried, toward: Toward, located: Located) -> str:
    """``broadcast``, ``multicast``, ``unknown_unicast``, or ``""`` for a unicast copy that goes where it should."""
    destination = vm.frame[:6]
    if destination == BROADCAST:
        return "broadcast"
    if destination[0] & 1:
        return "multicast"
    place = toward(frame, vm)
    return "" if place in located(destination.hex(":"), frame.t) else "unknown_unicast"


def bum(frames: Iterable[Frame], toward: Toward, located: Located) -> Bum:
    """Counts the copies of VMs' frames that cross inter-site links without being wanted there.

    ``frames`` are those that crossed, each crossing once (:func:`pcapng.crossings`); the underlay's own frames (neither
    tunnelled nor tagged) do not count. ``toward`` says which place a copy goes to, ``located`` at which places, of
    the same kind, a MAC may be at a time: during a migration the source and the destination; for
    a VLAN over several links, every side from which the MAC is reached; empty for a MAC that is nowhere. A unicast
    copy towards any other place is unknown unicast: it was flooded, or sent where the VM no longer is.
    """
    counts: Counter[str] = Counter()
    for frame in frames:
        vm = carried(frame.data)
        if vm and len(vm.frame) >= 14:
            counts[_kind(frame, vm, toward, located)] += 1
    broadcast, multicast, unknown = (counts[k] for k in ("broadcast", "multicast", "unknown_unicast"))
    return Bum(broadcast + multicast + unknown, broadcast, unknown, multicast)
