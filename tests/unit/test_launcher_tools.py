"""The building of the lab's C tools: what is current is found, what is edited is built, and failures say what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from chimera import share
from chimera.model.errors import MachineError
from chimera.net import tools

needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")

HELLO = '#include <stdio.h>\n#include "greeting.h"\nint main(void) { puts(GREETING); return 0; }\n'


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one tool, ``hello``, and an empty cache of known tools."""
    folder = tmp_path / "chimera" / "native"
    folder.mkdir(parents=True)
    (folder / "hello.c").write_text(HELLO)
    (folder / "greeting.h").write_text('#define GREETING "hello"\n')
    monkeypatch.setattr(share, "native_sources", lambda: folder)
    monkeypatch.setattr(share, "checkout", lambda: tmp_path)
    return folder


@pytest.fixture
def tool() -> Callable[[str], Path]:
    """``native_tool`` as a new process sees it, which remembers nothing."""
    return tools.native_tool.__wrapped__


def says(program: Path) -> str:
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout.strip()


@needs_compiler
def test_a_tool_is_built_once(sources: Path, tool: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    program = tool("hello")
    assert says(program) == "hello"
    assert program.parent == sources.parents[1] / "build" / "native"
    monkeypatch.setenv("PATH", "")
    assert tool("hello") == program, "what is built needs no compiler"


@needs_compiler
@pytest.mark.parametrize("edited", ["hello.c", "greeting.h"])
def test_an_edited_source_or_header_is_built_anew(sources: Path, tool: Callable[[str], Path], edited: str) -> None:
    tool("hello")
    file = sources / edited
    before = file.stat()
    file.write_text(file.read_text().replace("GREETING)", '"changed")').replace('"hello"', '"changed"'))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # a checkout may set any time
    assert says(tool("hello")) == "changed"


@needs_compiler
def test_what_does_not_compile_is_reported_with_the_compilers_words(sources: Path, tool: Callable[[str], Path]) -> None:
    (sources / "hello.c").write_text("int main(void) { return nothing; }\n")
    with pytest.raises(MachineError, match=r"hello\.c does not compile:\n(?s:.*)nothing"):
        tool("hello")
    assert list((sources.parents[1] / "build" / "native").iterdir()) == [], "no half-made program stays"


def test_without_a_compiler_the_package_is_named(
    sources: Path, tool: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MachineError, match=r"no C compiler to build hello\.c") as caught:
        tool("hello")
    assert caught.value.remedy == "apt-get install -y gcc libc6-dev libpcap-dev"


def test_an_unknown_tool_is_refused_with_the_known_ones(sources: Path, tool: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match="no native tool 'hallo': there are hello"):
        tool("hallo")


@needs_compiler
def test_the_labs_own_sources_compile_without_a_warning(tmp_path: Path) -> None:
    for source in sorted(share.native_sources().glob("*.c")):
        command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
