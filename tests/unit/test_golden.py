"""Golden pairs: what a user sees for every kind of mistake, and what good files resolve to.

To change one on purpose, edit the expected text beside the input.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from chimera.load import load_topology, parse_topology
from chimera.model.codec import from_json, to_json
from chimera.model.errors import TopologyError
from chimera.model.topology import Topology

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
BAD = sorted((GOLDEN / "errors").glob("*.yaml"))
GOOD = sorted((GOLDEN / "topology").glob("*.json"))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_gives_exactly_this_text(path: Path) -> None:
    with pytest.raises(TopologyError) as caught:
        parse_topology(path.read_bytes(), path.name)
    assert str(caught.value) + "\n" == path.with_suffix(".txt").read_text()


def test_every_golden_has_its_pair() -> None:
    assert len(BAD) >= 45
    assert {path.stem for path in (GOLDEN / "errors").glob("*.txt")} == {path.stem for path in BAD}


@pytest.mark.parametrize("expected", GOOD, ids=lambda path: path.stem)
def test_a_good_file_resolves_to_exactly_this(expected: Path) -> None:
    topology = load_topology(expected.stem, [expected.parent, ROOT / "topologies"])
    assert to_json(topology, indent=1).decode() + "\n" == expected.read_text()
    assert from_json(expected.read_text(), Topology) == topology


def test_every_shipped_topology_has_a_golden() -> None:
    assert {path.stem for path in (ROOT / "topologies").glob("*.yaml")} <= {path.stem for path in GOOD}
