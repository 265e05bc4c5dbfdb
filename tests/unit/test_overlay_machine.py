"""Whatever happens in whatever order, the switches hold what follows from where the VMs are now."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from overlay_labs import BROADCAST, HYPERVISORS, Lab, inventory, matches
from scapy.layers.l2 import ARP, Ether

from chimera.model.control import PacketIn, PortDown, PortUp, SwitchDown, SwitchUp
from chimera.model.flow import Flow

VARIANTS: dict[str, tuple[str, dict[str, str]]] = {
    "vxlan": ("vxlan", {}),
    "vxlan-anycast": ("vxlan", {"gateway": "anycast"}),
    "vxlan-flood": ("vxlan", {"mode": "flood"}),
    "mpls": ("mpls", {}),
    "lisp": ("lisp", {}),
    "lisp-anycast": ("lisp", {"gateway": "anycast"}),
    "otv": ("otv", {}),
    "otv-gre": ("otv", {"wire": "gre"}),
    "trill": ("trill", {}),
    "trill-anycast": ("trill", {"gateway": "anycast"}),
    "fabricpath": ("fabricpath", {}),
    "fabricpath-anycast": ("fabricpath", {"gateway": "anycast"}),
}
VMS = ("r1", "r2", "r3", "b1", "b2")
LEGS = ("gw/red/web", *(f"{name}/red/web" for name in HYPERVISORS))


def tenant(iface: str) -> str:
    """Whose an interface is."""
    return "blue" if iface in ("b1", "b2") else "red"


vms = st.sampled_from(VMS)
hypervisors = st.sampled_from(HYPERVISORS)


class Events(RuleBasedStateMachine):
    """Ports and switches come and go, VMs talk; the controller is killed and returns."""

    overlay: ClassVar[str] = ""
    options: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.lab = Lab(inventory(self.overlay, **self.options))
        self.places: dict[str, list[tuple[str, int]]] = {}  # by hand: what the core must believe
        self.conversations: set[frozenset[str]] = set()  # by hand, too: pairs of interfaces

    @initialize(connected=st.booleans(), at=st.lists(hypervisors, min_size=len(VMS), max_size=len(VMS)))
    def a_lab_that_runs_already(self, connected: bool, at: list[str]) -> None:
        if connected:
            self.lab.happen(*(SwitchUp(name) for name in self.lab.switches))
            for vm, switch in zip(VMS, at, strict=True):
                self.port_up(vm, switch)

    def _appear(self, iface: str, switch: str, port: int, mac: str) -> None:
        self.lab.happen(PortUp(switch, iface, mac, port))
        others = [place for place in self.places.get(iface, []) if place[0] != switch]
        self.places[iface] = [*others, (switch, port)]

    @rule(vm=vms, switch=hypervisors)
    def port_up(self, vm: str, switch: str) -> None:
        endpoint = self.lab.inventory.topology.vm(vm)
        self._appear(vm, switch, endpoint.port, endpoint.mac)

    @rule(leg=st.sampled_from(LEGS))
    def leg_up(self, leg: str) -> None:
        holder = leg.split("/", maxsplit=1)[0]
        anycast = self.options.get("gateway") == "anycast"
        if anycast == (holder in HYPERVISORS):
            self._appear(leg, holder, 50001, "02:fe:00:00:00:01")

    @rule(iface=st.sampled_from((*VMS, *LEGS)), switch=st.sampled_from((*HYPERVISORS, "gw")))
    def port_down(self, iface: str, switch: str) -> None:
        self.lab.happen(PortDown(switch, iface))
        self.places[iface] = [place for place in self.places.get(iface, []) if place[0] != switch]

    @rule(speaker=vms, listener=vms)
    def talk(self, speaker: str, listener: str) -> None:
        here, there = self._place(speaker), self._place(listener)
        if (
            "flood" in self.options.values()
            or not here
            or not self.lab.connected.issuperset(filter(None, (here, there)))
        ):
            return
        heard = self.lab.send(speaker, self.lab.inventory.topology.vm(listener).mac)
        allowed = tenant(speaker) == tenant(listener) and speaker != listener
        assert heard == ([self.lab.at(listener)] if allowed and there else [])
        if allowed and here != there and not self._knows(here, listener):
            self.conversations.add(frozenset((speaker, listener)))

    def _place(self, iface: str) -> str:
        return self.places[iface][-1][0] if self.places.get(iface) else ""

    def _knows(self, switch: str, iface: str) -> bool:
        """Whether anybody at the switch talks to the interface."""
        return any(iface in pair and switch in map(self._place, pair - {iface}) for pair in self.conversations)

    @rule(vm=vms, switch=hypervisors)
    def announcement(self, vm: str, switch: str) -> None:
        endpoint = self.lab.inventory.topology.vm(vm)
        frame = Ether(src=endpoint.mac, dst=BROADCAST, type=0x8035) / ARP(op=3, hwsrc=endpoint.mac)
        self.lab.happen(PacketIn(switch, endpoint.port, bytes(frame)))
        places = self.places.get(vm, [])
        self.places[vm] = sorted(places, key=lambda place: place[0] == switch)

    @rule(switch=st.sampled_from((*HYPERVISORS, "gw")))
    def switch_up(self, switch: str) -> None:
        self.lab.happen(SwitchUp(switch, self.lab.switches[switch].cookies))

    @rule(switch=st.sampled_from((*HYPERVISORS, "gw")), forgets=st.booleans())
    def switch_down(self, switch: str, forgets: bool) -> None:
        self.lab.happen(SwitchDown(switch))
        if forgets:
            self.lab.switches[switch].flows.clear()

    @precondition(lambda self: self.places)
    @rule()
    def controller_restarts(self) -> None:
        self.lab = self._reborn()
        self.conversations.clear()

    def _reborn(self) -> Lab:
        new = Lab(self.lab.inventory)
        new.switches = self.lab.switches
        for iface, places in self.places.items():
            for switch, port in places:
                new.happen(PortUp(switch, iface, "", port))
        for name, switch in new.switches.items():
            new.happen(SwitchUp(name, switch.cookies))
        return new

    def _from_scratch(self) -> dict[str, set[Flow]]:
        """The flows of a controller that heard of nothing but the latest places and of the conversations."""
        fresh = Lab(self.lab.inventory)
        for a, b in map(sorted, self.conversations):
            for one, other in ((a, b), (b, a)):
                known = fresh.agent.view_of(one).conversations
                known[one] = known.get(one, frozenset()) | {other}
        for iface, places in self.places.items():
            if places:
                switch, port = places[-1]
                fresh.happen(PortUp(switch, iface, "", port))
        return {switch: set(fresh.wanted(switch)) for switch in fresh.switches}

    @invariant()
    def flows_follow_from_the_places(self) -> None:
        for name, flows in self._from_scratch().items():
            assert set(self.lab.wanted(name)) == flows
            assert len(set(matches(flows))) == len(flows)
            if name in self.lab.connected:
                assert set(self.lab.switches[name].flows.values()) == flows

    @invariant()
    def ways_lead_to_those_who_are_talked_to(self) -> None:
        if self.overlay != "fabricpath":
            return
        for switch in self.lab.switches:
            causes = self.lab.programs[switch].fragments
            held = {name for kind, name in causes if kind == "interface" and self._place(name) != switch}
            members = {tenant(iface) for iface in (*VMS, *LEGS) if self._place(iface) == switch}
            assert held == {
                vm for vm in VMS if tenant(vm) in members and self._place(vm) != switch and self._knows(switch, vm)
            }

    @invariant()
    def locations_are_the_latest(self) -> None:
        assert self.lab.locations() == {i: p[-1][0] for i, p in self.places.items() if p}


@pytest.mark.parametrize("variant", VARIANTS)
def test_any_order_of_events(variant: str) -> None:
    overlay, options = VARIANTS[variant]
    machine: Any = type(variant, (Events,), {"overlay": overlay, "options": options})
    run_state_machine_as_test(machine, settings=settings(max_examples=20, stateful_step_count=25, deadline=None))
