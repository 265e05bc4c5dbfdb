"""Which site every node stands at: its own word, or its uplink's, or the only site there is."""

from __future__ import annotations

from chimera.load.names import plugged
from chimera.load.problems import Problems, listed
from chimera.load.tables import NodeRecord, TopologyRecord
from chimera.model.errors import did_you_mean
from chimera.model.topology import Site

_DEFAULT = "site1"


def declared_sites(raw: TopologyRecord) -> tuple[Site, ...]:
    """The sites of the file, or the one that goes without saying."""
    if not raw.sites:
        return (Site(_DEFAULT),)
    return tuple(Site(record.name, record.description or "") for record in raw.sites)


def place_nodes(raw: TopologyRecord, problems: Problems) -> dict[str, str]:
    """The site of every node that has uplinks; notes unknown sites and nodes that could stand anywhere."""
    nodes = {record.name: record for _, record in plugged(raw)}
    sites = [site.name for site in declared_sites(raw)]
    if "sites" not in raw.bad:
        _check_declared(nodes, raw, sites, problems)
    placed: dict[str, str] = {}
    for node in nodes.values():
        path = _path_up(node, nodes, placed)
        top = path[-1]
        site = placed.get(top.name) or top.site
        if site is None and len(sites) == 1:
            site = sites[0]
        if site is None and not any("site" in each.bad or "uplink" in each.bad for each in path):
            _refuse_homeless(top, sites, problems)
        for each in path:
            placed[each.name] = site or sites[0]
    return placed


def _path_up(node: NodeRecord, nodes: dict[str, NodeRecord], placed: dict[str, str]) -> list[NodeRecord]:
    """The node and the first uplinks above it, up to one whose site is known or that has none above."""
    path, seen = [node], {node.name}
    while path[-1].name not in placed and path[-1].site is None and path[-1].uplink:
        above = nodes.get(path[-1].uplink[0].to)
        if above is None or above.name in seen:
            break
        path.append(above)
        seen.add(above.name)
    return path


def _check_declared(nodes: dict[str, NodeRecord], raw: TopologyRecord, sites: list[str], problems: Problems) -> None:
    for node in nodes.values():
        if node.site is not None and node.site not in sites:
            spot = node.spot("site")
            fix = did_you_mean(node.site, sites) if problems.hears(spot, node.site) else ""
            if not raw.sites:
                fix = f"declare it: sites: [{node.site}]"
            message = f"there is no site '{node.site}'"
            problems.add(spot, message, found=node.site, allowed=listed(sites), fix=fix)


def _refuse_homeless(node: NodeRecord, sites: list[str], problems: Problems) -> None:
    if node.uplink:  # its uplink is unknown, which was said, or it is its own uplink's uplink
        return
    message = "the key 'site' is missing: nothing above says where this stands"
    problems.add(node.at, message, allowed=listed(sites), fix=f"site: {sites[0]}")
