"""Path MTU messages: where the underlay is too small for VMs' packets in the overlay's headers, VMs are told.

A hypervisor is a bridge for its VMs, and a bridge says nothing of what does not fit. So the switch measures frames on
their way into the tunnel (:func:`guarded`), and the controller answers as a router would whose next link is smaller:
"fragmentation needed" (RFC 792, RFC 1191 section 4), "packet too big" (RFC 4443 section 3.2), or the packet in
fragments (RFC 791 section 3.2) where its sender allowed that. Nothing of this exists where every packet fits.

The message comes from the segment's router, and where there is none from the packet's own destination: a host looks at
the packet that is quoted, not at who quotes it (RFC 1191 section 6.1 asks to check what is quoted, RFC 5927 section
4.1 how TCP does), and it has an address for the destination in any case.

What protects the controller: TCP needs one message for each destination and sends smaller packets from then on, and
whoever goes on is cut off by the switch: it sends up at most ``CONTROLLER_RATE`` packets a second
(:mod:`chimera.wire.ovsdb`), of all its ports in turn.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from chimera.model.flow import CONTROLLER, Action, CheckLarger, Flow, Goto, Learn, Output
from chimera.model.topology import Segment
from chimera.overlay.ports import TUNNEL
from chimera.overlay.responder import ICMPV6, IPV6, checksum, icmpv6_checksum, mac_bytes

IPV4, ICMP = 0x0800, 1
ETHERNET_BYTES, IPV4_BYTES, IPV6_BYTES, ICMP_BYTES = 14, 20, 40, 8
IPV6_MINIMUM_MTU = 1280  # RFC 8200 section 5

_TOO_LARGE = ("reg0", 1)
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_DONT_FRAGMENT, _MORE_FRAGMENTS, _OFFSET = 0x4000, 0x2000, 0x1FFF
_ICMPV4_ERRORS = (3, 4, 5, 11, 12)  # RFC 1122 section 3.2.2: no error about an error
_QUOTED_BYTES = 576 - IPV4_BYTES - ICMP_BYTES  # RFC 1812 section 4.3.2.3
_QUOTED6_BYTES = IPV6_MINIMUM_MTU - IPV6_BYTES - ICMP_BYTES  # RFC 4443 section 3.2


# -- flows ---------------------------------------------------------------------------------


def guarded(flows: tuple[Flow, ...], limit: int) -> tuple[Flow, ...]:
    """The flows, with those added that send to the controller what is too large for the tunnel.

    ``limit`` is the largest IP packet in bytes, 0 where all fit: the flows stay as they are. What is not for the tunnel
    is not touched. An added flow has the next higher priority, so there must be none of that priority that could match
    the same frames.
    """
    return tuple(each for flow in flows for each in _guarded(flow, limit)) if limit else flows


@lru_cache(maxsize=65536)
def _guarded(flow: Flow, limit: int) -> tuple[Flow, ...]:
    match = dict(flow.match)
    if match.get("in_port") == TUNNEL:
        return (replace(flow, actions=tuple(map(_learning_small, flow.actions))),)
    if "in_port" in match and flow.actions and isinstance(flow.actions[-1], Goto):
        return (replace(flow, actions=(*flow.actions[:-1], CheckLarger(ETHERNET_BYTES + limit), flow.actions[-1])),)
    if Output(TUNNEL) not in flow.actions:
        return (flow,)
    here = [action for action in flow.actions if isinstance(action, Output) and action.port != TUNNEL]
    return flow, Flow(flow.table, flow.priority + 1, (*flow.match, _TOO_LARGE), (*here, Output(CONTROLLER)))


def _learning_small(action: Action) -> Action:
    """What is learned from the tunnel leads into it: only what fits may take that way."""
    return replace(action, match=(*action.match, (0, "reg0"))) if isinstance(action, Learn) else action


# -- frames --------------------------------------------------------------------------------


def is_large(frame: bytes, limit: int) -> bool:
    """Whether a switch sent the frame up because it does not fit."""
    return 0 < limit < len(frame) - ETHERNET_BYTES


def message(frame: bytes, limit: int, segment: Segment | None) -> bytes | None:
    """The frame that tells the sender of ``frame`` that ``limit`` bytes are the most.

    It comes from the router of ``segment``, or from where the packet was going: without a router, or where the router
    itself is the sender (``segment`` is None). None where no message may be sent (RFC 1122 section 3.2.2, RFC 4443
    section 2.4), or where the sender allowed the packet to be fragmented.
    """
    kind = int.from_bytes(frame[12:14])
    packet = frame[ETHERNET_BYTES:]
    if kind == IPV4 and len(packet) >= IPV4_BYTES:
        return _fragmentation_needed(frame, packet, limit, segment)
    if kind == IPV6 and len(packet) >= IPV6_BYTES:
        return _packet_too_big(frame, packet, limit, segment)
    return None


def _fragmentation_needed(frame: bytes, packet: bytes, limit: int, segment: Segment | None) -> bytes | None:
    _, _, _, _, flags, _, protocol, _, source, destination = _IPV4.unpack_from(packet)
    header_bytes = 4 * (packet[0] & 15)
    about_error = protocol == ICMP and packet[header_bytes : header_bytes + 1] in map(_byte, _ICMPV4_ERRORS)
    if not flags & _DONT_FRAGMENT or flags & _OFFSET or about_error or frame[0] & 1 or not _is_host(source):
        return None
    quoted = packet[:_QUOTED_BYTES]
    router = IPv4Address(segment.gateway).packed if segment and segment.gateway else b""
    body = struct.pack("!HHI", 3 << 8 | 4, 0, limit) + quoted
    body = body[:2] + checksum(body).to_bytes(2) + body[4:]
    header = _ipv4_header(IPV4_BYTES + len(body), 0, 0, ICMP, router or destination, source)
    return _ethernet(frame, segment if router else None, IPV4) + header + body


def _packet_too_big(frame: bytes, packet: bytes, limit: int, segment: Segment | None) -> bytes | None:
    """RFC 4443 section 2.4 (e) has exceptions for this message: also about a multicast."""
    source, destination = packet[8:24], packet[24:40]
    router = IPv6Address(segment.gateway6).packed if segment and segment.gateway6 else b""
    about_error = packet[6] == ICMPV6 and len(packet) > IPV6_BYTES and packet[IPV6_BYTES] < 128
    if about_error or not _is_host(source) or not (router or _is_host(destination)):
        return None
    origin = router or destination
    body = struct.pack("!HHI", 2 << 8, 0, limit) + packet[:_QUOTED6_BYTES]
    body = body[:2] + icmpv6_checksum(origin, source, body).to_bytes(2) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), ICMPV6, 64) + origin + source
    return _ethernet(frame, segment if router else None, IPV6) + header + body


def fragments(frame: bytes, limit: int) -> Iterator[bytes]:
    """The packet in parts that fit, where it is IPv4 for one receiver and its sender allowed it; else nothing.

    A packet with options (RFC 791 section 3.1) is not taken apart: nobody here sends any.
    """
    if frame[12:14] != IPV4.to_bytes(2) or frame[0] & 1 or len(frame) < ETHERNET_BYTES + IPV4_BYTES:
        return
    packet = frame[ETHERNET_BYTES:]
    first, tos, total, identification, flags, ttl, protocol, _, source, destination = _IPV4.unpack_from(packet)
    if first != 0x45 or flags & _DONT_FRAGMENT:
        return
    payload = packet[IPV4_BYTES:total]
    step = (limit - IPV4_BYTES) // 8 * 8
    for at in range(0, len(payload), step):
        more = _MORE_FRAGMENTS if at + step < len(payload) else flags & _MORE_FRAGMENTS
        part = payload[at : at + step]
        place = more | (flags & _OFFSET) + at // 8
        header = _ipv4_header(
            IPV4_BYTES + len(part), identification, place, protocol, source, destination, tos=tos, ttl=ttl
        )
        yield frame[:ETHERNET_BYTES] + header + part


def _ipv4_header(
    total: int, identification: int, flags: int, protocol: int, source: bytes, destination: bytes, *,
    tos: int = 0, ttl: int = 64,
) -> bytes:  # fmt: skip
    header = _IPV4.pack(0x45, tos, total, identification, flags, ttl, protocol, 0, source, destination)
    return header[:10] + checksum(header).to_bytes(2) + header[12:]


def _ethernet(frame: bytes, router: Segment | None, kind: int) -> bytes:
    """Back to the sender, from its router or from whom it sent to."""
    origin = mac_bytes(router.gateway_mac) if router else frame[:6]
    return frame[6:12] + origin + kind.to_bytes(2)


def _byte(value: int) -> bytes:
    return bytes([value])


def _is_host(address: bytes) -> bool:
    """An address that one host has: whom a message may be sent to, and come from."""
    found = ip_address(address)
    return not (found.is_multicast or found.is_unspecified or found == IPv4Address("255.255.255.255"))
