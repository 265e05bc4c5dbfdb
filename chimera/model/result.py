"""The result of a run: what ``result.json`` holds and every report is drawn from.

Field names are the contract's (``design.md``); what is not there was not measured and is
``None``, never a made-up zero. Times in series are seconds since the start of the run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

_FROM = {"from_": "from"}  # a Python keyword, and what the contract calls it


@dataclass(frozen=True)
class LabInfo:
    """Which experiment this was."""

    scenario: str
    topology: str
    overlay: str
    datapath: str
    version: str
    options: dict[str, str] = field(default_factory=dict)
    started: str = ""  # ISO 8601, UTC
    kernel: str = ""
    impairment: str = ""  # "netem" or "delay line"


@dataclass(frozen=True)
class Timing:
    """Seconds to bring the lab up, run the scenario and take the lab down."""

    up_s: float
    run_s: float
    down_s: float


@dataclass(frozen=True)
class LinkReport:
    """What an impaired link was asked for and what it gave, one direction each.

    Keys: ``delay_ms``, ``jitter_ms``, ``loss_percent``, ``bandwidth_mbps``; ``direction`` is ``a->b`` by node names.
    """

    link: str
    direction: str
    asked: dict[str, float]
    got: dict[str, float | None]
    how: str = ""


@dataclass(frozen=True)
class Phase:
    """A stretch of a migration: ``reserve``, ``precopy 1`` …, ``stun``, ``move``, ``resume``, ``announce``."""

    name: str
    start_s: float
    end_s: float
    detail: str = ""


@dataclass(frozen=True)
class Series:
    """Probes around a migration for plotting: send time and round trip, ``None`` where unanswered."""

    sent_s: list[float]
    rtt_ms: list[float | None]


@dataclass(frozen=True)
class Vantage:
    """What one vantage point noticed of one migration.

    ``network_outage_ms`` is the outage minus the stun, signed, and exact to ± ``resolution_ms``: the interval of the
    probes and that of the heartbeat which measured the stun. ``machine_stall_ms`` is the longest time around the
    migration in which the machine did not run the prober, or outside the stun the process that answers it;
    ``unobserved_ms`` is how much of the outage beyond the stun was such time, and so is not known to be the network's.
    """

    name: str  # node that probes
    relation: str  # remote, neighbour, client, local
    stun_ms: float | None
    outage_ms: float
    network_outage_ms: float | None
    probes_sent: int
    probes_lost: int
    probes_duplicated: int
    misdelivered: int | None
    interval_ms: float
    gap_start_s: float
    gap_end_s: float
    series: Series | None = None
    resolution_ms: float | None = None
    machine_stall_ms: float | None = None
    unobserved_ms: float | None = None

    @property
    def network_least_ms(self) -> float | None:
        """What the network added for certain: without the time that nobody observed; None where it was not measured."""
        return None if self.network_outage_ms is None else self.network_outage_ms - (self.unobserved_ms or 0.0)

    @property
    def impossible(self) -> bool:
        """True where the silence was shorter than the stun by more than both are exact: something measured wrong."""
        return (
            self.network_outage_ms is not None
            and self.resolution_ms is not None
            and self.network_outage_ms < -self.resolution_ms
        )


@dataclass(frozen=True)
class Round:
    """One pre-copy round."""

    number: int
    megabytes: float
    seconds: float
    mbps: float


@dataclass(frozen=True)
class Migration:
    """One migration. Outage figures are those of the worst vantage point, counts are sums over all.

    ``stun_ms`` is the longest pause of a heartbeat inside the VM around its freezing: 0 where the migration was aborted
    before it froze the VM, ``None`` where no heartbeat was recorded. ``precopy_s`` and ``rounds`` include the round in
    which a migration was aborted, with the memory that had arrived. Of a VM that nobody probed there are neither
    outages nor counts. ``leaked`` are those of the ``misdelivered`` probes that came out in another segment, which
    flooding does not excuse; ``None`` where nobody listened in one.
    """

    vm: str
    source: str
    destination: str
    started_s: float
    precopy_s: float
    stun_ms: float | None
    outage_ms: float | None
    network_outage_ms: float | None
    probes_sent: int | None
    probes_lost: int | None
    probes_duplicated: int | None
    misdelivered: int | None
    tcp_survived: bool | None
    aborted: str = ""  # why it was rolled back; empty when it succeeded
    rounds: list[Round] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    vantage_points: list[Vantage] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)  # what went wrong after it had succeeded
    resolution_ms: float | None = None
    machine_stall_ms: float | None = None
    leaked: int | None = None


class PathReport(msgspec.Struct, frozen=True, rename=_FROM):
    """How packets of a flow travel at a moment (``when``: ``before``, ``after migration 1`` …).

    ``from_``/``to`` are nodes; ``hops`` the nodes visited; ``wan_crossings`` how often one request
    and its answer together crossed inter-site links, at the median over the probes looked at.
    """

    from_: str
    to: str
    when: str
    rtt_ms: float | None
    wan_crossings: float | None
    hops: list[str] = msgspec.field(default_factory=list)
    throughput_mbps: float | None = None
    packets: int = 0


@dataclass(frozen=True)
class Header:
    """One header of a captured frame: protocol, length and the fields that identify it."""

    name: str
    length_bytes: int
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wire:
    """A VM's frame on the wire, from a capture; ``stack`` ends with ``unknown`` where the lab cannot decode it."""

    stack: list[str] = field(default_factory=list)
    overhead_bytes: int | None = None
    headers: list[Header] = field(default_factory=list)
    link: str = ""
    frames: int = 0
    vm_frame_bytes: int | None = None
    wire_frame_bytes: int | None = None


