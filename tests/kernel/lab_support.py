"""What the tests of whole labs share: the command line as a user has it, and a host of one's own to run it on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chimera.bench.isolated import isolated

PROJECT = Path(__file__).resolve().parents[2]
LAB = [sys.executable, "-m", "chimera.cli"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT)}

needs_lab = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces"),
    pytest.mark.skipif(not shutil.which("ovs-vswitchd"), reason="not installed: ovs-vswitchd"),
    pytest.mark.skipif(not shutil.which("mnexec"), reason="not installed: mininet"),
]


def lab(*words: str, check: bool = True, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run ``lab WORDS``; a status other than 0 fails the test, with what was printed."""
    done = subprocess.run(
        [*LAB, *words], capture_output=True, text=True, env=ENVIRONMENT, timeout=timeout_s, cwd=PROJECT
    )
    if check:
        assert done.returncode == 0, f"lab {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def start(*words: str) -> subprocess.Popen[str]:
    """Start ``lab WORDS`` and return at once."""
    return subprocess.Popen(
        [*LAB, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT, cwd=PROJECT
    )


def on_a_host_of_its_own(act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run ``act`` as the first process of a machine within the machine, and return what it returns.

    There every process, namespace, interface and mount can be listed without meeting anybody else's.
    """

    def measure(tell: Callable[[dict[str, Any]], None]) -> None:
        try:
            tell({"value": act()})
        except BaseException as error:
            tell({"failure": f"{type(error).__name__}: {error}"})

    found, _ = isolated("host", measure)
    assert "failure" not in found, found["failure"]
    value: dict[str, Any] = found["value"]
    return value


def quick_dual_dc(folder: Path) -> str:
    """``dual-dc`` with a mobile VM of 8 MB: copying memory is not what takes the tests' time."""
    text = (PROJECT / "topologies" / "dual-dc.yaml").read_text()
    assert text.count("mobile: true}") == 1
    path = folder / "dual-dc.yaml"
    path.write_text(text.replace("mobile: true}", "mobile: true, memory: 8 MB}"))
    return str(path)


def result(folder: Path) -> dict[str, Any]:
    """A run's ``result.json``."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found
