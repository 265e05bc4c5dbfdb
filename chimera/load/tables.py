"""The topology language: every key of every kind, with its type, default and meaning.

``hv[1-8]`` as a name stands for eight; a reference written as a range spreads over them in blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chimera.load.problems import Problems, Spot
from chimera.load.ranges import PerName, Spread
from chimera.load.records import Named, NamedTable, Record, Table, key
from chimera.load.tree import Yaml, YamlList, YamlMap
from chimera.load.units import BANDWIDTH, DELAY, DIRTY_RATE, LOSS, MEMORY
from chimera.load.values import (
    FLAG,
    LONG_NAME,
    MAC,
    SEGMENT_REF,
    SENTENCE,
    ListOf,
    Schema,
    Type,
    address,
    choice,
    number,
    prefix,
    quantity,
    reference,
)

MTU = number(1280, 9200)  # RFC 8200, section 5, to what the userspace delay line carries
MAX_VMS, MAX_HYPERVISORS, MAX_SWITCHES, MAX_LINKS, MAX_SEGMENTS = 10_000, 1_000, 500, 20_000, 1_000

# -- links ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ImpairmentKeys(Record):
    """What a link does to the frames that cross it."""

    bandwidth: float | None = key(quantity(BANDWIDTH), "how much the link carries", default=0.0)
    delay: float | None = key(quantity(DELAY), "time from one end to the other, one way", default=0.0)
    jitter: float | None = key(quantity(DELAY), "how far the delay strays to either side", default=0.0)
    loss: float | None = key(quantity(LOSS), "share of the frames that get lost", default=0.0)


@dataclass(frozen=True, kw_only=True)
class LinkDefaults(ImpairmentKeys):
    """What holds for every link that does not say otherwise."""

    mtu: int | None = key(MTU, "largest IP packet on the link, in bytes; the underlay's where not said", default=0)


@dataclass(frozen=True, kw_only=True)
class LinkKeys(LinkDefaults):
    """A link, as far as its ends are known otherwise."""

    name: str | None = key(LONG_NAME, "what the link is called; a--b where not said", single=True)
    forward: ImpairmentKeys | None = key(Table(ImpairmentKeys), "from the first to the second node only")
    backward: ImpairmentKeys | None = key(Table(ImpairmentKeys), "from the second to the first node only")


@dataclass(frozen=True, kw_only=True)
class LinkRecord(LinkKeys):
    """An entry of ``links``."""

    between: tuple[Spread, ...] = key(
        ListOf(reference("the name of a switch or router, or a range of them"), whole=True),
        "the two nodes; of ranges, every pair",
        required=True,
    )


@dataclass(frozen=True, kw_only=True)
class UplinkRecord(LinkKeys):
    """An uplink with link properties; forward is upwards."""

    to: Any = key(reference("the name of a switch or router"), "the node this one is plugged into", required=True)


@dataclass(frozen=True)
class Uplink:
    """One cable upwards: where to, and what was said about it."""

    to: str
    keys: UplinkRecord


@dataclass(frozen=True)
class _Uplinks(PerName):
    """The uplinks written for a range of names: each name gets its part of a single one, and all of a list."""

    records: tuple[UplinkRecord, ...]
    spread: bool

    @property
    def count(self) -> int:
        return self.records[0].to.count if self.spread and self.records else 1

    def pick(self, index: int, total: int) -> tuple[Uplink, ...]:
        if self.spread:
            return tuple(Uplink(record.to.pick(index, total), record) for record in self.records)
        return tuple(Uplink(name, record) for record in self.records for name in record.to.names)


@dataclass(frozen=True)
class _UplinkType(Type):
    """A name, or a name with link properties, or (``many``) a list of them; the value is a tuple of uplinks."""

    many: bool
    empty: Any = ()

    @property
    def allowed(self) -> str:
        name = "the name of a switch or router, or {to: name, delay: …}"
        return f"{name}, or a list of them" if self.many else name

    def read(self, node: Yaml, spot: Spot, problems: Problems) -> Any:
        if not isinstance(node, YamlList):
            record = self._one(node, spot, problems)
            return record and _Uplinks((record,), spread=True)
        if not self.many:
            problems.add(spot.at(node.place), "exactly one uplink is expected", found="a list", allowed=self.allowed)
            return None
        records = [self._one(item, spot.at(item.place), problems) for item in node.items]
        good = tuple(record for record in records if record)
        if (count := sum(record.to.count for record in good)) > 2 * MAX_SWITCHES:
            problems.add(spot, "more uplinks than a file can have nodes for", found=str(count))
            return None
        return _Uplinks(good, spread=False) if len(good) == len(records) else None

    def _one(self, node: Yaml, spot: Spot, problems: Problems) -> UplinkRecord | None:
        if isinstance(node, YamlMap):
            record: UplinkRecord = Table(UplinkRecord).read(node, spot, problems)
            return record if record.to is not None else None
        to = reference(self.allowed).read(node, spot, problems)
        return to and UplinkRecord(at=spot.at(node.place), to=to)

    def schema(self) -> Schema:
        one: list[Schema] = [reference("").schema(), {"$ref": "#/$defs/uplink"}]
        return {"anyOf": [*one, {"type": "array", "items": {"anyOf": one}}] if self.many else one}


_SITE_DOC = "where it stands; where its uplink stands, if not said"


def _site() -> Any:
    return key(reference("the name of a site"), _SITE_DOC)


# -- the underlay --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SiteRecord(Named):
    """A place: a data centre, a branch."""

    description: str | None = key(SENTENCE, "what a reader should know about it", default="")


@dataclass(frozen=True, kw_only=True)
class NodeRecord(Named):
    """What all nodes with uplinks share."""

    site: str | None = _site()
    uplink: tuple[Uplink, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RouterRecord(NodeRecord):
    """A router."""

    uplink: tuple[Uplink, ...] = key(_UplinkType(many=True), "routers and switches it is plugged into")


@dataclass(frozen=True, kw_only=True)
class SwitchRecord(NodeRecord):
    """A physical switch."""

    role: str | None = key(choice("leaf", "spine", "core"), "its part in the fabric", default="")
    uplink: tuple[Uplink, ...] = key(_UplinkType(many=True), "routers and switches it is plugged into")


def _single_uplink() -> Any:
    return key(_UplinkType(many=False), "the switch or router it is plugged into; the only one, if not said")


@dataclass(frozen=True, kw_only=True)
class HypervisorDefaults(Record):
    """What holds for every hypervisor that does not say otherwise."""

    memory: float | None = key(quantity(MEMORY), "what it can give to VMs", default=16384)


@dataclass(frozen=True, kw_only=True)
class HypervisorRecord(NodeRecord, HypervisorDefaults):
    """A hypervisor."""

    uplink: tuple[Uplink, ...] = _single_uplink()


@dataclass(frozen=True, kw_only=True)
class GatewayRecord(NodeRecord):
    """A node that routes between segments and the underlay; the first one holds the central gateway."""

    uplink: tuple[Uplink, ...] = _single_uplink()


# -- tenants and what is in them -----------------------------------------------------------


_GATEWAY_DOC = "the default router's address; auto is the first of the subnet"
_GATEWAY6_DOC = "the same for IPv6; auto, if not said, where there are a gateway and a subnet6"


@dataclass(frozen=True, kw_only=True)
class SegmentRecord(Named):
    """A tenant's virtual layer 2."""

    subnet: str | None = key(prefix(4, 8, 30, "auto"), "IPv4 subnet", default="auto", single=True)
    subnet6: str | None = key(prefix(6, 16, 126, "auto", "none"), "IPv6 subnet", default="none", single=True)
    gateway: str | None = key(address(4, "auto", "none"), _GATEWAY_DOC, default="none", single=True)
    gateway6: str | None = key(address(6, "auto", "none"), _GATEWAY6_DOC, single=True)
    external: bool | None = key(FLAG, "whether clients outside reach it; needs a gateway", default=False)
    vni: int | None = key(number(1, 2**24 - 1), "VXLAN network identifier; 10001 and up, if not said", single=True)
    vlan: int | None = key(number(1, 4094), "VLAN identifier; 101 and up, if not said", single=True)


