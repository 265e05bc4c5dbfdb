"""The experiment of the lab over every tunnel overlay: what holds for each, and what its captures hold."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from lab_support import PROJECT, lab, needs_lab, quick_dual_dc, result
from wire_labs import needs_translators

from chimera.load import load_topology
from chimera.overlay import registry
from chimera.overlay.mpls import label
from tests import judge
from tests.judge import needs_tshark

pytestmark = [*needs_lab, needs_translators]

TUNNELS = [name for name in registry.OVERLAYS if name != "vlan"]
WIRE = {  # what the WAN carries, and by how many bytes it is more than a VM sent
    "vxlan": ("eth ip udp vxlan eth", 50),
    "geneve": ("eth ip udp geneve eth", 50),
    "mpls": ("eth ip udp mpls pwcw eth", 50),
    "lisp": ("eth ip udp lisp ip", 36),
    "otv": ("eth ip udp otv eth", 50),
    "trill": ("eth trill eth vlan", 24),
    "fabricpath": ("fabricpath eth", 16),
}
TIMED = "waits hardly longer than the stun"

FRAME_BY_FRAME = ("-o", "tcp.desegment_tcp_streams:FALSE")  # what TCP sends twice is no malformed frame


@dataclass(frozen=True)
class Run:
    """What a run over an overlay left behind."""

    overlay: str
    folder: Path

    @cached_property
    def found(self) -> dict[str, Any]:
        return result(self.folder)


@pytest.fixture(scope="module", params=TUNNELS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run over each of them; its captures, hundreds of megabytes, go when they have been looked at."""
    folder = tmp_path_factory.mktemp("vmotion")
    out = folder / "D"
    words = ("--topology", quick_dual_dc(folder), "--overlay", request.param, "--capture", "--out", str(out))
    done = lab("run", "vmotion", *words, check=False, timeout_s=300)
    assert done.returncode in (0, 1), done.stderr  # 1: slower than expected, which a busy machine may be
    yield Run(request.param, out)
    shutil.rmtree(out)


def test_what_is_expected_holds_whatever_the_machines_speed(run: Run) -> None:
    expectations = run.found["expectations"]
    assert len(expectations) > 8
    assert [e["name"] for e in expectations if not e["passed"] and TIMED not in e["name"]] == []


def test_every_user_keeps_the_vm(run: Run) -> None:
    moves = run.found["migrations"]
    assert [(m["source"], m["destination"], m["aborted"]) for m in moves] == [("hv1", "hv3", ""), ("hv3", "hv1", "")]
    for move in moves:
        assert move["tcp_survived"] is True
        assert move["probes_duplicated"] == move["misdelivered"] == 0


def test_the_overhead_is_the_formats(run: Run) -> None:
    wire = run.found["wire"]
    assert (" ".join(wire["stack"]), wire["overhead_bytes"]) == WIRE[run.overlay]


@needs_tshark
def test_wireshark_calls_no_frame_malformed(run: Run) -> None:
    topology = load_topology("dual-dc", [PROJECT / "topologies"])
    labels = {label(topology, node.name, s): True for node in topology.vteps for s in topology.segments}
    options = (*FRAME_BY_FRAME, *judge.OTV, *judge.control_words(labels))
    capture = run.folder / "captures" / "wan.pcapng"  # the middle of the path
    assert judge.malformed(capture, *options) == []
    assert capture.stat().st_size > 10_000_000
