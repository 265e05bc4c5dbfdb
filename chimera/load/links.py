"""Cables: one for each uplink, and what ``links`` adds to them or says about them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from math import prod

from chimera import graph
from chimera.load.names import FABRIC, Names, by_kind, plugged
from chimera.load.problems import Problems, Spot, listed
from chimera.load.tables import MAX_LINKS, ImpairmentKeys, LinkDefaults, LinkKeys, LinkRecord, TopologyRecord
from chimera.model.ports import CONTROLLER
from chimera.model.topology import Impairment, Kind, Link, Port


@dataclass(frozen=True, slots=True)
class _Said:
    """Something said about a cable; ``turned`` where its first node is the cable's second."""

    keys: LinkKeys
    turned: bool = False


@dataclass(frozen=True, slots=True)
class Cable:
    """A cable between ``a`` and ``b``: what was said about it, the latest first."""

    a: str
    b: str
    at: Spot
    said: tuple[_Said, ...]
    open: bool  # made by an uplink, and no entry of ``links`` has spoken of it yet

    @property
    def ends(self) -> frozenset[str]:
        """The two nodes, in no order."""
        return frozenset((self.a, self.b))

    def find(self, name: str, *, forward: bool | None = None) -> tuple[object, Spot]:
        """The value of a key (None where nobody says it) and where it stands.

        ``forward`` asks for one direction, and then what is said for that direction wins over what is
        said for both in the same place.
        """
        for said in self.said:
            for keys in _sources(said, forward):
                if (value := getattr(keys, name)) is not None:
                    return value, keys.spot(name)
        return None, self.at


def _sources(said: _Said, forward: bool | None) -> Iterator[ImpairmentKeys]:
    if forward is not None:
        one_way = said.keys.forward if forward is not said.turned else said.keys.backward
        if one_way is not None:
            yield one_way
    yield said.keys


def limit_links(raw: TopologyRecord, problems: Problems) -> None:
    """Gives up on a file whose ``links`` and uplinks name more pairs than can be looked at in good time."""
    said = [(len(node.uplink), node.spot("uplink")) for _, node in plugged(raw)]
    said += [(prod(ends.count for ends in record.between), raw.spot("links")) for record in raw.links]
    total = sum(pairs for pairs, _ in said)
    if total > MAX_LINKS:
        most = max(said, key=lambda each: each[0])[1]
        problems.add(most, "too many links", found=str(total), allowed=f"at most {MAX_LINKS}")
        problems.raise_if_any()


def lay_cables(raw: TopologyRecord, names: Names, problems: Problems) -> list[Cable]:
    """All cables of the file: those of uplinks, then those that ``links`` adds."""
    laid = _Laid(names, problems)
    for _, node in plugged(raw):
        for uplink in node.uplink:
            if uplink.to in names.kinds:
                laid.uplink(node.name, uplink.to, uplink.keys)
    for record in raw.links:
        for a, b in _pairs(record, problems):
            if all(names.kinds.get(end, Kind.VM) is not Kind.VM for end in (a, b)):
                laid.link(a, b, record)
    return laid.cables


def _pairs(record: LinkRecord, problems: Problems) -> Iterator[tuple[str, str]]:
    """Every pair of nodes that an entry of ``links`` speaks of."""
    if "between" in record.bad or "between" not in record.spots:
        return
    if len(record.between) != 2:
        count = len(record.between)
        found = "1 name" if count == 1 else f"{count} names"
        problems.add(record.spot("between"), "a link has two ends", found=found, allowed="[first, second]")
        return
    first, second = record.between
    yield from ((a, b) for a in first.names for b in second.names)


class _Laid:
    """The cables laid so far."""

    def __init__(self, names: Names, problems: Problems) -> None:
        self._names = names
        self._problems = problems
        self.cables: list[Cable] = []
        self._between: dict[frozenset[str], list[int]] = {}
        self._cables_at: dict[str, int] = {}

    def _lay(self, cable: Cable) -> None:
        if len(self.cables) == MAX_LINKS:
            self._problems.add(cable.at, "too many links", allowed=f"at most {MAX_LINKS}")
            self._problems.raise_if_any()  # to go on could take minutes
        self._between.setdefault(cable.ends, []).append(len(self.cables))
        for node in cable.ends:
            self._cables_at[node] = self._cables_at.get(node, 0) + 1
        self.cables.append(cable)

    def _joined_to_itself(self, a: str, b: str, spot: Spot) -> bool:
        if a == b:
            self._problems.add(spot, f"'{a}' is joined to itself", found=b, fix="name another node")
        return a == b

    def uplink(self, node: str, to: str, keys: LinkKeys) -> None:
        """The cable of an uplink; two uplinks never join the same pair."""
        spot = keys.spots.get("to", keys.at)
        if self._joined_to_itself(node, to, spot):
            return
        if earlier := self._between.get(frozenset((node, to))):
            line = self.cables[earlier[0]].at.place.line
            message = f"'{node}' and '{to}' are joined already, by the uplink in line {line}"
            self._problems.add(spot, message, found=to, fix="a second cable between the two goes under links:")
            return
        self._lay(Cable(node, to, spot, (_Said(keys),), open=True))

    def link(self, a: str, b: str, record: LinkRecord) -> None:
        """An entry of ``links``: about the cable that an uplink made, or else a new one."""
        spot = record.spot("between")
        if self._joined_to_itself(a, b, spot):
            return
        for number in self._between.get(frozenset((a, b)), ()):
            cable = self.cables[number]
            if cable.open:
                said = (_Said(record, turned=cable.a != a), *cable.said)
                self.cables[number] = replace(cable, said=said, open=False)
                return
        if not any(self._full(node, spot) for node in (a, b)):
            self._lay(Cable(a, b, spot, (_Said(record),), open=False))

    def _full(self, node: str, spot: Spot) -> bool:
        kind = self._names.kinds[node]
        if kind in FABRIC:
            return False
        fix = "say where it is plugged into with its uplink:, or join switches and routers"
        self._problems.add(spot, f"the {kind} '{node}' has exactly one cable, its uplink", found=node, fix=fix)
        return True


