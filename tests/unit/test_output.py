"""What ``--out`` writes: whole or not at all, through no link, and with nothing else changed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chimera import output
from chimera.model.errors import InputError
from chimera.output import PARTIAL, check_folder, replacing, staged, write_text

PROJECT = Path(__file__).parents[2]

# -- one file ----------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_text("old", path)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "disk full")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_text("new", path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_of_a_new_file_that_fails_nothing_is_left(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), replacing(tmp_path / "wan.pcapng") as file:
        file.write(b"half")
        raise error
    assert os.listdir(tmp_path) == []


def test_a_replaced_file_keeps_its_mode_and_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "wan.pcapng"
    path.write_text("old")
    path.chmod(0o640)
    with path.open() as reader:
        write_text("new", path)
        assert reader.read() == "old", "who reads meanwhile sees the old one to its end"
    assert path.read_text() == "new" and stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_is_as_the_umask_has_it(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text("new", tmp_path / "a" / "x.svg")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "x.svg").stat().st_mode) == 0o640


def test_an_error_names_the_path_that_the_user_knows(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "x", tmp_path, tmp_path / ("a" * 300)):
        with pytest.raises(OSError, match=r".") as raised, replacing(path):
            pass
        assert raised.value.filename == str(path)
    with pytest.raises(InputError, match="cannot write wan: Is a directory"), output.refusals(Path("wan")):
        raise IsADirectoryError(21, "Is a directory")


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with open(os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK), encoding="utf-8") as reader:
        write_text("drawing", tmp_path / "pipe")
        assert reader.read() == "drawing"
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("target", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_stdout_is_written_to_where_it_stands(tmp_path: Path, target: str) -> None:
    """Also where it is a file: that one is the shell's, and what was said before stays before."""
    code = f"from chimera.output import *; print('first'); write_text('second\\n', Path({target!r})); print('third')"
    path = tmp_path / "log"
    path.write_text("zeroth\n")
    inode = path.stat().st_ino
    with path.open("a") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, check=True, cwd=PROJECT)
    assert path.read_text().split() == ["zeroth", "first", "second", "third"]
    assert path.stat().st_ino == inode and os.listdir(tmp_path) == ["log"]


