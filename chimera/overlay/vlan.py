"""VLANs stretched over the WAN: the baseline before overlays.

Access ports of ``br-int`` carry the segment's VLAN (IEEE 802.1Q), a patch to ``br-phy`` is the trunk, and every bridge
learns on its own (IEEE 802.1D section 7.8): the application only tells ``br-int`` to behave like a switch.
"""

from __future__ import annotations

from chimera.model.control import Inventory
from chimera.model.flow import NORMAL, Flow, Output
from chimera.model.ports import PortSpec
from chimera.model.topology import Segment
from chimera.model.underlay import Forwarding
from chimera.overlay import ports
from chimera.overlay.agent import Agents
from chimera.overlay.base import Options, Overlay, central, central_gateway
from chimera.overlay.central import CentralController
from chimera.overlay.control import Rules


class VlanRules(Rules):
    """One flow for everything; port tags make the segments."""

    def switch_flows(self, switch: str) -> tuple[Flow, ...]:
        """Switch as IEEE 802.1Q bridges do."""
        return (Flow(0, 0, (), (Output(NORMAL),)),)


def _agents(inventory: Inventory) -> Agents:
    holders = central_gateway(inventory.topology, inventory.options)
    return central(lambda: CentralController(inventory, VlanRules(), holders))


def _bridged(options: Options) -> Forwarding:
    return Forwarding.BRIDGED


def _trunk(inventory: Inventory, switch: str) -> tuple[PortSpec, ...]:
    return ports.patch_ports()


def _learns(options: Options) -> bool:
    return True


def _vlan_of(segment: Segment) -> int:
    return segment.vlan


OVERLAY = Overlay(
    name="vlan",
    summary="VLANs stretched over the WAN, learning switches: the baseline before overlays",
    forwarding=_bridged,
    agents=_agents,
    ports=_trunk,
    tag=_vlan_of,
    programs_vms=False,
    learns=_learns,
)
