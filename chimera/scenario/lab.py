"""The verbs of a scenario.

A script in ``scripts/`` defines ``run(lab)``, which does something to a :class:`Lab`, and ``check(result,
expect)``, which says what must have come out. Measuring goes on around it: ``watch`` and ``load`` start it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from chimera.model.errors import InputError, MigrationAborted, SessionError
from chimera.model.ports import CONTROLLER
from chimera.model.record import MigrationRecord, Moment, Vantage
from chimera.model.result import Expectation
from chimera.model.topology import Endpoint, Topology
from chimera.net.controller import Controller
from chimera.net.network import Network
from chimera.net.ways import CorePair, Ways, core_pair, equal_ways
from chimera.scenario.migration import Migrator, Settings


class Observer(Protocol):
    """Who measures while the scenario goes on (:class:`chimera.measure.instruments.Instruments`)."""

    def watch(self, vm: Endpoint, vantages: Iterable[Vantage]) -> AbstractContextManager[None]:
        """Probe a VM from these places for as long as the block runs."""

    def session(self, server: Endpoint, client: str) -> AbstractContextManager[None]:
        """Keep a TCP session open for as long as the block runs, verifying every byte."""

    def checkpoint(self) -> None:
        """Take stock of TCP sessions: a migration just ended."""

    def paths(self, when: str, throughput: bool) -> None:
        """Look at how packets travel now."""

    def spread(self, sender: Endpoint, target: Endpoint, ways: Ways, flows: int) -> None:
        """Send many flows, and see by which of the equal ways each goes."""

    def circle(self, sender: Endpoint, target: Endpoint, pair: CorePair, probes: int) -> None:
        """Send probes into a loop, and count how often each crosses it."""

    def recheck(self) -> None:
        """See whether what was in loops can be reached again."""


@dataclass
class Expect:
    """Collects claims: ``expect("no probe twice", lost == 0, "2 of 9000")``."""

    found: list[Expectation] = field(default_factory=list)

    def __call__(self, name: str, passed: bool | None, detail: str = "") -> None:
        self.found.append(Expectation(name, bool(passed), detail))


@dataclass
class Lab:
    """A running lab as a scenario sees it.

    ``settings`` are the values of ``--set`` that the script declares in ``SETTINGS``.
    """

    network: Network
    migrator: Migrator
    controller: Controller
    observer: Observer
    settings: dict[str, str]
    migration: Settings
    progress: Callable[[str], None]
    moments: list[Moment] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    # -- who is there ----------------------------------------------------------------------------

    @property
    def topology(self) -> Topology:
        """What the lab was built from."""
        return self.network.topology

    def mobile_vm(self) -> Endpoint:
        """The VM to move: ``--set vm=…``, or the topology's own choice."""
        wanted = self.settings.get("vm", "")
        if not wanted:
            return next(vm for vm in self.topology.vms if vm.mobile)
        found = [vm for vm in self.topology.vms if vm.name == wanted]
        if not found:
            raise InputError(f"no VM '{wanted}'\n    allowed: {', '.join(vm.name for vm in self.topology.vms)}")
        return found[0]

    def whereabouts(self, vm: Endpoint) -> str:
        """The hypervisor a VM is at now."""
        return self.network.location[vm.name]

    def vms_on(self, hypervisor: str) -> list[Endpoint]:
        """The VMs a hypervisor runs now."""
        return [self.topology.vm(name) for name in self.network.vms_at(hypervisor)]

    def hypervisor_elsewhere(self, vm: Endpoint) -> str:
        """A hypervisor at another site than the VM's, or else another one at its own."""
        here = self.topology.node(self.whereabouts(vm))
        others = [h for h in self.topology.hypervisors if h.name != here.name and h.name not in self.network.stopped]
        if not others:
            raise InputError(f"topology {self.topology.name} has one hypervisor: there is nowhere to go")
        return min(others, key=lambda h: h.site == here.site).name

    def vantage_points(self, vm: Endpoint) -> list[Vantage]:
        """Who talks to a VM: one at another site, one on its own hypervisor, one outside; else one at its site."""
        topology, here = self.topology, self.whereabouts(vm)
        peers = [p for p in topology.vms if p.segment == vm.segment and p.name != vm.name]
        at = self.network.location
        remote = [p for p in peers if topology.node(at[p.name]).site != topology.node(here).site]
        neighbours = [p for p in peers if at[p.name] == here]
        local = [p for p in peers if p not in remote and p not in neighbours]
        found = [Vantage(p.name, "remote") for p in remote[:1]]
        found += [Vantage(p.name, "neighbour") for p in neighbours[:1]]
        found += [Vantage(c.name, "client") for c in topology.clients[:1] if topology.segment_of(vm).external]
        return found + ([Vantage(p.name, "local") for p in local[:1]] if not remote else [])

    def farthest_peer(self, vm: Endpoint) -> Endpoint:
        """The VM of the same segment, on another hypervisor, with most equal-cost paths between; then the farthest.

        Raises:
            SessionError: there is none.
        """
        peers = self._peers_elsewhere(vm, self.whereabouts(vm))
        if not peers:
            raise SessionError(f"{vm.name} has nobody on another hypervisor to talk to")

        def suits(peer: Endpoint) -> tuple[int, int]:
            ways = self.ways(peer, vm)
            return ways.count, ways.distance.get(self.whereabouts(vm), 0)

        return max(peers, key=suits)

    def _peers_elsewhere(self, vm: Endpoint, *hypervisors: str) -> list[Endpoint]:
        """The other VMs of the segment that are not on these hypervisors."""
        return [p for p in self.topology.vms if p.segment == vm.segment and self.whereabouts(p) not in hypervisors]

    def ways(self, a: Endpoint, b: Endpoint) -> Ways:
        """The equal-cost paths between the hypervisors of two VMs."""
        return equal_ways(self.topology, self.whereabouts(a), self.whereabouts(b))

    def equal_paths(self, vm: Endpoint) -> int:
        """How many equal-cost paths the cables have to a VM from its farthest peer; 0 where it has none."""
        peers = self._peers_elsewhere(vm, self.whereabouts(vm))
        return max((self.ways(peer, vm).count for peer in peers), default=0)

    def bystanders(self, vm: Endpoint) -> tuple[Endpoint, list[Vantage]] | None:
        """A VM on another hypervisor, as near as may be, and who probes it: the farthest peer. None without any."""
        sender = self.farthest_peer(vm)
        others = self._peers_elsewhere(vm, self.whereabouts(vm), self.whereabouts(sender))
        if not others:
            return None
        near = min(others, key=lambda other: self.ways(vm, other).distance.get(self.whereabouts(other), 0))
        here, there = (self.topology.site_of(self.whereabouts(v)) for v in (near, sender))
        return near, [Vantage(sender.name, "local" if here == there else "remote")]

    # -- measuring -------------------------------------------------------------------------------

    @contextmanager
    def watch(self, vm: Endpoint, vantages: Iterable[Vantage] | None = None) -> Iterator[None]:
        """Probe a VM from its vantage points for as long as the block runs."""
        chosen = self.vantage_points(vm) if vantages is None else list(vantages)
        self.progress(f"probing {vm.name} from {', '.join(f'{v.name} ({v.relation})' for v in chosen) or 'nowhere'}")
        with self.observer.watch(vm, chosen):
            yield

    @contextmanager
    def tcp_session(self, vm: Endpoint) -> Iterator[None]:
        """Keep a TCP session to a VM open, from the vantage point farthest away."""
        vantages = self.vantage_points(vm)
        if not vantages:
            raise SessionError(f"{vm.name} has nobody to talk to in topology {self.topology.name}")
        with self.observer.session(vm, vantages[0].name):
            yield

    def paths(self, when: str, *, throughput: bool = True) -> None:
        """Measure how packets of the watched flows travel now."""
        self.progress(f"looking at paths {when}")
        self.observer.paths(when, throughput)

    def spread(self, vm: Endpoint, *, flows: int = 100) -> None:
        """Send many flows to a VM from its farthest peer, and see by which of the equal-cost paths they go."""
        sender = self.farthest_peer(vm)
        self.progress(f"sending {flows} flows from {sender.name} to {vm.name}")
        self.observer.spread(sender, vm, self.ways(sender, vm), flows)

    def circle(self, vm: Endpoint, pair: CorePair, *, probes: int = 200) -> None:
        """Send probes to a VM from its farthest peer into a loop, and count how often each crosses it."""
        sender = self.farthest_peer(vm)
        self.progress(f"sending {probes} probes from {sender.name} to {vm.name} into the loop")
        self.observer.circle(sender, vm, pair, probes)

    def wait(self, seconds: float) -> None:
        """Let time pass, so that what follows a change is measured too."""
        time.sleep(seconds)

    # -- doing -----------------------------------------------------------------------------------

    def migrate(self, vm: Endpoint, to: str, *, settle_s: float = 1.0) -> MigrationRecord:
        """Move a VM, and go on measuring for ``settle_s``.

        Raises:
            MigrationAborted: it was rolled back; the VM runs where it was.
        """
        try:
            return self.migrator.migrate(vm.name, to, self.migration)
        finally:
            self.wait(settle_s)
            self.observer.checkpoint()

    def migrate_all(self, moves: Iterable[tuple[Endpoint, str]], at_once: int) -> list[MigrationRecord]:
        """Move several VMs, ``at_once`` at a time; raises the first failure after all have ended."""
        with ThreadPoolExecutor(max(at_once, 1)) as pool:
            started = [pool.submit(self.migrator.migrate, vm.name, to, self.migration) for vm, to in moves]
        self.wait(1.0)
        self.observer.checkpoint()
        return [migration.result() for migration in started]

    def start_migration(self, vm: Endpoint, to: str) -> threading.Thread:
        """Begin to move a VM and return at once; the outcome is in the result."""

        def go() -> None:
            try:
                self.migrator.migrate(vm.name, to, self.migration)
            except MigrationAborted:
                pass  # on record, with its reason

        thread = threading.Thread(target=go, name=f"migrate {vm.name}")
        thread.start()
        return thread

    def cut(self, link: str) -> None:
        """Cut a link: both ends lose their carrier."""
        self._do(f"link {link} cut", lambda: self.network.set_link(link, False))

    def restore(self, link: str) -> None:
        """Repair a link."""
        self._do(f"link {link} restored", lambda: self.network.set_link(link, True))

    def core_pair(self, vm: Endpoint) -> CorePair:
        """Two neighbours in the core on the way to a VM from its farthest peer."""
        sender = self.whereabouts(self.farthest_peer(vm))
        return core_pair(self.topology, self.network.underlay, sender, self.whereabouts(vm))

    def misroute(self, at: str, *, target: str, towards: str) -> None:
        """Have a node of the core send what is for a hypervisor to a neighbour, until :meth:`repair`."""
        text = f"{at} sends what is for {target} to {towards}"
        self._do(text, lambda: self.network.misroute(at, target, towards))

    def repair(self) -> None:
        """End every misroute, and see whether what was lost in loops is reached again."""
        self._do("the core is repaired", self.network.repair)
        self.observer.recheck()

    def wan_links(self, a: str, b: str) -> list[str]:
        """Names of the links between the sites of two nodes."""
        sites = {self.topology.site_of(a), self.topology.site_of(b)}
        ends = ((link, {self.topology.site_of(p.node) for p in link.ends()}) for link in self.topology.links)
        return [link.name for link, between in ends if between == sites and len(between) > 1]

    def stop(self, node: str) -> None:
        """Power off a hypervisor or gateway, or end the controller (``controller``); a node's agent goes with it."""

        def act() -> None:
            if node == CONTROLLER:
                self.controller.stop()
                return
            self.network.stop_node(node)
            self._agent("stop", node)

        self._do(f"{node} stopped", act)

    def _agent(self, command: Literal["start", "stop"], node: str) -> None:
        if node in self.controller.agents and self.controller.running:
            self.controller.tell_agent(command, node)

    def start(self, node: str) -> None:
        """Power a hypervisor or gateway on again, or start the controller and wait until it has adopted the network."""

        def act() -> None:
            if node != CONTROLLER:
                self.network.start_node(node)
                self._agent("start", node)
                return
            self.controller.start()
            self.controller.wait_listening()
            self.network.connect_controller(self.controller.target)
            self.controller.wait_synced(self.network.switches_on(), self.network.interfaces_on())

        self._do(f"{node} started", act)

    def note(self, text: str) -> None:
        """Something the report is to say."""
        self.notes.append(text)

    def _do(self, text: str, act: Callable[[], None]) -> None:
        self.progress(text)
        start = time.time()
        act()
        self.moments.append(Moment(start, time.time(), text))
