"""What a file says to what it means: the raw records become a :class:`~chimera.model.topology.Topology`."""

from __future__ import annotations

from chimera.load.expand import expand_shorthands
from chimera.load.links import build_links, check_connected, lay_cables, limit_links
from chimera.load.names import Names, by_kind, check_references, check_reserved, fill_uplinks
from chimera.load.problems import Problems, Spot
from chimera.load.records import Named, Table, first_said
from chimera.load.sites import declared_sites, place_nodes
from chimera.load.tables import (
    BareMetalRecord,
    DefaultsRecord,
    HypervisorRecord,
    SwitchRecord,
    TopologyRecord,
    VmRecord,
)
from chimera.load.tenancy import Tenancy, plan_tenancy
from chimera.load.tree import Yaml
from chimera.model.topology import Endpoint, Kind, Link, Node, Topology

_ROOM = 100  # bytes that any overlay's headers fit into
_ENDPOINTS = (Kind.VM, Kind.BARE_METAL, Kind.CLIENT)


def read_and_resolve(tree: Yaml, problems: Problems) -> Topology:
    """The topology that a tree describes. Raises as :func:`resolve` does."""
    raw: TopologyRecord | None = Table(TopologyRecord).read(tree, Spot(tree.place), problems)
    if raw is None:
        problems.raise_if_any()
    assert raw is not None  # None comes with a problem
    return resolve(raw, problems)


def resolve(raw: TopologyRecord, problems: Problems) -> Topology:
    """The topology that ``raw`` describes.

    Raises:
        TopologyError: with every problem of the file.
    """
    limit_links(raw, problems)
    raw = expand_shorthands(raw, problems)
    names = Names(raw, problems)
    raw = names.first_of_each(raw)
    check_references(raw, names)
    raw = fill_uplinks(raw, names, problems)
    sites = place_nodes(raw, problems)
    links = _links(raw, names, problems)
    tenancy = plan_tenancy(raw, _numbered_hosts(raw), problems)
    check_reserved(raw, tenancy.segments, problems)
    _check_memory(raw, problems)
    _check_mtu(raw, problems)
    _check_vteps(raw, problems)
    if not problems and not raw.hypervisors:
        problems.add(raw.at, "the file has no hypervisor", fix="add hypervisors: {hv1: {uplink: …}}")
    problems.raise_if_any()
    return Topology(
        name=raw.name or "",
        description=raw.description or "",
        sites=declared_sites(raw),
        nodes=_nodes(raw, sites),
        endpoints=_endpoints(raw, sites, tenancy),
        segments=tenancy.segments,
        links=links,
        underlay_mtu=_underlay_mtu(raw),
        vm_mtu=first_said("vm_mtu", raw),
    )


def _links(raw: TopologyRecord, names: Names, problems: Problems) -> tuple[Link, ...]:
    """All links; whether they join everything is asked only where nothing else is wrong so far."""
    cables = lay_cables(raw, names, problems)
    links = build_links(cables, _defaults(raw).link, names.kinds, problems)
    if not problems:
        check_connected(raw, cables, problems)
    return links


def _defaults(raw: TopologyRecord) -> DefaultsRecord:
    return raw.defaults or DefaultsRecord(at=raw.at)


def _numbered_hosts(raw: TopologyRecord) -> list[tuple[Kind, int, Named]]:
    """Every endpoint with its kind and its index within the kind."""
    kinds = [(kind, records) for kind, records in by_kind(raw) if kind in _ENDPOINTS]
    return [(kind, index, record) for kind, records in kinds for index, record in enumerate(records, 1)]


# -- checks over several tables ------------------------------------------------------------


def _check_memory(raw: TopologyRecord, problems: Problems) -> None:
    """Notes hypervisors whose VMs need more memory than they have."""
    used: dict[str, int] = {}
    for vm in raw.vms:
        if vm.hypervisor is not None:
            used[vm.hypervisor] = used.get(vm.hypervisor, 0) + _vm_memory(vm, raw)
    for hypervisor in raw.hypervisors:
        has, needs = _hypervisor_memory(hypervisor, raw), used.get(hypervisor.name, 0)
        if needs > has and "memory" not in hypervisor.bad:
            fix = f"memory: {needs} MB, or fewer or smaller VMs"
            message = f"the VMs of '{hypervisor.name}' need more memory than it has"
            problems.add(hypervisor.spot("memory"), message, found=f"{needs} MB", allowed=f"{has} MB", fix=fix)