@dataclass(frozen=True)
class Bum:
    """Broadcast, unknown-unicast and multicast copies on the inter-site links; None where they were not counted.

    ``undecoded`` frames there are in a format in which the lab cannot find the VM's frame: with any of them, the others
    are not counted. ``misdelivered_frames`` came to VMs' ports that they were not for.
    """

    wan_frames: int | None = None
    broadcast: int | None = None
    unknown_unicast: int | None = None
    multicast: int | None = None
    misdelivered_frames: int | None = None
    undecoded: int = 0


@dataclass(frozen=True)
class ControlMark:
    """A control message on the time axis."""

    t_s: float
    type: str
    node: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class Control:
    """Control-plane messages by type; ``marks`` are those near a migration."""

    messages: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    marks: list[ControlMark] = field(default_factory=list)


@dataclass(frozen=True)
class NodeState:
    """Forwarding state a node holds at the end of the run.

    ``fabric`` counts the entries of TRILL's or FabricPath's tables: ways to edges, trees, reverse paths, stations.
    """

    flows: int = 0
    macs: int = 0
    mappings: int = 0
    routes: int = 0
    fabric: int = 0


class Entropy(msgspec.Struct, frozen=True, rename=_FROM):
    """How many of the equal-cost paths between two VMs a number of flows used.

    ``available`` is how many there are by the topology, ``used`` how many of them captures saw flows on (None where no
    capture saw any flow). ``by_path`` counts the flows on each, a path being named by the nodes that not all equal-cost
    paths share (where there is only one, by all of its nodes).
    """

    from_: str
    to: str
    flows: int
    available: int
    used: int | None
    by_path: dict[str, int] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class Loop:
    """A forwarding loop that was made in the core, and what ended the frames in it.

    ``limit`` is the field that does (``ttl``, ``hop count``), ``started_at`` its value when frames entered: empty and
    None where no header that the lab knows has one. ``crossings_most`` and ``crossings_median`` are how often one frame
    crossed the looped link, over ``frames`` frames; None where none was seen. ``probes_arrived`` of those sent reached
    the target all the same, by a way around the loop. Bystanders are VMs on other hypervisors, probed meanwhile; what
    they lost is None where there were none. ``reachable_after``: the target could be reached when the loop was undone.
    """

    at: str
    link: str
    target: str
    limit: str
    started_at: int | None
    frames: int
    crossings_median: float | None
    crossings_most: int | None
    probes_sent: int = 0
    probes_arrived: int = 0
    bystanders_sent: int = 0
    bystanders_lost: int | None = None
    reachable_after: bool | None = None


