"""A switch port as wanted: what the lab builds and the overlays ask for, in Open vSwitch's terms."""

from __future__ import annotations

from dataclasses import dataclass

INTEGRATION = "br-int"  # VMs, gateway legs, tunnels
PHYSICAL = "br-phy"  # the uplink and the tunnel address

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
