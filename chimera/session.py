"""A lab from beginning to end: load → sandbox → build → overlay → probes → scenario → result.

This is the page to read first. :func:`prepare` does everything that can fail because of what the user wrote, and
starts nothing; :func:`run` and :func:`hold` are what the first process of the sandbox does.
"""

from __future__ import annotations

import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from chimera import __version__, share
from chimera.load import load_topology
from chimera.measure import conclude, explain, links, loops, state
from chimera.measure.instruments import Instruments
from chimera.model.control import Inventory
from chimera.model.errors import InputError, did_you_mean
from chimera.model.record import Moment
from chimera.model.result import (
    Control,
    ControlMark,
    Expectation,
    LabInfo,
    LinkReport,
    Mark,
    Mtu,
    Result,
    Timing,
)
from chimera.model.topology import Topology
from chimera.model.underlay import Underlay
from chimera.net import netns, network, plan
from chimera.net.controller import API, Controller
from chimera.net.machine import need_translators, need_tun
from chimera.net.network import Network, Wiring
from chimera.net.ovs import FOLDER as OVS_FOLDER
from chimera.net.rundir import PARTIAL
from chimera.net.tools import native_tool
from chimera.overlay import ports, registry
from chimera.overlay.base import Overlay, check_options
from chimera.overlay.mtu import fits, mtu_of, packet_limit
from chimera.report.maps import map_of
from chimera.scenario.figures import check_figure, holds
from chimera.scenario.lab import Expect, Lab
from chimera.scenario.migration import Migrator, Settings
from chimera.scenario.scripts import MIGRATION_SETTINGS, Script, find_script, migration_settings

OPENFLOW_PORT = 6653
WORK = Path("/run/lab")  # in the sandbox: its own memory
_MARKED_S = 1.0  # control messages this near a migration appear on its time axis

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Experiment:
    """Everything a lab needs to know before it starts, checked."""

    topology: Topology
    overlay: Overlay
    options: dict[str, str]
    underlay: Underlay
    inventory: Inventory
    wiring: Wiring
    migration: Settings
    mtu: Mtu
    script: Script | None = None
    settings: dict[str, str] = field(default_factory=dict)
    expectations: Mapping[str, str] = field(default_factory=dict)


def prepare(
    topology_name: str,
    overlay_name: str,
    *,
    scenario: str | None = None,
    settings: Mapping[str, str] | None = None,
    expectations: Mapping[str, str] | None = None,
) -> Experiment:
    """Load and check a topology, an overlay, a scenario and their settings; nothing is started.

    Raises:
        InputError: something the user wrote is wrong; the text says where, what and what to write instead.
    """
    topology = load_topology(topology_name, [share.folder("topologies")])
    return prepare_topology(topology, overlay_name, scenario=scenario, settings=settings, expectations=expectations)


def prepare_topology(
    topology: Topology,
    overlay_name: str,
    *,
    scenario: str | None = None,
    settings: Mapping[str, str] | None = None,
    expectations: Mapping[str, str] | None = None,
) -> Experiment:
    """:func:`prepare` for a topology that is loaded already."""
    overlay = registry.get(overlay_name)
    script = find_script(scenario) if scenario else None
    given = dict(settings or {})
    topology = _set_topology(topology, given)
    for_script = script.take_settings(given) if script else {}
    if script:
        script.check_settings(for_script, topology)
    for figure in expectations or {}:
        check_figure(figure)
    migration = migration_settings(given)
    _refuse_unknown(given, overlay, script)
    options = check_options(overlay, given)
    forwarding = overlay.forwarding(options)
    network.check(topology, forwarding, overlay.name)
    holders = overlay.gateway_holders(topology, options)
    segments_at = holders[0] if len(holders) == 1 else None
    underlay = plan.plan(topology, forwarding, segments_at=segments_at, fabric=overlay.fabric)
    if script:
        script.check_network(topology, underlay)
    mtu = mtu_of(topology, overlay, options)
    inventory = Inventory(
        topology=topology,
        underlay=underlay,
        overlay=overlay.name,
        options=options,
        ovsdb={node.name: str(OVS_FOLDER / node.name / "db.sock") for node in topology.vteps},
        openflow_address=str(plan.MANAGEMENT.network_address + 1),
        openflow_port=OPENFLOW_PORT,
        packet_limit=packet_limit(mtu, overlay, options),
        api=API,
    )
    return Experiment(
        topology, overlay, options, underlay, inventory, _wire(overlay, inventory, holders, segments_at), migration,
        mtu, script, for_script, dict(expectations or {}),
    )  # fmt: skip


