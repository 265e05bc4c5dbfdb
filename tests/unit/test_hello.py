"""The example protocol in virtual time: it finds its neighbours through loss, and misses them by its timer alone."""

from __future__ import annotations

import pytest
from hello_overlay import HELLO_S, HOLD_S, OVERLAY
from overlay_labs import HYPERVISORS, inventory

from chimera.agents.simulator import Simulation, Weather

LOSSY = Weather(delay_s=0.01, jitter_s=0.02, loss=0.3, duplication=0.1, clock_offset_s=100, clock_drift=0.01)


def simulated(seed: int, weather: Weather = LOSSY) -> Simulation:
    made = inventory("vxlan")
    agents = OVERLAY.agents(made)
    return Simulation(agents, (), seed=seed, weather=weather, addresses=made.underlay.vtep)


def neighbours(sim: Simulation, node: str) -> set[str]:
    """Whom a node's agent believes to be there."""
    known: set[str] = set()
    for _, at, what, name in sim.noted:
        if at == node:
            (known.add if what == "found" else known.discard)(name)
    return known


@pytest.mark.parametrize("seed", range(20))
def test_neighbours_are_found_through_loss(seed: int) -> None:
    sim = simulated(seed)
    sim.run(5.0)
    for node in HYPERVISORS:
        assert neighbours(sim, node) >= {name for name in HYPERVISORS if name != node} - _just_lost(sim, node)
    assert sim.messages["datagram"] > 3 * 2 * 5 / HELLO_S * 0.9


def _just_lost(sim: Simulation, node: str) -> set[str]:
    """With 30 % loss five hellos in a row are lost once in 400 times."""
    return {name for t, at, what, name in sim.noted if at == node and what == "lost" and t > sim.now - HOLD_S}


def test_a_dead_neighbour_is_missed_by_the_timer_alone() -> None:
    sim = simulated(1, Weather())
    sim.run(2.0)
    sim.kill("hv1")
    sim.run(2.0 + HOLD_S - HELLO_S - 0.01)
    assert neighbours(sim, "hv2") == {"hv1", "hv3"}
    sim.run(2.0 + HOLD_S + 0.01)
    assert neighbours(sim, "hv2") == {"hv3"}
    assert neighbours(sim, "hv3") == {"hv2"}
    sim.begin("hv1")
    sim.run(sim.now + 2 * HELLO_S)
    assert neighbours(sim, "hv2") == {"hv1", "hv3"}


def test_a_cut_parts_those_at_its_ends_only() -> None:
    sim = simulated(1, Weather())
    sim.run(1.0)
    sim.cut.add(frozenset(("hv1", "hv2")))
    sim.run(1.0 + 2 * HOLD_S)
    assert [neighbours(sim, node) for node in HYPERVISORS] == [{"hv3"}, {"hv3"}, {"hv1", "hv2"}]


def test_a_seed_is_one_execution() -> None:
    def trace(seed: int) -> object:
        sim = simulated(seed)
        sim.run(20.0)
        return sim.noted, sim.messages

    assert trace(3) == trace(3)
    assert trace(3) != trace(4)
