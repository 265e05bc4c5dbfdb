"""What a lab is made of: sites, switches, routers, hypervisors, VMs, links, tenants.

A :class:`Topology` is the resolved form of a YAML file: every default filled in,
every shorthand expanded, every reference checked. It says nothing about how the
underlay forwards; that is :mod:`chimera.model.underlay`, which depends on the overlay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Self


class Kind(StrEnum):
    """What a node is called: in files, in addresses and in drawings. What it does is asked by :class:`Capability`."""

    SWITCH = "switch"  # physical switch
    ROUTER = "router"
    HYPERVISOR = "hypervisor"  # own Open vSwitch, hosts VMs
    GATEWAY = "gateway"  # own Open vSwitch, routes between segments and the underlay
    VM = "vm"
    BARE_METAL = "bare-metal"  # does not move
    CLIENT = "client"  # external: reaches VMs by IP, through a gateway


class Capability(StrEnum):
    """What a node can do, asked with ``node.can(…)``. One row each: its name, and the kinds that all can.

    What a file grants to one node only is added by that type's own ``can``.
    """

    kinds: frozenset[Kind]

    def __new__(cls, name: str, *kinds: Kind) -> Self:
        row = str.__new__(cls, name)
        row._value_ = name
        row.kinds = frozenset(kinds)
        return row

    RUN_VMS = "run-vms", Kind.HYPERVISOR
    SPEAK_OPENFLOW = "speak-openflow", Kind.HYPERVISOR, Kind.GATEWAY  # has br-int, and br-phy with its address
    TERMINATE_TUNNELS = "terminate-tunnels", Kind.HYPERVISOR, Kind.GATEWAY
    HOLD_GATEWAYS = "hold-gateways", Kind.GATEWAY  # be the default router of segments for all their VMs
    FORWARD_IP = "forward-ip", Kind.SWITCH, Kind.ROUTER  # pass on packets that are neither from it nor for it
    BRIDGE = "bridge", Kind.SWITCH, Kind.ROUTER  # learn MACs, 802.1Q, spanning tree
    ROUTE_FRAMES = "route-frames", Kind.SWITCH, Kind.ROUTER  # be within a fabric, not only at its edge
    MOVE = "move", Kind.VM
    JOIN_BY_CABLE = "join-by-cable", Kind.BARE_METAL  # be in a segment by its own cable, if switches carry it
    ENTER_BY_IP = "enter-by-ip", Kind.CLIENT  # come from outside to the VMs of external segments, through a gateway


_BLOCKS = {Kind.HYPERVISOR: 0x1000, Kind.GATEWAY: 0x2000, Kind.SWITCH: 0x3000, Kind.ROUTER: 0x4000}
NUMBERS = 0xFFF  # nodes of a kind whose numbers are their own


@dataclass(frozen=True, slots=True)
class Site:
    """A place: a data centre, a branch. ``name`` is unique in the topology."""

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """A tenant's virtual layer 2.

    ``vni`` (24 bits) and ``vlan`` (12 bits) are unique in the topology; subnets may overlap
    between tenants. ``gateway``/``gateway6`` are the default router's addresses without prefix
    length, empty where the segment has no router. ``external`` says whether clients outside
    reach it (then its subnets overlap no other external segment's).
    """

    name: str
    tenant: str
    vni: int
    vlan: int
    subnet: str
    gateway: str = ""
    gateway_mac: str = ""
    subnet6: str = ""
    gateway6: str = ""
    external: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """A switch, router, hypervisor or gateway of the underlay.

    ``role`` is ``leaf``, ``spine``, ``core`` or empty. ``memory_mb`` is what a hypervisor can
    give to VMs. ``index`` counts from 1 within the kind, in file order, and is what
    addresses and port numbers derive from.
    """

    name: str
    kind: Kind
    site: str
    index: int
    role: str = ""
    memory_mb: int = 0

    def can(self, capability: Capability) -> bool:
        """Whether this node can do that."""
        return self.kind in capability.kinds

    @property
    def number(self) -> int:
        """16 bits that no other node has, of whichever kind, up to :data:`NUMBERS` of each."""
        return _BLOCKS[self.kind] + self.index


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A workload or host with one interface: VM, bare-metal host or external client.

    VM: ``hypervisor`` is where it starts, ``segment`` is ``tenant/name``, ``mac``, ``ip``
    (with prefix length, as ``ip6``) are its own and move with it; ``memory_mb`` and
    ``dirty_mb_s`` drive the pre-copy; ``mobile`` marks the VM that scenarios move by default;
    ``port`` is its OpenFlow port number on whichever ``br-int`` it is plugged into.
    Bare-metal host: ``segment`` may be empty (then it is a host of the underlay, and where ``vtep`` says so one that
    terminates tunnels itself).
    Client: no segment; its address comes from the underlay plan.
    """

    name: str
    kind: Kind
    site: str
    index: int
    hypervisor: str = ""
    segment: str = ""
    mac: str = ""
    ip: str = ""
    ip6: str = ""
    port: int = 0
    memory_mb: int = 64
    dirty_mb_s: float = 1.0
    mobile: bool = False
    vtep: bool = False

    def can(self, capability: Capability) -> bool:
        """Whether this endpoint can do that: as all of its kind, or as its file says of this one."""
        return self.kind in capability.kinds or (self.vtep and capability is Capability.TERMINATE_TUNNELS)

    @property
    def joined_by_cable(self) -> bool:
        """True for a host in a segment to which its own cable leads, and no hypervisor."""
        return bool(self.segment) and self.can(Capability.JOIN_BY_CABLE)


MAX_BANDWIDTH_MBPS, MAX_DELAY_MS, MAX_LOSS_PERCENT = 400_000, 10_000, 100  # of an impairment


@dataclass(frozen=True, slots=True)
class Impairment:
    """What one direction of a link does to frames; ``bandwidth_mbps`` 0 means unlimited."""

    bandwidth_mbps: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss_percent: float = 0.0

    def __bool__(self) -> bool:
        return any((self.bandwidth_mbps, self.delay_ms, self.jitter_ms, self.loss_percent))


@dataclass(frozen=True, slots=True)
class Port:
    """One end of a link: node name and interface name (at most 15 characters, unique in the node)."""

    node: str
    interface: str

    def __str__(self) -> str:
        return f"{self.node}:{self.interface}"


@dataclass(frozen=True, slots=True)
class Link:
    """A cable between two underlay nodes, or a node and a bare-metal host or client.

    ``forward`` impairs frames from ``a`` to ``b``, ``backward`` from ``b`` to ``a``. ``mtu`` 0 means
    the underlay's. VMs have no :class:`Link`: they plug into their hypervisor's ``br-int``.
    """

    name: str
    a: Port
    b: Port
    forward: Impairment = Impairment()
    backward: Impairment = Impairment()
    mtu: int = 0

    @property
    def impaired(self) -> bool:
        """True where either direction delays, loses or limits frames."""
        return bool(self.forward) or bool(self.backward)

    def ends(self) -> tuple[Port, Port]:
        """Both ends, ``a`` first."""
        return self.a, self.b


@dataclass(frozen=True)
class Topology:
    """A whole network, resolved and checked.

    ``nodes`` holds switches, routers, hypervisors and gateways; ``endpoints`` VMs, bare-metal
    hosts and clients. Segments are keyed ``tenant/name`` through :meth:`segment`.
    """

    name: str
    description: str
    sites: tuple[Site, ...]
    nodes: tuple[Node, ...]
    endpoints: tuple[Endpoint, ...]
    segments: tuple[Segment, ...]
    links: tuple[Link, ...]
    underlay_mtu: int = 1600
    vm_mtu: int = 1500

    @cached_property
    def by_name(self) -> dict[str, Node | Endpoint]:
        """Every node and endpoint by name; names are unique across kinds."""
        nodes: dict[str, Node | Endpoint] = {node.name: node for node in self.nodes}
        return nodes | {endpoint.name: endpoint for endpoint in self.endpoints}

    @cached_property
    def _segments(self) -> dict[str, Segment]:
        return {f"{s.tenant}/{s.name}": s for s in self.segments}

    def segment(self, key: str) -> Segment:
        """The segment ``tenant/name``."""
        return self._segments[key]

    def segment_of(self, endpoint: Endpoint) -> Segment:
        """The segment an attached endpoint belongs to."""
        return self._segments[endpoint.segment]

    def nodes_that(self, capability: Capability) -> tuple[Node, ...]:
        """Underlay nodes that can do that, in file order."""
        return tuple(n for n in self.nodes if n.can(capability))

    def can(self, name: str, capability: Capability) -> bool:
        """Whether the node or endpoint of that name can do that; KeyError where there is none."""
        return self.by_name[name].can(capability)

    @cached_property
    def hypervisors(self) -> tuple[Node, ...]:
        """Every hypervisor, in file order."""
        return self.nodes_that(Capability.RUN_VMS)

    @cached_property
    def gateways(self) -> tuple[Node, ...]:
        """Every gateway node, in file order; the first one holds the central gateway."""
        return self.nodes_that(Capability.HOLD_GATEWAYS)

    @cached_property
    def openflow_switches(self) -> tuple[Node, ...]:
        """Nodes with a ``br-int`` that a controller programs: hypervisors, then gateways."""
        return self._hypervisors_first(Capability.SPEAK_OPENFLOW)

    @cached_property
    def vteps(self) -> tuple[Node, ...]:
        """Nodes of the lab that terminate tunnels: hypervisors, then others."""
        return self._hypervisors_first(Capability.TERMINATE_TUNNELS)

    def _hypervisors_first(self, capability: Capability) -> tuple[Node, ...]:
        return tuple(sorted(self.nodes_that(capability), key=lambda node: not node.can(Capability.RUN_VMS)))

    @cached_property
    def vms(self) -> tuple[Endpoint, ...]:
        """Every VM, in file order."""
        return tuple(e for e in self.endpoints if e.can(Capability.MOVE))

    @cached_property
    def clients(self) -> tuple[Endpoint, ...]:
        """Every external client, in file order."""
        return tuple(e for e in self.endpoints if e.can(Capability.ENTER_BY_IP))

    @cached_property
    def _vms(self) -> dict[str, Endpoint]:
        return {vm.name: vm for vm in self.vms}

    @cached_property
    def _vms_in(self) -> dict[str, list[Endpoint]]:
        found: dict[str, list[Endpoint]] = {}
        for vm in self.vms:
            found.setdefault(vm.segment, []).append(vm)
        return found

    @cached_property
    def _nodes(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    def vm(self, name: str) -> Endpoint:
        """The VM of that name; KeyError where there is none."""
        return self._vms[name]

    def vms_in(self, segment: str) -> Sequence[Endpoint]:
        """The VMs of the segment ``tenant/name``, in file order."""
        return self._vms_in.get(segment, ())

    def node(self, name: str) -> Node:
        """The underlay node of that name; KeyError where there is none."""
        return self._nodes[name]

    def site_of(self, name: str) -> str:
        """The site a node or endpoint stands at (for a VM: where it started)."""
        return self.by_name[name].site

    def links_of(self, name: str) -> Iterator[Link]:
        """Links with an end at the node."""
        return (link for link in self.links if name in (link.a.node, link.b.node))

    def inter_site_links(self) -> list[Link]:
        """Links whose ends stand at different sites: what ``wan_crossings`` and ``bum_frames`` count on."""
        return [k for k in self.links if self.site_of(k.a.node) != self.site_of(k.b.node)]