def _set_topology(topology: Topology, given: dict[str, str]) -> Topology:
    """Apply and remove the settings that are the topology's own."""
    if "underlay_mtu" not in given:
        return topology
    text = given.pop("underlay_mtu")
    if not re.fullmatch("[0-9]{4}", text) or not 1280 <= int(text) <= 9000:
        raise InputError(f"underlay_mtu cannot be '{text}'\n    allowed: 1280 to 9000")
    return replace(topology, underlay_mtu=int(text))


def _refuse_unknown(given: Mapping[str, str], overlay: Overlay, script: Script | None) -> None:
    """Refuse settings that are nobody's; what scenario, migration and topology took is not in ``given`` any more."""
    groups = {
        f"scenario {script.name}" if script else "": tuple(script.defaults) if script else (),
        "migration": MIGRATION_SETTINGS,
        f"overlay {overlay.name}": tuple(option.name for option in overlay.options),
        "topology": ("underlay_mtu",),
    }
    known = [name for names in groups.values() for name in names]
    unknown = [name for name in given if name not in known]
    if unknown:
        listed = "; ".join(f"{', '.join(names)} ({group})" for group, names in groups.items() if names)
        hint = did_you_mean(unknown[0], known)
        text = f"there is no setting '{unknown[0]}' here\n    allowed: {listed}"
        raise InputError(f"{text}\n    fix: {hint}" if hint else text)


def _wire(overlay: Overlay, inventory: Inventory, holders: Sequence[str], segments_at: str | None) -> Wiring:
    """The overlay's wishes for the switches, as the network wants to hear them."""
    topology = inventory.topology
    routed = ports.routed_segments(topology)
    return Wiring(
        ports={node.name: overlay.ports(inventory, node.name) for node in topology.vteps},
        legs={holder: tuple(zip(overlay.legs(inventory, holder), routed, strict=True)) for holder in holders},
        vm_ports={vm.name: overlay.vm_port(inventory, vm.hypervisor, vm) for vm in topology.vms},
        datapath_ids={node.name: ports.datapath_id(node) for node in topology.vteps},
        segments_at=segments_at,
        translator=overlay.translator(inventory.options),
        learns=overlay.learns(inventory.options),
    )


def need_machine(experiment: Experiment) -> None:
    """Refuse an experiment that this machine cannot run, before anything is started.

    Raises:
        MachineError: what is missing, and how to fix it.
    """
    need_tun()
    if experiment.wiring.translator:
        need_translators()


# -- in the sandbox ----------------------------------------------------------------------------


@dataclass
class Session:
    """A lab that is up, with everything that acts on it and measures it."""

    experiment: Experiment
    lab: Lab
    instruments: Instruments
    links: list[LinkReport]
    started: float  # seconds since the epoch
    up_s: float

    @property
    def network(self) -> Network:
        """The network of the lab."""
        return self.lab.network

    @property
    def controller(self) -> Controller:
        """The lab's controller."""
        return self.lab.controller


def bring_up(experiment: Experiment, progress: Progress) -> Session:
    """Build the network, start its control plane, and return when every flow is where it should be."""
    started = time.time()
    progress(experiment.mtu.consequence)
    controller = Controller(experiment.inventory)
    controller.start()
    built = Network(experiment.topology, experiment.underlay, experiment.wiring, controller.target, progress)

    def route(verb: str, prefix: str, switch: str) -> None:
        if verb == "advertise":
            built.advertise(prefix, switch)
        else:
            built.withdraw(prefix)

    controller.on_route = route
    measured: list[LinkReport] = []
    built.up(measure_links=lambda net: measured.extend(_measure_links(net, progress)))
    progress("waiting for the controller to program every switch")
    controller.wait_synced(built.switches_on(), built.interfaces_on())
    instruments = Instruments(experiment.topology, experiment.underlay, WORK, lambda: built.location, built.translated)
    migrator = Migrator(built, progress, controller.wait_wired)
    lab = Lab(built, migrator, controller, instruments, experiment.settings, experiment.migration, progress)
    up_s = time.time() - started
    progress(f"up in {up_s:.2f} s")
    return Session(experiment, lab, instruments, measured, started, up_s)


def _measure_links(built: Network, progress: Progress) -> list[LinkReport]:
    """What each impaired link really gives, before anything else uses it."""
    impaired = [cable.link for cable in built.cables.values() if cable.link.impaired]
    if not impaired:
        return []
    progress(f"measuring {len(impaired)} impaired links")
    ends = [f"{netns.path(port.node)}:{port.interface}" for link in impaired for port in link.ends()]
    return links.link_reports(netns.run("", [str(native_tool("linkprobe")), *ends]), impaired)


