"""How tests share workers, labs and the machine when several run at a time (``-n``, which ``lab test`` gives).

A worker, a process of pytest-xdist, has its own labs, and labs do not meet: tests need nothing to run side by side.
What is here sees to three things:

- tests that use one lab, that is one instance of a fixture wider than a test, run in one worker;
- these labs come first, as they take longest, then single tests;
- what is marked ``alone`` comes last and runs while no other test does: it measures the machine as well.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WITHOUT_A_LAB = ("unit", "golden")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--fast``: what a developer runs after every edit."""
    parser.addoption("--fast", action="store_true", help="unit and golden tests, and those marked 'smoke'")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose, say to pytest-xdist what belongs together, and bring all into the order above."""
    if config.getoption("--fast"):
        left_out = [item for item in items if not _is_fast(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if _is_fast(item)]
    for item in items:
        if group := "alone" if _is_alone(item) else " ".join(_labs(item)):
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: (_is_alone(item), not _labs(item)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test beside others, or alone; waiting is no part of its duration.

    Tests beside others do not queue behind one that waits to be alone: it gets its turn when they have all run.
    """
    with open(__file__, "rb") as machine:
        fcntl.flock(machine, fcntl.LOCK_EX if _is_alone(item) else fcntl.LOCK_SH)
        try:
            return (yield)
        finally:
            fcntl.flock(machine, fcntl.LOCK_UN)  # closing is not enough: a process that the test forked has it open too


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def _is_fast(item: pytest.Item) -> bool:
    kind = item.path.relative_to(HERE).parts[0]
    return kind in WITHOUT_A_LAB or item.get_closest_marker("smoke") is not None


def _labs(item: pytest.Item) -> list[str]:
    """The project's fixtures that this test shares with others: where each is defined, its name and its parameter."""
    assert isinstance(item, pytest.Function)
    chosen = item.callspec.indices if hasattr(item, "callspec") else {}
    definitions = [item._fixtureinfo.name2fixturedefs.get(name, [None])[-1] for name in item.fixturenames]
    return sorted(
        f"{found.baseid}:{found.argname}:{chosen.get(found.argname, '')}"
        for found in definitions
        if found and found.scope != "function" and found.baseid.startswith(HERE.name)
    )
