"""What setup.py puts into an installed lab, and where it is found there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chimera import share

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree that a wheel would unpack to."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return target


def files(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)) for path in found}


@pytest.mark.parametrize("name", share.FOLDERS)
def test_an_installed_lab_holds_the_folders_a_user_works_with(installed: Path, name: str) -> None:
    code = "import sys; from chimera import share; print(share.folder(sys.argv[1]))"
    command = [sys.executable, "-s", "-c", code, name]
    done = subprocess.run(command, cwd=installed, check=True, capture_output=True, text=True)
    folder = Path(done.stdout.strip())
    assert folder.is_relative_to(installed)
    assert files(folder) == (files(ROOT / name) if (ROOT / name).is_dir() else set())


def test_an_installed_lab_holds_all_of_the_engine(installed: Path) -> None:
    built = {name for name in files(installed) if not name.startswith("chimera/data/")}
    here = {f"{top}/{name}" for top in ("chimera", "controllers") for name in files(ROOT / top)}
    assert built == here


def test_the_package_names_its_licence_and_brings_it(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (facts,) = tmp_path.glob("*.egg-info/PKG-INFO")
    lines = facts.read_text().splitlines()
    assert "License-File: LICENSE" in lines
    assert {"License: MIT", "License-Expression: MIT"} & set(lines)


def test_an_unknown_folder_is_refused() -> None:
    with pytest.raises(ValueError, match="no folder 'topology': there are topologies, scripts, labs"):
        share.folder("topology")
