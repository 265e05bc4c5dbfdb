"""The formats: every table round-trips over the whole range of every field, and the fast walk reads the same."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.fields import BitFieldLenField
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from chimera.wire.formats import (
    FABRICPATH_TYPE,
    FORMATS,
    GRE,
    LISP,
    LISP_GPE,
    MPLS,
    TRILL,
    VXLAN,
    ControlWord,
    FabricPath,
    Geneve,
    Optional,
    table_of,
)
from chimera.wire.headers import carried, dissect
from chimera.wire.stacks import parse
from tests.wire_frames import VM_B, arp_frame, fabricpath, outer, trill, udp, vm_frame, wires

FIXED = {LISP: {"reserved": 0}, LISP_GPE: {"p": 1}}  # the P bit is what tells the two apart
WIRES = wires(vm_frame())
TABLES = [layer.table for layer in FORMATS]


@st.composite
def headers(draw: st.DrawFn, table: type[Packet]) -> dict[str, Any]:
    """Any values of a table's fields: those that its flags announce, over their whole range."""
    values: dict[str, Any] = {}
    for field in table.fields_desc:
        if isinstance(field, Optional) and values[field.flag] != field.value:
            continue
        if field.name == "options":
            values["options"] = draw(st.binary(max_size=31).map(lambda words: words * 4))
        elif not isinstance(field, BitFieldLenField):  # follows from the options
            fixed = FIXED.get(table, {}).get(field.name)
            values[field.name] = draw(st.integers(0, (1 << field.size) - 1)) if fixed is None else fixed
    return values


def below(table: type[Packet]) -> Packet | None:
    """What stands before a header where a frame has it."""
    if table is TRILL:
        return Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    if table is FabricPath:
        return None
    if table in (GRE, MPLS):
        return outer()
    return outer() / udp() / MPLS() if table is ControlWord else outer() / udp()


@pytest.mark.parametrize("table", TABLES)
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_table_builds_what_it_reads(table: type[Packet], data: st.DataObject) -> None:
    values = data.draw(headers(table))
    read = table(bytes(table(**values)))
    assert type(read) is table
    assert {name: read.getfieldval(name) for name in values} == values
    assert not read.payload


@pytest.mark.parametrize("table", TABLES)
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_the_walk_reads_the_same_as_scapy(table: type[Packet], data: st.DataObject) -> None:
    values = data.draw(headers(table))
    if table is FabricPath:
        values["type"] = FABRICPATH_TYPE
    if table is ControlWord:
        values |= {"reserved_nibble": 0, "reserved": 0, "sequence": 0}  # anything else is a frame without one
    lower = below(table)
    header = table(**values)
    frame = bytes((lower / header if lower else header) / Raw(bytes(20)))
    found = next(h for h in dissect(frame) if h.name == table().name)
    assert found.length_bytes == len(bytes(header))
    options = len(values.pop("options", b""))
    expected = {name: value for name, value in values.items() if not name.startswith("reserved")}
    if counted := next((f.name for f in table.fields_desc if isinstance(f, BitFieldLenField)), ""):
        expected[counted] = options // 4
    assert {name: int(text, 0) for name, text in found.fields.items()} == expected


@pytest.mark.parametrize("wire", WIRES)
def test_a_frame_carries_the_vms_and_is_longer_by_the_overhead(wire: str) -> None:
    packet, overhead = WIRES[wire]
    frame, vm = bytes(packet), vm_frame()
    found = carried(frame)
    assert found
    assert found.overhead_bytes == overhead == len(frame) - len(bytes(vm))
    assert found.ethernet is not wire.startswith("lisp")
    assert found.frame == bytes(vm if found.ethernet else vm[IP])


@pytest.mark.parametrize(
    ("wire", "stack"),
    {
        "vxlan": "eth ip udp vxlan eth",
        "geneve": "eth ip udp geneve eth",
        "mpls udp": "eth ip udp mpls pwcw eth",
        "mpls udp, no control word": "eth ip udp mpls eth",
        "mpls gre": "eth ip gre mpls pwcw eth",
        "mpls gre, no control word": "eth ip gre mpls eth",
        "mpls ip": "eth ip mpls pwcw eth",
        "mpls ip, no control word": "eth ip mpls eth",
        "otv udp": "eth ip udp otv eth",
        "otv gre": "eth ip gre mpls eth",
        "lisp lisp": "eth ip udp lisp ip",
        "lisp gpe": "eth ip udp lisp-gpe ip",
        "trill": "eth trill eth vlan",
        "fabricpath": "fabricpath eth",
    }.items(),
)
def test_stacks_have_the_names_of_their_headers(wire: str, stack: str) -> None:
    found = carried(bytes(WIRES[wire][0]))
    assert found and " ".join(found.headers) == stack


