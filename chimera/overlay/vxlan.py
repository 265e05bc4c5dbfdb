"""VXLAN (RFC 7348) from hypervisor to hypervisor, in two ways.

``mode=controller``: what all overlays with tunnels do (:mod:`chimera.overlay.tunnels`), with the VNI on the wire.

``mode=flood``: switches flood to every VTEP and learn from what they hear, as RFC 7348 section 4.1 does with
multicast. Tables: 0 whose frame is it, learning; 1 what was learned, and below it flooding.
"""

from __future__ import annotations

from hashlib import blake2b

from chimera.model.control import Inventory
from chimera.model.errors import InputError
from chimera.model.flow import Action, Flow, Goto, Learn, Output
from chimera.model.topology import Segment
from chimera.model.underlay import Underlay
from chimera.overlay import pipeline, ports, tunnels
from chimera.overlay.agent import Agents
from chimera.overlay.base import Option, Options, Overlay, central
from chimera.overlay.central import CentralController
from chimera.overlay.control import Interface, Place, Rules, View
from chimera.overlay.pipeline import GROUP
from chimera.overlay.tunnels import GATEWAY, VniTunnels

VXLAN_BYTES = 8  # RFC 7348 section 5
LEARNED = 1  # table of mode=flood
KNOWN, LEG, LOCAL_FLOOD, FLOOD = 100, 50, 20, 10  # priorities in it
GROUPS = 5  # added to the latter for broadcast and multicast
IDLE_TIMEOUT_S = 300


class FloodRules(Rules):
    """Flood and learn with head-end replication to every VTEP of the lab."""

    def __init__(self, underlay: Underlay) -> None:
        self._underlay = underlay
        self._tunnels = VniTunnels(underlay)

    def switch_flows(self, switch: str) -> tuple[Flow, ...]:
        """Learn which known VTEP a MAC is behind; misses are dropped."""
        behind = Learn(
            LEARNED,
            KNOWN,
            match=(("eth_src", "eth_dst"), ("tunnel_id", "tunnel_id")),
            load=(("tun_ipv4_src", "tun_ipv4_dst"),),
            output_from="in_port",
            idle_timeout_s=IDLE_TIMEOUT_S,
        )
        return (
            *pipeline.from_tunnel(self._underlay.known_to(switch), LEARNED, behind),
            pipeline.drop(pipeline.CLASSIFY),
            pipeline.drop(LEARNED),
        )

    def segment_flows(self, view: View, switch: str) -> tuple[Flow, ...]:
        """What nothing was learned about: to all ports here and all VTEPs; from the tunnel to the ports only.

        Unknown unicast is not for a leg, whose MAC is known. And the switch ends tunnels at ports with an IP address:
        a frame for its VTEP's MAC, by which a VM wraps another tenant's, must not come out at one.
        """
        local = view.local(switch)
        here = tuple(Output(place.port) for _, place in local)
        vms = tuple(Output(place.port) for interface, place in local if not interface.leg_of)
        others = sorted(name for name in self._underlay.vtep if name != switch)
        everywhere = self._tunnels.to_all(view.segment, others)
        segment, arrived, group = ("tunnel_id", view.segment.vni), ("in_port", ports.TUNNEL), ("eth_dst", GROUP)
        return (
            Flow(LEARNED, LOCAL_FLOOD + GROUPS, (arrived, segment, group), here),
            Flow(LEARNED, LOCAL_FLOOD, (arrived, segment), vms),
            Flow(LEARNED, FLOOD + GROUPS, (segment, group), (*here, *everywhere)),
            Flow(LEARNED, FLOOD, (segment,), (*vms, *everywhere)),
        )

    def here(self, segment: Segment, interface: Interface, place: Place) -> tuple[Flow, ...]:
        """Learn the port of what is here; the learned flow goes when the port goes."""
        allowed = pipeline.classified(segment.vni, place, _learn_port(segment.vni, place), Goto(LEARNED))
        if not interface.leg_of:
            return (allowed,)
        own = (("tunnel_id", segment.vni), ("eth_dst", place.mac))
        return allowed, Flow(LEARNED, LEG, own, (Output(place.port),))


def _learn_port(vni: int, place: Place) -> Action:
    text = repr(("learned", vni, place)).encode()
    return Learn(
        LEARNED,
        KNOWN,
        match=(("eth_src", "eth_dst"), ("tunnel_id", "tunnel_id")),
        output_from="in_port",
        idle_timeout_s=IDLE_TIMEOUT_S,
        cookie=int.from_bytes(blake2b(text, digest_size=8).digest()) or 1,
    )


def _learns(options: Options) -> bool:
    return options.get("mode") == "flood"


def _agents(inventory: Inventory) -> Agents:
    underlay, options = inventory.underlay, inventory.options
    if not _learns(options):
        return tunnels.agents(inventory, VniTunnels(underlay))
    holders = tunnels.gateway_holders(inventory.topology, options)
    return central(lambda: CentralController(inventory, FloodRules(underlay), holders))


def _conflict(options: Options) -> None:
    if (options["mode"], options["gateway"]) == ("flood", "anycast"):
        raise InputError(
            "overlay vxlan: gateway=anycast needs mode=controller\n"
            "    found: mode=flood, which would learn the gateway's one MAC from every hypervisor\n"
            "    fix: leave mode out, or use gateway=central"
        )


def _added_bytes(options: Options) -> int:
    return tunnels.growth(tunnels.IPV4_BYTES, tunnels.UDP_BYTES, VXLAN_BYTES)


OVERLAY = Overlay(
    name="vxlan",
    summary="VXLAN between hypervisors (RFC 7348), programmed by a controller or flooding and learning",
    forwarding=tunnels.routed,
    agents=_agents,
    ports=tunnels.tunnel_port,
    options=(
        Option("mode", ("controller", "flood"), "controller", "the controller knows every port, or switches learn"),
        GATEWAY,
    ),
    gateway_holders=tunnels.gateway_holders,
    conflict=_conflict,
    added_bytes=_added_bytes,
    learns=_learns,
)
