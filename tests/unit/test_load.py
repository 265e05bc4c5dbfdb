"""Topology files resolve to what a reader of them would expect."""

from __future__ import annotations

import os
import time
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from chimera.load import list_topologies, load_topology, parse_topology
from chimera.model.errors import InputError, TopologyError
from chimera.model.ports import INTERFACES
from chimera.model.topology import Impairment, Kind, Topology
from chimera.overlay import registry
from chimera.session import prepare

TOPOLOGIES = Path(__file__).resolve().parents[2] / "topologies"
SMALL = "name: t\nswitches: {s1: {}}\nhypervisors: {hv1: {}, hv2: {}}\n"


def small(more: str) -> Topology:
    return parse_topology(SMALL + more, "t.yaml")


def complaint(text: str) -> str:
    with pytest.raises(TopologyError) as caught:
        parse_topology(text, "t.yaml")
    return str(caught.value)


# -- the shipped files ---------------------------------------------------------------------


def test_rack_is_ten_lines_and_says_little() -> None:
    assert len((TOPOLOGIES / "rack.yaml").read_text().splitlines()) <= 10
    rack = load_topology("rack", [TOPOLOGIES])
    assert [vm.hypervisor for vm in rack.vms] == ["hv1", "hv1", "hv2", "hv2"]
    assert {vm.segment for vm in rack.vms} == {"tenant1/segment1"}
    assert all(vm.ip and vm.ip6 for vm in rack.vms)


def test_dual_dc_is_two_data_centres_and_a_branch() -> None:
    lab = load_topology("dual-dc", [TOPOLOGIES])
    assert [lab.site_of(h.name) for h in lab.hypervisors] == ["dc1", "dc1", "dc2", "dc2"]
    assert lab.site_of("laptop") == "branch"
    assert {link.name for link in lab.inter_site_links()} == {"wan", "r1--r3", "r2--r3"}
    wan = next(link for link in lab.links if link.name == "wan")
    assert wan.forward == wan.backward == Impairment(bandwidth_mbps=1000, delay_ms=10)
    assert [vm.name for vm in lab.vms if vm.mobile] == ["web1"]
    assert lab.vm("red1").ip == lab.vm("web1").ip
    assert [s.external for s in lab.segments] == [True, False]


def test_leaf_spine_has_two_equal_paths_from_every_leaf() -> None:
    lab = load_topology("leaf-spine", [TOPOLOGIES])
    roles = [n.role for n in lab.nodes if n.kind is Kind.SWITCH]
    assert (roles.count("spine"), roles.count("leaf"), len(lab.hypervisors), len(lab.vms)) == (2, 4, 8, 32)
    for leaf in ("leaf1", "leaf4"):
        assert [link.b.node for link in lab.links if link.a.node == leaf] == ["spine1", "spine2"]
    assert [vm.hypervisor for vm in lab.vms[:5]] == ["hv1", "hv1", "hv1", "hv1", "hv2"]


def test_leaf_spine_of_another_size_takes_segments_in_turns() -> None:
    lab = parse_topology("{name: t, leaf_spine: {spines: 3, leaves: 2, vms_per_hypervisor: 4, segments: 2}}", "t.yaml")
    assert [vm.segment.removeprefix("tenant1/segment") for vm in lab.vms] == ["1", "2"] * 4
    assert len(lab.segments) == 2
    assert len(lab.links) == 3 * 2 + 2


# -- defaults, numbers, addresses ----------------------------------------------------------


def test_every_number_is_deterministic_and_unique() -> None:
    lab = load_topology("leaf-spine", [TOPOLOGIES])
    assert lab == load_topology("leaf-spine", [TOPOLOGIES])
    for values in ([e.mac for e in lab.endpoints], [vm.ip for vm in lab.vms], [vm.port for vm in lab.vms]):
        assert len(set(values)) == len(values)
    ends = [str(port) for link in lab.links for port in link.ends()]
    assert len(set(ends)) == len(ends)
    assert all(len(port.interface) <= 15 for link in lab.links for port in link.ends())


def test_the_first_vm_is_mobile_where_none_is_said_to_be() -> None:
    assert [vm.mobile for vm in small("vms: {a: {hypervisor: hv1}, b: {hypervisor: hv2}}").vms] == [True, False]


