"""A switch port as wanted: what the lab builds and the overlays ask for, in Open vSwitch's terms."""

from __future__ import annotations

from dataclasses import dataclass

INTEGRATION = "br-int"  # VMs, gateway legs, tunnels
PHYSICAL = "br-phy"  # the uplink and the tunnel address
MANAGEMENT = "mgmt"  # the way to the controller
TUNNEL_PORT = "tunnel0"  # whatever its wire format
TO_PHYSICAL, TO_INTEGRATION = "patch-phy", "patch-int"  # the patch ports that join the two bridges

CONTROLLER = "controller"  # what 'lab stop' and 'lab start' call the controller: no node can have the name

# What every hypervisor has beside its VMs' ports, which are named after the VMs, and what stands there under the name.
INTERFACES = {
    "lo": "the loopback interface",
    "eth0": "the uplink",
    INTEGRATION: "the bridge of the VMs",
    PHYSICAL: "the bridge of the uplink",
    MANAGEMENT: "the management interface",
    TUNNEL_PORT: "the tunnel port",
    TO_PHYSICAL: "a patch port",
    TO_INTEGRATION: "a patch port",
    "ovs-netdev": "Open vSwitch's userspace datapath",
    **dict.fromkeys(("all", "default"), "the kernel's settings of every interface (/proc/sys/net/ipv4/conf)"),
    **dict.fromkeys(
        ("tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip6gre0"),
        "a device that some kernels make in every namespace",
    ),
}


def leg_name(vni: int) -> str:
    """The interface of a segment's gateway, on whichever node holds it."""
    return f"g{vni}"


Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PortSpec:
    """One port of a bridge (``ovs-vswitchd.conf.db(5)``, tables Port and Interface).

    ``type`` is empty for an interface that exists already (a veth), else ``internal``, ``patch``,
    ``vxlan`` …; ``options`` are the type's own, as pairs. ``ofport`` 0 leaves the number to the switch, ``tag``
    0 makes a trunk, or with ``untagged`` an access port for what has no tag. ``mac`` and ``mtu`` (0: the switch's
    choice) are only for internal ports.
    """

    name: str
    bridge: str = INTEGRATION
    type: str = ""
    options: Pairs = ()
    ofport: int = 0
    tag: int = 0
    untagged: bool = False
    external_ids: Pairs = ()
    mac: str = ""
    mtu: int = 0
