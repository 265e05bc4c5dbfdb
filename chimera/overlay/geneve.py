"""Geneve (RFC 8926) from hypervisor to hypervisor: VXLAN's successor, with room for options that nobody uses here.

What all overlays with tunnels do (:mod:`chimera.overlay.tunnels`), with the VNI on the wire. Open vSwitch sends the
format by itself, as it does for OVN: no options, Ethernet as the protocol type, and a source port that follows from the
VM's flow (section 3.3), so that equal-cost paths are used.
A limit: an endpoint must drop frames with a critical option that it does not know (section 3.5), and Open vSwitch 3.1
knows none, but looks only where it has no cached flow yet for the sender and the segment. What it decided then, it does
with all that follow: such a frame is forwarded after good ones, and good ones are dropped after such a frame, until the
sender pauses for ten seconds. The lab's own endpoints send no options.
"""

from __future__ import annotations

from chimera.model.control import Inventory
from chimera.model.flow import Flow
from chimera.model.ports import PortSpec
from chimera.overlay import pipeline, ports, tunnels
from chimera.overlay.agent import Agents
from chimera.overlay.base import Overlay, always
from chimera.overlay.tunnels import VniTunnels
from chimera.wire.wireformat import WireFormat

GENEVE = WireFormat("eth ip udp geneve eth")
CONTROL_PACKET = ("tun_flags", (1, 1))  # the O bit, as ovs-fields(7) has it


class DataOnly(VniTunnels):
    """The payload of a control packet is for the endpoint itself, and must not be forwarded (section 3.4)."""

    def arrivals(self, switch: str) -> tuple[Flow, ...]:
        """Of all segments, what is a VM's."""
        control = Flow(pipeline.CLASSIFY, pipeline.SPECIAL, (("in_port", ports.TUNNEL), CONTROL_PACKET), ())
        return (control, *super().arrivals(switch))


def _agents(inventory: Inventory) -> Agents:
    return tunnels.agents(inventory, DataOnly(inventory.underlay))


def _ports(inventory: Inventory, switch: str) -> tuple[PortSpec, ...]:
    return (ports.tunnel_port(inventory.underlay.vtep[switch], "geneve", GENEVE.udp_port),)


OVERLAY = Overlay(
    name="geneve",
    summary="Geneve between hypervisors (RFC 8926), programmed by a controller",
    wire=always(GENEVE),
    forwarding=tunnels.routed,
    agents=_agents,
    ports=_ports,
    options=(tunnels.GATEWAY,),
    gateway_holders=tunnels.gateway_holders,
)