@pytest.mark.parametrize(
    ("subnet", "gateway", "count", "first"),
    [
        ("10.9.0.0/24", "auto", 3, "10.9.0.11/24"),
        ("10.9.0.0/28", "auto", 4, "10.9.0.11/28"),
        ("10.9.0.0/28", "auto", 5, "10.9.0.2/28"),  # .11 to .14 would not do
        ("10.9.0.0/29", "auto", 5, "10.9.0.2/29"),
        ("10.9.0.0/29", "none", 5, "10.9.0.2/29"),
        ("10.9.0.0/29", "none", 6, "10.9.0.1/29"),
        ("10.9.0.0/30", "10.9.0.2", 1, "10.9.0.1/30"),
    ],
)
def test_addresses_begin_where_they_fit(subnet: str, gateway: str, count: int, first: str) -> None:
    segment = f"tenants: {{a: {{segments: {{s: {{subnet: {subnet}, gateway: {gateway}}}}}}}}}\n"
    lab = small(f"gateways: {{gw: {{}}}}\n{segment}vms:\n  vm[1-{count}]: {{hypervisor: hv1}}\n")
    addresses = [ip_interface(vm.ip).ip for vm in lab.vms]
    assert lab.vms[0].ip == first
    assert len({*map(str, addresses), lab.segments[0].gateway} - {""}) == count + (gateway != "none")
    assert all(address in list(ip_network(subnet).hosts()) for address in addresses)


def test_automatic_subnets_avoid_those_of_the_file() -> None:
    lab = small("tenants: {a: {segments: {x: {}, y: {subnet: 10.1.0.0/16}, z: {}}}}")
    assert [s.subnet for s in lab.segments] == ["10.2.0.0/24", "10.1.0.0/16", "10.3.0.0/24"]


def test_an_automatic_subnet_grows_with_its_segment() -> None:
    lab = small("vms:\n  vm[1-300]: {hypervisor: hv1, memory: 1 MB}\n")
    assert lab.segments[0].subnet == "10.1.0.0/16"
    assert lab.vms[-1].ip == "10.1.1.54/16"


def test_a_vm_stands_where_its_hypervisor_does() -> None:
    lab = parse_topology(
        "name: t\nsites: [a, b]\nswitches: {s1: {site: a}, s2: {site: b, uplink: s1}}\n"
        "hypervisors: {hv1: {uplink: s1}, hv2: {uplink: s2}}\nvms: {vm1: {hypervisor: hv2}}",
        "t.yaml",
    )
    assert lab.vm("vm1").site == "b"
    assert [link.name for link in lab.inter_site_links()] == ["s2--s1"]


# -- YAML's traps --------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "expected"), [("yes", True), ("off", False), ("true", True), ("False", False)])
def test_flags_are_words(text: str, expected: bool) -> None:
    vms = f"vms: {{a: {{hypervisor: hv1, mobile: {text}}}, b: {{hypervisor: hv1, mobile: yes}}}}"
    assert small(vms).vms[0].mobile is expected


def test_names_that_yaml_1_1_would_take_for_truth_values_are_names() -> None:
    assert [vm.name for vm in small("vms: {on: {hypervisor: hv1}, no: {hypervisor: hv2}}").vms] == ["on", "no"]


def test_a_byte_order_mark_and_windows_line_ends_are_welcome() -> None:
    text = ("\ufeff" + SMALL).replace("\n", "\r\n").encode()
    assert parse_topology(text, "t.yaml") == small("")


def test_a_utf16_file_is_a_located_problem() -> None:
    with pytest.raises(TopologyError, match=r"t.yaml:1:1: this is not UTF-8 text"):
        parse_topology(SMALL.encode("utf-16"), "t.yaml")


def test_a_file_too_large_is_refused_unread() -> None:
    with pytest.raises(TopologyError, match="larger than 500 kB"):
        parse_topology(b"#" * 500_001, "t.yaml")


def test_control_characters_never_reach_the_terminal() -> None:
    text = complaint('{"a\\e[2J": 1, name: "x\\a"}')
    assert "\x1b" not in text
    assert "\x07" not in text


# -- several problems at once --------------------------------------------------------------


def test_one_mistake_gives_one_problem() -> None:
    """A name that is not there is not also unreachable, unplaced and without an address."""
    text = SMALL + "vms: {a: {hypervisor: hv9}, b: {hypervisor: hv1}}\ntenants: {t: {segments: {s: {subnet: x}}}}"
    with pytest.raises(TopologyError) as caught:
        parse_topology(text, "t.yaml")
    assert [problem.key for problem in caught.value.problems] == ["vms.a.hypervisor", "tenants.t.segments.s.subnet"]


def test_a_table_that_cannot_be_read_is_not_held_against_those_who_refer_to_it() -> None:
    text = "name: t\nswitches: 5\nhypervisors: {hv1: {uplink: s1}}\nvms: {a: {hypervisor: hv1}}"
    assert complaint(text).startswith("t.yaml:2:11: switches: names are expected here")
    assert complaint(text).count("t.yaml:") == 1


def test_problems_come_in_the_order_of_the_file() -> None:
    with pytest.raises(TopologyError) as caught:
        parse_topology("vms: {a: {hypervisor: x}}\nhypervisors: {Hv: {}}\nswitchs: {}\n", "t.yaml")
    places = [problem.place for problem in caught.value.problems]
    assert places == sorted(places)
    assert len(places) >= 3


