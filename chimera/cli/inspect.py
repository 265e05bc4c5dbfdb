"""``lab inspect``: what a running lab, a node or a link of it is, and how it is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict

import click

from chimera.cli.status import ask, complete, lab_option, summary
from chimera.cli.tables import table
from chimera.model.codec import to_json
from chimera.model.events import impairments
from chimera.model.result import LinkReport, NodeState
from chimera.model.service import ServiceState
from chimera.model.topology import Endpoint, Node, Segment
from chimera.model.underlay import Address
from chimera.model.verbs import Everything, FabricState, Inspect, LinkState, P, Place


@click.command()
@click.argument("name", default="", shell_complete=complete("nodes", "links"))
@lab_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(name: str, lab_name: str | None, as_json: bool) -> None:
    """Show what a running lab knows of itself: VMs, nodes, links, segments, forwarding state; or of one node or link.

    \b
    Example:  sudo lab inspect
              sudo lab inspect hv1 --json
              sudo lab inspect wan
    """
    found = ask(lab_name, Inspect(name))
    if as_json:
        shown = found.lab or found.node or found.endpoint or found.link or found.controller
        click.echo(to_json(shown, indent=2).decode())
    elif found.lab:
        _lab(found.lab)
    elif found.node:
        _node(found.node)
    elif found.endpoint:
        _endpoint(found.endpoint)
    elif found.link:
        links([found.link])
        _measured(found.link.measured or ())
        _services(found.link.services or ())
    elif found.controller:
        _services(found.controller.services)


def _lab(found: Everything) -> None:
    click.echo(summary(found))
    click.echo(found.mtu.consequence + "\n")
    _endpoints(found.endpoints, found.location)
    _segments(found.segments)
    _nodes(found.nodes, found.state, found.addresses)
    links(found.cables)
    _measured(found.links)
    _fabrics(found.fabric)


def _node(found: Place[Node]) -> None:
    _nodes([found.node], {found.node.name: found.state} if found.state else {}, found.addresses)
    table("VMs", ("VM",), [(vm,) for vm in found.vms])
    _surroundings(found)


def _endpoint(found: Place[Endpoint]) -> None:
    _endpoints([found.node], {found.node.name: found.at})
    _surroundings(found)


def _surroundings(found: Place[P]) -> None:
    table("Addresses", ("interface", "address"), [(a.interface, a.address) for a in found.addresses])
    links(found.links)
    _services(found.services)
    if found.fabric:
        _fabrics({found.node.name: found.fabric})
        _ways(found.fabric)


def _endpoints(endpoints: Iterable[Endpoint], location: Mapping[str, str]) -> None:
    columns = ("name", "kind", "at", "segment", "address", "IPv6", "MAC", "memory (MB)")
    rows = [
        (
            e.name, e.kind.replace("_", " "), location.get(e.name, e.site), e.segment, e.ip, e.ip6, e.mac,
            e.memory_mb if e.hypervisor else "",
        )
        for e in endpoints
    ]  # fmt: skip
    table("VMs and hosts", columns, rows)


def _segments(segments: Iterable[Segment]) -> None:
    columns = ("segment", "VNI", "VLAN", "subnet", "IPv6 subnet", "gateway", "clients reach it")
    rows = [
        (f"{s.tenant}/{s.name}", s.vni, s.vlan, s.subnet, s.subnet6, s.gateway, "yes" if s.external else "no")
        for s in segments
    ]
    table("Segments", columns, rows)


def _nodes(nodes: Iterable[Node], state: Mapping[str, NodeState], addresses: Iterable[Address]) -> None:
    own: dict[str, list[str]] = {}
    for a in addresses:
        own.setdefault(a.node, []).append(a.address)
    counts = ("flows", "macs", "mappings", "routes", "fabric")
    rows = [
        (
            n.name, n.kind, n.role, n.site, ", ".join(own.get(n.name, ())),
            *(getattr(state.get(n.name), key, None) for key in counts),
        )
        for n in nodes
    ]  # fmt: skip
    columns = ("node", "kind", "role", "site", "addresses", "flows", "MACs", "mappings", "routes", "fabric entries")
    table("Nodes and their forwarding state", columns, rows)


def links(found: Iterable[LinkState]) -> None:
    """Links, a line each: where they are, whether they are up, what they do to frames."""
    columns = ("link", "from", "to", "state", "forward", "backward", "by")
    rows = [
        (
            c.link, *c.ends, "up" if c.up else "cut", impairments(asdict(c.forward)), impairments(asdict(c.backward)),
            c.how if c.forward or c.backward else "",
        )
        for c in found
    ]  # fmt: skip
    table("Links", columns, rows)


def _measured(found: Iterable[LinkReport]) -> None:
    rows = [(m.link, m.direction.replace("->", " → "), impairments(m.asked), _rounded(m.got)) for m in found]
    table("Impaired links: configured and measured", ("link", "direction", "configured", "measured"), rows)


def _rounded(values: Mapping[str, float | None]) -> str:
    return impairments({key: round(value, 2) for key, value in values.items() if value is not None})


def _services(found: Iterable[ServiceState]) -> None:
    columns = ("service", "state", "since", "PID", "restarts", "why")
    now = time.time()
    rows = [
        (s.name, s.state, f"{max(now - s.since, 0):.0f} s", s.pid, s.restarts or None, s.detail) for s in found
    ]  # fmt: skip
    table("Services", columns, rows)


def _fabrics(found: Mapping[str, FabricState]) -> None:
    rows = [
        (
            name, f.planned.identifier or "", ", ".join(f.planned.ports), len(f.planned.unicast),
            len(f.planned.trees), ", ".join(f"{key} {n}" for key, n in f.counters.items() if n),
        )
        for name, f in found.items()
    ]  # fmt: skip
    table("Fabric", ("node", "identifier", "ports", "unicast entries", "trees", "counters"), rows)


def _ways(fabric: FabricState) -> None:
    rows = [
        (egress, ", ".join(f"{hop.interface} ({hop.mac})" for hop in hops))
        for egress, hops in fabric.planned.unicast.items()
    ]
    table("Ways through the fabric", ("egress identifier", "next hops"), rows)
