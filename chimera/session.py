"""A lab from beginning to end: load → sandbox → build → overlay → probes → scenario → result.

This is the page to read first. :func:`prepare` does everything that can fail because of what the user wrote, and
starts nothing; :func:`run` and :func:`hold` are what the first process of the sandbox does.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from chimera import __version__, namespaces, share
from chimera.events import Journal, Stream, shown
from chimera.load import TOPOLOGY_SETTINGS, load_topology, take_settings
from chimera.measure import conclude, explain, fitness, links, loops, state
from chimera.measure.instruments import Instruments
from chimera.model.control import Inventory
from chimera.model.errors import InputError, MigrationAborted, did_you_mean
from chimera.model.events import (
    Checked,
    ControlMessages,
    Counters,
    Dropped,
    Event,
    LabUp,
    ServiceChanged,
    is_turning_point,
)
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
from chimera.model.samples import CpuTimes, LineTimes
from chimera.model.service import State, titled
from chimera.model.settings import MIGRATION_SETTINGS
from chimera.model.topology import Topology
from chimera.model.underlay import Underlay
from chimera.net import netns, network, processors
from chimera.net.controller import API, Controller
from chimera.net.machine import need_translators, need_tun
from chimera.net.network import Network, Wiring
from chimera.net.ovs import FOLDER as OVS_FOLDER
from chimera.net.services import Process, Supervisor
from chimera.net.tools import native_tool
from chimera.overlay import ports, registry
from chimera.overlay.base import Overlay, check_options
from chimera.overlay.mtu import fits, mtu_of, packet_limit
from chimera.report.folders import EVENTS
from chimera.report.maps import map_of
from chimera.scenario.figures import holds
from chimera.scenario.lab import Expect, Lab
from chimera.scenario.migration import Migrator, Settings
from chimera.scenario.scripts import Script, find_script, migration_settings
from chimera.underlay import plan

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
        ovsdb={node.name: str(OVS_FOLDER / node.name / "db.sock") for node in topology.openflow_switches},
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
        ports={node.name: overlay.ports(inventory, node.name) for node in topology.openflow_switches},
        legs={holder: tuple(zip(overlay.legs(inventory, holder), routed, strict=True)) for holder in holders},
        vm_ports={vm.name: overlay.vm_port(inventory, vm.hypervisor, vm) for vm in topology.vms},
        datapath_ids={node.name: ports.datapath_id(node) for node in topology.openflow_switches},
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
    stream: Stream
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


def bring_up(experiment: Experiment, stream: Stream) -> Session:
    """Build the network, start its control plane, and return when every flow is where it should be."""
    started = time.time()
    stream.say(experiment.mtu.consequence)
    services = Supervisor(lambda process: stream.tell(_service_changed(process)))
    controller = Controller(experiment.inventory, services=services, tell=stream.tell)
    controller.start()
    built = Network(
        experiment.topology, experiment.underlay, experiment.wiring, controller.target, stream.tell, services
    )

    def route(verb: str, prefix: str, switch: str) -> None:
        if verb == "advertise":
            built.advertise(prefix, switch)
        else:
            built.withdraw(prefix)

    controller.on_route = route
    measured: list[LinkReport] = []
    built.up(measure_links=lambda net: measured.extend(_measure_links(net, stream.say)))
    stream.say("waiting for the controller to program every switch")
    controller.wait_synced(built.switches_on(), built.interfaces_on())
    instruments = Instruments(
        experiment.topology, experiment.underlay, WORK, lambda: built.location, built.translated, services, stream.tell
    )
    wait_wired = controller.wait_wired if experiment.overlay.programs_vms else _wired_already
    migrator = Migrator(built, stream.tell, wait_wired, instruments.responding)
    controller.log.migrations = migrator.records
    lab = Lab(built, migrator, controller, instruments, experiment.settings, experiment.migration, stream.tell)
    up_s = time.time() - started
    topology, overlay, options = experiment.topology.name, experiment.overlay.name, experiment.options
    stream.tell(LabUp(topology, overlay, options, round(up_s, 3), __version__, t=started + up_s))
    return Session(experiment, lab, instruments, stream, measured, started, up_s)


def _service_changed(process: Process) -> ServiceChanged:
    """The event of what has just happened to a service."""
    service = process.service
    return ServiceChanged(
        service.node, service.name, process.state, process.detail, service.transient, t=process.since
    )  # fmt: skip


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
    stream = Stream()
    with shown(stream, progress), Journal(stream, WORK / EVENTS) as journal:
        return _run(experiment, stream, journal, record_all)


def _run(experiment: Experiment, stream: Stream, journal: Journal, record_all: bool) -> tuple[Result, Instruments]:
    assert experiment.script is not None
    experiment.script.load()
    session = bring_up(experiment, stream)
    begun = begin(session, record_all=record_all)
    cut_short = _play(experiment.script, session.lab)
    result = so_far(session, begun, journal, over=True)
    expect = Expect()
    _check(experiment.script, result, expect, cut_short)
    _check_lab(result, experiment.expectations, expect)
    for found in expect.found:
        stream.tell(Checked(found.name, found.passed, found.detail))
    return replace(result, expectations=[*expect.found]), session.instruments


@dataclass(frozen=True)
class Begun:
    """When measuring began, in seconds since the epoch, and what the machine had done by then."""

    time: float
    processors: CpuTimes
    lines: LineTimes


def begin(session: Session, *, record_all: bool = False) -> Begun:
    """Start to measure; with ``record_all`` every link is captured, too."""
    now = time.time()
    session.instruments.start(record_all=record_all)
    return Begun(now, processors.read(), session.network.line_times())


def so_far(session: Session, begun: Begun, journal: Journal, *, over: bool, outside_s: float = 0.0) -> Result:
    """Everything that was measured since then; where it is ``over``, nothing is recorded any more.

    ``outside_s`` is processor time of programs of the lab that were children of a process outside the sandbox, and so
    have left no trace in it when they ended, in seconds.
    """
    after = processors.read(), session.network.line_times()
    after = replace(after[0], own=after[0].own + outside_s), after[1]
    run_s = time.time() - begun.time
    session.stream.say("reading the recordings")
    if over:
        session.instruments.finish()
    else:
        session.instruments.flush()
    session.controller.settle()
    result = report(session, run_s, journal.read())
    machine = fitness.judge(begun.processors, begun.lines, *after, result.migrations)
    return replace(result, machine=machine)


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


def report(session: Session, run_s: float, told: Sequence[Event]) -> Result:
    """Everything that was measured until now, and what was ``told`` of it."""
    experiment, instruments, lab = session.experiment, session.instruments, session.lab
    origin = session.started + session.up_s
    records = lab.migrator.records
    moved = conclude.migrations(records, instruments, origin, told)
    found_paths = conclude.path_reports(instruments)
    flooded = conclude.bum(instruments, records, experiment.wiring.segments_at)
    on_the_wire = conclude.wire(instruments)
    hints = explain.notes(experiment.overlay.name, experiment.options, moved, found_paths, flooded, on_the_wire)
    if missed := sum(event.count for event in told if isinstance(event, Dropped)):
        hints.append(f"{missed} events came faster than they could be written down, and are not shown")
    failed = _failures(told, origin)
    held = state.states(session.network)
    for name, counted in held.items():
        session.stream.tell(Counters(name, asdict(counted)))
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
        control=_control(session, origin, told),
        state=held,
        notes=[*instruments.losses, *lab.notes, *hints, *failed, *session.controller.errors],
        marks=_marks(told, origin),
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


def _control(session: Session, origin: float, told: Iterable[Event]) -> Control:
    """Control messages by type, from the controller's own count of what it sent and received."""
    log = session.controller.log
    near = sorted((m for event in told if isinstance(event, ControlMessages) for m in event.near), key=lambda m: m.t)
    marks = [ControlMark(round(m.t - origin, 5), m.type, m.node, m.bytes) for m in near]
    return Control(dict(log.counts), log.bytes, marks)


