"""Whatever happens in whatever order, the switches hold what follows from where the VMs are now."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from overlay_labs import BROADCAST, HYPERVISORS, Lab, inventory, matches
from scapy.layers.l2 import ARP, Ether

from chimera.model.control import PacketIn, PortDown, PortUp, SwitchDown, SwitchUp
from chimera.overlay.program import flows_of

VARIANTS: dict[str, dict[str, str]] = {"controller": {}, "anycast": {"gateway": "anycast"}, "flood": {"mode": "flood"}}
VMS = ("r1", "r2", "r3", "b1", "b2")
LEGS = ("gw/red/web", *(f"{name}/red/web" for name in HYPERVISORS))

vms = st.sampled_from(VMS)
hypervisors = st.sampled_from(HYPERVISORS)


class Events(RuleBasedStateMachine):
    """Ports and switches come and go; the controller is killed and returns."""

    options: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.lab = Lab(inventory(**self.options))
        self.places: dict[str, list[tuple[str, int]]] = {}  # by hand: what the core must believe

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

    def _reborn(self) -> Lab:
        new = Lab(self.lab.inventory)
        new.switches = self.lab.switches
        for iface, places in self.places.items():
            for switch, port in places:
                new.happen(PortUp(switch, iface, "", port))
        for name, switch in new.switches.items():
            new.happen(SwitchUp(name, switch.cookies))
        return new

    def _from_scratch(self) -> Lab:
        fresh = Lab(self.lab.inventory)
        for iface, places in self.places.items():
            if places:
                switch, port = places[-1]
                fresh.happen(PortUp(switch, iface, "", port))
        return fresh

    @invariant()
    def flows_follow_from_the_places(self) -> None:
        fresh = self._from_scratch()
        for name, wanted in fresh.state.programs.items():
            flows = set(flows_of(wanted))
            assert set(flows_of(self.lab.state.programs[name])) == flows
            assert len(set(matches(flows))) == len(flows)
            if name in self.lab.state.connected:
                assert set(self.lab.switches[name].flows.values()) == flows

    @invariant()
    def locations_are_the_latest(self) -> None:
        assert self.lab.core.locations(self.lab.state) == {i: p[-1][0] for i, p in self.places.items() if p}


@pytest.mark.parametrize("variant", VARIANTS)
def test_any_order_of_events(variant: str) -> None:
    machine: Any = type(variant, (Events,), {"options": VARIANTS[variant]})
    run_state_machine_as_test(machine, settings=settings(max_examples=50, stateful_step_count=25, deadline=None))
