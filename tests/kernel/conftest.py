"""Labs that more than one file of tests looks at, and the host that none of them may change."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from wire_labs import NO_TRANSLATORS, WIRES, Volley, volley_over


@pytest.fixture(scope="session", params=WIRES)
def volley(request: pytest.FixtureRequest) -> Iterator[Volley]:
    """For each wire format: one lab, and what one volley of frames looked like in it."""
    wire = WIRES[request.param]
    if wire.translated and NO_TRANSLATORS:
        pytest.skip(f"no eBPF translators: {NO_TRANSLATORS}")
    with volley_over(wire) as found:
        yield found


def _devices() -> dict[str, tuple[int, ...]]:
    """The host's device nodes but for terminals, whose owners come and go."""
    found = {path.name: path.lstat() for path in Path("/dev").iterdir() if not path.name.startswith(("tty", "pt"))}
    return {
        name: (node.st_mode, node.st_uid, node.st_gid, node.st_rdev, node.st_ino)
        for name, node in found.items()
        if stat.S_ISCHR(node.st_mode) or stat.S_ISBLK(node.st_mode)
    }


@pytest.fixture(autouse=True)
def devices_of_the_host() -> Iterator[None]:
    """Whatever a test does as root, the host's devices are as they were.

    It is looked at after each test: a fixture of the whole session would count as a lab that all of them share.
    """
    before = _devices()
    yield
    after = _devices()
    assert {name: after.get(name) for name in before} == before
