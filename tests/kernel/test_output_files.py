"""What ``--out`` does to a host: full disks, devices, links and owners, as root has to do with them."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

from lab_support import ENVIRONMENT, LAB, PROJECT, lab, needs_lab, on_a_host_of_its_own

pytestmark = needs_lab

SCENARIO = '''
"""Nothing happens, and it is reported."""


def run(lab) -> None:
    lab.note("nothing happens")


def check(result, expect) -> None:
    expect("nothing", True)
'''


def _brief(folder: Path) -> list[str]:
    """A run that is over as soon as the lab is up."""
    (folder / "brief.py").write_text(SCENARIO)
    return ["run", str(folder / "brief.py"), "-t", "rack", "-q", "--capture"]


def test_a_device_keeps_its_mode_its_owner_and_its_times(tmp_path: Path) -> None:
    """``--out /dev/null``: tried on a node of our own."""
    null = tmp_path / "null"
    os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    null.chmod(0o666)
    before = os.stat(null)
    name = f"t-{os.getpid()}-device"
    try:
        lab("up", "rack", "--name", name, "-q")
        done = lab("capture", "-l", name, "hv1--tor", "--seconds", "0.1", "--out", str(null))
        words = ["capture", "-l", name, "hv1--tor", "--seconds", "0.1", "--out", "/dev/stdout"]
        piped = subprocess.run([*LAB, *words], capture_output=True, env=ENVIRONMENT, cwd=PROJECT)
    finally:
        lab("down", name, check=False)
    assert f"{null}: " in done.stdout and " bytes" in done.stdout
    assert b"/dev/stdout: " in piped.stderr and piped.stdout.startswith(b"\n\r\r\n"), "pcapng, and nothing else"
    after = os.stat(null)
    assert stat.S_ISCHR(after.st_mode), "a file is in the device's place"
    for field in ("st_mode", "st_uid", "st_gid", "st_rdev", "st_ino", "st_mtime_ns", "st_ctime_ns"):
        assert getattr(after, field) == getattr(before, field), field


def test_full_disks_owners_and_links(tmp_path: Path) -> None:
    words = _brief(tmp_path)

    def act() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for size in ("4k", "16k"):  # no room for the captures, and none for the report
            disk = tmp_path / size
            disk.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)
            done = lab(*words, "--out", str(disk / "new"), check=False)
            found[size] = [done.returncode, done.stderr, sorted(p.name for p in disk.rglob("*"))]
        ENVIRONMENT.update(SUDO_UID="4321", SUDO_GID="1234")
        out = tmp_path / "home" / "results"
        lab(*words, "--out", str(out))
        found["owners"] = {p.name: [p.stat().st_uid, p.stat().st_gid] for p in (out.parent, out, *out.rglob("*"))}
        again = lab(*words, "--out", str(out), check=False)
        found["again"] = [again.returncode, again.stderr]
        old = (out / "result.json").stat()
        (out / "captures").rename(out / "old")
        (out / "captures").symlink_to(tmp_path)
        led = lab(*words, "--out", str(out), "--force", check=False)
        found["link"] = [led.returncode, led.stderr, (out / "result.json").stat().st_ino == old.st_ino]
        (out / "captures").unlink()
        (out / "result.json").chmod(0o600)
        os.chown(out / "result.json", 77, 78)
        lab(*words, "--out", str(out), "--force")
        new = (out / "result.json").stat()
        found["replaced"] = [stat.S_IMODE(new.st_mode), new.st_uid, new.st_gid, new.st_ino != old.st_ino]
        return found

    found = on_a_host_of_its_own(act)
    for size, what in (("4k", "new/captures"), ("16k", "new")):
        status, said, left = found[size]
        assert status == 3, said
        assert f"lab: cannot write {tmp_path / size / what}: No space left on device\n  to fix: make room" in said
        assert "Traceback" not in said and left == []
    names = {"home", "results", "captures", "hv1--tor.pcapng", "hv2--tor.pcapng", "report.html", "result.json"}
    names |= {"events.jsonl"}
    assert found["owners"] == {name: [4321, 1234] for name in names}
    assert found["again"][0] == 2 and "result.json is there already" in found["again"][1]
    status, said, untouched = found["link"]
    assert status == 2 and "results/captures is a link" in said and untouched
    assert sorted(p.name for p in tmp_path.glob("*.pcapng")) == []
    assert found["replaced"] == [0o600, 77, 78, True]
