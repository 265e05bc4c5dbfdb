"""Everything a user asked for with ``--out``: whole or not at all, and nothing else on the host changes on the way.

A file gets its content under a temporary name beside it and is renamed when it is complete; what is there but no
regular file (a device, a pipe, ``-``) is written to. Results go to a folder of their own first and are moved when all
is there.

Labs run as root, often through sudo, in folders that belong to somebody else. So the kernel follows the path that the
user named and nothing below it: a link in a results folder is never followed. A file that is replaced keeps its owner
and mode; what is new belongs to the user who called sudo.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from chimera.model.errors import InputError, MachineError

PARTIAL = ".lab-partial-"  # prefix of what is being written, and would be left by a writer that is killed
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # what the machine lacks, not what the user wrote
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/([0-9]{1,9})")
_NAMED_DESCRIPTORS = {"-": 1, "/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


# -- one file ----------------------------------------------------------------------------------


def write_text(text: str, path: Path) -> None:
    """``text`` to ``path`` as UTF-8; who reads meanwhile sees the old file or the new one. Raises as :func:`replacing`.

    Folders on the way are made.
    """
    if _descriptor(path) is None:
        _make_folders(path.parent)
    with replacing(path) as file:
        file.write(text.encode(errors="replace"))


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file whose content becomes that of ``path`` when the block has ended without an error.

    Where that is no regular file it is written to at once; ``-`` is stdout.

    Raises:
        OSError: it could not be written, with ``path`` for its file name; what was there is as it was.
    """
    try:
        with _opened(path) as file:
            yield file
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with ExitStack() as stack:
        own = _descriptor(path)
        if own is not None:
            sys.stdout.flush()
            yield stack.enter_context(os.fdopen(os.dup(own), "wb"))
            return
        there, new = _open(path)
        if not stat.S_ISREG(os.fstat(there).st_mode):
            yield stack.enter_context(os.fdopen(there, "wb"))
            return
        stack.callback(os.close, there)
        target = Path(os.readlink(f"/proc/self/fd/{there}"))
        folder = os.open(target.parent, _FOLDER)
        stack.callback(os.close, folder)
        if not os.path.samestat(os.stat(target.name, dir_fd=folder, follow_symlinks=False), os.fstat(there)):
            raise FileExistsError(errno.EEXIST, "it is being replaced by somebody else")
        partial = f"{PARTIAL}{secrets.token_hex(8)}"
        try:
            with os.fdopen(os.open(partial, _NEW, 0o600, dir_fd=folder), "wb") as file:
                yield file
                file.flush()
                _keep_owner_and_mode(file.fileno(), os.fstat(there))
            os.rename(partial, target.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            for name in (partial, *([target.name] if new else [])):
                _unlink(name, folder)
            raise


def _open(path: Path) -> tuple[int, bool]:
    """A path opened for writing, and whether a file was made for that.

    The kernel follows the links, with its protection of folders that many share.
    """
    flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY
    try:
        return os.open(path, flags), False
    except FileNotFoundError:
        made = os.open(path, flags | os.O_CREAT, 0o666)
        _hand_over(made)
        return made, True


def is_stdout(path: Path) -> bool:
    """True where what is written to ``path`` appears on stdout, which then has to hold nothing else."""
    return _descriptor(path) == 1


def _descriptor(path: Path) -> int | None:
    """The descriptor of this process that a path means: it is used as it is, and no file behind it is replaced."""
    found = _DESCRIPTOR.fullmatch(str(path))
    return int(found[1]) if found else _NAMED_DESCRIPTORS.get(str(path))


# -- a folder of results -----------------------------------------------------------------------


@contextmanager
def staged(out: Path | None, below: str, name: str) -> Iterator[Path | None]:
    """A folder to write results into, whose content is moved to ``out/below`` when everything is written.

    What was there before and is not written anew stays. Until the end nothing is made but one folder, in the innermost
    part of ``out/below`` that is there, so that moving crosses no mount. ``out`` is as the user named it, links
    included; in ``below`` and what is in it, no link is followed.

    The path that is yielded leads to the folder wherever it is moved, from every mount namespace, in this process and
    its forks. Without ``out`` it is None.

    Raises:
        InputError: it cannot be written to, or there is a link on the way.
        MachineError: the disk is full, or broken.
    """
    if out is None:
        yield None
        return
    with ExitStack() as stack:
        with refusals(out / below):
            place = _place(out, below, stack)
            partial = f"{PARTIAL}{name}"
            os.mkdir(partial, 0o700, dir_fd=place.folder)
            stack.callback(_remove, partial, place.folder)
            source = _open_folder(partial, place.folder, stack)
        yield Path(f"/proc/self/fd/{source}")
        with refusals(out / below):
            _publish(source, place, stack)


def check_folder(out: Path, *below: str, results: Collection[str] = ()) -> None:
    """Refuse a folder for :func:`staged` that could not be written to, before anything starts.

    ``below`` are folders that will be written in it; ``results`` are files that must not be there yet, in any of them.

    Raises:
        InputError: it says what is in the way.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: this is a file\n    allowed: a folder, which may be new")
    nearest = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    if not nearest.is_dir():
        raise InputError(f"--out {out}: {nearest} is a file, there can be no folder in it")
    if not os.access(nearest, os.W_OK):
        raise InputError(f"--out {out}: {nearest} cannot be written to")
    for folder in (out / each for each in below):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise InputError(_not_a_folder(folder))
    for path in (folder / name for folder in (out, *(out / each for each in below)) for name in results):
        if os.path.lexists(path):
            raise InputError(f"{path} is there already: a result is not replaced\n    fix: another --out, or --force")


class _Place(NamedTuple):
    """The innermost part of an output folder that is there, and what is missing below it."""

    folder: int
    shown: Path
    missing: tuple[str, ...]


def _place(out: Path, below: str, stack: ExitStack) -> _Place:
    nearest = next(p for p in (out.absolute(), *out.absolute().parents) if p.is_dir())
    folder = os.open(nearest, _FOLDER)
    stack.callback(os.close, folder)
    missing = (*out.absolute().relative_to(nearest).parts, *Path(below).parts)
    while missing and _is_there(missing[0], folder):
        nearest /= missing[0]
        folder, missing = _open_folder(missing[0], folder, stack, nearest), missing[1:]
    return _Place(folder, nearest, missing)


def _publish(source: int, place: _Place, stack: ExitStack) -> None:
    """Move everything below ``source`` to its place; where one thing cannot be, nothing is moved or made."""
    made: list[tuple[str, int]] = []
    try:
        folder, shown = place.folder, place.shown
        for name in place.missing:
            shown /= name
            folder = _enter(name, folder, stack, shown, made)
        for name, old, new in _moves(source, folder, shown, stack, made):
            os.rename(name, name, src_dir_fd=old, dst_dir_fd=new)
    except BaseException:
        for name, folder in reversed(made):
            try:
                os.rmdir(name, dir_fd=folder)
            except OSError:
                pass  # somebody has put something there
        raise


def _moves(
    source: int, target: int, shown: Path, stack: ExitStack, made: list[tuple[str, int]]
) -> list[tuple[str, int, int]]:
    """(name, from folder, to folder) of every file below ``source``; folders are there, and files have their owners."""
    moves = []
    for name in sorted(os.listdir(source)):
        if stat.S_ISDIR(os.stat(name, dir_fd=source, follow_symlinks=False).st_mode):
            inner = _open_folder(name, source, stack)
            moves += _moves(inner, _enter(name, target, stack, shown / name, made), shown / name, stack, made)
            continue
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        try:
            _take_the_place_of(name, target, file, shown)
        finally:
            os.close(file)
        moves.append((name, source, target))
    return moves


def _take_the_place_of(name: str, folder: int, file: int, shown: Path) -> None:
    """Have ``file`` owner and mode of what it is to replace; a link is replaced itself."""
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        _hand_over(file)
        return
    if stat.S_ISLNK(there.st_mode):
        _hand_over(file)
    elif stat.S_ISREG(there.st_mode):
        _keep_owner_and_mode(file, there)
    else:
        raise InputError(f"{shown / name} is no regular file, and is not replaced")


def _enter(name: str, folder: int, stack: ExitStack, shown: Path, made: list[tuple[str, int]]) -> int:
    """The folder ``name`` in ``folder``, made where it is not there."""
    try:
        os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        return _open_folder(name, folder, stack, shown)
    made.append((name, folder))
    opened = _open_folder(name, folder, stack, shown)
    _hand_over(opened)
    return opened


def _open_folder(name: str, folder: int, stack: ExitStack, shown: Path | None = None) -> int:
    try:
        opened = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR) or shown is None:
            raise
        raise InputError(_not_a_folder(shown)) from error
    stack.callback(os.close, opened)
    return opened


def _not_a_folder(path: Path) -> str:
    what = "a link, and links are not followed there" if path.is_symlink() else "a file"
    return f"{path} is {what}\n    allowed: a folder, or nothing"


def _is_there(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


# -- owners ------------------------------------------------------------------------------------


def _asker() -> tuple[int, int] | None:
    """User and group that called sudo; None where nobody did."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() != 0 or not re.fullmatch("[0-9]{1,10} [0-9]{1,10}", f"{uid} {gid}", re.ASCII):
        return None
    return int(uid), int(gid)


def _hand_over(descriptor: int) -> None:
    """Give what this process has just made to the user who called sudo."""
    asker = _asker()
    if asker:
        os.fchown(descriptor, *asker)


def _keep_owner_and_mode(descriptor: int, of: os.stat_result) -> None:
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (of.st_uid, of.st_gid):
        try:
            os.fchown(descriptor, of.st_uid, of.st_gid)
        except PermissionError:
            pass  # the folder is ours and the file is another's: nobody but root can give it back
    os.fchmod(descriptor, of.st_mode & 0o777)


# -- small things ------------------------------------------------------------------------------


def _make_folders(path: Path) -> None:
    """mkdir -p; what is made belongs to the user who asked."""
    for folder in reversed([p for p in (path, *path.parents) if not p.exists()]):
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        opened = os.open(folder, _FOLDER | os.O_NOFOLLOW)
        try:
            _hand_over(opened)
        finally:
            os.close(opened)


def _unlink(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        pass  # what matters is the error that brought us here


def _remove(name: str, folder: int) -> None:
    shutil.rmtree(name, ignore_errors=True, dir_fd=folder)


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """What fails while ``path`` is written, as an error of the user's or of the machine's."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read has enough
    except OSError as error:
        text = f"cannot write {path}: {error.strerror}"
        if error.errno in _FULL:
            raise MachineError(text, f"make room on the file system of {path}, or give another --out") from error
        raise InputError(text) from error
