"""Many flows from one VM to another: probes, each flow from a UDP port of its own, and a count of those that arrive."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from types import TracebackType

from chimera import namespaces
from chimera.model.topology import Endpoint
from chimera.wire.probe import ANSWER, MAGIC, PROBE, REQUEST, find_probe

PORT = 7010
FIRST_FLOW = 0x0001_0000  # flows of watched VMs count from 1

_APART_S = 0.0005  # between two probes: nothing on the way is to be overrun
_GRACE_S = 0.3  # for what is still under way when all are sent
_AGAIN_S = 0.1


class Volley:
    """UDP sockets in two VMs, open for as long as the block runs.

    Flow number ``i`` of the volley is marked ``FIRST_FLOW + i``.
    """

    def __init__(self, sender: Endpoint, target: Endpoint, flows: int) -> None:
        self.flows = range(FIRST_FLOW, FIRST_FLOW + flows)
        self._to = (target.ip.partition("/")[0], PORT)
        self._open = ExitStack()
        self._sequence = 0
        with namespaces.inside(namespaces.path(target.name)):
            self._sink = self._open.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with namespaces.inside(namespaces.path(sender.name)):
            self._sources = {
                flow: self._open.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for flow in self.flows
            }
        for source in self._sources.values():
            source.bind(("0.0.0.0", 0))
        self._sink.bind(("0.0.0.0", PORT))

    def __enter__(self) -> Volley:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def reaches(self, within_s: float = 3.0) -> bool:
        """Whether a probe comes back in time; afterwards both VMs and the switches between know each other."""
        source = next(iter(self._sources.values()))
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            self._send(source, self.flows[0])
            if self._echo(_AGAIN_S):
                source.settimeout(_AGAIN_S)
                try:
                    source.recv(len(MAGIC))
                    return True
                except TimeoutError:
                    continue
        return False

    def _echo(self, within_s: float) -> bool:
        """Answer the next probe that arrives."""
        self._sink.settimeout(within_s)
        try:
            data, sender = self._sink.recvfrom(PROBE.size)
        except TimeoutError:
            return False
        mark = find_probe(data)
        if mark:
            self._sink.sendto(PROBE.pack(MAGIC, mark.flow, mark.sequence, ANSWER, 0, time.time_ns()), sender)
        return mark is not None

    def fire(self, rounds: int) -> int:
        """Send one probe of each flow, ``rounds`` times; returns how many arrived, each counted once."""
        arrived: set[tuple[int, int]] = set()
        sent = 0
        for _ in range(rounds):
            self._sequence += 1
            for flow, source in self._sources.items():
                self._send(source, flow)
                sent += 1
                self._collect(arrived, _APART_S)
        deadline = time.monotonic() + _GRACE_S
        while len(arrived) < sent and (left := deadline - time.monotonic()) > 0:
            self._collect(arrived, left)
        return len(arrived)

    def _send(self, source: socket.socket, flow: int) -> None:
        source.sendto(PROBE.pack(MAGIC, flow, self._sequence, REQUEST, time.time_ns(), 0), self._to)

    def _collect(self, arrived: set[tuple[int, int]], within_s: float) -> None:
        """Take what arrives in this time at most."""
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0:
            self._sink.settimeout(left)
            try:
                mark = find_probe(self._sink.recv(PROBE.size))
            except TimeoutError:
                return
            if mark and mark.sequence:
                arrived.add((mark.flow, mark.sequence))
