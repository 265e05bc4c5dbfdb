"""Files to model: topologies and labs in YAML, and Mininet's topologies in Python.

Text becomes a tree of located nodes (:mod:`.tree`), the tree becomes raw records by the tables of the language
(:mod:`.tables`), and the records are resolved (:mod:`.resolve`) into a frozen, checked
:class:`~chimera.model.topology.Topology`. Every problem says file, line, column, key and the likely fix.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chimera.load.custom import load_custom
from chimera.load.find import description, files, find, is_path, read_bytes
from chimera.load.lab_file import LabFile, lab_schema, load_lab
from chimera.load.problems import Problems
from chimera.load.resolve import read_and_resolve
from chimera.load.schema import schema
from chimera.load.settings import TOPOLOGY_SETTINGS, take_settings
from chimera.load.tree import read_tree
from chimera.model.topology import Topology

__all__ = [
    "TOPOLOGY_SETTINGS",
    "LabFile",
    "is_path",
    "lab_schema",
    "list_topologies",
    "load_lab",
    "load_topology",
    "parse_topology",
    "read_topology",
    "schema",
    "take_settings",
]


def load_topology(name_or_path: str, search: Sequence[Path]) -> Topology:
    """The topology of that name in the folders of ``search``, or at that path.

    A path has a slash or ends in ``.yaml``, ``.yml`` or ``.py``; ``file.py:key,3,2`` chooses among the ``topos`` of
    a Mininet file and gives arguments, as ``mn --custom file.py --topo key,3,2`` does.

    Raises:
        InputError: where there is no such file.
        TopologyError: with every problem of the file.
    """
    path = name_or_path if is_path(name_or_path) else str(find(name_or_path, search))
    file, python, choice = path.partition(".py:")
    if python or path.endswith(".py"):
        return load_custom(Path(file + ".py" if python else path), choice)
    return read_topology(Path(path))


def read_topology(path: Path) -> Topology:
    """The topology in a YAML file. Raises as :func:`load_topology` does."""
    return parse_topology(read_bytes(path), str(path))


def parse_topology(text: str | bytes, filename: str) -> Topology:
    """The topology that YAML text describes; ``filename`` is what errors call it.

    Raises:
        TopologyError: with every problem of the text.
    """
    return read_and_resolve(read_tree(text, filename), Problems(filename))


def list_topologies(search: Sequence[Path]) -> list[tuple[str, str, Path]]:
    """Name, description and path of every topology in the folders of ``search``."""
    return [(path.stem, description(path), path) for path in files(search)]
