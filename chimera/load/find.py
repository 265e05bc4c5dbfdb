"""Files by name or path: finding, reading, and what to say where there is none."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from chimera.load.tree import MAX_BYTES, YamlMap, YamlScalar, read_tree
from chimera.model.errors import InputError, TopologyError, did_you_mean

SUFFIXES = (".yaml", ".yml", ".py")


def is_path(name: str) -> bool:
    """True for a path, False for a name to look up."""
    return "/" in name or name.partition(".py:")[0].endswith(SUFFIXES) or ".py:" in name


def find(name: str, search: Sequence[Path]) -> Path:
    """The file that a name stands for in the folders of ``search``.

    Raises:
        InputError: where there is none; lists those there are.
    """
    for folder in search:
        for suffix in SUFFIXES:
            if (path := folder / f"{name}{suffix}").is_file():
                return path
    known = sorted({path.stem for path in files(search)})
    near = did_you_mean(name, known)
    where = ", ".join(map(str, search)) or "no folder"
    listing = f"\n    found: {', '.join(known)}" if known else ""
    raise InputError(f"there is no topology '{name}' in {where}{listing}" + (f"\n    fix: {near}" if near else ""))


def files(search: Sequence[Path]) -> Iterator[Path]:
    """Every topology file in the folders of ``search``; of equal names, the first."""
    seen = set()
    for folder in search:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix in SUFFIXES and path.is_file() and path.stem not in seen:
                seen.add(path.stem)
                yield path


def read_bytes(path: Path) -> bytes:
    """The content of a regular file, at most one byte more than is allowed; nothing is waited for.

    Raises:
        InputError: where it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return _content(descriptor)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read {path}: {reason}") from error


def _content(descriptor: int) -> bytes:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise ValueError("not a regular file")
    found = b""
    while len(found) <= MAX_BYTES and (more := os.read(descriptor, MAX_BYTES + 1 - len(found))):
        found += more
    return found


def description(path: Path) -> str:
    """What a topology file says of itself, or that it cannot be read."""
    if path.suffix == ".py":
        return "Mininet topologies in Python"
    try:
        tree = read_tree(read_bytes(path), str(path))
    except TopologyError as error:
        return f"(cannot be read: {error.problems[0].message})"
    except InputError as error:
        return f"({error})"
    entries = tree.entries if isinstance(tree, YamlMap) else ()
    texts = [v.text for k, v in entries if k.text == "description" and isinstance(v, YamlScalar)]
    return " ".join(texts[0].split()) if texts else ""
