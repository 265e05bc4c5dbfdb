"""Address questions that the switch answers by itself: ARP (RFC 826) and neighbour solicitations (RFC 4861, 7.2.4).

Every switch with a port in a segment holds the segment's directory, one flow for each address of a VM or router, so
that neighbours are found while the controller is away; their number is linear in the segment and in its switches, and a
move changes none of them. The controller still hears what only it can judge (:mod:`chimera.overlay.responder`):
questions about addresses that nobody has, duplicate address detection (RFC 4862 section 5.4), and announcements.

Tables: ``RESOLVE`` finds the owner of an address, ``REPLY`` turns the question around. What differs between questions
about one address and another is a MAC, which stands in ``eth_src`` between the two.
"""

from __future__ import annotations

from collections.abc import Mapping

from chimera.model.flow import CONTROLLER, IN_PORT, Action, Flow, Goto, Move, Output, SetField, Value
from chimera.model.topology import Segment
from chimera.overlay.control import Interface, Place
from chimera.overlay.pipeline import BROADCAST, CLASSIFY, IPV6_MULTICAST, MISS, SPECIAL
from chimera.overlay.responder import ARP, ICMPV6, IPV6, NA, NS, Owner

RESOLVE, REPLY = 8, 9  # tables
OWN, ANSWER, LEG = 110, 100, 50  # priorities in RESOLVE
_QUESTION, _DETECTION = SPECIAL + 10, SPECIAL + 20  # priorities where questions come in
_ROUTER, _SOLICITED, _OVERRIDE = 1 << 31, 1 << 30, 1 << 29  # RFC 4861 section 4.4
_TARGET_LINK_LAYER_ADDRESS = 2  # option, RFC 4861 section 4.6.1

Match = tuple[tuple[str, Value], ...]

REQUEST: Match = (("eth_type", ARP), ("arp_op", 1))
SOLICITATION: Match = (("eth_type", IPV6), ("ip_proto", ICMPV6), ("icmpv6_type", NS))
_VALID = ("nw_ttl", 255)  # it was not forwarded, RFC 4861 section 7.1.1
_TO_CONTROLLER = (Output(CONTROLLER),)


def switch_flows(table: int) -> tuple[Flow, ...]:
    """Questions to everybody are looked up; what nobody answers goes to the controller, as it came."""
    broadcast, multicast = ("eth_dst", BROADCAST), ("eth_dst", IPV6_MULTICAST)
    return (
        Flow(table, _QUESTION, (broadcast, *REQUEST), (Goto(RESOLVE),)),
        Flow(table, _QUESTION, (multicast, *SOLICITATION, _VALID), (Goto(RESOLVE),)),
        Flow(table, _DETECTION, (multicast, *SOLICITATION, ("ipv6_src", "::")), _TO_CONTROLLER),
        Flow(RESOLVE, MISS, (), _TO_CONTROLLER),
        Flow(REPLY, ANSWER, (("eth_type", ARP),), _ARP_REPLY),
        Flow(REPLY, ANSWER, (*SOLICITATION[:-1], ("icmpv6_type", NA)), _ADVERTISEMENT),
    )


def to_one(table: int, priority: int) -> tuple[Flow, ...]:
    """Questions to one neighbour alone, where the overlay does not carry them to it."""
    return (
        Flow(table, priority, REQUEST, (Goto(RESOLVE),)),
        Flow(table, priority + 1, (*SOLICITATION, _VALID), (Goto(RESOLVE),)),
        Flow(table, priority, SOLICITATION, _TO_CONTROLLER),
    )


def of_leg(vni: int, place: Place) -> tuple[Flow, ...]:
    """All questions of an anycast gateway's leg: the answer to one that reached a VM would go to the VM's own leg.

    The controller knows by the missing ``tunnel_id`` that such a frame asks for an answer, and not for its way.
    """
    port = ("in_port", place.port)
    ask: tuple[Action, ...] = (SetField("tunnel_id", vni), Goto(RESOLVE))
    return (
        Flow(CLASSIFY, SPECIAL, (port, *REQUEST), ask),
        Flow(CLASSIFY, SPECIAL, (port, *SOLICITATION), ask),
        Flow(RESOLVE, LEG, (port,), (SetField("tunnel_id", 0), Output(CONTROLLER))),
    )


def of_own(segment: Segment, interface: Interface, place: Place) -> tuple[Flow, ...]:
    """What an interface asks of its own IPv4 address is an announcement or a probe (RFC 5227), and no question.

    For IPv6 only duplicate address detection asks that.
    """
    mine: Match = (("in_port", place.port), *REQUEST)
    addresses = (segment.gateway,) if interface.leg_of else interface.addresses
    return tuple(Flow(RESOLVE, OWN, (*mine, ("arp_tpa", a)), _TO_CONTROLLER) for a in addresses if a and ":" not in a)


def directory(vni: int, owners: Mapping[str, Owner]) -> tuple[Flow, ...]:
    """Who has which address of a segment."""
    return tuple(_answer(vni, address, owner) for address, owner in owners.items())


def _answer(vni: int, address: str, owner: Owner) -> Flow:
    segment = ("tunnel_id", vni)
    here: tuple[Action, ...] = (Move("eth_src", "eth_dst"), SetField("eth_src", owner.mac))
    if ":" not in address:
        return Flow(RESOLVE, ANSWER, (segment, *REQUEST, ("arp_tpa", address)), (*here, Goto(REPLY)))
    flags = SetField("nd_reserved", _ROUTER * owner.router | _SOLICITED | _OVERRIDE)
    turned = (*here, flags, SetField("icmpv6_type", NA), Goto(REPLY))
    return Flow(RESOLVE, ANSWER, (segment, *SOLICITATION, ("ipv6_nd_target", address)), turned)


_ARP_REPLY: tuple[Action, ...] = (
    SetField("arp_op", 2),
    Move("arp_sha", "arp_tha"),
    Move("eth_src", "arp_sha"),
    Move("arp_tpa", "reg1"),
    Move("arp_spa", "arp_tpa"),
    Move("reg1", "arp_spa"),
    Output(IN_PORT),
)
_ADVERTISEMENT: tuple[Action, ...] = (
    Move("ipv6_src", "ipv6_dst"),
    Move("ipv6_nd_target", "ipv6_src"),
    SetField("nd_options_type", _TARGET_LINK_LAYER_ADDRESS),  # it was the source's, which the answer has not
    Move("eth_src", "ipv6_nd_tll"),
    Output(IN_PORT),
)