@dataclass(frozen=True, kw_only=True)
class TenantRecord(Named):
    """A tenant."""

    segments: tuple[SegmentRecord, ...] = key(
        NamedTable(SegmentRecord, MAX_SEGMENTS), "its virtual layer 2s", required=True
    )


@dataclass(frozen=True, kw_only=True)
class VmDefaults(Record):
    """What holds for every VM that does not say otherwise."""

    memory: float | None = key(quantity(MEMORY), "its memory, all of which a migration copies", default=64)
    dirty_rate: float | None = key(quantity(DIRTY_RATE), "how fast it writes to its memory", default=1.0)


@dataclass(frozen=True, kw_only=True)
class Attached(Named):
    """What VMs and bare-metal hosts share."""

    segment: str | None = None
    ip: str | None = key(address(4), "its IPv4 address; from .11 of the subnet on, if not said", single=True)
    ip6: str | None = key(address(6), "its IPv6 address; from ::11 of the subnet6 on, if not said", single=True)
    mac: str | None = key(MAC, "its MAC address; 02:00:00:… if not said", single=True)


@dataclass(frozen=True, kw_only=True)
class VmRecord(Attached, VmDefaults):
    """A virtual machine."""

    hypervisor: str | None = key(reference("the name of a hypervisor"), "the hypervisor it starts on", required=True)
    segment: str | None = key(SEGMENT_REF, "the segment it is plugged into; the only one, if not said")
    mobile: bool | None = key(FLAG, "whether scenarios move it; the first VM, if none is", default=False)


