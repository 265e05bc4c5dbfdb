"""What a VM finds on its machine: whose names it knows, and which of the host's mounts lie under its files."""

from __future__ import annotations

from pathlib import Path

import pytest
from overlay_labs import inventory

from chimera.net.userland import hosts, layered


def test_a_vm_knows_its_segment_and_no_other_tenant() -> None:
    topology = inventory().topology
    lines = [line.split() for line in hosts(topology, topology.vm("r1")).splitlines()]
    assert lines[0] == ["127.0.0.1", "localhost", "r1"]
    assert ["10.0.0.12", "r2"] in lines and ["fd00::12", "r2"] in lines and ["10.0.0.1", "gateway"] in lines
    assert not {"b1", "b2"} & {line[-1] for line in lines}


def test_mounts_of_files_get_a_layer_from_the_top_down(tmp_path: Path) -> None:
    spaced = tmp_path / "zwei Wörter"
    spaced.mkdir()
    (tmp_path / "resolv.conf").touch()
    written = str(spaced).replace(" ", "\\040")
    points = ["/proc", "/sys", "/run/netns", "/dev/pts", written, f"{tmp_path}/resolv.conf", str(tmp_path), "/"]
    mountinfo = "\n".join(f"{n} 1 0:{n} / {point} rw - ext4 x rw" for n, point in enumerate(points))
    assert layered(mountinfo) == sorted(["/", "/dev", str(tmp_path), str(spaced)])


@pytest.mark.parametrize("point", ["/running", "/system"])
def test_a_name_that_only_begins_like_the_kernels_is_a_folder(point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.isdir", lambda path: True)
    assert point in layered(f"1 1 0:1 / {point} rw - ext4 x rw")
