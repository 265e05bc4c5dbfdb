"""FabricPath with every hypervisor an edge switch and every physical switch a FabricPath switch.

Frames go by switch IDs in the outer MACs over equal-cost paths until the TTL ends, broadcast and multicast as one frame
on the tree that an FTag names. Edges learn by *conversation*: one holds the way to a remote MAC only if an interface
of its own and that MAC exchange unicast frames, so tables stay as small as the traffic is local. Here the controller
knows every place, and a conversation only brings a flow to the two switches: the first frame between two interfaces
goes to the controller, which tells both switches and sends that very frame on. A flow that no frame hits for
``IDLE_TIMEOUT_S`` goes, the next frame brings it back. Who moves takes conversations along; while a VM is nowhere, the
switches that know it drop what is for it. What is for a MAC that nobody has is dropped, not flooded.

A controller that returns has forgotten all conversations and has switches forget them, too; the first frame of each
goes through the controller again, and none is lost.
"""

from __future__ import annotations

from chimera.model.control import Inventory
from chimera.model.flow import CONTROLLER, Flow, Output
from chimera.model.topology import Segment
from chimera.model.underlay import FabricKind, Translator
from chimera.overlay import tunnels
from chimera.overlay.agent import Agents
from chimera.overlay.base import Options, Overlay
from chimera.overlay.control import Interface
from chimera.overlay.pipeline import UNICAST
from chimera.overlay.tunnels import FROM_HERE, KNOWN, TunnelRules

TAG_BYTES = 2  # FTag and TTL; 0x8903 stands where the EtherType of the outer Ethernet header does
IDLE_TIMEOUT_S = 300  # the usual aging of MAC addresses (IEEE 802.1D-2004 table 7-5)
UNMET = 5  # priority in table 1, below everything that is known


class ConversationalRules(TunnelRules):
    """As all tunnels, but a switch asks for the way to an interface elsewhere when a frame needs it."""

    conversational = True
    idle_timeout_s = IDLE_TIMEOUT_S

    def switch_flows(self, switch: str) -> tuple[Flow, ...]:
        """Unicast with no way known goes to the controller."""
        unmet = Flow(FROM_HERE, UNMET, (("eth_dst", UNICAST),), (Output(CONTROLLER),))
        return (*super().switch_flows(switch), unmet)

    def absent(self, segment: Segment, interface: Interface) -> tuple[Flow, ...]:
        """What is for a VM in the middle of its move is dropped here, not by the controller: that has to hear of it."""
        if self._local_only(interface):
            return ()
        match = (("tunnel_id", segment.vni), ("eth_dst", interface.mac))
        return (Flow(FROM_HERE, KNOWN, match, (), IDLE_TIMEOUT_S),)


def _agents(inventory: Inventory) -> Agents:
    return tunnels.agents(inventory, tunnels.FabricEdges(inventory), ConversationalRules)


def _translator(options: Options) -> Translator:
    return Translator("fabricpath")


def _added_bytes(options: Options) -> int:
    return tunnels.growth(TAG_BYTES)


OVERLAY = Overlay(
    name="fabricpath",
    summary="FabricPath with hypervisors as edge switches: switch IDs, FTag trees, conversational learning",
    forwarding=tunnels.routed,
    agents=_agents,
    ports=tunnels.tunnel_port,
    options=(tunnels.GATEWAY,),
    gateway_holders=tunnels.gateway_holders,
    translator=_translator,
    fabric=FabricKind.FABRICPATH,
    added_bytes=_added_bytes,
)
