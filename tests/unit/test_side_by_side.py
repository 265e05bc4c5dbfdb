"""Several workers: tests of one lab meet in one of them, those that must be alone are, and the fast ones are chosen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
TESTS = """
import os, time, pytest

@pytest.fixture(scope="module", params=["vxlan", "trill"])
def lab(request):
    with open("labs", "a") as file:
        print(request.param, os.getpid(), file=file)

@pytest.mark.parametrize("number", range(6))
def test_of_a_lab(lab, number):
    note("lab", 0.02)

@pytest.mark.alone
@pytest.mark.parametrize("number", range(2))
def test_alone(number):
    note("alone", 0.2)

@pytest.mark.parametrize("number", range(6))
def test_beside_others(number):
    note("beside", 0.1)

@pytest.mark.smoke
def test_smoke():
    pass

def note(kind, seconds):
    begin = time.monotonic()
    time.sleep(seconds)
    with open("times", "a") as file:
        print(kind, begin, time.monotonic(), file=file)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project with the lab's way of running tests, and a few tests."""
    (tmp_path / "tests/kernel").mkdir(parents=True)
    (tmp_path / "tests/conftest.py").write_bytes((PROJECT / "tests/conftest.py").read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((PROJECT / "pyproject.toml").read_bytes())
    (tmp_path / "tests/kernel/test_some.py").write_text(TESTS)
    return tmp_path


def run(checkout: Path, *words: str) -> str:
    """pytest's last line."""
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(argv, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_a_lab_is_made_once_and_what_is_alone_meets_nobody(checkout: Path) -> None:
    assert "21 passed" in run(checkout, "-n", "3")
    made = [line.split()[0] for line in (checkout / "labs").read_text().splitlines()]
    assert sorted(made) == ["trill", "vxlan"]
    lines = map(str.split, (checkout / "times").read_text().splitlines())
    spans = [(kind, float(begin), float(end)) for kind, begin, end in lines]
    for span in spans:
        if span[0] == "alone":
            assert [other for other in spans if other[1] < span[2] and span[1] < other[2]] == [span]


def test_fast_leaves_out_what_needs_a_lab_unless_it_is_smoke(checkout: Path) -> None:
    assert "1 passed, 20 deselected" in run(checkout, "--fast")