def _vm_memory(vm: VmRecord, raw: TopologyRecord) -> int:
    return int(first_said("memory", vm, _defaults(raw).vm))


def _hypervisor_memory(hypervisor: HypervisorRecord, raw: TopologyRecord) -> int:
    return int(first_said("memory", hypervisor, _defaults(raw).hypervisor))


def _check_vteps(raw: TopologyRecord, problems: Problems) -> None:
    """Notes hosts that are to be on both sides of a VTEP."""
    for host in raw.bare_metal:
        if host.vtep and host.segment is not None:
            message = "a host in a segment is behind a VTEP, and is none itself"
            problems.add(host.spot("vtep"), message, fix="delete segment: or vtep:")


def _underlay_mtu(raw: TopologyRecord) -> int:
    """What the file says; else the default, or what leaves larger VMs' packets as much room."""
    if raw.underlay_mtu is not None:
        return raw.underlay_mtu
    return max(first_said("underlay_mtu", raw), first_said("vm_mtu", raw) + _ROOM)


def _check_mtu(raw: TopologyRecord, problems: Problems) -> None:
    """Notes an underlay that cannot carry a VM's packets even without an overlay's headers."""
    underlay, vm = _underlay_mtu(raw), first_said("vm_mtu", raw)
    if vm > underlay:
        spot = raw.spot("vm_mtu" if raw.vm_mtu is not None else "underlay_mtu")
        fix = f"underlay_mtu: {vm + _ROOM} leaves room for any overlay's headers"
        problems.add(spot, "VMs send larger packets than the underlay carries", found=f"{vm} over {underlay}", fix=fix)


# -- the model -----------------------------------------------------------------------------


def _nodes(raw: TopologyRecord, sites: dict[str, str]) -> tuple[Node, ...]:
    nodes = []
    for kind, records in by_kind(raw):
        if kind in _ENDPOINTS:
            continue
        for index, record in enumerate(records, 1):
            role = first_said("role", record) if isinstance(record, SwitchRecord) else ""
            memory = _hypervisor_memory(record, raw) if isinstance(record, HypervisorRecord) else 0
            nodes.append(Node(record.name, kind, sites[record.name], index, role, memory))
    return tuple(nodes)


def _endpoints(raw: TopologyRecord, sites: dict[str, str], tenancy: Tenancy) -> tuple[Endpoint, ...]:
    mobile = {vm.name for vm in raw.vms if vm.mobile} or {vm.name for vm in raw.vms[:1]}
    endpoints = []
    for kind, index, record in _numbered_hosts(raw):
        if isinstance(record, VmRecord):
            endpoints.append(_vm(record, index, raw, sites, tenancy, mobile=record.name in mobile))
        else:
            endpoints.append(_host(record, kind, index, sites, tenancy))
    return tuple(endpoints)


def _vm(
    record: VmRecord, index: int, raw: TopologyRecord, sites: dict[str, str], tenancy: Tenancy, *, mobile: bool
) -> Endpoint:
    hypervisor = record.hypervisor or ""
    return Endpoint(
        name=record.name,
        kind=Kind.VM,
        site=sites[hypervisor],
        index=index,
        hypervisor=hypervisor,
        segment=tenancy.members[record.name],
        mac=tenancy.mac[record.name],
        ip=tenancy.ip[record.name],
        ip6=tenancy.ip6.get(record.name, ""),
        port=index,
        memory_mb=_vm_memory(record, raw),
        dirty_mb_s=first_said("dirty_rate", record, _defaults(raw).vm),
        mobile=mobile,
    )


def _host(record: Named, kind: Kind, index: int, sites: dict[str, str], tenancy: Tenancy) -> Endpoint:
    """A bare-metal host or a client."""
    return Endpoint(
        name=record.name,
        kind=kind,
        site=sites[record.name],
        index=index,
        segment=tenancy.members.get(record.name, ""),
        mac=tenancy.mac[record.name],
        ip=tenancy.ip.get(record.name, ""),
        ip6=tenancy.ip6.get(record.name, ""),
        vtep=isinstance(record, BareMetalRecord) and bool(record.vtep),
    )
