"""Where the folders a user works with are: in the checkout, or inside the installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
FOLDERS = ("topologies", "scripts", "labs")


def checkout() -> Path | None:
    """The checkout this code runs from, or None where it was installed from a wheel."""
    return _PACKAGE.parent if (_PACKAGE.parent / "setup.py").is_file() else None


def folder(name: str) -> Path:
    """The folder ``topologies``, ``scripts`` or ``labs`` that came with the lab.

    Raises:
        ValueError: there is no folder of that name.
    """
    if name not in FOLDERS:
        raise ValueError(f"no folder '{name}': there are {', '.join(FOLDERS)}")
    home = checkout()
    return home / name if home else _PACKAGE / "data" / name


def native_sources() -> Path:
    """The folder that holds the C sources of the lab's own tools."""
    return _PACKAGE / "native"


def translator_sources() -> Path:
    """The folder that holds the eBPF sources of the wire formats that Open vSwitch lacks."""
    return _PACKAGE / "wire" / "translators"
