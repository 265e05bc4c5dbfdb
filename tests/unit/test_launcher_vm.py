"""The Vagrantfile is valid for both providers, as far as a machine without a hypervisor can tell."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not shutil.which("vagrant"), reason="needs vagrant")
def test_vagrant_validates(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Vagrantfile", tmp_path)
    env = {**os.environ, "HOME": str(tmp_path), "VAGRANT_HOME": str(tmp_path / "home")}
    command = ["vagrant", "validate", "--ignore-provider"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
