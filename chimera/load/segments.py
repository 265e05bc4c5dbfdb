"""Tenants' segments: which there are, who is in which, and their VNIs, VLANs, subnets and gateways."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, count

from chimera.load.problems import Problems, Spot, listed
from chimera.load.tables import MAX_SEGMENTS, Attached, SegmentRecord, TopologyRecord, VmRecord
from chimera.model.errors import did_you_mean

Net = ipaddress.IPv4Network | ipaddress.IPv6Network

_FIRST_VNI, _FIRST_VLAN = 10001, 101
_ROOMY = 200  # hosts beyond which an automatic subnet is a /16 instead of a /24


@dataclass(frozen=True, slots=True)
class Draft:
    """A segment as it stands in the file, with its tenant."""

    tenant: str
    record: SegmentRecord

    @property
    def key(self) -> str:
        """``tenant/name``."""
        return f"{self.tenant}/{self.record.name}"


class Segments:
    """The segments of a file by ``tenant/name``, in file order."""

    def __init__(self, raw: TopologyRecord, problems: Problems) -> None:
        self._problems = problems
        self._complete = "tenants" not in raw.bad and not any(tenant.bad for tenant in raw.tenants)
        self.drafts: dict[str, Draft] = {}
        self._by_name: dict[str, list[str]] = {}
        self._limit(raw)
        tenants: set[str] = set()
        for tenant in raw.tenants:
            if tenant.name in tenants:
                problems.add(tenant.at, f"two tenants are called '{tenant.name}'", fix="join them, or rename one")
            tenants.add(tenant.name)
            if "segments" in tenant.spots and not tenant.segments and not tenant.bad:
                problems.add(tenant.spot("segments"), "a tenant has at least one segment", fix="segments: [web]")
            for record in tenant.segments:
                self._add(Draft(tenant.name, record))

    def _limit(self, raw: TopologyRecord) -> None:
        """Gives up on a file with too many segments to resolve in good time."""
        total = sum(len(tenant.segments) for tenant in raw.tenants)
        if total > MAX_SEGMENTS:
            allowed = f"at most {MAX_SEGMENTS}"
            self._problems.add(raw.spot("tenants"), "too many segments", found=str(total), allowed=allowed)
            self._problems.raise_if_any()

    def _add(self, draft: Draft) -> None:
        if draft.key in self.drafts:
            self._problems.add(draft.record.at, f"two segments are called '{draft.key}'", fix="rename one")
            return
        self.drafts[draft.key] = draft
        self._by_name.setdefault(draft.record.name, []).append(draft.key)

    def members(self, raw: TopologyRecord) -> dict[str, str]:
        """The segment (``tenant/name``) of every VM, and of every bare-metal host that names one."""
        found = {}
        for host in chain(raw.vms, raw.bare_metal):
            if host.segment is not None:
                found[host.name] = self._named(host, host.segment)
            elif isinstance(host, VmRecord) and "segment" not in host.bad:
                found[host.name] = self._only(host)
        return {name: key for name, key in found.items() if key}

    def _named(self, host: Attached, text: str) -> str:
        if text in self.drafts:
            return text
        keys = self._by_name.get(text, [])
        if len(keys) == 1:
            return keys[0]
        spot = host.spot("segment")
        if keys:
            fix = f"write {keys[0]}"
            message = f"more than one tenant has a segment '{text}'"
            self._problems.add(spot, message, found=text, allowed=listed(keys), fix=fix)
        elif self._complete:
            known = [*self._by_name, *self.drafts] if self._problems.hears(spot, text) else []
            near = did_you_mean(text, known)
            fix = near or "declare it under tenants: TENANT: segments:"
            allowed = listed(list(self.drafts)) or "none: the file has no tenants"
            self._problems.add(spot, f"there is no segment '{text}'", found=text, allowed=allowed, fix=fix)
        return ""

    def _only(self, host: Attached) -> str:
        if len(self.drafts) == 1:
            return next(iter(self.drafts))
        if self._complete and self.drafts:
            allowed = listed(list(self.drafts))
            self._problems.add(host.at, "the key 'segment' is missing", allowed=allowed, fix="say which of them")
        return ""


# -- identifiers ---------------------------------------------------------------------------


def number_segments(drafts: Iterable[Draft], name: str, problems: Problems) -> dict[str, int]:
    """The ``vni`` or ``vlan`` (``name``) of every segment: its own, or the next that is free."""
    drafts = list(drafts)
    said = {d.key: getattr(d.record, name) for d in drafts if getattr(d.record, name) is not None}
    taken: dict[int, str] = {}
    for draft in (d for d in drafts if d.key in said):
        number = said[draft.key]
        if number in taken:
            message = f"the {name.upper()} {number} is taken by segment '{taken[number]}'"
            problems.add(draft.record.spot(name), message, found=str(number), fix="delete the line to get a free one")
        taken.setdefault(number, draft.key)
    free = (number for number in count(_FIRST_VNI if name == "vni" else _FIRST_VLAN) if number not in taken)
    return {draft.key: said[draft.key] if draft.key in said else next(free) for draft in drafts}


# -- subnets -------------------------------------------------------------------------------


def plan_subnets(drafts: Iterable[Draft], sizes: dict[str, int], name: str, problems: Problems) -> dict[str, Net]:
    """The ``subnet`` or ``subnet6`` (``name``) of every segment that has one.

    ``sizes`` says how many hosts each segment holds. Automatic ones avoid all others, of whatever tenant.
    """
    nets: dict[str, Net] = {}
    automatic = []
    for draft in drafts:
        text = getattr(draft.record, name) or ("auto" if name == "subnet" else "none")
        if name in draft.record.bad or text == "none":
            continue
        if text == "auto":
            automatic.append(draft)
        else:
            nets[draft.key] = ipaddress.ip_network(text)
    said = sorted({(int(net[0]), int(net[-1])) for net in nets.values()})
    candidates = _free(_candidates4 if name == "subnet" else _candidates6, said)
    for draft in automatic:
        block = next(candidates, None)
        if block is None:
            problems.add(draft.record.at, "no automatic subnet is left", fix="give the segment a subnet:")
            break
        small = name == "subnet" and sizes.get(draft.key, 0) <= _ROOMY
        nets[draft.key] = ipaddress.ip_network(f"{block[0]}/24") if small else block
    return nets


def _candidates4() -> Iterator[Net]:
    return (ipaddress.IPv4Network(f"10.{i}.0.0/16") for i in range(1, 255))


def _candidates6() -> Iterator[Net]:
    return (ipaddress.IPv6Network(f"fd00:0:0:{i:x}::/64") for i in range(1, 0x10000))


def _free(candidates: Callable[[], Iterator[Net]], said: list[tuple[int, int]]) -> Iterator[Net]:
    for net in candidates():
        if not any(first <= int(net[-1]) and int(net[0]) <= last for first, last in said):
            yield net


def check_overlaps(drafts: dict[str, Draft], nets: dict[str, Net], name: str, problems: Problems) -> None:
    """Notes subnets that overlap inside one tenant, or between segments that clients reach."""
    groups: dict[str, list[str]] = {}
    for key in nets:
        groups.setdefault(drafts[key].tenant, []).append(key)
    for tenant, keys in groups.items():
        for a, b in _overlapping(keys, nets):
            _refuse_overlap(drafts[a], drafts[b], nets, name, f"of the same tenant '{tenant}'", problems)
    for a, b in _overlapping([key for key in nets if drafts[key].record.external], nets):
        if drafts[a].tenant != drafts[b].tenant:
            _refuse_overlap(drafts[a], drafts[b], nets, name, "and clients reach both", problems)


def _overlapping(keys: list[str], nets: dict[str, Net]) -> Iterator[tuple[str, str]]:
    """Pairs of keys, the one that stands later in the file second; each key is second at most once."""
    order = {key: i for i, key in enumerate(keys)}
    widest = ""
    for key in sorted(keys, key=lambda k: (int(nets[k][0]), -int(nets[k][-1]))):
        if widest and int(nets[key][0]) <= int(nets[widest][-1]):
            yield min(key, widest, key=order.__getitem__), max(key, widest, key=order.__getitem__)
        if not widest or int(nets[key][-1]) > int(nets[widest][-1]):
            widest = key


def _refuse_overlap(first: Draft, second: Draft, nets: dict[str, Net], name: str, why: str, problems: Problems) -> None:
    message = f"overlaps the subnet of '{first.key}' ({nets[first.key]}), {why}"
    fix = "give one of them another subnet; tenants that are not external may use equal ones"
    problems.add(second.record.spot(name), message, found=str(nets[second.key]), fix=fix)


# -- gateways ------------------------------------------------------------------------------


def plan_gateways(
    drafts: Iterable[Draft], nets: dict[str, Net], nets6: dict[str, Net], problems: Problems
) -> tuple[dict[str, str], dict[str, str]]:
    """The ``gateway`` and ``gateway6`` of every segment that has them."""
    gateways: dict[str, str] = {}
    gateways6: dict[str, str] = {}
    for draft in drafts:
        record = draft.record
        text = record.gateway or "none"
        if text != "none" and draft.key in nets:
            gateways[draft.key] = _gateway(text, nets[draft.key], record.spot("gateway"), problems)
        text6 = record.gateway6 or ("auto" if text != "none" and draft.key in nets6 else "none")
        if text6 != "none" and draft.key in nets6:
            gateways6[draft.key] = _gateway(text6, nets6[draft.key], record.spot("gateway6"), problems)
        elif record.gateway6 not in (None, "auto", "none") and "subnet6" not in record.bad:
            found = record.gateway6
            problems.add(record.spot("gateway6"), "the segment has no subnet6", found=found, fix="add subnet6: auto")
        if record.external and text == "none" and "gateway" not in record.bad:
            message = "clients reach an external segment through its gateway, and it has none"
            problems.add(record.spot("external"), message, fix="add gateway: auto")
    return gateways, gateways6


def _gateway(text: str, net: Net, spot: Spot, problems: Problems) -> str:
    if text == "auto":
        return str(net[1])
    check_host_address(text, net, spot, problems)
    return text


def check_host_address(text: str, net: Net, spot: Spot, problems: Problems) -> bool:
    """Whether an address can be a host's in a subnet; notes a problem where it cannot."""
    value = ipaddress.ip_address(text)
    last = net[-2] if net.version == 4 else net[-1]
    if value not in net:
        problems.add(spot, "the address is outside the segment's subnet", found=text, allowed=f"{net[1]} to {last}")
    elif not int(net[1]) <= int(value) <= int(last):
        what = "the subnet itself" if value == net[0] else "the subnet's broadcast address"
        problems.add(spot, f"the address means {what}", found=text, allowed=f"{net[1]} to {last}")
    else:
        return True
    return False


def check_gateway_nodes(raw: TopologyRecord, drafts: Iterable[Draft], problems: Problems) -> None:
    """Notes, once, that segments have gateways but no node is there to hold them."""
    if raw.gateways or "gateways" in raw.bad:
        return
    for draft in drafts:
        if draft.record.gateway not in (None, "none"):
            fix = "add gateways: {gw1: {uplink: NAME}}"
            found = draft.record.gateway
            message = "the file has no gateway node to hold this"
            problems.add(draft.record.spot("gateway"), message, found=found, fix=fix)
            return
