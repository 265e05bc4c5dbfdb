"""Mininet's own topologies, as for ``mn --custom``."""

from __future__ import annotations

from pathlib import Path

import pytest

from chimera.load import load_topology
from chimera.load.custom import convert
from chimera.model.errors import InputError, LabError, MachineError, TopologyError
from chimera.model.topology import Impairment


class FakeTopo:
    """A ``mininet.topo.Topo`` as far as the loader asks."""

    def __init__(self, links, hosts=None) -> None:  # type: ignore[no-untyped-def]
        self._links, self._hosts = links, hosts or {"h1": {}, "h2": {}}

    def switches(self) -> list[str]:
        return ["s1", "s2"]

    def hosts(self) -> list[str]:
        return list(self._hosts)

    def links(self, *, withInfo):  # type: ignore[no-untyped-def]
        return self._links

    def nodeInfo(self, name: str):  # type: ignore[no-untyped-def]
        return self._hosts[name]


TREE = [("h1", "s1", {"bw": 10, "delay": "5ms", "loss": 1}), ("s1", "s2", {"delay": 500}), ("s2", "h2", {})]


def test_a_host_is_a_vm_on_a_hypervisor_in_its_place() -> None:
    lab = convert(FakeTopo(TREE), "tree", "tree.py")
    assert [(vm.name, vm.hypervisor, vm.ip) for vm in lab.vms] == [
        ("h1", "hv-h1", "10.0.0.1/8"),
        ("h2", "hv-h2", "10.0.0.2/8"),
    ]
    assert [(link.a.node, link.b.node) for link in lab.links] == [("hv-h1", "s1"), ("hv-h2", "s2"), ("s1", "s2")]
    assert lab.links[0].forward == lab.links[0].backward == Impairment(10, 5, 0, 1)
    assert lab.links[2].forward.delay_ms == 0.5  # a bare number is microseconds to tc


def test_a_host_keeps_the_addresses_it_was_given() -> None:
    hosts = {"h1": {"ip": "10.9.9.9/8", "mac": "02:00:00:00:09:09"}, "h2": {}}
    first, second = convert(FakeTopo(TREE, hosts), "tree", "tree.py").vms
    assert (first.ip, first.mac, second.ip) == ("10.9.9.9/8", "02:00:00:00:09:09", "10.0.0.2/8")


@pytest.mark.parametrize(
    ("links", "error"),
    [
        ([*TREE, ("h1", "s2", {})], InputError),  # two cables
        ([("h1", "h2", {})], InputError),  # host to host
        (TREE[1:], TopologyError),  # h1 hangs in the air
        ([("h1", "s1", {"delay": "soon"}), *TREE[1:]], TopologyError),
        ([("h1", "s1")], InputError),  # not what Mininet gives
    ],
)
def test_what_is_no_lab_is_refused(links, error: type[LabError]) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=r"tree\.py"):
        convert(FakeTopo(links), "tree", "tree.py")


# -- files ---------------------------------------------------------------------------------

FILE = """
class T:
    def __init__(self, n=1, kind="x"):
        self.n = n
    def switches(self): return ["s1"]
    def hosts(self): return [f"h{i + 1}" for i in range(self.n)]
    def links(self, withInfo): return [(h, "s1", {}) for h in self.hosts()]
    def nodeInfo(self, name): return {}
topos = {"one": T, "other": (lambda: T(4))}
"""


LACKING = """class T:
    def switches(self): return ["s1"]
    def hosts(self): return ["h1"]
    def links(self, withInfo): return [("h1", "s1", {})]
    def nodeInfo(self, name): return {}["s9"]
topos = {"t": T}
"""


def write(folder: Path, text: str) -> str:
    (folder / "mine.py").write_text(text)
    return str(folder / "mine.py")


def test_the_choice_and_its_arguments(tmp_path: Path) -> None:
    path = write(tmp_path, FILE)
    assert len(load_topology(f"{path}:one,3,z", []).vms) == 3
    assert len(load_topology(f"{path}:other", []).vms) == 4
    with pytest.raises(InputError, match="more than one topology"):
        load_topology(path, [])
    with pytest.raises(InputError, match="did you mean 'other'"):
        load_topology(f"{path}:othr", [])


def test_a_file_is_found_by_name_and_its_only_topology_is_chosen(tmp_path: Path) -> None:
    write(tmp_path, FILE.replace(', "other": (lambda: T(4))', ""))
    assert load_topology("mine", [tmp_path]).name == "one"


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("topos = {'a': ", InputError, r"mine\.py:1:\d+: not valid Python"),
        ("x = 1", InputError, "has no topos"),
        ("topos = 3", InputError, "has no topos"),
        ("import sys\nsys.exit(3)", InputError, r"mine\.py:2:1: this file failed: SystemExit: 3\n    sys\.exit\(3\)"),
        ("topos = {'a': 1}", InputError, "TypeError"),
        ("topos = {'a': int}", InputError, "not a Mininet topology"),
        ("\n\n1 / 0", InputError, r"mine\.py:3:1: this file failed: ZeroDivisionError"),
        ("import no_such_module", MachineError, "no_such_module"),
        ("class Stop(BaseException): ...\nraise Stop(1)", InputError, r"mine\.py:2:1: this file failed: Stop: 1"),
        ("import os\nos._exit(0)", InputError, r"mine\.py ended its process \(os\._exit\(0\)\)"),
        ("import os\nos.kill(os.getpid(), 9)", InputError, r"mine\.py ended its process \(signal 9\)"),
        (LACKING, InputError, r"mine\.py:5:\d+: this file failed: KeyError: 's9'"),
    ],
)
def test_whatever_is_wrong_with_the_file_is_an_error_of_the_lab(
    tmp_path: Path, text: str, error: type[LabError], match: str
) -> None:
    with pytest.raises(error, match=match):
        load_topology(write(tmp_path, text), [])


def test_a_file_written_for_mininet(tmp_path: Path) -> None:
    pytest.importorskip("mininet.topo", reason="Mininet is not installed")
    text = "from mininet.topo import LinearTopo\ntopos = {'linear': LinearTopo}\n"
    lab = load_topology(write(tmp_path, text) + ":linear,3,2", [])
    assert [vm.name for vm in lab.vms] == ["h1s1", "h1s2", "h1s3", "h2s1", "h2s2", "h2s3"]
    assert len(lab.links) == 6 + 2
