"""What a control plane costs as its network grows: the same agents, simulated at several sizes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median

from chimera.agents.simulator import Simulation, Weather
from chimera.model.control import Inventory
from chimera.model.simulated import Cost, Size
from chimera.model.topology import Endpoint, Kind, Node, Segment, Site, Topology
from chimera.model.underlay import Fabric, FabricKind, FabricNode, Forwarding, Underlay
from chimera.overlay import registry
from chimera.overlay.base import check_options

STUN_S = 0.03  # between a VM's last moment at its source and its port at the destination
BETWEEN_S = 1.0  # moves: what one causes is done before the next, or has been caused by something else
_QUIET_S = 60.0  # at most, until a network that comes up has nothing to say any more
_FIRST_IDENTIFIER = 17  # nicknames and switch IDs
_TREES = (7, 9)


def made_up(overlay: str, options: Mapping[str, str], size: Size, seed: int) -> Inventory:
    """An inventory of that size, without the physical network in between: VTEPs, segments and VMs.

    Raises:
        InputError: the overlay or an option is unknown, or the network is too large for the overlay's identifiers.
    """
    chance = random.Random(seed)
    found = registry.get(overlay)
    names = [f"hv{n}" for n in range(1, size.hypervisors + 1)]
    nodes = tuple(Node(name, Kind.HYPERVISOR, "dc", n) for n, name in enumerate(names, start=1))
    count = -(-size.vms // size.vms_per_segment)
    segments = tuple(
        Segment(f"s{n}", f"t{n}", 5000 + n, 100 + n % 3900, f"10.{n >> 8 & 255}.{n & 255}.0/24") for n in range(count)
    )
    ports = dict.fromkeys(names, 0)
    vms = []
    for n in range(size.vms):
        at, (segment, host) = chance.choice(names), divmod(n, size.vms_per_segment)
        ports[at] += 1
        mac = "02:" + ":".join(f"{n >> shift & 255:02x}" for shift in (32, 24, 16, 8, 0))
        ip = f"10.{segment >> 8 & 255}.{segment & 255}.{host + 2}/24"
        key = f"t{segment}/s{segment}"
        vms.append(Endpoint(f"vm{n + 1}", Kind.VM, "dc", n + 1, at, key, mac, ip, port=n + 1))
    topology = Topology("simulated", "", (Site("dc"),), nodes, tuple(vms), segments, ())
    vtep = {name: f"172.{16 + (n >> 16 & 15)}.{n >> 8 & 255}.{n & 255}" for n, name in enumerate(names, start=1)}
    underlay = Underlay(Forwarding.ROUTED, 1600, (), (), vtep, {}, {}, _fabric(found.fabric, names))
    return Inventory(topology, underlay, overlay, check_options(found, options))


def _fabric(kind: FabricKind | None, edges: list[str]) -> Fabric | None:
    if kind is None:
        return None
    nodes = {name: FabricNode(identifier, {}, edge=True) for identifier, name in enumerate(edges, _FIRST_IDENTIFIER)}
    return Fabric(kind, nodes, trees=_TREES)


def simulate(
    inventory: Inventory, size: Size, seed: int, weather: Weather, progress: Callable[[str], None] = lambda text: None
) -> Cost:
    """Bring a network up, then move VMs one after the other, each to a hypervisor chosen at random."""
    begin, chance, topology = time.monotonic(), random.Random(seed), inventory.topology
    names = [node.name for node in topology.vteps]
    agents = registry.get(inventory.overlay).agents(inventory)
    addresses = dict(inventory.underlay.vtep)
    sim = Simulation(agents, names, seed=seed, weather=weather, addresses=addresses, exact=False)
    for vm in topology.vms:
        sim.plug(vm.hypervisor, vm.name, vm.mac, vm.port)
    for name in names:
        sim.connect(name)
    sim.settle(_QUIET_S)
    up, up_bytes = dict(sim.messages), sim.bytes
    progress(f"{size.vms} VMs on {size.hypervisors} hypervisors are up, after {sum(up.values())} messages")
    converged = [*_moves(sim, size, chance, inventory)]
    entries = sorted(sim.entries(name) for name in names)
    moved = {kind: times - up.get(kind, 0) for kind, times in sim.messages.items() if times > up.get(kind, 0)}
    return Cost(
        inventory.overlay, size, seed, up, up_bytes, moved, sim.bytes - up_bytes, median(entries), entries[-1],
        tuple(converged), round(time.monotonic() - begin, 2),
    )  # fmt: skip


def _moves(sim: Simulation, size: Size, chance: random.Random, inventory: Inventory) -> Iterator[float]:
    where = {vm.name: vm.hypervisor for vm in inventory.topology.vms}
    names, vms = list(sim.switches), inventory.topology.vms
    for _ in range(size.moves if len(names) > 1 else 0):
        vm = chance.choice(vms)
        source = where[vm.name]
        target = where[vm.name] = chance.choice([name for name in names if name != source])
        sim.unplug(source, vm.name)
        sim.run(sim.now + STUN_S)
        sim.plug(target, vm.name, vm.mac, vm.port)
        begin = sim.now
        sim.run(begin + BETWEEN_S)
        if sim.last_change > begin:
            yield (sim.last_change - begin) * 1000
