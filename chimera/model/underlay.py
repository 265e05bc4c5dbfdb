"""The underlay as planned: which addresses and routes every node gets.

Computed by :mod:`chimera.underlay.plan` from a topology and the way the overlay wants the
physical network to forward; kept here because controllers need VTEP addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address

# Between Open vSwitch and the translator a fabric's edges and trees are spelled as addresses: never on a link.
_EDGES = IPv4Address("172.21.0.0")
_TREES = IPv4Address("172.22.0.0")


def edge_address(identifier: int) -> str:
    """The address by which OpenFlow names the edge with this nickname or switch ID (16 bits)."""
    return str(_EDGES + identifier)


def tree_address(tree: int) -> str:
    """The address by which OpenFlow names a distribution tree: frames to it are multi-destination."""
    return str(_TREES + tree)


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


class FabricKind(StrEnum):
    """A layer 2 that routes frames by the identifiers of its edges, beside the IP that the same boxes route."""

    TRILL = "trill"  # RFC 6325: identifiers are nicknames, outer addresses name the next RBridge
    FABRICPATH = "fabricpath"  # identifiers are switch IDs, outer addresses name the edges


@dataclass(frozen=True, slots=True)
class Hop:
    """One of the equal-cost ways on in a fabric: the interface, and the MAC of the next RBridge (TRILL)."""

    interface: str
    mac: str = ""


@dataclass(frozen=True)
class FabricNode:
    """What one node of a fabric forwards by.

    ``identifier`` is its nickname or switch ID, 0 for a plain bridge between RBridges. ``ports`` are its interfaces in
    the fabric, with their MACs. ``unicast`` maps egress identifiers to the ways there. ``trees`` maps a distribution
    tree (TRILL: the nickname of its root; FabricPath: the FTag) to the interfaces of this node on it, ``reverse_path``
    (tree, then ingress identifier) to the one interface at which such frames are accepted (RFC 6325 section 4.5.2).
    ``stations`` is a plain bridge's: MACs of RBridges and where they are. ``edge``: frames end here (a hypervisor or
    gateway), they never pass through.
    """

    identifier: int
    ports: dict[str, str]
    edge: bool = False
    unicast: dict[int, tuple[Hop, ...]] = field(default_factory=dict)
    trees: dict[int, tuple[str, ...]] = field(default_factory=dict)
    reverse_path: dict[int, dict[int, str]] = field(default_factory=dict)
    stations: dict[str, str] = field(default_factory=dict)

    @property
    def entries(self) -> int:
        """Forwarding entries, all tables together."""
        return len(self.unicast) + len(self.trees) + sum(map(len, self.reverse_path.values())) + len(self.stations)


@dataclass(frozen=True)
class Fabric:
    """A fabric as planned: its nodes by name, and its distribution trees in the order of preference."""

    kind: FabricKind
    nodes: dict[str, FabricNode]
    trees: tuple[int, ...]

    def identifier(self, name: str) -> int:
        """Nickname or switch ID of a node."""
        return self.nodes[name].identifier


@dataclass(frozen=True, slots=True)
class Translator:
    """A stateless translateer at the uplinks of hypervisors: what Open vSwitch sends and receives as VXLAN.

    ``program`` is a source in ``chimera/wire/translators``, ``variant`` which of its spellings is meant (its own
    numbers).
    """

    program: str
    variant: int = 0


@dataclass(frozen=True)
class Underlay:
    """A plan for the physical network.

    ``vtep`` maps each hypervisor and gateway to its tunnel address (no prefix length), ``vtep_mac``
    to the MAC of that interface (``br-phy`` LOCAL), ``foreign_vtep`` bare-metal hosts that terminate tunnels to their
    addresses, ``client_address`` clients to theirs. ``fabric`` is planned where the overlay wants one.
    """

    forwarding: Forwarding
    mtu: int
    addresses: tuple[Address, ...]
    routes: tuple[Route, ...]
    vtep: dict[str, str]
    vtep_mac: dict[str, str]
    client_address: dict[str, str]
    fabric: Fabric | None = None
    foreign_vtep: dict[str, str] = field(default_factory=dict)

    def known_to(self, switch: str) -> Iterator[str]:
        """The addresses that a VTEP takes tunnel packets from: all others', also those that are not the lab's."""
        yield from (address for name, address in self.vtep.items() if name != switch)
        yield from self.foreign_vtep.values()