def _failures(told: Iterable[Event], origin: float) -> list[str]:
    """A sentence on each time that a service ended on its own, and whether it was ready again."""
    sentences = []
    failed: dict[tuple[str, str], tuple[float, str]] = {}  # when it did first, and what was said last
    changes = (event for event in told if isinstance(event, ServiceChanged) and not event.transient)
    for event in changes:
        service = event.node, event.service
        if event.state is State.FAILED:
            first, _ = failed.pop(service, (event.t, ""))
            failed[service] = first, event.detail
        elif event.state in (State.READY, State.ENDED) and service in failed:
            first, detail = failed.pop(service)
            again = f", and was ready again {event.t - first:.2f} s later" if event.state is State.READY else ""
            sentences.append((first, service, detail, again))
    sentences += [(first, service, detail, "") for service, (first, detail) in failed.items()]
    return [
        f"{titled(*service)} ended on its own at {first - origin:.2f} s ({detail}){again}"
        for first, service, detail, again in sorted(sentences)
    ]


def _marks(told: Iterable[Event], origin: float) -> list[Mark]:
    """What was done to the lab since it was up, and what broke."""
    since = sorted(
        (event for event in told if event.t >= origin and is_turning_point(event)), key=lambda event: event.t
    )
    return [Mark(round(event.t - origin, 4), event.text) for event in since]


def _check_lab(result: Result, expectations: Mapping[str, str], expect: Expect) -> None:
    """Hold what a lab file expects against the figures of the run."""
    for figure, condition in expectations.items():
        passed, detail = holds(result, figure, condition)
        expect(f"{figure} {condition}", passed, detail)
