"""An example protocol of one agent a hypervisor: hellos over UDP, and neighbours that are lost when they fall silent.

It is an overlay like any other (VXLAN's data plane under its controller), with agents of its own beside the controller;
``lab up dual-dc --overlay tests/unit/hello_overlay.py`` runs it in a lab, the simulator in virtual time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from chimera.model.control import (
    Counted,
    Datagram,
    Effect,
    Event,
    Inventory,
    Noted,
    SendDatagram,
    SetTimer,
    Started,
    TimerFired,
)
from chimera.overlay import vxlan
from chimera.overlay.agent import Agents, Listen, Udp

PORT = 4343
POISON = "poison"  # a neighbour of that name makes the agent fail, as a defect would
HELLO_S, HOLD_S = 0.2, 1.0  # a neighbour is lost after five hellos that did not come


class Hello:
    """One party: it says hello to all others, and notes who is there."""

    def __init__(self, name: str, others: dict[str, str]) -> None:
        self._name, self._others = name, others
        self._heard: dict[str, float] = {}

    def listens(self) -> Sequence[Listen]:
        """Hellos."""
        return (Udp(PORT),)

    def step(self, event: Event, now: float) -> Iterator[Effect]:
        """Hellos go out by a timer; each neighbour has one of its own that runs out."""
        match event:
            case Started() | TimerFired("hello"):
                data = json.dumps({"from": self._name}).encode()
                yield from (SendDatagram(PORT, (address, PORT), data) for address in self._others.values())
                yield SetTimer("hello", HELLO_S)
            case Datagram(data=data):
                yield from self._hello(data, now)
            case TimerFired(name) if name in self._heard:
                del self._heard[name]
                yield Noted("lost", name)

    def _hello(self, data: bytes, now: float) -> Iterator[Effect]:
        try:
            name = json.loads(data)["from"]
        except (ValueError, TypeError, KeyError):
            yield Counted("malformed")
            return
        if name == POISON:
            raise RuntimeError("poisoned")
        if name not in self._others:
            yield Counted("from a stranger")
            return
        if name not in self._heard:
            yield Noted("found", name)
        self._heard[name] = now
        yield SetTimer(name, HOLD_S)


def _agents(inventory: Inventory) -> Agents:
    vtep = {node.name: inventory.underlay.vtep[node.name] for node in inventory.topology.hypervisors}

    def beginning(name: str) -> Hello:
        return Hello(name, {other: address for other, address in vtep.items() if other != name})

    hellos = {name: lambda name=name: beginning(name) for name in vtep}  # type: ignore[misc]
    return {**vxlan.OVERLAY.agents(inventory), **hellos}


OVERLAY = replace(vxlan.OVERLAY, name="hello", agents=_agents)
