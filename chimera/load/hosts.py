"""Addresses of VMs and bare-metal hosts: their own, or the next that is free in their segment."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from chimera.load.problems import Problems, Spot
from chimera.load.records import Named
from chimera.load.segments import Net, Segments, check_host_address
from chimera.load.tables import Attached
from chimera.model.topology import Kind

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_MAC_BASE = {Kind.VM: 0x02_00_00_00_00_00, Kind.BARE_METAL: 0x02_00_00_01_00_00, Kind.CLIENT: 0x02_00_00_02_00_00}
GATEWAY_MAC_BASE = 0x02_00_5E_00_01_00


def mac_text(number: int) -> str:
    """48 bits as a MAC address."""
    return ":".join(f"{byte:02x}" for byte in number.to_bytes(6, "big"))


def plan_macs(
    hosts: Sequence[tuple[Kind, int, Named]], gateway_macs: dict[str, str], problems: Problems
) -> dict[str, str]:
    """The MAC of every host (kind, index and record): its own, or one derived from its index."""
    macs = {}
    owner = {mac: f"the gateway of segment '{key}'" for key, mac in gateway_macs.items()}
    for kind, index, record in hosts:
        said = record.mac if isinstance(record, Attached) else None
        macs[record.name] = mac = said or mac_text(_MAC_BASE[kind] + index)
        if mac in owner:
            spot = record.spot("mac")
            message = f"the MAC address is taken by {owner[mac]}"
            problems.add(spot, message, found=mac, fix="give one of them another")
        owner.setdefault(mac, f"'{record.name}'")
    return macs


def plan_addresses(
    hosts: Sequence[Attached],
    segments: Segments,
    members: dict[str, str],
    nets: dict[str, Net],
    gateways: dict[str, str],
    name: str,
    problems: Problems,
) -> dict[str, str]:
    """The ``ip`` or ``ip6`` (``name``), with prefix length, of every host that is in a segment with such a subnet."""
    inside: dict[str, list[Attached]] = {key: [] for key in segments.drafts}
    for host in hosts:
        if host.name in members:
            inside[members[host.name]].append(host)
        elif getattr(host, name) is not None and host.segment is None and "segment" not in host.bad:
            message = "a host of the underlay gets its address from there"
            problems.add(host.spot(name), message, found=getattr(host, name), fix="say its segment:")
    addresses: dict[str, str] = {}
    for key, group in inside.items():
        if key in nets:
            spot = segments.drafts[key].record.spot("subnet" if name == "ip" else "subnet6")
            addresses |= _address_segment(group, nets[key], gateways.get(key, ""), name, spot, problems)
        else:
            _refuse_addresses(group, key, name, segments, problems)
    return addresses


def _refuse_addresses(group: list[Attached], key: str, name: str, segments: Segments, problems: Problems) -> None:
    subnet = "subnet" if name == "ip" else "subnet6"
    if subnet in segments.drafts[key].record.bad:
        return
    for host in group:
        if getattr(host, name) is not None:
            fix = f"add {subnet}: auto to the segment"
            problems.add(host.spot(name), f"the segment '{key}' has no {subnet}", found=getattr(host, name), fix=fix)


def _address_segment(
    group: list[Attached], net: Net, gateway: str, name: str, spot: Spot, problems: Problems
) -> dict[str, str]:
    taken = {int(ipaddress.ip_address(gateway)): "the segment's gateway"} if gateway else {}
    for host in group:
        _claim(host, name, net, taken, problems)
    waiting = [host for host in group if getattr(host, name) is None and name not in host.bad]
    free = _free_addresses(net, set(taken), len(waiting))
    if free is None:
        found = f"{len(group)} hosts{' and a gateway' if gateway else ''} for {net}"
        problems.add(spot, "the subnet is too small for its segment", found=found, fix="give it a larger one")
        return {}
    given = {host.name: getattr(host, name) for host in group if getattr(host, name) is not None}
    given |= {host.name: str(address) for host, address in zip(waiting, free, strict=True)}
    return {host: f"{address}/{net.prefixlen}" for host, address in given.items()}


def _claim(host: Attached, name: str, net: Net, taken: dict[int, str], problems: Problems) -> None:
    """Marks the address that a host says it has as taken."""
    text = getattr(host, name)
    if text is None or not check_host_address(text, net, host.spot(name), problems):
        return
    value = int(ipaddress.ip_address(text))
    if value in taken:
        message = f"the address is taken by {taken[value]}"
        problems.add(host.spot(name), message, found=text, fix="delete the line to get a free one")
    taken.setdefault(value, f"'{host.name}'")


def _free_addresses(net: Net, taken: set[int], wanted: int) -> list[Address] | None:
    """``wanted`` addresses from .11 on (::11 in IPv6), or where these do not suffice from .2 or .1 on."""
    size = net.num_addresses - (1 if net.version == 4 else 0)
    for start in (11 if net.version == 4 else 0x11, 2, 1):
        offsets = _offsets(start, size, int(net[0]), taken, wanted)
        if len(found := list(offsets)) == wanted:
            return [net[offset] for offset in found]
    return None


def _offsets(start: int, end: int, base: int, taken: set[int], wanted: int) -> Iterator[int]:
    for offset in range(start, end):
        if wanted == 0:
            return
        if base + offset not in taken:
            wanted -= 1
            yield offset
