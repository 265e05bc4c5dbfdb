"""The underlay as planned: which addresses and routes every node gets.

Computed by :mod:`chimera.net.plan` from a topology and the way the overlay wants the
physical network to forward; kept here because controllers need VTEP addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Forwarding(StrEnum):
    """How the physical network forwards."""

    ROUTED = "routed"  # every switch and router is an IP router, links are point-to-point subnets
    BRIDGED = "bridged"  # one stretched layer 2 (learning switches, 802.1Q) over all data centres


@dataclass(frozen=True, slots=True)
class Address:
    """An address on an interface; ``address`` with prefix length."""

    node: str
    interface: str
    address: str


@dataclass(frozen=True, slots=True)
class NextHop:
    """One way on: neighbour's address and the interface towards it."""

    via: str
    interface: str


@dataclass(frozen=True, slots=True)
class Route:
    """A route of a node; more than one next hop is an equal-cost multipath."""

    node: str
    prefix: str
    next_hops: tuple[NextHop, ...]


@dataclass(frozen=True)
class Underlay:
    """A plan for the physical network.

    ``vtep`` maps each hypervisor and gateway to its tunnel address (no prefix length), ``vtep_mac``
    to the MAC of that interface (``br-phy`` LOCAL), ``next_hop_mac`` to the MAC of the
    neighbour its packets go to. ``client_address`` maps clients to their addresses.
    """

    forwarding: Forwarding
    mtu: int
    addresses: tuple[Address, ...]
    routes: tuple[Route, ...]
    vtep: dict[str, str]
    vtep_mac: dict[str, str]
    client_address: dict[str, str]