@pytest.mark.parametrize("wire", WIRES)
def test_scapy_reads_back_whole_frames(wire: str) -> None:
    packet, _ = WIRES[wire]
    read = parse(bytes(packet))
    assert [type(layer) for layer in layers(read)] == [type(layer) for layer in layers(packet)]
    assert bytes(read) == bytes(packet)


def layers(packet: Packet) -> list[Packet]:
    found = []
    while packet and not isinstance(packet, Raw):
        found.append(packet)
        packet = packet.payload
    return found


def test_a_fabrics_frame_goes_to_an_edge_or_along_a_tree() -> None:
    def toward(packet: Packet) -> tuple[str, bool]:
        found = carried(bytes(packet))
        assert found
        return found.outer_destination, found.multi_destination

    assert toward(trill(vm_frame(), egress=0xFEDC)) == (str(0xFEDC), False)
    assert toward(trill(arp_frame(), m=1, egress=0xFEDC)) == (str(0xFEDC), True)
    assert toward(fabricpath(vm_frame(), switch=0xFED)) == (str(0xFED), False)
    assert toward(fabricpath(arp_frame())) == ("2", True)
    assert toward(WIRES["mpls gre"][0]) == ("192.0.2.2", False)


def test_the_tag_inside_trill_is_the_rbridges_and_a_vms_own_stays() -> None:
    found = carried(bytes(trill(vm_frame())))
    assert found and (found.vlan, found.frame[:6].hex(":")) == (101, VM_B)


def test_labels_stack_and_only_zeros_are_a_control_word() -> None:
    two = outer() / udp() / MPLS(label=1) / MPLS(label=2) / vm_frame()
    assert [h.name for h in dissect(bytes(two))][2:6] == ["udp", "mpls", "mpls", "eth"]
    assert MPLS in parse(bytes(two))[MPLS].payload
    numbered = outer() / udp() / MPLS() / ControlWord(sequence=9) / vm_frame()
    assert ControlWord not in parse(bytes(numbered))


def test_headers_of_another_version_are_not_understood() -> None:
    pptp = outer() / GRE(version=1) / MPLS() / vm_frame()
    later = [
        Ether(src=VM_B, dst=VM_B) / TRILL(version=1) / vm_frame(),
        outer() / udp() / Geneve(version=1) / vm_frame(),
    ]
    assert [carried(bytes(p)) for p in (pptp, *later)] == [None] * 3


def test_geneve_says_what_it_carries_and_how_long_its_options_are() -> None:
    routed = outer() / udp() / Geneve(vni=5, protocol=0x0800) / vm_frame()[IP]
    optioned = outer() / udp() / Geneve(vni=5, options=bytes(12)) / vm_frame()
    assert carried(bytes(routed)) is None
    assert [h.name for h in dissect(bytes(routed))][3:5] == ["geneve", "ip"]
    found = carried(bytes(optioned))
    assert found and (found.overhead_bytes, found.frame) == (62, bytes(vm_frame()))


def test_other_payloads_of_gre_and_of_lisp_gpe() -> None:
    bridged = outer() / GRE() / vm_frame()
    layer2 = outer() / udp() / LISP_GPE() / vm_frame()
    routed = outer() / GRE() / vm_frame()[IP]
    assert [carried(bytes(p)) is not None for p in (bridged, layer2, routed)] == [True, True, False]
    assert dissect(bytes(routed))[3].fields["destination"] == "10.1.0.2"


@settings(deadline=None)  # a busy machine is no defect
@given(st.sampled_from(sorted(WIRES)), st.data())
def test_no_damage_upsets_the_walk(wire: str, data: st.DataObject) -> None:
    whole = bytearray(bytes(WIRES[wire][0]))
    for at in data.draw(st.lists(st.integers(0, 79), max_size=8)):
        whole[at % len(whole)] = data.draw(st.integers(0, 255))
    frame = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    assert sum(h.length_bytes for h in dissect(frame)) <= len(frame)
    found = carried(frame)
    if found:
        assert found.overhead_bytes + len(found.frame) + (0 if found.ethernet else 14) == len(frame)


def test_the_walk_loads_scapys_tables_and_not_its_network() -> None:
    """Reading captures must not cost what Scapy's own layers and routing tables cost to load."""
    code = "import sys, chimera.wire.headers; print(*(m for m in sys.modules if m.startswith('scapy.layers')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) == {"scapy.layers", "scapy.layers.l2"}
    assert UDP.__module__ == "scapy.layers.inet"


def test_two_formats_of_one_name_or_one_number_are_refused() -> None:
    vxlan = next(layer for layer in FORMATS if layer.table is VXLAN)
    with pytest.raises(ValueError, match="two headers are called vxlan"):
        table_of((vxlan, vxlan))
    with pytest.raises(ValueError, match="udp-port 4789 announces vxlan, and other as well"):
        table_of((vxlan, replace(vxlan, name="other")))
