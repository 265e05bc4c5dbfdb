"""Shorthands and what goes without saying: the leaf-spine fabric, the default tenant."""

from __future__ import annotations

from dataclasses import replace

from chimera.load.problems import Problems
from chimera.load.records import first_said
from chimera.load.tables import (
    MAX_HYPERVISORS,
    MAX_VMS,
    HypervisorRecord,
    LeafSpineRecord,
    SegmentRecord,
    SwitchRecord,
    TenantRecord,
    TopologyRecord,
    Uplink,
    UplinkRecord,
    VmRecord,
)

_SIZE = ("spines", "leaves", "hypervisors_per_leaf", "vms_per_hypervisor", "segments")


def expand_shorthands(raw: TopologyRecord, problems: Problems) -> TopologyRecord:
    """``raw`` with a fabric's nodes written out, and with a tenant where there is none."""
    if raw.leaf_spine is not None:
        if raw.leaf_spine.bad or not _fits(raw.leaf_spine, raw, problems):
            problems.raise_if_any()  # all that would follow is that its nodes are unknown
        raw = _with_fabric(raw, raw.leaf_spine)
    if raw.vms and not raw.tenants and "tenants" not in raw.bad:
        raw = replace(raw, tenants=(_default_tenant(raw, 1),))
    return raw


def _default_tenant(raw: TopologyRecord, segments: int) -> TenantRecord:
    made = (SegmentRecord(name=f"segment{i}", at=raw.at, subnet6="auto") for i in range(1, segments + 1))
    return TenantRecord(name="tenant1", at=raw.at, segments=tuple(made))


def _fits(fabric: LeafSpineRecord, raw: TopologyRecord, problems: Problems) -> bool:
    """False, with a problem noted, where the fabric is incomplete or too big, or has segments twice."""
    if fabric.spines is None or fabric.leaves is None:
        return False
    before = len(problems)
    if fabric.segments is not None and raw.tenants:
        fix = "delete it: the VMs take turns in the segments of tenants:"
        problems.add(fabric.spot("segments"), "the file has tenants with segments of their own", fix=fix)
    if fabric.site is not None and len(fabric.site.names) > 1:
        problems.add(fabric.spot("site"), "a fabric stands at one site")
    _, _, hypervisors, vms = _sizes(fabric)
    for count, most, what in ((hypervisors, MAX_HYPERVISORS, "hypervisors"), (vms, MAX_VMS, "VMs")):
        if count > most:
            problems.add(fabric.at, f"too many {what}", found=str(count), allowed=f"at most {most}")
    return len(problems) == before


def _sizes(fabric: LeafSpineRecord) -> tuple[int, int, int, int]:
    spines, leaves, per_leaf, per_hypervisor, _ = (first_said(name, fabric) for name in _SIZE)
    return spines, leaves, leaves * per_leaf, leaves * per_leaf * per_hypervisor


def _with_fabric(raw: TopologyRecord, fabric: LeafSpineRecord) -> TopologyRecord:
    spines, leaves, hypervisors, vms = _sizes(fabric)
    if not raw.tenants and "tenants" not in raw.bad:
        raw = replace(raw, tenants=(_default_tenant(raw, first_said("segments", fabric)),))
    segments = [f"{tenant.name}/{segment.name}" for tenant in raw.tenants for segment in tenant.segments]
    at = fabric.at
    site = fabric.site.names[0] if fabric.site is not None else None

    def up(*names: str) -> tuple[Uplink, ...]:
        return tuple(Uplink(name, UplinkRecord(at=at)) for name in names)

    above = up(*(f"spine{i + 1}" for i in range(spines)))
    made_switches = [SwitchRecord(name=f"spine{i + 1}", at=at, role="spine", site=site) for i in range(spines)]
    made_switches += [
        SwitchRecord(name=f"leaf{i + 1}", at=at, role="leaf", site=site, uplink=above) for i in range(leaves)
    ]
    made_hypervisors = [
        HypervisorRecord(name=f"hv{i + 1}", at=at, uplink=up(f"leaf{i * leaves // hypervisors + 1}"))
        for i in range(hypervisors)
    ]
    made_vms = [
        VmRecord(
            name=f"vm{i + 1}",
            at=at,
            hypervisor=f"hv{i * hypervisors // vms + 1}",
            segment=segments[i % len(segments)] if segments else None,
        )
        for i in range(vms)
    ]
    return replace(
        raw,
        switches=(*made_switches, *raw.switches),
        hypervisors=(*made_hypervisors, *raw.hypervisors),
        vms=(*made_vms, *raw.vms),
    )