def run(experiment: Experiment, *, progress: Progress, record_all: bool = False) -> tuple[Result, Instruments]:
    """One scenario, from nothing to its result; ``down_s`` is for the launcher to fill in."""
    assert experiment.script is not None
    session = bring_up(experiment, progress)
    begin = time.time()
    session.instruments.start(record_all=record_all)
    experiment.script.run(session.lab)
    run_s = time.time() - begin
    progress("reading the recordings")
    session.instruments.finish()
    result = report(session, run_s)
    expect = Expect()
    experiment.script.check(result, expect)
    _check_lab(result, experiment.expectations, expect)
    return replace(result, expectations=[*expect.found]), session.instruments


def report(session: Session, run_s: float) -> Result:
    """Everything that was measured until now."""
    experiment, instruments, lab = session.experiment, session.instruments, session.lab
    origin = session.started + session.up_s
    records = lab.migrator.records
    moved = conclude.migrations(records, instruments, origin)
    found_paths = conclude.path_reports(instruments)
    flooded = conclude.bum(instruments, records, experiment.wiring.segments_at)
    hints = explain.notes(experiment.overlay.name, experiment.options, moved, found_paths, flooded)
    if not fits(experiment.mtu):
        hints = [experiment.mtu.consequence, *hints]
    return Result(
        lab=_lab_info(session),
        timing=Timing(round(session.up_s, 3), round(run_s, 3), 0.0),
        links=session.links,
        migrations=moved,
        paths=found_paths,
        wire=conclude.wire(instruments),
        mtu=experiment.mtu,
        entropy=instruments.entropy,
        loops=loops.loops(instruments.circles, instruments.streams),
        bum=flooded,
        control=_control(session, origin),
        state=state.states(session.network),
        notes=[*lab.notes, *hints, *(f"a switch refused: {text}" for text in session.controller.errors)],
        marks=[_mark(moment, origin) for moment in lab.moments],
        map=map_of(experiment.topology),
    )


def _lab_info(session: Session) -> LabInfo:
    experiment = session.experiment
    script = experiment.script
    hows = sorted({cable.how for cable in session.network.cables.values() if cable.link.impaired})
    return LabInfo(
        scenario=script.name if script else "",
        topology=experiment.topology.name,
        overlay=experiment.overlay.name,
        datapath="userspace",
        version=__version__,
        options={**experiment.options, **experiment.settings, "announce": experiment.migration.announce},
        started=datetime.fromtimestamp(session.started, UTC).isoformat(timespec="seconds"),
        kernel=platform.release(),
        impairment=", ".join(hows),
    )


def _control(session: Session, origin: float) -> Control:
    """Control messages by type, from the controller's own count of what it sent and received."""
    counted: dict[str, int] = {}
    for message in session.controller.messages:
        counted[message.type] = counted.get(message.type, 0) + 1
    near = [
        ControlMark(round(m.t - origin, 5), m.type, m.node, m.bytes)
        for m in session.controller.messages
        if any(r.started - _MARKED_S <= m.t <= r.ended + _MARKED_S for r in session.lab.migrator.records)
    ]
    return Control(counted, sum(m.bytes for m in session.controller.messages), near)


def _mark(moment: Moment, origin: float) -> Mark:
    return Mark(round(moment.start - origin, 4), moment.text)


def _check_lab(result: Result, expectations: Mapping[str, str], expect: Expect) -> None:
    """Hold what a lab file expects against the figures of the run."""
    for figure, condition in expectations.items():
        passed, detail = holds(result, figure, condition)
        expect(f"{figure} {condition}", passed, detail)


@contextmanager
def output_folder(out: Path | None, name: str) -> Iterator[Path | None]:
    """A folder to write results into, which replaces ``out`` only when everything is written.

    What was in ``out`` before and is not written anew stays there. Until the end nothing is made but one folder in
    ``out`` itself, or in the nearest folder above it that is there, so that moving its content crosses no mount.
    """
    if out is None:
        yield None
        return
    nearest = next(p for p in (out.absolute(), *out.absolute().parents) if p.is_dir())
    partial = nearest / f"{PARTIAL}{name}"
    partial.mkdir()
    try:
        yield partial
        out.mkdir(parents=True, exist_ok=True)
        for item in sorted(partial.rglob("*")):
            target = out / item.relative_to(partial)
            if item.is_dir():
                target.mkdir(exist_ok=True)
            else:
                item.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def failed(result: Result) -> list[Expectation]:
    """The expectations that do not hold."""
    return [e for e in result.expectations if not e.passed]