@dataclass(frozen=True)
class Mtu:
    """Whether VMs' packets fit: MTUs of underlay and VMs, what the overlay adds to a VM's IP packet, and the rest.

    ``largest_vm_packet`` is the largest IP packet of a VM that the underlay carries whole.
    """

    underlay: int
    vm: int
    added_bytes: int
    largest_vm_packet: int
    consequence: str = ""


@dataclass(frozen=True)
class Machine:
    """What the machine was busy with while the scenario ran, and whether its figures can be relied on.

    ``busy_percent`` is of the processors' time, by whomever; ``foreign_percent`` is what processes used that are not
    this lab's, ``stolen_percent`` what the host of a virtual machine gave to others. ``waiting_percent`` is the share
    of the time in which at least one process was ready and had no processor. ``late_percent`` of the frames in delay
    lines left more than a millisecond late; ``late_max_ms`` is the latest since the lab was up. ``stall_ms`` is the
    longest ``machine_stall_ms`` of a migration. None is what this kernel or scenario does not tell. ``unfit`` has the
    reasons why the figures of the run cannot be relied on; none: they can.
    """

    processors: int
    busy_percent: float | None = None
    foreign_percent: float | None = None
    stolen_percent: float | None = None
    waiting_percent: float | None = None
    late_percent: float | None = None
    late_max_ms: float | None = None
    stall_ms: float | None = None
    unfit: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Expectation:
    """A claim the scenario makes about its figures, and how it came out."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class MapNode:
    """A node of the drawn topology; ``parent`` is the hypervisor of a VM (where it started)."""

    name: str
    kind: str
    site: str
    role: str = ""
    parent: str = ""
    tenant: str = ""
    segment: str = ""


@dataclass(frozen=True)
class MapLink:
    """A link of the drawn topology."""

    name: str
    a: str
    b: str
    label: str = ""
    inter_site: bool = False


@dataclass(frozen=True)
class Map:
    """The topology as a drawing needs it, so that an old result renders without a network."""

    sites: list[str] = field(default_factory=list)
    nodes: list[MapNode] = field(default_factory=list)
    links: list[MapLink] = field(default_factory=list)


@dataclass(frozen=True)
class Mark:
    """Something the scenario did that is not a migration: a link cut, a controller stopped."""

    t_s: float
    text: str


@dataclass(frozen=True)
class Result:
    """Everything a run found out."""

    lab: LabInfo
    timing: Timing
    links: list[LinkReport] = field(default_factory=list)
    migrations: list[Migration] = field(default_factory=list)
    paths: list[PathReport] = field(default_factory=list)
    wire: Wire = Wire()
    mtu: Mtu | None = None
    entropy: Entropy | None = None
    loops: list[Loop] = field(default_factory=list)
    bum: Bum = Bum()
    control: Control = Control()
    state: dict[str, NodeState] = field(default_factory=dict)
    expectations: list[Expectation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was worse and why; how figures were obtained
    marks: list[Mark] = field(default_factory=list)
    captures: list[str] = field(default_factory=list)
    map: Map = Map()
    machine: Machine | None = None

    @property
    def fit(self) -> bool:
        """False where the machine is known to have been too busy for the run."""
        return self.machine is None or not self.machine.unfit

    @property
    def passed(self) -> bool:
        """True where every expectation holds."""
        return all(e.passed for e in self.expectations)

    def wan_round_trip_ms(self) -> float:
        """The longest round trip that one inter-site link was asked for; 0 where none is impaired."""
        between = {link.name for link in self.map.links if link.inter_site}
        trips: dict[str, float] = {}
        for link in self.links:
            if link.link in between:
                trips[link.link] = trips.get(link.link, 0.0) + link.asked.get("delay_ms", 0.0)
        return max(trips.values(), default=0.0)
