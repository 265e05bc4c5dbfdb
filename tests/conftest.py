"""How tests share workers, labs and the machine when ``lab test`` runs several at a time.

A worker (a process of pytest-xdist) has its own labs, and labs do not meet, so tests need nothing to run side by side.
What is here sees to three things:

- tests that use one lab, that is one instance of a fixture wider than a test, run in one worker;
- these labs come first, for they take longest, then single tests;
- what is marked ``alone`` comes last and runs while no other test does: its figures are the machine's too.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

OURS = Path(__file__).parent.name


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say to pytest-xdist what belongs together, and bring all into the order above."""
    for item in items:
        if group := "alone" if _is_alone(item) else " ".join(_labs(item)):
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: (_is_alone(item), not _labs(item)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test beside others, or alone; waiting is no part of its duration.

    That tests beside others never queue behind one that waits to be alone is meant: it would leave workers idle.
    """
    with open(__file__, "rb") as machine:
        fcntl.flock(machine, fcntl.LOCK_EX if _is_alone(item) else fcntl.LOCK_SH)
        try:
            return (yield)
        finally:
            fcntl.flock(machine, fcntl.LOCK_UN)  # processes that the test leaves behind hold the file open as well


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def _labs(item: pytest.Item) -> list[str]:
    """The project's fixtures that this test shares with others: where each is defined, its name and its parameter."""
    assert isinstance(item, pytest.Function)
    chosen = item.callspec.indices if hasattr(item, "callspec") else {}
    definitions = [item._fixtureinfo.name2fixturedefs.get(name, [None])[-1] for name in item.fixturenames]
    return sorted(
        f"{found.baseid}:{found.argname}:{chosen.get(found.argname, '')}"
        for found in definitions
        if found and found.scope != "function" and found.baseid.startswith(OURS)
    )
