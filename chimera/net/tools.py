"""The lab's own C tools: found where they were built, built where they are missing or outdated.

Every ``chimera/native/NAME.c`` is one program; the headers beside it are shared. A binary's name holds a
hash of its sources and of how it was compiled, so an edited source is another binary, nothing is ever stale, and
several labs can build at once. ``./lab`` builds all of them during set-up (``python -m chimera.net.tools``).
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from chimera import share
from chimera.model.errors import MachineError

_COMPILE = ("-O2", "-Wall", "-Wextra")
_LINK = ("-lm",)
_COMPILERS = ("cc", "gcc", "clang")


def native_names() -> list[str]:
    """The names of all tools there are sources for."""
    return sorted(source.stem for source in share.native_sources().glob("*.c"))


@cache
def native_tool(name: str) -> Path:
    """The executable of the tool ``name``, compiled first where it has to be.

    Raises:
        ValueError: there is no source of that name.
        MachineError: there is no compiler, nowhere to put the program, or it does not compile.
    """
    source = share.native_sources() / f"{name}.c"
    if not source.is_file():
        raise ValueError(f"no native tool '{name}': there are {', '.join(native_names())}")
    program = f"{name}-{_fingerprint(source)}"
    folders = _folders()
    built = next((folder / program for folder in folders if os.access(folder / program, os.X_OK)), None)
    return built or _build(source, _writable(folders) / program)


def compiler() -> str | None:
    """Path of the C compiler, or None where there is none."""
    return next((path for path in map(shutil.which, _COMPILERS) if path), None)


def _fingerprint(source: Path) -> str:
    digest = hashlib.sha256(" ".join((*_COMPILE, *_LINK, platform.machine(), *platform.libc_ver())).encode())
    for path in (source, *sorted(source.parent.glob("*.h"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _folders() -> list[Path]:
    """Where programs may lie, the best place first. Root trusts no folder that a user may write to."""
    home = share.checkout()
    places = [home / "build" / "native"] if home else []
    places.append(Path("/var/cache/chimera-lab/native"))
    if os.geteuid() != 0:
        cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        places.append(Path(cache_home) / "chimera-lab" / "native")
    return places


def _writable(folders: list[Path]) -> Path:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise MachineError(f"no folder to put compiled programs in: {', '.join(map(str, folders))} cannot be written")


def _build(source: Path, target: Path) -> Path:
    """Compile beside ``target`` and move it there, so that a program is whole or absent."""
    cc = compiler()
    if cc is None:
        raise MachineError(f"no C compiler to build {source.name} with", "apt-get install -y gcc libc6-dev")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as work:
        made = Path(work) / target.name
        command = [cc, *_COMPILE, "-o", str(made), str(source), *_LINK]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise MachineError(f"{source.name} does not compile:\n{done.stderr.strip()}", _remedy(done.stderr))
        made.replace(target)
    return target


def _remedy(complaint: str) -> str:
    """The C library's headers are a package of their own, and the usual thing to lack."""
    return "apt-get install -y libc6-dev" if ".h: No such file" in complaint else ""


def main() -> None:
    """Build every tool; what ``./lab`` calls during set-up."""
    for name in native_names():
        print(native_tool(name))


if __name__ == "__main__":
    main()
