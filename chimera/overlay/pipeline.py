"""OpenFlow building blocks that overlays with tunnels share."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from chimera.model.flow import CONTROLLER, Action, Flow, Goto, Output, SetField
from chimera.overlay.control import Place
from chimera.overlay.ports import TUNNEL
from chimera.overlay.responder import ARP, ICMPV6, IPV6, NS, RARP

BROADCAST = "ff:ff:ff:ff:ff:ff"
GROUP = ("01:00:00:00:00:00", "01:00:00:00:00:00")  # the group bit: broadcast and multicast
UNICAST = ("00:00:00:00:00:00", "01:00:00:00:00:00")
IPV6_MULTICAST = ("33:33:00:00:00:00", "ff:ff:00:00:00:00")  # RFC 2464 section 7

CLASSIFY = 0  # which port, whose frame, which segment
SPECIAL, GUARD, MISS = 200, 100, 0  # priorities
UNSOLICITED = 136


def classified(vni: int, place: Place, *then: Action) -> Flow:
    """Port security: what the interface's own MAC sends is its segment's, everything else is nobody's."""
    match = (("in_port", place.port), ("eth_src", place.mac))
    return Flow(CLASSIFY, GUARD, match, (SetField("tunnel_id", vni), *then))


def drop(table: int) -> Flow:
    """The table's miss, spelled out."""
    return Flow(table, MISS, (), ())


def from_tunnel(sources: Iterable[str], table: int, *first: Action) -> tuple[Flow, ...]:
    """Frames that arrive through the tunnel from these addresses are looked up in a table of their own.

    From all others they are nobody's: whoever can send a packet to a VTEP can write any segment's identifier on it.
    """
    return tuple(_from(source, (*first, Goto(table))) for source in sources)


@lru_cache(maxsize=65536)
def _from(source: str, then: tuple[Action, ...]) -> Flow:
    """The same flow at every switch but the source."""
    return Flow(CLASSIFY, GUARD, (("in_port", TUNNEL), ("tun_ipv4_src", source)), then)


def identified(table: int, identifier: int, vni: int, then: int) -> Flow:
    """Frames from the tunnel, in a table where they are told by the identifier that a segment has on the wire."""
    return Flow(table, GUARD, (("tunnel_id", identifier),), (SetField("tunnel_id", vni), Goto(then)))


@lru_cache(maxsize=65536)
def tunnelled(address: str) -> tuple[Action, ...]:
    """Through the tunnel to an address."""
    return SetField("tun_ipv4_dst", address), Output(TUNNEL)


@lru_cache(maxsize=65536)
def renamed(identifier: int, address: str) -> tuple[Action, ...]:
    """Through the tunnel to an address, under the identifier that the segment has on the wire."""
    return SetField("tunnel_id", identifier), *tunnelled(address)


def resolution_to_controller(table: int) -> tuple[Flow, ...]:
    """Announcements, and address questions that nothing takes before, go to the controller instead of everybody."""
    to_controller = (Output(CONTROLLER),)
    ipv6_multicast = (("eth_dst", IPV6_MULTICAST), ("eth_type", IPV6), ("ip_proto", ICMPV6))
    return (
        Flow(table, SPECIAL, (("eth_dst", BROADCAST), ("eth_type", ARP)), to_controller),
        Flow(table, SPECIAL, (("eth_type", RARP),), to_controller),
        Flow(table, SPECIAL, (*ipv6_multicast, ("icmpv6_type", NS)), to_controller),
        Flow(table, SPECIAL, (*ipv6_multicast, ("icmpv6_type", UNSOLICITED)), to_controller),
    )
