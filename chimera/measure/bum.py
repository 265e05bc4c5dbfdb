"""Captures of inter-site links to broadcast, unknown-unicast and multicast copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from ipaddress import IPv4Address, IPv6Address

from chimera.wire.headers import Carried, carried, is_undecoded
from chimera.wire.pcapng import Frame

BROADCAST = b"\xff" * 6
BROADCAST_IP = IPv4Address("255.255.255.255")
UNDECODED = "undecoded"

Toward = Callable[[Frame, Carried], str]
Located = Callable[[str, float], Collection[str]]


def toward_edge(_frame: Frame, vm: Carried) -> str:
    """For tunnels and fabrics: a copy goes to the tunnel endpoint, RBridge or edge switch it is addressed to."""
    return vm.outer_destination


def toward_side(receiving: dict[str, str], sending: dict[str, str]) -> Toward:
    """For tagged frames: a copy goes to the side of the link where it arrives.

    ``receiving`` names, for each captured interface, the side that a frame which arrives there has reached;
    ``sending`` the side that a frame which leaves there goes to.
    """

    def toward(frame: Frame, _vm: Carried) -> str:
        return (sending if frame.inbound is False else receiving)[frame.interface]

    return toward


def addressee(vm: Carried) -> str:
    """Whom a VM's frame is for: a MAC; where only IP is carried, ``tenant/address``, for tenants share addresses."""
    return vm.frame[:6].hex(":") if vm.ethernet else f"{vm.tenant}/{_ip(vm)}"


def _ip(vm: Carried) -> IPv4Address | IPv6Address:
    return IPv6Address(vm.frame[24:40]) if vm.frame[0] >> 4 == 6 else IPv4Address(vm.frame[16:20])


def _group(vm: Carried) -> str:
    """``broadcast`` or ``multicast``, by the VM's own destination; ``""`` for unicast."""
    if vm.ethernet:
        broadcast, multicast = vm.frame[:6] == BROADCAST, bool(vm.frame[0] & 1)
    else:
        broadcast, multicast = _ip(vm) == BROADCAST_IP, _ip(vm).is_multicast
    return "broadcast" if broadcast else "multicast" if multicast else ""


def _kind(frame: Frame, vm: Carried, toward: Toward, located: Located) -> str:
    """``broadcast``, ``multicast``, ``unknown_unicast``, or ``""`` for a unicast copy that goes where it should."""
    if group := _group(vm):
        return group
    wanted = not vm.multi_destination and toward(frame, vm) in located(addressee(vm), frame.t)
    return "" if wanted else "unknown_unicast"


def copies(frames: Iterable[Frame], toward: Toward, located: Located, endpoints: Collection[str] = ()) -> Counter[str]:
    """Counts the copies of VMs' frames that cross inter-site links without being wanted there, by kind.

    Kinds are ``broadcast``, ``multicast``, ``unknown_unicast``, and :data:`UNDECODED` for frames in which a VM's frame
    was not found although they are not the underlay's own. The underlay's own frames (neither tunnelled nor tagged) do
    not count. ``frames`` are those that crossed, each crossing once (:func:`pcapng.crossings`). ``toward`` says which
    place a copy goes to, ``located`` at which places, of the same kind, an :func:`addressee` may be at a time: during a
    migration the source and the destination; for a VLAN over several links, every side from which the MAC is reached;
    empty for a MAC that is nowhere. A unicast copy towards any other place is unknown unicast: it was flooded, or sent
    where the VM no longer is. So is every unicast frame that goes along a fabric's tree. ``endpoints`` are the
    addresses between which tunnels run: what they send each other in no known format may be a VM's frame.
    """
    counts: Counter[str] = Counter()
    for frame in frames:
        vm = carried(frame.data)
        kind = _kind(frame, vm, toward, located) if vm else UNDECODED if is_undecoded(frame.data, endpoints) else ""
        if kind:
            counts[kind] += 1
    return counts
