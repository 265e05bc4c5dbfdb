"""A lab from beginning to end: load → sandbox → build → overlay → probes → scenario → result.

This is the page to read first. :func:`prepare` does everything that can fail because of what the user wrote, and
starts nothing; :func:`run` and :func:`hold` are what the first process of the sandbox does.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from chimera import __version__, namespaces, share
from chimera.load import TOPOLOGY_SETTINGS, load_topology, take_settings
from chimera.measure import conclude, explain, fitness, links, loops, state
from chimera.measure.instruments import Instruments
from chimera.model.control import Inventory
from chimera.model.errors import InputError, MigrationAborted, did_you_mean
from chimera.model.record import Moment
from chimera.model.result import (
    Control,
    ControlMark,
    LabInfo,
    LinkReport,
    Mark,
    Mtu,
    Result,
    Timing,
)
from chimera.model.settings import MIGRATION_SETTINGS
from chimera.model.topology import Topology
from chimera.model.underlay import Underlay
from chimera.net import netns, network, plan, processors
from chimera.net.controller import API, Controller
from chimera.net.machine import need_translators, need_tun
from chimera.net.network import Network, Wiring
from chimera.net.ovs import FOLDER as OVS_FOLDER
from chimera.net.tools import native_tool
from chimera.overlay import ports, registry
from chimera.overlay.base import Overlay, check_options
from chimera.overlay.mtu import fits, mtu_of, packet_limit
from chimera.report.maps import map_of
from chimera.scenario.figures import holds
from chimera.scenario.lab import Expect, Lab
from chimera.scenario.migration import Migrator, Settings
from chimera.scenario.scripts import Script, find_script, migration_settings

OPENFLOW_PORT = 6653
WORK = Path("/run/lab")  # in the sandbox: its own memory

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
    """Load and check a topology, an overlay, a scenario and their settings; nothing is started, no script is run.

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
    topology = take_settings(topology, given)
    for_script = script.take_settings(given) if script else {}
    if script:
        script.check_settings(for_script, topology)
    migration = migration_settings(given)
    _refuse_unknown(given, overlay, script)
    options = check_options(overlay, given)
    forwarding = overlay.forwarding(options)
    network.check(topology, forwarding, overlay.name)
    holders = overlay.gateway_holders(topology, options)
    segments_at = holders[0] if len(holders) == 1 else None
    underlay = plan.plan(topology, forwarding, segments_at=segments_at, fabric=overlay.fabric)
    mtu = mtu_of(topology, overlay, options)
    inventory = Inventory(
        topology=topology,
        underlay=underlay,
        overlay=str(Path(overlay_name).resolve()) if overlay_name.endswith(".py") else overlay.name,
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


def _refuse_unknown(given: Mapping[str, str], overlay: Overlay, script: Script | None) -> None:
    """Refuse settings that are nobody's; what scenario, migration and topology took is not in ``given`` any more."""
    groups = {
        f"scenario {script.name}" if script else "": tuple(script.defaults) if script else (),
        "migration": MIGRATION_SETTINGS,
        f"overlay {overlay.name}": tuple(option.name for option in overlay.options),
        "topology": tuple(TOPOLOGY_SETTINGS),
    }
    known = [name for names in groups.values() for name in names]
    unknown = [name for name in given if name not in known]
    if unknown:
        listed = "; ".join(f"{', '.join(names)} ({group})" for group, names in groups.items() if names)
        hint = did_you_mean(unknown[0], known)
        text = f"unknown setting '{unknown[0]}'\n    allowed: {listed}"
        raise InputError(f"{text}\n    fix: {hint}" if hint else text)


def _wire(overlay: Overlay, inventory: Inventory, holders: Sequence[str], segments_at: str | None) -> Wiring:
    """The overlay's wishes for the switches, in the network's terms."""
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


def rehearse(experiment: Experiment) -> None:
    """Refuse what only the script itself can tell: that it cannot be loaded, or has nothing to show on this network.

    Raises:
        InputError: why.
    """
    if experiment.script:
        experiment.script.rehearse(experiment.topology, experiment.underlay)


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
    wait_wired = controller.wait_wired if experiment.overlay.programs_vms else _wired_already
    migrator = Migrator(built, progress, wait_wired, instruments.responding)
    controller.log.migrations = migrator.records
    lab = Lab(built, migrator, controller, instruments, experiment.settings, experiment.migration, progress)
    up_s = time.time() - started
    progress(f"up in {up_s:.2f} s")
    return Session(experiment, lab, instruments, measured, started, up_s)


def _wired_already(interface: str, switch: str) -> str:
    """Where switches learn, nobody has to program them for an interface."""
    return ""


def _measure_links(built: Network, progress: Progress) -> list[LinkReport]:
    """What each impaired link really gives, before anything else uses it."""
    impaired = [cable.link for cable in built.cables.values() if cable.link.impaired]
    if not impaired:
        return []
    progress(f"measuring {len(impaired)} impaired links")
    ends = [f"{namespaces.path(port.node)}:{port.interface}" for link in impaired for port in link.ends()]
    return links.link_reports(netns.run("", [str(native_tool("linkprobe")), *ends]), impaired)


def run(experiment: Experiment, *, progress: Progress, record_all: bool = False) -> tuple[Result, Instruments]:
    """One scenario, from nothing to its result; ``down_s`` is for the launcher to fill in."""
    assert experiment.script is not None
    experiment.script.load()
    session = bring_up(experiment, progress)
    begin = time.time()
    session.instruments.start(record_all=record_all)
    before = processors.read(), session.network.line_times()
    cut_short = _play(experiment.script, session.lab)
    after = processors.read(), session.network.line_times()
    run_s = time.time() - begin
    progress("reading the recordings")
    session.instruments.finish()
    result = report(session, run_s)
    result = replace(result, machine=fitness.judge(*before, *after, result.migrations))
    expect = Expect()
    _check(experiment.script, result, expect, cut_short)
    _check_lab(result, experiment.expectations, expect)
    return replace(result, expectations=[*expect.found]), session.instruments


def _play(script: Script, lab: Lab) -> str:
    """Run a scenario; the text says why it ended before its end, which is a result like any other."""
    try:
        script.run(lab)
    except MigrationAborted as error:
        return str(error)
    return ""


def _check(script: Script, result: Result, expect: Expect, cut_short: str) -> None:
    """Hold what a scenario expects against its result, as far as one that was cut short has it."""
    if not cut_short:
        script.check(result, expect)
        return
    expect("the scenario went on to its end", False, cut_short)
    try:
        script.check(result, expect)
    except Exception as error:  # it looks for what did not happen any more
        expect("everything that is expected was there to be looked at", False, f"{type(error).__name__}: {error}")


def report(session: Session, run_s: float) -> Result:
    """Everything that was measured until now."""
    experiment, instruments, lab = session.experiment, session.instruments, session.lab
    origin = session.started + session.up_s
    records = lab.migrator.records
    moved = conclude.migrations(records, instruments, origin)
    found_paths = conclude.path_reports(instruments)
    flooded = conclude.bum(instruments, records, experiment.wiring.segments_at)
    on_the_wire = conclude.wire(instruments)
    hints = explain.notes(experiment.overlay.name, experiment.options, moved, found_paths, flooded, on_the_wire)
    if session.controller.log.forgotten:
        count = session.controller.log.forgotten
        hints.append(f"{count} control messages near migrations are counted, and too many to be shown one by one")
    refused = [f"a switch refused: {text}" for text in session.controller.errors]
    if not fits(experiment.mtu):
        hints = [experiment.mtu.consequence, *hints]
    return Result(
        lab=_lab_info(session),
        timing=Timing(round(session.up_s, 3), round(run_s, 3), 0.0),
        links=session.links,
        migrations=moved,
        paths=found_paths,
        wire=on_the_wire,
        mtu=experiment.mtu,
        entropy=instruments.entropy,
        loops=loops.loops(instruments.circles, instruments.streams),
        bum=flooded,
        control=_control(session, origin),
        state=state.states(session.network),
        notes=[*instruments.losses, *lab.notes, *hints, *refused],
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
    log = session.controller.log
    near = [ControlMark(round(m.t - origin, 5), m.type, m.node, m.bytes) for m in log.near()]
    return Control(dict(log.counts), log.bytes, near)


def _mark(moment: Moment, origin: float) -> Mark:
    return Mark(round(moment.start - origin, 4), moment.text)


def _check_lab(result: Result, expectations: Mapping[str, str], expect: Expect) -> None:
    """Hold what a lab file expects against the figures of the run."""
    for figure, condition in expectations.items():
        passed, detail = holds(result, figure, condition)
        expect(f"{figure} {condition}", passed, detail)