# -- names and folders ---------------------------------------------------------------------


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(InputError, match=r"there is no topology 'dual_dc'[^\0]*leaf-spine[^\0]*did you mean 'dual-dc'"):
        load_topology("dual_dc", [TOPOLOGIES])


@pytest.mark.parametrize("name", ["./nowhere.yaml", "nowhere.yml", "/nowhere", "nowhere.py", "a\0b/c.yaml"])
def test_a_path_that_leads_nowhere_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError, match=r"nowhere|null"):
        load_topology(name, [TOPOLOGIES])


def test_a_folder_is_no_topology(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is a directory"):
        load_topology(str(tmp_path) + "/", [])


@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "/dev/tty"])
def test_what_is_no_regular_file_is_neither_read_nor_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"cannot read .*: "):
        load_topology(str(tmp_path / name), [])


@pytest.mark.skipif(not os.access("/proc/kmsg", os.R_OK), reason="needs a readable /proc/kmsg")
def test_a_file_of_the_kernel_that_never_ends_is_not_waited_for() -> None:
    """``/proc/kmsg`` says that it is a regular file, and blocks until the kernel has something to say."""
    with pytest.raises(InputError, match=r"/proc/kmsg"):
        load_topology("/proc/kmsg", [])


def test_the_first_folder_wins_and_broken_files_are_listed_too(tmp_path: Path) -> None:
    (tmp_path / "rack.yaml").write_text(SMALL.replace("name: t", "name: mine\ndescription: My own"))
    (tmp_path / "broken.yaml").write_text("name: [")
    search = [tmp_path, TOPOLOGIES, tmp_path / "missing"]
    listed = {name: text for name, text, _ in list_topologies(search)}
    assert listed["rack"] == "My own"
    assert listed["broken"].startswith("(cannot be read: not valid YAML")
    assert "dual-dc" in listed
    assert load_topology("rack", search).name == "mine"


# -- size ----------------------------------------------------------------------------------


def test_a_large_lab_loads_fast() -> None:
    started = time.process_time()
    leaves = "leaf_spine: {spines: 4, leaves: 50, hypervisors_per_leaf: 4, vms_per_hypervisor: 10, segments: 10}"
    lab = parse_topology(f"name: big\n{leaves}\ndefaults: {{vm: {{memory: 64 MB}}}}", "t.yaml")
    assert len(lab.vms) == 2000
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize("kind", ["hypervisors", "vms", "switches", "clients", "gateways", "tenants"])
def test_sizes_are_limited(kind: str) -> None:
    started = time.process_time()
    assert "at most" in complaint(f"name: t\n{kind}:\n  x[1-99999999]:\n  y[1-9999]:\n  z[1-9999]:\n")
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    "text",
    [
        'switches: {s: }\nhypervisors: {"hv[1-2][": {}}\nvms: {"vm[1-10000]": {hypervisor: hv1}}',
        'switches: {s: }\nhypervisors: {"hv[1-1000]": {}}\nvms: {"vm[1-10000]": {hypervisor: "vm[1-10000]"}}',
        'switches: {"s[1-500]": {uplink: ["q[1-1000]"]}}\nhypervisors: {hv1: {}}',
    ],
)
def test_a_short_file_is_refused_fast_however_much_its_ranges_stand_for(text: str) -> None:
    started = time.process_time()
    assert "t.yaml:" in complaint(f"name: t\n{text}\n")
    assert time.process_time() - started < 2.0


# -- names ---------------------------------------------------------------------------------


def test_the_names_of_every_port_that_an_overlay_asks_for_are_kept_for_it() -> None:
    """What a hypervisor has beside its VMs' ports is the loader's to know: a VM of that name would fail in ``ip``."""
    for overlay in registry.OVERLAYS:
        wiring = prepare("dual-dc", overlay).wiring
        legs = {leg.name for there in wiring.legs.values() for leg, _ in there}
        assert {spec.name for there in wiring.ports.values() for spec in there} <= INTERFACES.keys() | legs


@pytest.mark.parametrize(("said", "underlay"), [("", 1600), ("vm_mtu: 1400", 1600), ("vm_mtu: 9000", 9100)])
def test_an_underlay_has_room_for_headers_where_nothing_is_said(said: str, underlay: int) -> None:
    assert small(said).underlay_mtu == underlay


def test_an_underlay_that_is_said_stays_as_small() -> None:
    assert small("vm_mtu: 1400\nunderlay_mtu: 1400").underlay_mtu == 1400


def test_a_link_gets_no_name_that_a_node_has() -> None:
    text = """
name: lab
switches: {s1: {}, hv1--s1: {}}
hypervisors: {hv1: {uplink: s1}}
links: [{between: [s1, hv1--s1]}]
"""
    found = parse_topology(text, "t.yaml")
    assert [link.name for link in found.links] == ["hv1--s1-2", "s1--hv1--s1"]
