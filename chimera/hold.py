"""A lab that stays up: the verbs it answers until it is told to end."""

from __future__ import annotations

import os
import shutil
import threading
import time
from typing import Any, Never

from chimera import output
from chimera.api import Asker, Gone, Handler, Server
from chimera.events import Stream, shown
from chimera.measure import conclude, state
from chimera.measure.recorder import Capture, incomplete, start_capture
from chimera.measure.trace import trace
from chimera.model import verbs as v
from chimera.model.errors import DeadlineError, InputError, SessionError, not_one_of
from chimera.model.events import CaptureEnded, CaptureStarted
from chimera.model.hop import Trace
from chimera.model.ports import CONTROLLER
from chimera.model.service import AGENTS, THE_LAB, Lines, ServiceState, titled
from chimera.model.settings import MIGRATION_SETTINGS
from chimera.model.topology import Endpoint, Node
from chimera.model.underlay import Address
from chimera.net import sandbox
from chimera.net.logs import news
from chimera.net.network import no_service
from chimera.net.rundir import RunDir
from chimera.net.services import Process
from chimera.scenario.scripts import migration_settings
from chimera.session import WORK, Experiment, Progress, Session, bring_up

_LOOK_S = 1.0  # how often somebody who follows events is seen to be there still, where nothing happens


def hold(experiment: Experiment, run_dir: RunDir, progress: Progress, ready: int) -> Never:
    """Bring a lab up, tell the launcher through the pipe ``ready``, and serve until ``down`` ends this process."""
    stream = Stream()
    with shown(stream, progress):
        session = bring_up(experiment, stream)
    server = Server(run_dir.socket, Verbs(session, run_dir).table())
    sandbox.stay()
    os.write(ready, b"1")
    os.close(ready)
    _let_go_of_terminal()
    server.serve()


