"""A loop in the core ends by the hop count of whatever carries the frames, and many flows use both spines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab_support import lab, needs_lab, result

from chimera.overlay import registry

pytestmark = needs_lab

LIMITS = {"vxlan": ("ttl", 64), "trill": ("hop count", 32), "fabricpath": ("ttl", 32)}  # field, and what it starts at
TOPOLOGIES = ("dual-dc", "leaf-spine")
SPREADING = [name for name in registry.OVERLAYS if name != "vlan"]
ON_ONE_PATH = (("vlan",), ("mpls", "--set", "wire=ip"), ("otv", "--set", "wire=gre"))


def measured(tmp_path: Path, *words: str) -> dict[str, Any]:
    """The result of a run in which every expectation held."""
    lab("run", *words, "--quiet", "--out", str(tmp_path / "r"), timeout_s=180)
    return result(tmp_path / "r")


@pytest.mark.alone  # "bystanders lost nothing": the frames that circle must be all that the machine has to do
@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("overlay", LIMITS)
def test_a_loop_ends_and_is_nobody_elses_business(tmp_path: Path, overlay: str, topology: str) -> None:
    (loop,) = measured(tmp_path, "core-loop", "--topology", topology, "--overlay", overlay)["loops"]
    limit, start = LIMITS[overlay]
    assert loop["limit"] == limit
    assert start - 4 <= loop["started_at"] <= start
    assert loop["probes_sent"] == 200 and loop["probes_arrived"] == 0
    assert loop["frames"] == 200 and loop["started_at"] - 2 <= loop["crossings_median"] <= loop["crossings_most"]
    assert loop["bystanders_sent"] > 200
    assert loop["reachable_after"] is True


def test_a_core_of_bridges_is_refused_before_anything_starts() -> None:
    refused = lab("run", "core-loop", "--topology", "dual-dc", "--overlay", "vlan", check=False)
    assert refused.returncode == 2
    assert "bridges have no hop count" in refused.stderr and "up in" not in refused.stderr


@pytest.mark.parametrize("overlay", SPREADING)
def test_a_hundred_flows_use_both_spines(tmp_path: Path, overlay: str) -> None:
    entropy = measured(tmp_path, "entropy", "--topology", "leaf-spine", "--overlay", overlay)["entropy"]
    assert (entropy["available"], entropy["used"], entropy["flows"]) == (2, 2, 100)
    assert set(entropy["by_path"]) == {"spine1", "spine2"}
    assert sum(entropy["by_path"].values()) == 100
    assert min(entropy["by_path"].values()) > 20


@pytest.mark.parametrize("overlay", ON_ONE_PATH, ids=" ".join)
def test_without_entropy_one_path_of_two_carries_it_all(tmp_path: Path, overlay: tuple[str, ...]) -> None:
    """A spanning tree blocks the other; outer headers without ports say nothing of the flow inside."""
    entropy = measured(tmp_path, "entropy", "--topology", "leaf-spine", "--overlay", *overlay)["entropy"]
    assert (entropy["available"], entropy["used"]) == (2, 1)
    assert list(entropy["by_path"].values()) == [100]


def test_the_guided_lab_tells_one_path_from_two(tmp_path: Path) -> None:
    """What it expects of MPLS in UDP, MPLS in GRE does not give."""
    done = lab("run", "7-a-hundred-flows", "--set", "wire=gre", "--quiet", "--out", str(tmp_path), check=False)
    assert done.returncode == 1, done.stderr
    assert [e["detail"] for e in result(tmp_path)["expectations"] if not e["passed"]] == ["1"]
