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
  migrations.network_outage_ms: <= 30
  migrations.tcp_survived: true
  migrations.misdelivered: "==0"
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
    assert lab.expect == {
        "migrations.network_outage_ms": "<= 30",
        "migrations.tcp_survived": "== true",
        "migrations.misdelivered": "== 0",
    }
    assert load_lab(lab.path.parent) == lab


def test_every_mistake_is_located(tmp_path: Path) -> None:
    text = "title: T\ntopology: dual-dc\noverlay: [vxlan]\nscenarios: vmotion\nexpect: {timing.up_s: about 30}\n"
    with pytest.raises(TopologyError) as caught:
        load_lab(write(tmp_path, text))
    found = [(p.place.line, p.place.column, p.key) for p in caught.value.problems]
    assert found == [(3, 10, "overlay"), (4, 1, "scenarios"), (5, 23, "expect.timing.up_s")]


def test_every_figure_that_is_none_is_located_at_once(tmp_path: Path) -> None:
    text = "expect:\n  migrations.stun: 3\n  timing.up_s: soon\n  outage_ms: '< 3'\n"
    with pytest.raises(TopologyError) as caught:
        load_lab(write(tmp_path, "title: T\ntopology: rack\noverlay: vxlan\nscenario: vmotion\n" + text))
    found = [(p.place.line, p.place.column, p.message.split(":")[0], p.fix) for p in caught.value.problems]
    assert found == [
        (6, 3, "no figure 'migrations.stun'", "did you mean 'stun_ms'?"),
        (7, 16, "not a condition", 'for example "<= 30"'),
        (8, 3, "no figure 'outage_ms'", ""),
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [("rack", "rack"), ("net.yaml", "{0}/net.yaml"), ("./net", "{0}/net"), ("a/b.py:t,3", "{0}/a/b.py:t,3")],
)
def test_paths_count_from_the_files_own_folder(tmp_path: Path, written: str, read: str) -> None:
    lab = load_lab(write(tmp_path, f"title: T\ntopology: {written}\noverlay: vxlan\nscenario: {written}\n"))
    assert lab.topology == lab.scenario == read.format(tmp_path / "trombone")


def test_an_absolute_path_stays_one_and_a_path_beside_the_reader_stays_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "title: T\ntopology: /net.yaml\noverlay: vxlan\nscenario: ./mine\n")
    monkeypatch.chdir(path.parent)
    lab = load_lab(Path("lab.yaml"))
    assert (lab.topology, lab.scenario) == ("/net.yaml", "./mine")


def test_a_condition_that_yaml_takes_for_a_block_is_explained(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="put quotes around text that begins with >"):
        load_lab(write(tmp_path, "title: T\nexpect:\n  probes_sent: >= 30\n"))


def test_no_lab_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*lab\.yaml: No such file"):
        load_lab(tmp_path)
