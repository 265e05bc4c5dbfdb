"""A topology as the drawing of it that a result carries."""

from __future__ import annotations

from chimera.model.result import Map, MapLink, MapNode
from chimera.model.topology import Endpoint, Impairment, Link, Node, Topology


def map_of(topology: Topology) -> Map:
    """What :mod:`chimera.report.topology_map` draws of ``topology``: names, places, labels."""
    nodes = [_drawn_node(node) for node in topology.nodes]
    endpoints = [_drawn_endpoint(topology, endpoint) for endpoint in topology.endpoints]
    inter_site = {link.name for link in topology.inter_site_links()}
    links = [
        MapLink(link.name, link.a.node, link.b.node, link_label(link), link.name in inter_site)
        for link in topology.links
    ]
    return Map([site.name for site in topology.sites], nodes + endpoints, links)


def _drawn_node(node: Node) -> MapNode:
    return MapNode(node.name, node.kind.value, node.site, node.role)


def _drawn_endpoint(topology: Topology, endpoint: Endpoint) -> MapNode:
    segment = topology.segment_of(endpoint) if endpoint.segment else None
    return MapNode(
        endpoint.name,
        endpoint.kind.value,
        endpoint.site,
        parent=endpoint.hypervisor,
        tenant=segment.tenant if segment else "",
        segment=segment.name if segment else "",
    )


def link_label(link: Link) -> str:
    """What a link does to frames; both directions where they differ, nothing where it does nothing."""
    there, back = _impairment_label(link.forward), _impairment_label(link.backward)
    if there == back:
        return there
    return f"→ {there or 'as it is'} / ← {back or 'as it is'}"


def _impairment_label(impairment: Impairment) -> str:
    parts = []
    if impairment.delay_ms:
        jitter = f" ± {impairment.jitter_ms:g}" if impairment.jitter_ms else ""
        parts.append(f"{impairment.delay_ms:g}{jitter} ms")
    if impairment.bandwidth_mbps:
        giga = impairment.bandwidth_mbps >= 1000
        parts.append(
            f"{impairment.bandwidth_mbps / 1000:g} Gbit/s" if giga else f"{impairment.bandwidth_mbps:g} Mbit/s"
        )
    if impairment.loss_percent:
        parts.append(f"{impairment.loss_percent:g} % loss")
    return " · ".join(parts)