def test_a_link_is_followed_where_the_user_named_it(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere/file")
    for text in ("new", "newer"):
        write_text(text, tmp_path / "link")
        assert (tmp_path / "link").is_symlink() and (tmp_path / "elsewhere" / "file").read_text() == text
    assert everything(tmp_path) == {"link", "elsewhere", "elsewhere/file"}


# -- a folder of results -----------------------------------------------------------------------


def everything(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def test_results_replace_those_of_before_and_leave_the_users_own_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "captures").mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    (out / "captures" / "old.pcapng").write_text("old")
    (out / "result.json").write_text("old")
    with staged(out, "", "run-1") as partial:
        assert partial
        (partial / "result.json").write_text("new")
        (partial / "captures").mkdir()
        (partial / "captures" / "wan.pcapng").write_text("new")
        assert (out / "result.json").read_text() == "old"  # until all is written
    assert (out / "result.json").read_text() == "new"
    assert (out / "notes.txt").read_text() == "mine"
    assert everything(out) == {"notes.txt", "result.json", "captures", "captures/old.pcapng", "captures/wan.pcapng"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), staged(tmp_path / "a" / "b" / "out", "", "run-1") as partial:
        assert partial
        (partial / "result.json").write_text("half")
        raise error
    assert everything(tmp_path) == set()


def test_a_failure_leaves_an_old_result_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("old")
    with pytest.raises(RuntimeError), staged(tmp_path, "", "run-1") as partial:
        assert partial
        (partial / "result.json").write_text("half")
        raise RuntimeError
    assert everything(tmp_path) == {"result.json"}
    assert (tmp_path / "result.json").read_text() == "old"


def test_folders_on_the_way_are_made_at_the_end(tmp_path: Path) -> None:
    with staged(tmp_path / "a" / "b", "", "run-1") as partial:
        assert partial
        (partial / "result.json").write_text("new")
        assert everything(tmp_path) == {f"{PARTIAL}run-1", f"{PARTIAL}run-1/result.json"}
    assert everything(tmp_path) == {"a", "a/b", "a/b/result.json"}


def test_a_folder_on_another_file_system_is_written_to(tmp_path: Path) -> None:
    """As in a container that mounts its user's folder."""
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("no second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        (tmp_path / "out").symlink_to(elsewhere)
        with staged(tmp_path / "out", "", "run-1") as partial:
            assert partial
            (partial / "result.json").write_text("new")
        assert everything(Path(elsewhere)) == {"result.json"}


def test_without_a_folder_nothing_is_written() -> None:
    with staged(None, "", "run-1") as partial:
        assert partial is None


@pytest.mark.parametrize("dangling", [False, True])
@pytest.mark.parametrize("link", ["captures", "vxlan"])
def test_no_link_below_the_folder_is_followed(tmp_path: Path, link: str, dangling: bool) -> None:
    """Root writes there, and the folder belongs to somebody who may lead it anywhere."""
    out, elsewhere = tmp_path / "out", tmp_path / "etc"
    out.mkdir()
    if not dangling:
        elsewhere.mkdir()
    (out / link).symlink_to(elsewhere)
    below = "vxlan" if link == "vxlan" else ""
    with pytest.raises(InputError, match=f"out/{link} is a link"):
        check_folder(out, below, "captures")
    with pytest.raises(InputError, match=f"out/{link} is a link"), staged(out, below, "run-1") as partial:
        assert partial
        (partial / "captures").mkdir()
        (partial / "captures" / "wan.pcapng").write_text("new")
        (partial / "result.json").write_text("new")
    assert everything(out) == {link}
    assert not elsewhere.exists() or everything(elsewhere) == set()


def test_a_link_in_a_results_place_is_replaced_itself(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "shadow").write_text("secret")
    (tmp_path / "out" / "result.json").symlink_to("../shadow")
    with staged(tmp_path / "out", "", "run-1") as partial:
        assert partial
        write_text("new", partial / "result.json")
    assert (tmp_path / "shadow").read_text() == "secret"
    assert (tmp_path / "out" / "result.json").read_text() == "new"
    assert not (tmp_path / "out" / "result.json").is_symlink()


def test_a_folder_that_is_led_elsewhere_while_it_is_written_is_still_the_one(tmp_path: Path) -> None:
    """Whoever owns the folder can put a link in the place of what root is writing into."""
    out, elsewhere = tmp_path / "out", tmp_path / "etc"
    out.mkdir()
    elsewhere.mkdir()
    with staged(out, "", "run-1") as partial:
        assert partial
        (out / f"{PARTIAL}run-1").rename(out / "hidden")
        (out / f"{PARTIAL}run-1").symlink_to(elsewhere)
        (partial / "result.json").write_text("new")
    assert everything(elsewhere) == set()
    assert (out / "result.json").read_text() == "new"


def test_what_is_no_file_is_not_replaced_and_then_nothing_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "report.html")
    with (
        pytest.raises(InputError, match=r"report\.html is no regular file"),
        staged(tmp_path, "", "run-1") as partial,
    ):
        assert partial
        (partial / "captures").mkdir()
        for name in ("captures/wan.pcapng", "report.html", "result.json"):
            (partial / name).write_text("new")
    assert everything(tmp_path) == {"report.html"}
    assert (tmp_path / "report.html").is_fifo()


@pytest.mark.parametrize("there", ["result.json", "compare.json", "vlan/result.json"])
def test_a_result_that_is_there_is_refused(tmp_path: Path, there: str) -> None:
    (tmp_path / "vlan").mkdir()
    (tmp_path / there).write_text("old")
    with pytest.raises(InputError, match=f"{there} is there already: .*\n    fix: another --out, or --force"):
        check_folder(tmp_path, "vlan", "vxlan", results=("result.json", "compare.json"))
    check_folder(tmp_path, "vlan", "vxlan")


# -- owners ------------------------------------------------------------------------------------


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, tuple[int, int]]]:
    """Files and folders that were given to somebody, by name; root called by user 1000 through sudo."""
    found = {}

    def fchown(descriptor: int, uid: int, gid: int) -> None:
        found[Path(os.readlink(f"/proc/self/fd/{descriptor}")).name] = uid, gid

    monkeypatch.setattr(os, "fchown", fchown)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", "1000")
    monkeypatch.setenv("SUDO_GID", "1001")
    yield found


def test_what_is_new_belongs_to_the_user_who_called_sudo(tmp_path: Path, given: dict[str, tuple[int, int]]) -> None:
    (tmp_path / "old").mkdir()
    with staged(tmp_path / "old" / "new", "vxlan", "run-1") as partial:
        assert partial
        (partial / "captures").mkdir()
        (partial / "captures" / "wan.pcapng").write_text("new")
    write_text("new", tmp_path / "deep" / "x.svg")
    names = {name: owner for name, owner in given.items() if not name.startswith(PARTIAL)}
    assert names == dict.fromkeys(("new", "vxlan", "captures", "wan.pcapng", "deep", "x.svg"), (1000, 1001))


@pytest.mark.parametrize("uid", ["", "0x3", "-1", "1\n", "٣"])
def test_without_a_user_nothing_is_given_away(
    tmp_path: Path, given: dict[str, tuple[int, int]], monkeypatch: pytest.MonkeyPatch, uid: str
) -> None:
    monkeypatch.setenv("SUDO_UID", uid)
    write_text("new", tmp_path / "x.svg")
    assert given == {}
