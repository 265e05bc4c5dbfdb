"""Runs inside a lab: hears and sends frames at any node's interfaces, as lines of JSON on stdin and stdout tell.

It imports nothing of the project, so what it says is the kernel's own word. See ``lab_spy.py`` for the other end.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import Any

NETNS = 0x40000000  # CLONE_NEWNET
ALL = 0x0003  # ETH_P_ALL
PACKET_AUXDATA, SOL_PACKET, SO_RCVBUFFORCE = 8, 263, 33
AUXDATA = struct.Struct("=IIIHHHH")
VLAN_VALID, TPID_VALID = 0x10, 0x40
OUTGOING = 4


def enter(node: str) -> None:
    descriptor = os.open(f"/run/netns/{node}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, NETNS):
        raise OSError(ctypes.get_errno(), f"cannot enter {node}")
    os.close(descriptor)


class Agent:
    """One socket for hearing in each node, one for sending at each interface that was ever sent from."""

    def __init__(self, deaf: list[str], nodes: list[str]) -> None:
        self.deaf = deaf
        self.heard: list[tuple[str, str, str, float, str]] = []
        self.sockets = selectors.DefaultSelector()
        self.lock = threading.Lock()
        self.senders: dict[tuple[str, str], socket.socket] = {}
        self.macs: dict[str, dict[str, str]] = {}
        for node in nodes:
            enter(node)
            links = json.loads(subprocess.run(["ip", "-j", "link"], capture_output=True, check=True).stdout)
            self.macs[node] = {link["ifname"]: link["address"] for link in links}
            listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
            listening.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
            listening.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            listening.setblocking(False)
            self.sockets.register(listening, selectors.EVENT_READ, node)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        while True:
            for key, _ in self.sockets.select():
                with self.lock:
                    self.drain(key.fileobj, key.data)  # type: ignore[arg-type]

    def drain(self, listening: socket.socket, node: str) -> None:
        while True:
            try:
                data, ancillary, _, (interface, _, kind, *_) = listening.recvmsg(65535, 256)
            except BlockingIOError:
                return
            if interface not in self.deaf:
                direction = "out" if kind == OUTGOING else "in"
                self.heard.append((node, interface, direction, time.time(), with_tag(data, ancillary).hex()))

    def answer(self, told: dict[str, Any]) -> Any:
        if "send" in told:
            node, interface, frames, gap_s = told["send"]
            sender = self.sender(node, interface)
            for frame in frames:
                sender.send(bytes.fromhex(frame))
                time.sleep(gap_s)
            return len(frames)
        if "take" in told:
            with self.lock:
                for key in list(self.sockets.get_map().values()):
                    self.drain(key.fileobj, key.data)  # type: ignore[arg-type]
                found, self.heard = self.heard, []
            return found
        return self.macs

    def sender(self, node: str, interface: str) -> socket.socket:
        if (node, interface) not in self.senders:
            enter(node)
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            opened.bind((interface, 0))
            self.senders[node, interface] = opened
        return self.senders[node, interface]


def with_tag(data: bytes, ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """The frame with the 802.1Q tag that the kernel took off on arrival."""
    for level, kind, value in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, tpid = AUXDATA.unpack(value[: AUXDATA.size])
            if status & VLAN_VALID:
                tag = struct.pack("!HH", tpid if status & TPID_VALID else 0x8100, tci)
                return data[:12] + tag + data[12:]
    return data


def main() -> None:
    agent = Agent(sys.argv[1].split(","), sys.argv[2:])
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(agent.answer(json.loads(line))), flush=True)


main()
