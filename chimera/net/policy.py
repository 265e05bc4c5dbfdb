"""What a packet may reach by a node's IP stack depends on where it came in: policy routing (ip-rule(8)).

One IP carries tunnels, tenants' routed traffic and that of clients. Rules ahead of a node's own tables keep them apart:

======= =========================================================================================================
pref
100     what a tenant's leg received, by its mark: the tenant's table, which has its subnets and its gateways
200     what came in by an external segment's leg, a client's port or a VTEP's uplink: to a few prefixes, and no others
300     unreachable, for all of these
400     the node's own addresses (``local``, which the kernel has at 0); then ``main``
======= =========================================================================================================

nftables marks what a leg receives. The kernel gives its own answers (echo replies, ICMP errors, TCP resets) the mark of
what they answer (``fwmark_reflect``): without it, what a gateway tells a VM would go to whoever has that address in the
main table, another tenant's VM perhaps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from chimera.model.topology import Segment

_TENANT_TABLES = 1000  # routing table and mark of tenant n: 1000 + n
_TENANT, _BEYOND, _NOTHING_ELSE, _LOCAL = 100, 200, 300, 400


def local_later() -> Iterator[str]:
    """``ip`` commands that have a node look at the rules of this module before its own addresses."""
    yield f"rule add lookup local pref {_LOCAL}"
    yield "rule del pref 0"


@dataclass(frozen=True, slots=True)
class Leg:
    """A gateway leg: its interface, its segment, and its tenant's number (from 1)."""

    interface: str
    segment: Segment
    tenant: int

    @property
    def table(self) -> int:
        """The tenant's routing table, and the mark of what this leg receives."""
        return _TENANT_TABLES + self.tenant


def legs(found: Collection[Leg], outside: Collection[str]) -> Iterator[str]:
    """``ip`` commands that make a node the router of segments, each tenant's apart from the others'.

    A tenant's segments share a routing table. What is not in it may go on only from external segments, and only to
    ``outside``: clients, and what they reach.
    """
    for leg in found:
        yield f"link set dev {leg.interface} up"
    routed = [leg for leg in found if leg.segment.gateway]
    for leg in routed:
        name, segment = leg.interface, leg.segment
        prefix = segment.subnet.partition("/")[2]
        yield f"addr replace {segment.gateway}/{prefix} dev {name} noprefixroute"
        yield f"route replace local {segment.gateway} dev {name} table {leg.table}"
        yield f"route replace {segment.subnet} dev {name} src {segment.gateway} table {leg.table}"
        if segment.external:
            yield f"route replace {segment.subnet} dev {name} src {segment.gateway}"
            yield from _only(name, (), outside)
        else:  # to nobody but the tenant is this an address of the node's
            yield f"route del local {segment.gateway} dev {name} table local"
    yield from _tenants(routed)


def legs6(found: Collection[Leg]) -> Iterator[str]:
    """The same for ``ip -6``; the underlay carries no IPv6, so it stays within the tenant.

    Link-local addresses and groups are in the node's own tables, for each interface apart.
    """
    routed = [leg for leg in found if leg.segment.gateway6]
    if routed:
        yield from local_later()
    for leg in routed:
        name, segment = leg.interface, leg.segment
        prefix = segment.subnet6.partition("/")[2]
        yield f"addr replace {segment.gateway6}/{prefix} dev {name} nodad noprefixroute"
        yield f"route replace local {segment.gateway6} dev {name} table {leg.table}"
        yield f"route replace {segment.subnet6} dev {name} table {leg.table}"
    for mark in _tenant_tables(routed):
        yield f"rule add fwmark {mark} to ff00::/8 lookup local pref {_BEYOND}"
        for table in ("local", "main"):
            yield f"rule add fwmark {mark} to fe80::/10 lookup {table} pref {_BEYOND}"
    yield from _tenants(routed)


def _tenants(found: Iterable[Leg]) -> Iterator[str]:
    for table in _tenant_tables(found):
        yield f"rule add fwmark {table} lookup {table} pref {_TENANT}"
        yield f"rule add fwmark {table} unreachable pref {_NOTHING_ELSE}"


def _tenant_tables(found: Iterable[Leg]) -> list[int]:
    return sorted({leg.table for leg in found})


def gate(interface: str, own: Iterable[str], beyond: Iterable[str]) -> Iterator[str]:
    """``ip`` commands that let in what is for a node's ``own`` addresses and for prefixes ``beyond``, nothing else."""
    yield from _only(interface, own, beyond)
    yield f"rule add iif {interface} unreachable pref {_NOTHING_ELSE}"


def _only(interface: str, own: Iterable[str], beyond: Iterable[str]) -> Iterator[str]:
    for address in own:
        yield f"rule add iif {interface} to {address} lookup local pref {_BEYOND}"
    for prefix in beyond:
        yield f"rule add iif {interface} to {prefix} lookup main pref {_BEYOND}"


def marks(found: Iterable[Leg]) -> str:
    """What nft(8) reads so that each leg marks what it receives, ARP too."""
    chains = [
        f"chain {leg.interface} {{ type filter hook ingress device {leg.interface} priority 0; "
        f"meta mark set {leg.table}; }}"
        for leg in found
    ]
    return "\n".join(
        ["table netdev tenants", "delete table netdev tenants", "table netdev tenants {", *chains, "}", ""]
    )
