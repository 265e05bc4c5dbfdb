"""``lab inspect``: what a running lab, a node or a link of it is, and how it is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

import click

from chimera.cli.status import ask, complete, lab_option, summary
from chimera.cli.tables import impairment, table


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
    found = ask(lab_name, "inspect", node=name)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not name:
        _lab(found)
    elif "node" in found:
        _node(found)
    else:
        if "link" in found:
            links([found])
            _measured(found["measured"])
        _services(found["services"])


def _lab(found: dict[str, Any]) -> None:
    click.echo(summary(found))
    click.echo(found["mtu"]["consequence"] + "\n")
    _endpoints(found["endpoints"], found["location"])
    _segments(found["segments"])
    _nodes(found)
    links(found["cables"])
    _measured(found["links"])
    _fabrics(found["fabric"])


def _node(found: dict[str, Any]) -> None:
    node = found["node"]
    if "segment" in node:
        _endpoints([node], {node["name"]: found["at"]})
    else:
        _nodes({"nodes": [node], "state": {node["name"]: found["state"]}, "addresses": found["addresses"]})
        table("VMs", ("VM",), [(vm,) for vm in found["vms"]])
    table("Addresses", ("interface", "address"), [(a["interface"], a["address"]) for a in found["addresses"]])
    links(found["links"])
    _services(found["services"])
    if found["fabric"]:
        _fabrics({node["name"]: found["fabric"]})
        _ways(found["fabric"])


def _endpoints(endpoints: Iterable[dict[str, Any]], location: dict[str, str]) -> None:
    columns = ("name", "kind", "at", "segment", "address", "IPv6", "MAC", "memory (MB)")
    rows = [
        (
            e["name"], e["kind"].replace("_", " "), location.get(e["name"], e["site"]), e["segment"], e["ip"],
            e["ip6"], e["mac"], e["memory_mb"] if e["hypervisor"] else "",
        )
        for e in endpoints
    ]  # fmt: skip
    table("VMs and hosts", columns, rows)


def _segments(segments: Iterable[dict[str, Any]]) -> None:
    columns = ("segment", "VNI", "VLAN", "subnet", "IPv6 subnet", "gateway", "clients reach it")
    rows = [
        (
            f"{s['tenant']}/{s['name']}", s["vni"], s["vlan"], s["subnet"], s["subnet6"], s["gateway"],
            "yes" if s["external"] else "no",
        )
        for s in segments
    ]  # fmt: skip
    table("Segments", columns, rows)


def _nodes(found: dict[str, Any]) -> None:
    addresses: dict[str, list[str]] = {}
    for a in found["addresses"]:
        addresses.setdefault(a["node"], []).append(a["address"])
    counts = ("flows", "macs", "mappings", "routes", "fabric")
    rows = [
        (
            n["name"], n["kind"], n["role"], n["site"], ", ".join(addresses.get(n["name"], ())),
            *((found["state"].get(n["name"]) or {}).get(key) for key in counts),
        )
        for n in found["nodes"]
    ]  # fmt: skip
    columns = ("node", "kind", "role", "site", "addresses", "flows", "MACs", "mappings", "routes", "fabric entries")
    table("Nodes and their forwarding state", columns, rows)


def links(found: Iterable[dict[str, Any]]) -> None:
    """Links, a line each: where they are, whether they are up, what they do to frames."""
    columns = ("link", "from", "to", "state", "forward", "backward", "by")
    rows = [
        (
            c["link"], *c["ends"], "up" if c["up"] else "cut", impairment(c["forward"]), impairment(c["backward"]),
            c["how"] if impairment(c["forward"]) or impairment(c["backward"]) else "",
        )
        for c in found
    ]  # fmt: skip
    table("Links", columns, rows)


def _measured(found: Iterable[dict[str, Any]]) -> None:
    rows = [(m["link"], m["direction"].replace("->", " → "), impairment(m["asked"]), _rounded(m["got"])) for m in found]
    table("Impaired links: configured and measured", ("link", "direction", "configured", "measured"), rows)


def _rounded(values: dict[str, float | None]) -> str:
    return impairment({key: round(value, 2) for key, value in values.items() if value is not None})


def _services(found: Iterable[dict[str, Any]]) -> None:
    columns = ("service", "state", "since", "PID", "restarts", "why")
    now = time.time()
    rows = [
        (
            s["name"], s["state"], f"{max(now - s['since'], 0):.0f} s", s["pid"], s["restarts"] or None, s["detail"],
        )
        for s in found
    ]  # fmt: skip
    table("Services", columns, rows)


def _fabrics(found: dict[str, dict[str, Any]]) -> None:
    rows = [
        (
            name, f["planned"]["identifier"] or "", ", ".join(f["planned"]["ports"]), len(f["planned"]["unicast"]),
            len(f["planned"]["trees"]), ", ".join(f"{key} {n}" for key, n in f["counters"].items() if n),
        )
        for name, f in found.items()
    ]  # fmt: skip
    table("Fabric", ("node", "identifier", "ports", "unicast entries", "trees", "counters"), rows)


def _ways(fabric: dict[str, Any]) -> None:
    rows = [
        (egress, ", ".join(f"{hop['interface']} ({hop['mac']})" for hop in hops))
        for egress, hops in fabric["planned"]["unicast"].items()
    ]
    table("Ways through the fabric", ("egress identifier", "next hops"), rows)
