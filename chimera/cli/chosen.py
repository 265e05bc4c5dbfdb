"""From words on the command line to an experiment: a scenario by itself, or a lab with its own choices."""

from __future__ import annotations

from pathlib import Path

from chimera import share
from chimera.cli.common import DEFAULT_OVERLAY, DEFAULT_TOPOLOGY
from chimera.load import LabFile, load_lab
from chimera.session import Experiment, prepare


def choose(scenario: str, topology: str | None, overlay: str | None, settings: dict[str, str]) -> Experiment:
    """The experiment that ``lab run`` was asked for; what is said on the command line overrides a lab file.

    Raises:
        InputError: something is wrong with it.
    """
    lab = find_lab(scenario)
    if lab is None:
        return prepare(topology or DEFAULT_TOPOLOGY, overlay or DEFAULT_OVERLAY, scenario=scenario, settings=settings)
    return prepare(
        topology or lab.topology,
        overlay or lab.overlay,
        scenario=lab.scenario,
        settings={**lab.set, **settings},
        expectations=lab.expect,
    )


def find_lab(name: str) -> LabFile | None:
    """The lab of that name in ``labs/``, or at that path; None where the word means a scenario."""
    path = Path(name) if "/" in name or name.endswith((".yaml", ".yml")) else share.folder("labs") / name
    if path.suffix == ".py" or not path.exists() or (path.is_dir() and not (path / "lab.yaml").is_file()):
        return None
    return load_lab(path)


def labs() -> list[LabFile]:
    """The labs that come with the project."""
    return [load_lab(path) for path in sorted(share.folder("labs").glob("*/lab.yaml"))]