def build_links(
    cables: list[Cable], defaults: LinkDefaults | None, nodes: Collection[str], problems: Problems
) -> tuple[Link, ...]:
    """The links of the model, in order: names, interfaces ``eth0`` …, impairments; ``nodes`` are names of others."""
    names: dict[str, Spot] = {}
    bases: dict[frozenset[str], str] = {}
    ports: dict[str, int] = {}
    links = []
    for cable in (_with_defaults(each, defaults) for each in cables):
        mtu = cable.find("mtu")[0]
        link = Link(
            name=_name(cable, names, bases, nodes, problems),
            a=_next_port(cable.a, ports),
            b=_next_port(cable.b, ports),
            forward=_impairment(cable, problems, forward=True),
            backward=_impairment(cable, problems, forward=False),
            mtu=mtu if isinstance(mtu, int) else 0,
        )
        links.append(link)
    return tuple(links)


def _with_defaults(cable: Cable, defaults: LinkDefaults | None) -> Cable:
    if defaults is None:
        return cable
    keys = LinkKeys(
        at=defaults.at,
        spots=defaults.spots,
        bandwidth=defaults.bandwidth,
        delay=defaults.delay,
        jitter=defaults.jitter,
        loss=defaults.loss,
        mtu=defaults.mtu,
    )
    return replace(cable, said=(*cable.said, _Said(keys)))


def _next_port(node: str, ports: dict[str, int]) -> Port:
    number = ports.get(node, 0)
    ports[node] = number + 1
    return Port(node, f"eth{number}")


def _name(
    cable: Cable, taken: dict[str, Spot], bases: dict[frozenset[str], str], nodes: Collection[str], problems: Problems
) -> str:
    """The given name, or ``a--b`` after the first cable of the pair, with a number where that is taken.

    Commands take either a node or a link (``lab inspect``, ``lab stop``), so that neither has the other's name.
    """
    given, spot = cable.find("name")
    base = bases.setdefault(cable.ends, f"{cable.a}--{cable.b}")
    name = given if isinstance(given, str) else base
    if name in taken and given is not None:
        line = taken[name].place.line
        problems.add(spot, f"two links are called '{name}'", found=name, fix=f"the other stands in line {line}")
    if given is not None and (name in nodes or name == CONTROLLER):
        whose = f"'lab stop {CONTROLLER}' means the lab's own" if name == CONTROLLER else "a node or VM has that name"
        problems.add(spot, f"no link can be called '{name}': {whose}", found=name, fix="give the link another name")
    number = 2
    while name in taken or name in nodes:
        name = f"{base}-{number}"
        number += 1
    taken[name] = spot
    return name


def _impairment(cable: Cable, problems: Problems, *, forward: bool) -> Impairment:
    bandwidth, delay, jitter, loss = (
        _number(cable.find(name, forward=forward)[0]) for name in ("bandwidth", "delay", "jitter", "loss")
    )
    if jitter > delay:
        spot = cable.find("jitter", forward=forward)[1]
        message = "more jitter than delay: a frame would arrive before it was sent"
        fix = "lower the jitter, or raise the delay"
        problems.add(spot, message, found=f"{jitter:g} ms", allowed=f"at most {delay:g} ms", fix=fix)
    return Impairment(bandwidth, delay, jitter, loss)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def check_connected(raw: TopologyRecord, cables: list[Cable], problems: Problems) -> None:
    """Notes every part of the underlay that is cut off from the first hypervisor."""
    nodes = {record.name: record for kind, records in by_kind(raw) if kind is not Kind.VM for record in records}
    start = next((record.name for record in raw.hypervisors), next(iter(nodes), ""))
    near = graph.neighbours((cable.a, cable.b) for cable in cables)
    _, *islands = graph.components(dict.fromkeys((start, *nodes)), near)
    for name, *island in islands:
        beyond = set(island)
        others = [other for other in nodes if other in beyond]
        message = f"'{name}' cannot be reached from '{start}'"
        found = f"cut off with it: {listed(others)}" if others else ""
        fix = "join the two parts with an uplink: or under links:"
        problems.add(nodes[name].at, message, found=found, fix=fix)
