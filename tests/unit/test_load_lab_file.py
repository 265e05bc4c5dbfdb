"""``lab.yaml`` of guided labs."""

from __future__ import annotations

from pathlib import Path

import pytest

from chimera.load import load_lab
from chimera.model.errors import InputError, TopologyError

LAB = """
title: A VM moves between data centres
topology: dual-dc
overlay: vxlan
scenario: vmotion
set: {mode: flood, rounds: 3, announce: off}
expect:
  network_outage_ms: <= 30
  tcp_survived: true
  misdelivered: "==0"
"""


def write(folder: Path, text: str) -> Path:
    (folder / "trombone").mkdir()
    path = folder / "trombone" / "lab.yaml"
    path.write_text(text)
    return path


def test_a_lab_file(tmp_path: Path) -> None:
    lab = load_lab(write(tmp_path, LAB))
    assert (lab.name, lab.topology, lab.overlay, lab.scenario) == ("trombone", "dual-dc", "vxlan", "vmotion")
    assert lab.set == {"mode": "flood", "rounds": "3", "announce": "off"}  # text, as --set has it
    assert lab.expect == {"network_outage_ms": "<= 30", "tcp_survived": "== true", "misdelivered": "== 0"}
    assert load_lab(lab.path.parent) == lab


def test_every_mistake_is_located(tmp_path: Path) -> None:
    text = "title: T\ntopology: dual-dc\noverlay: [vxlan]\nscenarios: vmotion\nexpect: {outage_ms: about 30}\n"
    with pytest.raises(TopologyError) as caught:
        load_lab(write(tmp_path, text))
    found = [(p.place.line, p.place.column, p.key) for p in caught.value.problems]
    assert found == [(3, 10, "overlay"), (4, 1, "scenarios"), (5, 21, "expect.outage_ms")]


def test_a_condition_that_yaml_takes_for_a_block_is_explained(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="put quotes around text that begins with >"):
        load_lab(write(tmp_path, "title: T\nexpect:\n  probes_sent: >= 30\n"))


def test_no_lab_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*lab\.yaml: No such file"):
        load_lab(tmp_path)
