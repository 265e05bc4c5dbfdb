"""Addresses and routes of one namespace in one exchange with the kernel (rtnetlink(7)), without starting a program.

A lab has hundreds of guests, each with the same handful of settings: an ``ip`` process for each would cost more than
everything else about them.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct

from chimera.model.errors import SessionError
from chimera.wire.rtnetlink import ERROR, HEADER, IFF_UP, LINK, NEWADDR, NEWLINK, NEWROUTE, attribute, messages

_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, dst, src, tos, table, protocol, scope, type, flags

_REQUEST, _ACK, _REPLACE, _CREATE = 0x1, 0x4, 0x100, 0x400
_IFA_ADDRESS, _IFA_LOCAL, _IFA_F_NODAD = 1, 2, 0x02
_RTA_OIF, _RTA_GATEWAY = 4, 5
_TABLE_MAIN, _PROTOCOL_STATIC, _UNICAST = 254, 4, 1


class Batch:
    """Requests to the calling thread's namespace, sent together.

    Use it inside :func:`chimera.namespaces.inside`; interfaces are looked up there, too.
    """

    def __init__(self) -> None:
        self._requests: list[tuple[str, bytes]] = []

    def up(self, interface: str) -> None:
        """Bring an interface up."""
        body = LINK.pack(socket.AF_UNSPEC, 0, socket.if_nametoindex(interface), IFF_UP, IFF_UP)
        self._add(f"link set {interface} up", NEWLINK, 0, body)

    def address(self, interface: str, address: str) -> None:
        """Give an interface an address (with prefix length); IPv6 without duplicate address detection."""
        ip = ipaddress.ip_interface(address)
        family, nodad = (socket.AF_INET, 0) if ip.version == 4 else (socket.AF_INET6, _IFA_F_NODAD)
        body = _ADDRESS.pack(family, ip.network.prefixlen, nodad, 0, socket.if_nametoindex(interface))
        body += attribute(_IFA_LOCAL, ip.ip.packed) + attribute(_IFA_ADDRESS, ip.ip.packed)
        self._add(f"addr add {address} dev {interface}", NEWADDR, _CREATE | _REPLACE, body)

    def default_route(self, interface: str, gateway: str) -> None:
        """Send what is not on a link of its own to ``gateway``."""
        ip = ipaddress.ip_address(gateway)
        family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
        body = _ROUTE.pack(family, 0, 0, 0, _TABLE_MAIN, _PROTOCOL_STATIC, 0, _UNICAST, 0)
        body += attribute(_RTA_GATEWAY, ip.packed)
        body += attribute(_RTA_OIF, struct.pack("=i", socket.if_nametoindex(interface)))
        self._add(f"route add default via {gateway}", NEWROUTE, _CREATE | _REPLACE, body)

    def _add(self, what: str, kind: int, flags: int, body: bytes) -> None:
        header = HEADER.pack(HEADER.size + len(body), kind, _REQUEST | _ACK | flags, len(self._requests) + 1, 0)
        self._requests.append((what, header + body))

    def send(self) -> None:
        """Have the kernel do it all.

        Raises:
            SessionError: it refused one of the requests; the text says which and why.
        """
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as channel:
            channel.settimeout(10)
            channel.sendall(b"".join(request for _, request in self._requests))
            answered = 0
            while answered < len(self._requests):
                answered += self._take(channel.recv(65536))

    def _take(self, data: bytes) -> int:
        """Check the acknowledgements in a datagram; returns how many there were."""
        count = 0
        for kind, sequence, body in messages(data):
            if kind == ERROR:
                (code,) = struct.unpack_from("=i", body)
                if code:
                    raise SessionError(f"{self._requests[sequence - 1][0]}: {os.strerror(-code)}")
                count += 1
        return count
