"""Who is who: names are unique across kinds, and every reference meets a node of the right kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from chimera.load.problems import Problems, Spot, listed
from chimera.load.records import Named
from chimera.load.tables import NodeRecord, TopologyRecord, Uplink, UplinkRecord
from chimera.model.errors import did_you_mean
from chimera.model.ports import CONTROLLER, INTERFACES, leg_name
from chimera.model.topology import Kind, Segment

_N = TypeVar("_N", bound=NodeRecord)

FABRIC = (Kind.SWITCH, Kind.ROUTER)  # what an uplink can lead to


_TABLES = {
    Kind.ROUTER: "routers",
    Kind.SWITCH: "switches",
    Kind.HYPERVISOR: "hypervisors",
    Kind.GATEWAY: "gateways",
    Kind.VM: "vms",
    Kind.BARE_METAL: "bare_metal",
    Kind.CLIENT: "clients",
}


def by_kind(raw: TopologyRecord) -> Iterator[tuple[Kind, tuple[Named, ...]]]:
    """Every kind with its records, in the order in which links and interfaces are numbered."""
    for kind, table in _TABLES.items():
        yield kind, getattr(raw, table)


def plugged(raw: TopologyRecord) -> Iterator[tuple[Kind, NodeRecord]]:
    """Every record that has cables, with its kind: all but VMs."""
    for kind, records in by_kind(raw):
        yield from ((kind, record) for record in records if isinstance(record, NodeRecord))


class Names:
    """The names of a file and what they stand for. Nothing is said against names of a table that could not be read."""

    def __init__(self, raw: TopologyRecord, problems: Problems) -> None:
        self._problems = problems
        self._unread = {kind for kind, _ in by_kind(raw) if _TABLES[kind] in raw.bad}
        self.kinds: dict[str, Kind] = {}
        spots: dict[str, Spot] = {}
        for kind, records in by_kind(raw):
            for record in records:
                if record.name in self.kinds:
                    self._refuse_second(record, kind, spots[record.name])
                else:
                    self.kinds[record.name], spots[record.name] = kind, record.at

    def _refuse_second(self, record: Named, kind: Kind, first: Spot) -> None:
        message = f"the name '{record.name}' is taken: {_a(self.kinds[record.name])} has it, in line {first.place.line}"
        fix = f"give the {_label(kind)} another name"
        self._problems.add(record.at, message, found=record.name, fix=fix)

    def of(self, *kinds: Kind) -> list[str]:
        """The names of nodes of these kinds."""
        return [name for name, kind in self.kinds.items() if kind in kinds]

    def check(self, name: str, spot: Spot, *kinds: Kind) -> bool:
        """Whether ``name`` is a node of one of these kinds; notes a problem, which names the first two, where not."""
        kind = self.kinds.get(name)
        if kind in kinds or self._unread.intersection(kinds):
            return kind in kinds
        wanted = " or ".join(map(_label, kinds[:2]))
        message = f"'{name}' is {_a(kind)}, not a {wanted}" if kind else f"there is no {wanted} '{name}'"
        known = self.of(*kinds[:2]) if self._problems.hears(spot, name) else []
        fix = did_you_mean(name, known) or ("" if kind else f"declare it under {_TABLES[kinds[0]]}:")
        allowed = listed(known) or f"none: the file has no {wanted}"
        self._problems.add(spot, message, found=name, allowed=allowed, fix=fix)
        return False

    def first_of_each(self, raw: TopologyRecord) -> TopologyRecord:
        """``raw`` without the records whose name was taken before them."""
        kept: dict[str, Any] = {table: [] for table in _TABLES.values()}
        seen: set[str] = set()
        for kind, records in by_kind(raw):
            for record in records:
                if record.name not in seen:
                    kept[_TABLES[kind]].append(record)
                seen.add(record.name)
        tables: dict[str, Any] = {table: tuple(records) for table, records in kept.items()}
        return replace(raw, **tables)


def _label(kind: Kind) -> str:
    return {Kind.VM: "VM", Kind.BARE_METAL: "bare-metal host"}.get(kind, str(kind))


def _a(kind: Kind) -> str:
    return f"a {_label(kind)}"


def check_reserved(raw: TopologyRecord, segments: Iterable[Segment], problems: Problems) -> None:
    """Notes every name that the lab needs itself: a VM's port is called after the VM, beside a hypervisor's own."""
    legs = {leg_name(s.vni): f"the gateway of segment '{s.tenant}/{s.name}'" for s in segments if s.gateway_mac}
    taken = {**INTERFACES, **legs}
    for vm in raw.vms:
        if vm.name in taken:
            message = f"a VM cannot be called '{vm.name}': on hypervisors that is {taken[vm.name]}"
            problems.add(vm.at, message, found=vm.name, fix="give the VM another name")
    for kind, records in by_kind(raw):
        for record in records:
            if record.name == CONTROLLER:
                message = f"no node can be called '{CONTROLLER}': 'lab stop {CONTROLLER}' means the lab's own"
                problems.add(record.at, message, found=record.name, fix=f"give the {_label(kind)} another name")


def check_references(raw: TopologyRecord, names: Names) -> None:
    """Notes every uplink, link end and hypervisor that is not there or is of the wrong kind."""
    for _, node in plugged(raw):
        for uplink in node.uplink:
            spot = uplink.keys.spots.get("to", uplink.keys.at)
            names.check(uplink.to, spot, *FABRIC)
    for vm in raw.vms:
        if vm.hypervisor is not None:
            names.check(vm.hypervisor, vm.spot("hypervisor"), Kind.HYPERVISOR)
    for link in raw.links:
        for end in (name for ends in link.between for name in ends.names):
            names.check(end, link.spot("between"), *FABRIC, Kind.HYPERVISOR, Kind.GATEWAY, Kind.BARE_METAL, Kind.CLIENT)


def fill_uplinks(raw: TopologyRecord, names: Names, problems: Problems) -> TopologyRecord:
    """``raw`` where nodes that need an uplink and name none have the only switch or router there is."""
    if raw.bad & {_TABLES[kind] for kind in FABRIC}:
        return raw
    fabric = names.of(*FABRIC)
    return replace(
        raw,
        hypervisors=tuple(_with_uplink(each, fabric, problems) for each in raw.hypervisors),
        gateways=tuple(_with_uplink(each, fabric, problems) for each in raw.gateways),
        bare_metal=tuple(_with_uplink(each, fabric, problems) for each in raw.bare_metal),
        clients=tuple(_with_uplink(each, fabric, problems) for each in raw.clients),
    )


def _with_uplink(record: _N, fabric: list[str], problems: Problems) -> _N:
    if record.uplink or "uplink" in record.bad:
        return record
    if len(fabric) == 1:
        return replace(record, uplink=(Uplink(fabric[0], UplinkRecord(at=record.at)),))
    allowed = listed(fabric) or "none: the file has no switch and no router"
    problems.add(record.at, "the key 'uplink' is missing", allowed=allowed, fix="say what it is plugged into")
    return record
