"""No input whatever gives anything but a topology or an error of the lab."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chimera.load import load_lab, parse_topology
from chimera.model.codec import to_json
from chimera.model.errors import LabError
from chimera.model.topology import Topology

ROOT = Path(__file__).resolve().parents[2]
SEEDS = [path.read_text() for path in sorted((ROOT / "topologies").glob("*.yaml"))]
SEEDS += [path.read_text() for path in sorted((ROOT / "tests/golden/topology").glob("*.yaml"))]
QUICK = settings(max_examples=100, deadline=None, derandomize=True, database=None)

NASTY = (
    "",
    "~",
    "[]",
    "{}",
    "- x",
    "*a",
    "&a ",
    "<<: *a",
    "!!python/none",
    "---",
    "...",
    "\t",
    "\0",
    "\x1b",
    "\ud800",
    '"\\ud800"',
    '"\\UFFFFFFFF"',
    "? ",
    ": ",
    "|",
    ">",
    "%YAML 9.9",
    "on",
    "1:30",
    "010",
    "1e400",
    ".inf",
    ".nan",
    "-1",
    "9" * 5000,
    "hv[1-99999999]",
    "hv[1-2]",
    "[a-b]",
    "s1",
    "hv1",
    "r1",
    "10.0.0.0/0",
    "::/0",
    "fd00::/126",
    "255.255.255.255",
    "ff:ff:ff:ff:ff:ff",
    "auto",
    "none",
    "site: nowhere",
    "uplink: hv1",
    "\u2028",
    "é" * 300,
)


def outcome(source: str | bytes) -> None:
    """A topology that can be written out, or a located error."""
    try:
        topology = parse_topology(source, "fuzz.yaml")
    except LabError as error:
        assert str(error).startswith("fuzz.yaml:")
        assert not any(ord(c) < 32 and c != "\n" for c in str(error))
    else:
        assert isinstance(topology, Topology)
        assert to_json(topology)


@QUICK
@given(st.text())
@example("a: &a [*a]")
@example("'")
@example('"\\UFFFFFFFF"')
@example('"\\U0011FFFF"')
@example("%YAML 1.1\n%YAML 1.1\n---\n")
def test_any_text(text: str) -> None:
    outcome(text)


@QUICK
@given(st.binary())
@example(b"\xff\xfe")
@example(b"\xef\xbb\xbf")
@example(b"name: \xed\xa0\x80")
def test_any_bytes(data: bytes) -> None:
    outcome(data)


@QUICK
@given(st.text(alphabet="{}[]:,-&*!|>'\"%@`#? \n\tab1~<\\", max_size=60))
def test_text_of_yamls_own_signs(text: str) -> None:
    outcome(text)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A good file with a few of its words exchanged, dropped or doubled."""
    words = draw(st.sampled_from(SEEDS)).replace("{", "{ ").replace(",", " ,").split(" ")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(words) - 1))
        new = draw(st.one_of(st.sampled_from(NASTY), st.sampled_from(words), st.none()))
        words[at : at + draw(st.integers(0, 1))] = [] if new is None else [new]
        words = words or [""]
    return " ".join(words)


@settings(QUICK, max_examples=200)
@given(mutated())
def test_good_files_gone_bad(text: str) -> None:
    outcome(text)


VALUES = st.recursive(
    st.one_of(st.sampled_from(NASTY), st.integers(), st.text(max_size=8)).map(repr),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
        st.dictionaries(st.sampled_from(("s1", "hv1", "uplink", "to", "subnet", "x[1-3]")), inner, max_size=3).map(
            lambda pairs: "{" + ", ".join(f'"{k}": {v}' for k, v in pairs.items()) + "}"
        ),
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(
    (
        *("name", "sites", "routers", "switches", "hypervisors", "gateways", "tenants", "vms"),
        *("bare_metal", "clients", "links", "leaf_spine", "defaults"),
    )
)


@settings(QUICK, max_examples=120)
@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=5))
def test_any_value_under_every_key(content: dict[str, str]) -> None:
    outcome("\n".join(f"{key}: {value}" for key, value in content.items()))


@settings(QUICK, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_lab_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "lab.yaml").write_bytes(data)
    with pytest.raises(LabError):  # five random bytes never say title, topology, overlay and scenario
        load_lab(tmp_path)
