"""Everything about tenants at once: their segments, and each host's place and addresses in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chimera.load.hosts import GATEWAY_MAC_BASE, mac_text, plan_addresses, plan_macs
from chimera.load.problems import Problems
from chimera.load.records import Named
from chimera.load.segments import (
    Net,
    Segments,
    check_gateway_nodes,
    check_overlaps,
    number_segments,
    plan_gateways,
    plan_subnets,
)
from chimera.load.tables import TopologyRecord
from chimera.model.topology import Kind, Segment


@dataclass(frozen=True)
class Tenancy:
    """Segments, and by host name its segment (``tenant/name``), addresses with prefix length, and MAC."""

    segments: tuple[Segment, ...]
    members: dict[str, str]
    ip: dict[str, str]
    ip6: dict[str, str]
    mac: dict[str, str]


@dataclass(frozen=True)
class _Plan:
    """Subnets and gateways by segment."""

    nets: dict[str, Net]
    nets6: dict[str, Net]
    gateways: dict[str, str]
    gateways6: dict[str, str]


def plan_tenancy(raw: TopologyRecord, hosts: Sequence[tuple[Kind, int, Named]], problems: Problems) -> Tenancy:
    """Resolves tenants, segments and the addresses of ``hosts`` (kind, index within the kind, record)."""
    segments = Segments(raw, problems)
    members = segments.members(raw)
    plan = _plan_segments(raw, segments, members, problems)
    built = _build(segments, plan, problems)
    attached = (*raw.vms, *raw.bare_metal)
    ip = plan_addresses(attached, segments, members, plan.nets, plan.gateways, "ip", problems)
    ip6 = plan_addresses(attached, segments, members, plan.nets6, plan.gateways6, "ip6", problems)
    gateway_macs = {f"{s.tenant}/{s.name}": s.gateway_mac for s in built if s.gateway_mac}
    return Tenancy(built, members, ip, ip6, plan_macs(hosts, gateway_macs, problems))


def _plan_segments(raw: TopologyRecord, segments: Segments, members: dict[str, str], problems: Problems) -> _Plan:
    drafts = segments.drafts
    sizes: dict[str, int] = {}
    for key in members.values():
        sizes[key] = sizes.get(key, 0) + 1
    nets, nets6 = (plan_subnets(drafts.values(), sizes, name, problems) for name in ("subnet", "subnet6"))
    check_overlaps(drafts, nets, "subnet", problems)
    check_overlaps(drafts, nets6, "subnet6", problems)
    gateways, gateways6 = plan_gateways(drafts.values(), nets, nets6, problems)
    check_gateway_nodes(raw, drafts.values(), problems)
    return _Plan(nets, nets6, gateways, gateways6)


def _build(segments: Segments, plan: _Plan, problems: Problems) -> tuple[Segment, ...]:
    drafts = segments.drafts
    vnis, vlans = (number_segments(drafts.values(), name, problems) for name in ("vni", "vlan"))
    return tuple(
        Segment(
            name=draft.record.name,
            tenant=draft.tenant,
            vni=vnis[key],
            vlan=vlans[key],
            subnet=str(plan.nets.get(key, "")),
            gateway=plan.gateways.get(key, ""),
            gateway_mac=mac_text(GATEWAY_MAC_BASE + index) if key in {*plan.gateways, *plan.gateways6} else "",
            subnet6=str(plan.nets6.get(key, "")),
            gateway6=plan.gateways6.get(key, ""),
            external=bool(draft.record.external),
        )
        for index, (key, draft) in enumerate(drafts.items(), 1)
    )
