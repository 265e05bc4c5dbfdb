"""Mininet's own topologies: a Python file as for ``mn --custom``, seen as a lab.

Every Mininet switch becomes a physical switch. Every host becomes a VM of the same name, on a hypervisor of its own
called ``hv-NAME`` that takes the host's place in the network: link options (``bw``, ``delay``, ``jitter``, ``loss``)
hold between hypervisor and switch. VMs get the addresses that Mininet gives hosts: 10.0.0.1/8, 10.0.0.2/8 … in
the order of their names, and share one segment. Running the user's file is what Mininet does, too.
"""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Protocol, TypeVar

from chimera.apart import apart, blame
from chimera.load.problems import Problems
from chimera.load.resolve import read_and_resolve
from chimera.load.tree import Yaml, YamlList, YamlMap, YamlScalar
from chimera.model import numbers
from chimera.model.codec import from_json, to_json
from chimera.model.errors import InputError, MachineError, Place, did_you_mean
from chimera.model.topology import Topology

_T = TypeVar("_T")

_SUBNET = "10.0.0.0/8"  # Mininet's ipBase
_PREFIX = "hv-"


class MininetTopo(Protocol):
    """What is asked of a ``mininet.topo.Topo``."""

    def switches(self) -> list[str]:
        """Names of the switches, sorted."""

    def hosts(self) -> list[str]:
        """Names of the hosts, sorted."""

    def links(self, *, withInfo: bool) -> Iterable[tuple[str, str, dict[str, Any]]]:
        """Both ends and the options of every link."""

    def nodeInfo(self, name: str) -> dict[str, Any]:
        """The options of a node."""


def load_custom(path: Path, choice: str = "") -> Topology:
    """The topology that a Mininet file builds; ``choice`` is ``key`` or ``key,argument,…`` of its ``topos``.

    Raises:
        InputError: where the file cannot be run, or has no such topology.
        MachineError: where it imports a module that is not there.
        TopologyError: where what it builds is no lab.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    return from_json(apart(lambda: to_json(_load(path, choice)), str(path)), Topology)


def _load(path: Path, choice: str) -> Topology:
    key, *arguments = choice.split(",") if choice else [""]
    topos = _run(path)
    if not key and len(topos) == 1:
        key = next(iter(topos))
    if key not in topos:
        message = f"{path} has no topology '{key}'" if key else f"{path} has more than one topology"
        fix = did_you_mean(key, topos) or f"write {path}:{next(iter(topos))}"
        raise InputError(f"{message}\n    allowed: {', '.join(topos)}\n    fix: {fix}")
    name = re.sub(r"[^A-Za-z0-9._-]", "-", key)[:40]
    return _call(path, lambda: convert(topos[key](*map(_argument, arguments)), name=name, file=str(path)))


def _run(path: Path) -> dict[str, Any]:
    """The ``topos`` of a file."""
    topos = _call(path, lambda: runpy.run_path(str(path))).get("topos")
    if not isinstance(topos, dict) or not topos:
        fix = "topos = {'mytopo': MyTopo} at the end of the file, as for mn --custom"
        raise InputError(f"{path} has no topos\n    fix: {fix}")
    return {str(key): value for key, value in topos.items()}


def _call(path: Path, what: Callable[[], _T]) -> _T:
    """Calls the user's code; whatever it raises becomes an error that names the line of the user's file."""
    with blame(path, "this file failed"):
        try:
            return what()
        except ModuleNotFoundError as error:
            remedy = "sudo apt-get install mininet" if error.name == "mininet" else ""
            raise MachineError(f"{path} needs the Python module '{error.name}', which is not there", remedy) from error
        except SyntaxError as error:
            where = f"{error.filename}:{error.lineno}:{error.offset}"
            raise InputError(f"{where}: not valid Python: {error.msg}") from error


def _argument(text: str) -> int | float | str:
    found = (numbers.whole(text), numbers.decimal(text), text)
    return next(value for value in found if value is not None)


# -- what is built, in the words of the topology language ----------------------------------


def convert(topo: MininetTopo, name: str, file: str) -> Topology:
    """The lab that a Mininet topology describes; ``file`` is what errors call it.

    Raises:
        InputError: where it is no Mininet topology, or joins hosts in a way that a lab does not.
        TopologyError: where a name or a link option has no place in a lab.
    """
    problems = Problems(file)
    place = Place(file, 1, 1)
    try:
        content = _content(topo, name, file)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{file}: not a Mininet topology: {error}") from error
    return read_and_resolve(_tree(content, place), problems)


def _content(topo: MininetTopo, name: str, file: str) -> dict[str, Any]:
    hosts = list(topo.hosts())
    uplinks: dict[str, Any] = {}
    links = []
    for a, b, options in topo.links(withInfo=True):
        if a in hosts or b in hosts:
            host, switch = (a, b) if a in hosts else (b, a)
            if host in uplinks or switch in hosts:
                raise InputError(f"{file}: host '{host}' needs exactly one link, to a switch")
            uplinks[host] = {"to": switch, **_properties(options)}
        else:
            links.append({"between": [a, b], **_properties(options)})
    return {
        "name": name,
        "description": "A Mininet topology",
        "switches": dict.fromkeys(topo.switches()),
        "hypervisors": {f"{_PREFIX}{host}": {"uplink": uplinks[host]} if host in uplinks else None for host in hosts},
        "tenants": {"tenant1": {"segments": {"segment1": {"subnet": _SUBNET}}}},
        "vms": {host: _vm(topo, host, number) for number, host in enumerate(hosts, 1)},
        "links": links,
    }


def _vm(topo: MininetTopo, host: str, number: int) -> dict[str, Any]:
    """A host's VM: the address that Mininet would give it, unless the file gives one."""
    info = topo.nodeInfo(host)
    own = str(info.get("ip") or IPv4Address("10.0.0.0") + number).partition("/")[0]
    mac = {"mac": info["mac"]} if info.get("mac") else {}
    return {"hypervisor": f"{_PREFIX}{host}", "ip": own, **mac}


def _properties(options: dict[str, Any]) -> dict[str, Any]:
    """Link options in our words. Numbers mean to us what they mean to tc: Mbit/s, microseconds, percent."""
    found = {"bandwidth": options.get("bw"), "loss": options.get("loss")}
    for word in ("delay", "jitter"):
        value = options.get(word)
        found[word] = f"{value} us" if isinstance(value, int | float) else value
    return {word: value for word, value in found.items() if value is not None}


def _tree(value: Any, place: Place) -> Yaml:
    if isinstance(value, dict):
        return YamlMap(tuple((YamlScalar(str(k), True, place), _tree(v, place)) for k, v in value.items()), place)
    if isinstance(value, list):
        return YamlList(tuple(_tree(item, place) for item in value), place)
    return YamlScalar("" if value is None else str(value), True, place)