def _let_go_of_terminal() -> None:
    """What is printed from now on goes to the lab's log: the terminal belongs to its user again."""
    log = os.open(WORK / "session.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)


class Verbs:
    """What a running lab can be asked to do: a method for each verb."""

    def __init__(self, session: Session, run_dir: RunDir) -> None:
        self._session = session
        self._run_dir = run_dir
        self._network = session.network
        self._lab = session.lab
        self._captures: dict[str, Capture] = {}
        self._lock = threading.RLock()

    def table(self) -> dict[type[v.Request[Any]], Handler]:
        """The verbs by the type of request."""
        return {
            v.Status: self.status,
            v.Names: self.names,
            v.Inspect: self.inspect,
            v.Migrate: self.migrate,
            v.ChangeLink: self.link,
            v.Links: self.links,
            v.Stop: self.stop,
            v.Start: self.start,
            v.Logs: self.logs,
            v.TracePacket: self.trace,
            v.CaptureStart: self.capture_start,
            v.CaptureStop: self.capture_stop,
            v.Events: self.events,
        }

    # -- looking -----------------------------------------------------------------------------------

    def status(self, request: v.Status, asker: Asker) -> v.LabStatus:
        """What is running, in short."""
        addresses = {vm.name: vm.ip.partition("/")[0] for vm in self._session.experiment.topology.vms}
        return v.LabStatus(**self._summary(), addresses=addresses)

    def _summary(self) -> dict[str, Any]:
        experiment, network = self._session.experiment, self._network
        return {
            "topology": experiment.topology.name,
            "overlay": experiment.overlay.name,
            "options": experiment.options,
            "up_s": round(self._session.up_s, 3),
            "age_s": round(time.time() - self._session.started, 1),
            "hypervisors": {h.name: network.vms_at(h.name) for h in experiment.topology.hypervisors},
            "stopped": sorted(network.stopped),
            "cut_links": [name for name, cable in network.cables.items() if not cable.up],
            "controller": "running" if self._lab.controller.running else "stopped",
            "migrations": len(self._lab.migrator.records),
            "refused": list(self._lab.controller.errors),
            "troubled": [process.shown() for process in network.services.troubled(network.stopped)],
            "cursor": self._session.stream.cursor,
        }

    def names(self, request: v.Names, asker: Asker) -> v.Known:
        """What there is to name, for the shell's completion."""
        topology = self._session.experiment.topology
        return v.Known(
            nodes=[*topology.by_name],
            hypervisors=[h.name for h in topology.hypervisors],
            vms=[vm.name for vm in topology.vms],
            endpoints=[e.name for e in topology.endpoints],
            links=[*self._network.cables],
            settings=[*MIGRATION_SETTINGS],
            services={owner: [*self._services(owner)] for owner in self._owners()},
        )

    def _owners(self) -> list[str]:
        """Nodes and links that have services, by name; the lab's own are the controller's."""
        return [*dict.fromkeys(p.service.node or CONTROLLER for p in self._network.services.all())]

    def _services(self, owner: str) -> dict[str, Process]:
        return self._network.services.of(THE_LAB if owner == CONTROLLER else owner)

    def _shown_services(self, owner: str) -> list[ServiceState]:
        return [process.shown() for process in self._services(owner).values()]

    def inspect(self, request: v.Inspect, asker: Asker) -> v.Inspected:
        """Everything: the inventory, where VMs are, links and their state, forwarding state; or of one node or link.

        Of the controller, the lab's own services.
        """
        name, network, topology = request.node, self._network, self._session.experiment.topology
        if not name:
            return v.Inspected(lab=self._everything())
        if name == CONTROLLER:
            own = v.ControllerState(self._lab.controller.agents_of(name), self._shown_services(name))
            return v.Inspected(controller=own)
        if name in network.cables:
            measured = [found for found in self._session.links if found.link == name]
            return v.Inspected(link=self._link(name, measured=measured, services=self._shown_services(name)))
        if name not in topology.by_name:
            raise InputError(not_one_of("node or link", name, [*topology.by_name, *network.cables]))
        place = topology.by_name[name]
        if isinstance(place, Node):
            return v.Inspected(node=v.Place[Node](place, **self._surroundings(name)))
        return v.Inspected(endpoint=v.Place[Endpoint](place, **self._surroundings(name)))

    def _everything(self) -> v.Everything:
        experiment = self._session.experiment
        return v.Everything(
            **self._summary(),
            cables=self.all_links(),
            links=self._session.links,
            mtu=experiment.mtu,
            vtep=experiment.underlay.vtep,
            location=self._network.location,
            state=state.states(self._network),
            fabric=self._fabric(),
            agents=self._lab.controller.agents_of(),
            services=[process.shown() for process in self._network.services.all()],
            nodes=[*experiment.topology.nodes],
            endpoints=[*experiment.topology.endpoints],
            segments=[*experiment.topology.segments],
            addresses=[*experiment.underlay.addresses],
        )

    def _surroundings(self, name: str) -> dict[str, Any]:
        """What belongs to a node or VM."""
        experiment = self._session.experiment
        addresses: list[Address] = [a for a in experiment.underlay.addresses if a.node == name]
        return {
            "vms": self._network.vms_at(name),
            "at": self._network.location.get(name, ""),
            "links": [self._link(link.name) for link in experiment.topology.links_of(name)],
            "addresses": addresses,
            "state": state.states(self._network, name).get(name),
            "fabric": self._fabric(name).get(name),
            "agents": self._lab.controller.agents_of(name),
            "services": self._shown_services(name),
        }

    def _fabric(self, of: str = "") -> dict[str, v.FabricState]:
        """Nickname or switch ID of each node of a fabric, or of one, what it forwards by, and what it did to frames."""
        fabric = self._session.experiment.underlay.fabric
        return {
            name: v.FabricState(node, self._network.fabric_counters(name))
            for name, node in (fabric.nodes.items() if fabric else ())
            if of in ("", name)
        }

    def links(self, request: v.Links, asker: Asker) -> list[v.LinkState]:
        """Every link, and how it is."""
        return self.all_links()

    def all_links(self) -> list[v.LinkState]:
        """Every link, and how it is."""
        return [self._link(name) for name in self._network.cables]

    def _link(self, name: str, **more: Any) -> v.LinkState:
        cable = self._network.cable(name)
        a, b = map(str, cable.link.ends())
        return v.LinkState(name, (a, b), cable.up, cable.how, cable.link.forward, cable.link.backward, **more)

    def trace(self, request: v.TracePacket, asker: Asker) -> Trace:
        """Follow a packet."""
        return trace(self._network, request.source, request.destination)

    def events(self, request: v.Events, asker: Asker) -> v.Told:
        """What happened, and what happens from now on."""
        stream = self._session.stream
        after = request.cursor if request.seconds is None else stream.before(time.time() - request.seconds)
        after = min(after, stream.cursor)
        while True:
            found = stream.read(after, _LOOK_S if request.follow else 0.0)
            for event in found:
                asker.send(event)
                after = event.cursor
            if not request.follow:
                return v.Told(after)
            if asker.gone:
                raise Gone

    # -- doing -------------------------------------------------------------------------------------

    def migrate(self, request: v.Migrate, asker: Asker) -> v.Migrated:
        """Move a VM; whoever asked is told of that migration alone."""
        given = dict(request.settings)
        chosen = migration_settings(given)
        if given:
            raise InputError(
                f"unknown setting '{next(iter(given))}' for a migration\n    allowed: {', '.join(MIGRATION_SETTINGS)}"
            )
        record = self._lab.migrator.reporting_to(asker.tell).migrate(request.vm, request.to, chosen)
        _, stun_ms = conclude.stun(record, self._session.instruments.take_heartbeats(request.vm))
        return v.Migrated(
            vm=request.vm,
            source=record.source,
            destination=request.to,
            stun_ms=None if stun_ms is None else round(stun_ms, 3),
            precopy_s=round(record.precopy_s, 4),
            rounds=record.rounds,
            announce=chosen.announce,
            warnings=record.warnings,
        )

    def link(self, request: v.ChangeLink, asker: Asker) -> v.LinkState:
        """Cut, restore or change a link, or only show it."""
        name, cable = request.name, self._network.cable(request.name)
        with self._lock:
            if request.action == "cut":
                self._lab.cut(name)
            elif request.action == "restore":
                self._lab.restore(name)
            elif request.action == "set":
                forward, backward = (
                    request.changes.of(old) if request.direction in ("both", side) else old
                    for side, old in (("forward", cable.link.forward), ("backward", cable.link.backward))
                )
                self._network.impair(name, forward, backward)
        return self._link(name, counters=cable.stats())

    def stop(self, request: v.Stop, asker: Asker) -> v.Stopped:
        """Power off a hypervisor or gateway, end the controller, or one service of a node."""
        node, service = request.node, request.service
        with self._lock:
            self._lab.stop(node, service)
        return v.Stopped(titled(node, service) if service else node)

    def start(self, request: v.Start, asker: Asker) -> v.Started:
        """Power on what was stopped, or start a service."""
        node, service = request.node, request.service
        with self._lock:
            if node == CONTROLLER and service in ("", AGENTS) and self._lab.controller.running:
                raise SessionError("the controller is running already")
            self._lab.start(node, service)
        return v.Started(titled(node, service) if service else node)

    def logs(self, request: v.Logs, asker: Asker) -> dict[str, Lines]:
        """The last lines of a node's services' logs; or what came ``after`` positions in them, once anything does."""
        node, service = request.node, request.service
        found = self._services(node)
        if node not in (CONTROLLER, *self._session.experiment.topology.by_name, *self._network.cables):
            raise InputError(not_one_of("node or link with services", node, self._owners()))
        if service and service not in found:
            raise InputError(no_service(node, service, found))
        if not found:
            raise SessionError(f"{node} has no services now")
        logs = {name: process.log for name, process in found.items() if service in ("", name)}
        if request.after is None:
            return {name: log.last(request.lines) for name, log in logs.items()}
        return news(logs, request.after, request.wait_s)

    def capture_start(self, request: v.CaptureStart, asker: Asker) -> v.Capturing:
        """Begin to capture a link, whole frames."""
        link = request.link
        cable = self._network.cable(link)
        with self._lock:
            if link in self._captures:
                raise SessionError(f"link {link} is being captured already")
            names = self._session.instruments.names()
            self._captures[link] = start_capture(
                self._network.services, [cable.link], WORK / "api", names, both_ends=False, snaplen=65535,
                translated=self._network.translated,
            )  # fmt: skip
        self._session.stream.tell(CaptureStarted(f"The capture of {link}", (link,)))
        return v.Capturing(link)

    def capture_stop(self, request: v.CaptureStop, asker: Asker) -> v.Captured:
        """End a capture and put its file into the run directory, where the command that asked picks it up."""
        link = request.link
        with self._lock:
            capture = self._captures.pop(link, None)
        if capture is None:
            raise SessionError(f"link {link} is not being captured")
        tell, what = self._session.stream.tell, f"The capture of {link}"
        try:
            counts = capture.stop()
        except (SessionError, DeadlineError) as error:
            tell(CaptureEnded(what, failed=str(error)))
            raise
        frames, dropped = sum(c.frames for c in counts), sum(c.dropped for c in counts)
        tell(CaptureEnded(what, frames, dropped))
        path = self._run_dir.path / f"capture-{time.monotonic_ns()}.pcapng"
        with output.refusals(path):
            shutil.copyfile(capture.files[link], path)
        note = incomplete("The capture", counts)
        return v.Captured(path.name, path.stat().st_size, frames, dropped, note)
