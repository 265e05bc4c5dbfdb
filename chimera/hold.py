"""A lab that stays up: the verbs it answers until it is told to end."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from chimera import output
from chimera.api import Server
from chimera.load.units import BANDWIDTH, DELAY, LOSS
from chimera.measure import conclude, state
from chimera.measure.recorder import Capture, incomplete, start_capture
from chimera.measure.trace import trace
from chimera.model.errors import InputError, SessionError, not_one_of
from chimera.model.hop import Trace
from chimera.model.ports import CONTROLLER
from chimera.model.settings import MIGRATION_SETTINGS
from chimera.model.topology import Impairment
from chimera.net import sandbox
from chimera.net.rundir import RunDir
from chimera.scenario.scripts import migration_settings
from chimera.session import WORK, Experiment, Progress, Session, bring_up


def hold(experiment: Experiment, run_dir: RunDir, progress: Progress, ready: int) -> int:
    """Bring a lab up, tell the launcher through the pipe ``ready``, and serve until ``down``."""
    session = bring_up(experiment, progress)
    verbs = Verbs(session, run_dir)
    verbs.server = Server(run_dir.socket, verbs.table())
    sandbox.stay()
    os.write(ready, b"1")
    os.close(ready)
    _let_go_of_terminal()
    verbs.server.serve()
    return 0


def _let_go_of_terminal() -> None:
    """What is printed from now on goes to the lab's log: the terminal belongs to its user again."""
    log = os.open(WORK / "session.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)


_Delay = Annotated[float, Meta(ge=DELAY.low, le=DELAY.high)]


class Changes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to change of an impairment: the figures that are given; a bandwidth of 0 is unlimited."""

    bandwidth_mbps: Annotated[float, Meta(ge=0, le=BANDWIDTH.high)] | None = None
    delay_ms: _Delay | None = None
    jitter_ms: _Delay | None = None
    loss_percent: Annotated[float, Meta(ge=LOSS.low, le=LOSS.high)] | None = None

    def of(self, impairment: Impairment) -> Impairment:
        """The impairment with the changes.

        Raises:
            InputError: frames would have to arrive before they were sent.
        """
        given = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        changed = replace(impairment, **given)
        if changed.jitter_ms > changed.delay_ms:
            raise InputError(
                f"{changed.jitter_ms:g} ms of jitter are more than the delay: a frame would arrive before it was sent\n"
                f"    allowed: at most {changed.delay_ms:g} ms\n    fix: lower the jitter, or raise the delay"
            )
        return changed


class Verbs:
    """What a running lab can be asked to do; every method is a verb and returns JSON-able data."""

    server: Server

    def __init__(self, session: Session, run_dir: RunDir) -> None:
        self._session = session
        self._run_dir = run_dir
        self._network = session.network
        self._lab = session.lab
        self._captures: dict[str, Capture] = {}
        self._lock = threading.RLock()

    def table(self) -> dict[str, Callable[..., Any]]:
        """Verbs by name."""
        names = (
            "status",
            "names",
            "inspect",
            "migrate",
            "link",
            "links",
            "stop",
            "start",
            "trace",
            "capture_start",
            "capture_stop",
        )
        return {name: getattr(self, name) for name in names}

    def status(self, progress: Progress) -> dict[str, Any]:
        """What is running, in short."""
        experiment, network = self._session.experiment, self._network
        return {
            "topology": experiment.topology.name,
            "overlay": experiment.overlay.name,
            "options": experiment.options,
            "up_s": round(self._session.up_s, 3),
            "age_s": round(time.time() - self._session.started, 1),
            "hypervisors": {h.name: network.vms_at(h.name) for h in experiment.topology.hypervisors},
            "addresses": {vm.name: vm.ip.partition("/")[0] for vm in experiment.topology.vms},
            "stopped": sorted(network.stopped),
            "cut_links": [name for name, cable in network.cables.items() if not cable.up],
            "controller": "running" if self._lab.controller.running else "stopped",
            "migrations": len(self._lab.migrator.records),
            "refused": list(self._lab.controller.errors),
        }

    def names(self, progress: Progress) -> dict[str, list[str]]:
        """What there is to name, for the shell's completion."""
        topology = self._session.experiment.topology
        return {
            "nodes": [*topology.by_name],
            "hypervisors": [h.name for h in topology.hypervisors],
            "vms": [vm.name for vm in topology.vms],
            "endpoints": [e.name for e in topology.endpoints],
            "links": [*self._network.cables],
            "settings": [*MIGRATION_SETTINGS],
        }

    def inspect(self, progress: Progress, node: str = "") -> dict[str, Any]:
        """Everything: the inventory, where VMs are, links and their state, forwarding state; or of one node or link."""
        network, experiment = self._network, self._session.experiment
        if node in network.cables:
            return {**self._cable(node), "measured": [found for found in self._session.links if found.link == node]}
        if node and node not in experiment.topology.by_name:
            raise InputError(not_one_of("node or link", node, [*experiment.topology.by_name, *network.cables]))
        found = {
            **self.status(progress),
            "cables": self.links(progress),
            "links": self._session.links,
            "mtu": experiment.mtu,
            "vtep": experiment.underlay.vtep,
            "location": network.location,
            "state": state.states(network, node),
            "fabric": self._fabric(node),
            "agents": self._lab.controller.agents_of(node),
            "nodes": experiment.topology.nodes,
            "endpoints": experiment.topology.endpoints,
            "segments": experiment.topology.segments,
            "addresses": experiment.underlay.addresses,
        }
        return self._one_node(found, node) if node else found

    def _fabric(self, of: str) -> dict[str, Any]:
        """Nickname or switch ID of each node of a fabric, or of one, what it forwards by, and what it did to frames."""
        fabric = self._session.experiment.underlay.fabric
        return {
            name: {"planned": node, "counters": self._network.fabric_counters(name)}
            for name, node in (fabric.nodes.items() if fabric else ())
            if of in ("", name)
        }

    def _one_node(self, found: dict[str, Any], node: str) -> dict[str, Any]:
        topology = self._session.experiment.topology
        return {
            "node": topology.by_name[node],
            "vms": self._network.vms_at(node),
            "at": self._network.location.get(node, ""),
            "links": [self._cable(link.name) for link in topology.links_of(node)],
            "addresses": [a for a in found["addresses"] if a.node == node],
            "state": found["state"].get(node),
            "fabric": found["fabric"].get(node, {}),
            "agents": found["agents"],
        }

    def migrate(self, progress: Progress, vm: str, to: str, settings: dict[str, str]) -> dict[str, Any]:
        """Move a VM; how, is in ``settings``."""
        given = dict(settings)
        chosen = migration_settings(given)
        if given:
            raise InputError(
                f"unknown setting '{next(iter(given))}' for a migration\n    allowed: {', '.join(MIGRATION_SETTINGS)}"
            )
        record = self._lab.migrator.reporting_to(progress).migrate(vm, to, chosen)
        _, stun_ms = conclude.stun(record, self._session.instruments.take_heartbeats(vm))
        return {
            "vm": vm, "source": record.source, "destination": to,
            "stun_ms": None if stun_ms is None else round(stun_ms, 3),
            "precopy_s": round(record.precopy_s, 4), "rounds": record.rounds, "announce": chosen.announce,
            "warnings": record.warnings,
        }  # fmt: skip

    def link(
        self,
        progress: Progress,
        name: str,
        action: Literal["show", "cut", "restore", "set"] = "show",
        changes: Changes = Changes(),  # noqa: B008 - it is frozen
        direction: Literal["both", "forward", "backward"] = "both",
    ) -> dict[str, Any]:
        """Cut, restore or change a link, or only show it."""
        cable = self._network.cable(name)
        with self._lock:
            if action == "cut":
                self._lab.cut(name)
            elif action == "restore":
                self._lab.restore(name)
            elif action == "set":
                forward, backward = (
                    changes.of(old) if direction in ("both", side) else old
                    for side, old in (("forward", cable.link.forward), ("backward", cable.link.backward))
                )
                cable.impair(forward, backward)
        return {**self._cable(name), "counters": cable.stats()}

    def links(self, progress: Progress) -> list[dict[str, Any]]:
        """Every link, and how it is."""
        return [self._cable(name) for name in self._network.cables]

    def _cable(self, name: str) -> dict[str, Any]:
        cable = self._network.cables[name]
        return {
            "link": name, "ends": [str(port) for port in cable.link.ends()], "up": cable.up, "how": cable.how,
            "forward": _shown(cable.link.forward), "backward": _shown(cable.link.backward),
        }  # fmt: skip

    def stop(self, progress: Progress, node: str) -> dict[str, str]:
        """Power off a hypervisor or gateway, or end the controller."""
        with self._lock:
            self._lab.stop(node)
        return {"stopped": node}

    def start(self, progress: Progress, node: str) -> dict[str, str]:
        """Power on what was stopped."""
        with self._lock:
            if node == CONTROLLER and self._lab.controller.running:
                raise SessionError("the controller is running already")
            self._lab.start(node)
        return {"started": node}

    def trace(self, progress: Progress, source: str, destination: str) -> Trace:
        """Follow a packet."""
        return trace(self._network, source, destination)

    def capture_start(self, progress: Progress, link: str) -> dict[str, str]:
        """Begin to capture a link, whole frames."""
        cable = self._network.cable(link)
        with self._lock:
            if link in self._captures:
                raise SessionError(f"link {link} is being captured already")
            names = self._session.instruments.names()
            self._captures[link] = start_capture(
                [cable.link], WORK / "api", names, both_ends=False, snaplen=65535,
                translated=self._network.translated,
            )  # fmt: skip
        return {"link": link}

    def capture_stop(self, progress: Progress, link: str) -> dict[str, Any]:
        """End a capture and put its file into the run directory, where the command that asked picks it up."""
        with self._lock:
            capture = self._captures.pop(link, None)
        if capture is None:
            raise SessionError(f"link {link} is not being captured")
        counts = capture.stop()
        path = self._run_dir.path / f"capture-{time.monotonic_ns()}.pcapng"
        with output.refusals(path):
            shutil.copyfile(capture.files[link], path)
        note = incomplete("The capture", counts)
        return {"file": path.name, "bytes": path.stat().st_size, "counts": counts, "note": note}


def _shown(impairment: Impairment) -> dict[str, float]:
    return {
        "bandwidth_mbps": impairment.bandwidth_mbps, "delay_ms": impairment.delay_ms,
        "jitter_ms": impairment.jitter_ms, "loss_percent": impairment.loss_percent,
    }  # fmt: skip
