"""What nodes can do is asked of them, never concluded from what they are called."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

from underlays import topology

import chimera
from chimera.model.codec import from_json, to_json
from chimera.model.topology import NUMBERS, Capability, Kind, Node, Topology
from chimera.model.underlay import Forwarding
from chimera.underlay.plan import plan

ENGINE = Path(chimera.__file__).parent
BY_NAME_OF_KIND = ("load", "model", "report")  # files, identifiers and drawings go by kinds; so may nothing else
LAB = topology("""
name: mixed
switches: {tor: {}}
hypervisors: {"hv[1-2]": {uplink: tor}}
gateways: {gw: {uplink: tor}}
bare_metal:
  box: {uplink: tor, vtep: true}
  plain: {uplink: tor}
  inside: {uplink: tor, segment: segment1}
clients: {pc: {uplink: tor}}
vms: {vm1: {hypervisor: hv1}}
""")


def test_nothing_outside_files_identifiers_and_drawings_looks_at_a_kind() -> None:
    found = [
        f"{path.relative_to(ENGINE)}:{node.lineno}"
        for path in sorted(ENGINE.rglob("*.py"))
        if path.relative_to(ENGINE).parts[0] not in BY_NAME_OF_KIND and path.name != "scaling.py"  # it makes nodes up
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and node.module == "chimera.model.topology"
        and "Kind" in [name.name for name in node.names]
    ]
    assert found == []


def test_every_kind_of_node_and_endpoint_can_do_something() -> None:
    assert set().union(*(capability.kinds for capability in Capability)) == set(Kind)


def test_one_host_can_do_what_others_of_its_kind_cannot_also_after_a_journey_as_json() -> None:
    back = from_json(to_json(LAB), Topology)
    assert back == LAB
    assert [e.name for e in back.endpoints if e.can(Capability.TERMINATE_TUNNELS)] == ["box"]
    assert list(plan(back, Forwarding.ROUTED).foreign_vtep) == ["box"]
    assert [e.name for e in back.endpoints if e.joined_by_cable] == ["inside"]


def test_hypervisors_come_first_wherever_they_stand_in_the_file() -> None:
    turned = replace(LAB, nodes=LAB.nodes[::-1])
    assert [n.name for n in turned.openflow_switches] == [n.name for n in turned.vteps] == ["hv2", "hv1", "gw"]


def test_numbers_are_a_nodes_own_across_kinds() -> None:
    kinds = [kind for kind in Kind if kind not in (Kind.VM, Kind.BARE_METAL, Kind.CLIENT)]
    numbers = {Node("n", kind, "dc", index).number for kind in kinds for index in (1, 2, NUMBERS)}
    assert len(numbers) == 3 * len(kinds) and max(numbers) < 1 << 16
