"""Kernel settings per namespace, written before interfaces exist so that these are born with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from chimera import namespaces

_HOUR_MS = "3600000"

# Infrastructure speaks IPv4 only; without this, every interface would send MLD reports and solicitations.
QUIET = {"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1"}

# Multipath by the five-tuple, so that the entropy of a tunnel's UDP source port counts (RFC 7348 section 5).
ROUTER = {
    **QUIET,
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    # An uplink without an address must not answer ARP for the address of the bridge it belongs to.
    "ipv4/conf/all/arp_ignore": "1",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/conf/all/accept_source_route": "0",
    # What the kernel answers by itself stays with the tenant it answers (chimera.net.policy).
    "ipv4/fwmark_reflect": "1",
    "ipv6/fwmark_reflect": "1",
    "ipv4/fib_multipath_hash_policy": "1",
}


# Out of band: nothing that comes in by it goes on.
MANAGEMENT = {"ipv4/conf/mgmt/forwarding": "0"}


def untrusted(interface: str) -> dict[str, str]:
    """Settings of a port that others send by: only from addresses that are routed to it (BCP 38, RFC 3704)."""
    return {f"ipv4/conf/{interface}/rp_filter": "1"}


def leg(interface: str) -> dict[str, str]:
    """Settings of a gateway leg.

    Where an address is routed is looked up as the tenant would. A leg of an anycast gateway must not ask whether a VM
    is still there: the answer would go to the leg of the VM's own hypervisor. What the controller told it stays valid
    for an hour.
    """
    return {
        **untrusted(interface),
        f"ipv4/conf/{interface}/src_valid_mark": "1",
        f"ipv4/neigh/{interface}/base_reachable_time_ms": _HOUR_MS,
    }


def leg6(interface: str) -> dict[str, str]:
    """The same for a leg that routes IPv6, too; without need it would only send multicast of its own."""
    return {
        f"ipv6/conf/{interface}/accept_dad": "0",
        f"ipv6/conf/{interface}/disable_ipv6": "0",
        "ipv6/conf/all/forwarding": "1",
        f"ipv6/neigh/{interface}/base_reachable_time_ms": _HOUR_MS,
    }


# A guest does not see its virtual NIC's cable being moved: its neighbour cache outlives the loss of carrier.
GUEST = {
    "ipv4/conf/all/arp_evict_nocarrier": "0",
    "ipv4/conf/default/arp_evict_nocarrier": "0",
    "ipv4/conf/default/arp_notify": "0",
}
GUEST_WITH_IPV6 = {
    **GUEST,
    "ipv6/conf/all/ndisc_evict_nocarrier": "0",
    "ipv6/conf/default/ndisc_evict_nocarrier": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/autoconf": "0",
    "ipv6/conf/default/router_solicitations": "0",
}
GUEST_WITHOUT_IPV6 = {**GUEST, **QUIET}


def write(namespace: str, settings: Mapping[str, str]) -> None:
    """Set ``/proc/sys/net/KEY`` in a namespace; keys this kernel does not know are passed over."""
    with namespaces.inside(namespaces.path(namespace)):
        set_here(settings)


def set_here(settings: Mapping[str, str]) -> None:
    """Set ``/proc/sys/net/KEY`` in the calling thread's namespace."""
    for key, value in settings.items():
        try:
            Path("/proc/sys/net", key).write_text(value)
        except FileNotFoundError:
            continue
