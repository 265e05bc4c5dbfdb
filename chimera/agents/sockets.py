"""The agents' sockets, each opened inside its node's network namespace: control messages are real packets there.

One thread reads all of them and posts what comes in; while the runner's queue is full it waits, and what the kernel's
buffers cannot hold is lost as datagrams are. What arrives is anybody's: it is bounded here and judged by the agent.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from chimera import namespaces
from chimera.model.control import Datagram, Event, FrameIn, LinkChanged, SendDatagram, SendFrame
from chimera.overlay.agent import Frames, Links, Listen, Udp
from chimera.wire import rtnetlink

_LARGEST = 65536  # bytes of a datagram or frame
_AT_ONCE = 64  # messages read from one socket before the others' turn
_ETH_P_ALL_LLC = 0x0004  # ETH_P_802_2: frames with a length in place of a type
_PACKET_ADD_MEMBERSHIP, _PACKET_MR_MULTICAST, _PACKET_IGNORE_OUTGOING, _SOL_PACKET = 1, 0, 23, 263
_RTMGRP_LINK = 1

Post = Callable[[Iterable[Event]], None]


@dataclass
class _Node:
    """What one agent has open."""

    udp: dict[int, socket.socket] = field(default_factory=dict)
    frames: dict[str, socket.socket] = field(default_factory=dict)
    all: list[socket.socket] = field(default_factory=list)


class Sockets:
    """The sockets of all agents; ``addresses`` are what nodes bind theirs to (every address where they have none)."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self._addresses = addresses
        self._nodes: dict[str, _Node] = {}
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()  # of the selector's map
        self._wake, self._bell = os.pipe()
        self._selector.register(self._wake, selectors.EVENT_READ)
        threading.Thread(target=self._read, daemon=True, name="agents' sockets").start()

    def open(self, node: str, listens: Sequence[Listen], post: Post) -> None:
        """Open what an agent listens to, and post what comes in.

        Raises:
            OSError: the node, an interface or an address is not there, or a port is taken.
        """
        if not listens:
            return
        opened = _Node()
        try:
            with namespaces.inside(namespaces.path(node)):
                for each in listens:
                    self._open_one(node, each, opened)
        except OSError:
            _close(opened)
            raise
        self._nodes[node] = opened
        with self._lock:
            for port, channel in opened.udp.items():
                self._selector.register(channel, selectors.EVENT_READ, (post, _datagrams(port)))
            for interface, channel in opened.frames.items():
                self._selector.register(channel, selectors.EVENT_READ, (post, _frames(interface)))
            for channel in opened.all:
                if channel not in (*opened.udp.values(), *opened.frames.values()):
                    self._selector.register(channel, selectors.EVENT_READ, (post, _link_changes))
        os.write(self._bell, b"!")

    def _open_one(self, node: str, listen: Listen, opened: _Node) -> None:
        match listen:
            case Udp(port):
                channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                opened.all.append(channel)
                opened.udp[port] = channel
                channel.bind((self._addresses.get(node, ""), port))
            case Frames(interface, ether_type, group):
                channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
                opened.all.append(channel)
                opened.frames[interface] = channel
                channel.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
                channel.bind((interface, ether_type if ether_type >= 1536 else _ETH_P_ALL_LLC))
                if group:
                    index, address = socket.if_nametoindex(interface), bytes.fromhex(group.replace(":", ""))
                    request = struct.pack("iHH8s", index, _PACKET_MR_MULTICAST, 6, address)
                    channel.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, request)
            case Links():
                channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
                opened.all.append(channel)
                channel.bind((0, _RTMGRP_LINK))
        channel.setblocking(False)

    def close(self, node: str) -> None:
        """Close what an agent had open."""
        opened = self._nodes.pop(node, None)
        if opened:
            with self._lock:
                for channel in opened.all:
                    self._selector.unregister(channel)
            _close(opened)

    def send(self, node: str, effect: SendDatagram | SendFrame) -> str:
        """Send a message from a node; the text says why it was not sent, as a link that is down or a full queue."""
        opened = self._nodes.get(node, _Node())
        try:
            if isinstance(effect, SendDatagram):
                opened.udp[effect.port].sendto(effect.data, effect.destination)
            else:
                opened.frames[effect.interface].send(effect.data)
        except KeyError as error:
            return f"the agent does not listen at {error}"
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _read(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    os.read(self._wake, 4096)
                    continue
                post, events_of = key.data
                post(_received(key.fileobj, events_of))  # type: ignore[arg-type]


def _close(opened: _Node) -> None:
    for channel in opened.all:
        channel.close()


def _received(channel: socket.socket, events_of: Callable[[bytes, tuple[str, int]], Iterable[Event]]) -> list[Event]:
    """What a socket has, up to a bound."""
    events: list[Event] = []
    for _ in range(_AT_ONCE):
        try:
            data, source = channel.recvfrom(_LARGEST)
        except OSError:  # nothing more, closed meanwhile, or an error of an earlier sending (ICMP)
            break
        events += events_of(data, source)
    return events


def _datagrams(port: int) -> Callable[[bytes, tuple[str, int]], list[Event]]:
    return lambda data, source: [Datagram(port, (source[0], source[1]), data)]


def _frames(interface: str) -> Callable[[bytes, tuple[str, int]], list[Event]]:
    return lambda data, source: [FrameIn(interface, data)]


def _link_changes(data: bytes, source: tuple[str, int]) -> list[Event]:
    """Messages of rtnetlink(7) about links: whether each can carry frames now."""
    found: list[Event] = []
    for kind, _, body in rtnetlink.messages(data):
        if kind in (rtnetlink.NEWLINK, rtnetlink.DELLINK) and len(body) >= rtnetlink.LINK.size:
            _, _, _, flags, _ = rtnetlink.LINK.unpack_from(body)
            names = dict(rtnetlink.attributes(body[rtnetlink.LINK.size :]))
            name = names.get(rtnetlink.IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
            if name:
                found.append(LinkChanged(name, kind == rtnetlink.NEWLINK and bool(flags & rtnetlink.IFF_RUNNING)))
    return found