@dataclass(frozen=True, kw_only=True)
class BareMetalRecord(NodeRecord, Attached):
    """A host that does not move."""

    uplink: tuple[Uplink, ...] = _single_uplink()
    segment: str | None = key(SEGMENT_REF, "the segment it is plugged into; the underlay, if not said")
    vtep: bool | None = key(FLAG, "whether it terminates tunnels, which hypervisors take from it", default=False)


@dataclass(frozen=True, kw_only=True)
class ClientRecord(NodeRecord):
    """An external client: reaches VMs by IP, through a gateway."""

    uplink: tuple[Uplink, ...] = _single_uplink()


# -- the file ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DefaultsRecord(Record):
    """What holds where a node or link does not say otherwise."""

    link: LinkDefaults | None = key(Table(LinkDefaults), "for every link")
    hypervisor: HypervisorDefaults | None = key(Table(HypervisorDefaults), "for every hypervisor")
    vm: VmDefaults | None = key(Table(VmDefaults), "for every VM")


@dataclass(frozen=True, kw_only=True)
class LeafSpineRecord(Record):
    """Shorthand for a fabric: spine1 …, leaf1 … plugged into every spine, hv1 …, vm1 …."""

    spines: int | None = key(number(1, 64), "how many spines", required=True)
    leaves: int | None = key(number(1, 400), "how many leaves, each plugged into every spine", required=True)
    hypervisors_per_leaf: int | None = key(number(0, 1000), "how many hypervisors under each leaf", default=1)
    vms_per_hypervisor: int | None = key(number(0, 1000), "how many VMs start on each hypervisor", default=1)
    segments: int | None = key(number(1, 200), "how many segments the VMs take turns in", default=1)
    site: Spread | None = key(reference("the name of a site"), "where all of it stands; the only site, if not said")


def _of(record: type[Named], limit: int, doc: str) -> Any:
    return key(NamedTable(record, limit), doc)


@dataclass(frozen=True, kw_only=True)
class TopologyRecord(Record):
    """A topology file."""

    name: str | None = key(LONG_NAME, "what the topology is called", required=True)
    description: str | None = key(SENTENCE, "what it shows, in one sentence", default="")
    sites: tuple[SiteRecord, ...] = _of(SiteRecord, 100, "places: data centres, branches; site1, if none is named")
    routers: tuple[RouterRecord, ...] = _of(RouterRecord, MAX_SWITCHES, "routers of the underlay")
    switches: tuple[SwitchRecord, ...] = _of(SwitchRecord, MAX_SWITCHES, "physical switches")
    hypervisors: tuple[HypervisorRecord, ...] = _of(HypervisorRecord, MAX_HYPERVISORS, "hosts with an Open vSwitch")
    gateways: tuple[GatewayRecord, ...] = _of(GatewayRecord, 16, "nodes that route between segments and the underlay")
    tenants: tuple[TenantRecord, ...] = _of(TenantRecord, 1000, "tenants and their segments; one of each, if none is")
    vms: tuple[VmRecord, ...] = _of(VmRecord, MAX_VMS, "virtual machines")
    bare_metal: tuple[BareMetalRecord, ...] = _of(BareMetalRecord, 1000, "hosts that do not move")
    clients: tuple[ClientRecord, ...] = _of(ClientRecord, 1000, "external clients, which reach VMs through a gateway")
    links: tuple[LinkRecord, ...] = key(
        ListOf(Table(LinkRecord)), "further links between switches and routers, and properties of those uplinks made"
    )
    leaf_spine: LeafSpineRecord | None = key(Table(LeafSpineRecord), "shorthand for a leaf-spine fabric of any size")
    underlay_mtu: int | None = key(
        MTU, "largest IP packet of the physical network, in bytes; at least vm_mtu + 100 where not said", default=1600
    )
    vm_mtu: int | None = key(number(1280, 9000), "largest IP packet of a VM, in bytes", default=1500)
    defaults: DefaultsRecord | None = key(Table(DefaultsRecord), "what holds where nothing else is said")
