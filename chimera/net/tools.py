"""The lab's own C tools and eBPF translators: found where they were built, built where they are missing or outdated.

Every ``chimera/native/NAME.c`` is one program, every ``chimera/wire/translators/NAME.c`` one eBPF object; the headers
beside them are shared. A binary's name holds a hash of its sources and of how it was compiled, so an edited source is
another binary, nothing is ever stale, and several labs can build at once. ``./lab`` builds all of them during set-up
(``python -m chimera.net.tools``).
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from chimera import share
from chimera.model.errors import MachineError

_COMPILERS = ("cc", "gcc", "clang")
TRANSLATOR_LOADER = "bpfload"


@dataclass(frozen=True)
class Recipe:
    """How one kind of source becomes a binary; ``packages`` bring what that takes."""

    what: str
    compilers: tuple[str, ...]
    compile: tuple[str, ...]
    link: tuple[str, ...]
    packages: tuple[str, ...]
    suffix: str = ""

    def compiler(self) -> str | None:
        """Path of the first compiler there is."""
        return next((path for path in map(shutil.which, self.compilers) if path), None)

    def fingerprint(self, source: Path) -> str:
        """A hash of everything the binary depends on."""
        words = (*self.compile, *self.link, platform.machine(), *platform.libc_ver())
        digest = hashlib.sha256(" ".join(words).encode())
        for path in (source, *sorted(source.parent.glob("*.h"))):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]


LIBRARIES = ("-Wl,--as-needed", "-lm", "-lpcap")  # each where a tool calls it
PACKAGES = ("gcc", "libc6-dev", "libpcap-dev")
_TOOL = Recipe("C compiler", _COMPILERS, ("-O2", "-Wall", "-Wextra"), LIBRARIES, PACKAGES)
_LOADER = replace(_TOOL, link=("-lbpf",), packages=(*_TOOL.packages, "libbpf-dev"))
_TRANSLATOR = Recipe(
    "clang",
    ("clang",),
    # <asm/types.h> is not in the target's own search path; the headers of frames are packed, and read by bytes.
    ("-O2", "-g", "-Wall", "-Wextra", "-Wno-address-of-packed-member", "-target", "bpf",
     f"-I/usr/include/{platform.machine()}-linux-gnu", "-c"),
    (),
    ("clang", "libbpf-dev"),
    suffix=".o",
)  # fmt: skip


def native_names() -> list[str]:
    """The names of all tools there are sources for, without the one that only translators need."""
    return sorted(source.stem for source in share.native_sources().glob("*.c") if source.stem != TRANSLATOR_LOADER)


def translator_names() -> list[str]:
    """The names of all eBPF translators there are sources for."""
    return sorted(source.stem for source in share.translator_sources().glob("*.c"))


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
    return _made(source, _LOADER if name == TRANSLATOR_LOADER else _TOOL)


@cache
def translator(name: str) -> Path:
    """The eBPF object of the translator ``name``, compiled first where it has to be. Raises as :func:`native_tool`."""
    source = share.translator_sources() / f"{name}.c"
    if not source.is_file():
        raise ValueError(f"no translator '{name}': there are {', '.join(translator_names())}")
    return _made(source, _TRANSLATOR)


def compiler() -> str | None:
    """Path of the C compiler, or None where there is none."""
    return _TOOL.compiler()


def _made(source: Path, recipe: Recipe) -> Path:
    program = f"{source.stem}-{recipe.fingerprint(source)}{recipe.suffix}"
    folders = _folders()
    built = next((folder / program for folder in folders if os.access(folder / program, os.R_OK)), None)
    return built or _build(source, _writable(folders) / program, recipe)


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


def _build(source: Path, target: Path, recipe: Recipe) -> Path:
    """Compile beside ``target`` and move it there, so that a program is whole or absent."""
    cc, install = recipe.compiler(), " ".join(("apt-get install -y", *recipe.packages))
    if cc is None:
        raise MachineError(f"no {recipe.what} to build {source.name} with", install)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as work:
        made = Path(work) / target.name
        command = [cc, *recipe.compile, "-o", str(made), str(source), *recipe.link]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise MachineError(
                f"{source.name} does not compile:\n{done.stderr.strip()}", install if _lacks(done.stderr) else ""
            )
        made.replace(target)
    return target


def _lacks(complaint: str) -> bool:
    """Whether a header or library is missing: they are packages of their own, and the usual thing to lack."""
    return any(sign in complaint for sign in (".h: No such file", "file not found", "cannot find -l"))


def main() -> None:
    """Build everything; what ``./lab`` calls during set-up."""
    for name in (*native_names(), TRANSLATOR_LOADER):
        print(native_tool(name))
    for name in translator_names():
        print(translator(name))


if __name__ == "__main__":
    main()
