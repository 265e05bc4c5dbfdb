"""Results on disk as columns of a comparison: a run's folder, or the folder of a whole comparison."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from chimera.model.codec import from_json, to_json
from chimera.model.comparison import Comparison
from chimera.model.errors import InputError
from chimera.model.events import Event, event_from_json
from chimera.output import write_text
from chimera.report.columns import Column, names, numbered
from chimera.report.json import read_json

RESULT, REPORT, EVENTS, COMPARISON = "result.json", "report.html", "events.jsonl", "compare.json"


def read_events(path: Path) -> Iterator[Event]:
    """The events of a finished run: of the folder that ``--out`` named, or a file.

    Raises:
        InputError: there are none, or a line is not an event of this version.
    """
    file = path / EVENTS if path.is_dir() else path
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        why = f"cannot read {file}: {error.strerror}"
        fix = "\n    fix: name the folder that 'lab run --out' wrote" if isinstance(error, FileNotFoundError) else ""
        raise InputError(why + fix) from error
    for number, line in enumerate(lines, start=1):
        try:
            yield event_from_json(line)
        except ValueError as error:
            raise InputError(f"{file}:{number}:1: not an event that this version knows: {error}") from error


def write_comparison_json(comparison: Comparison, path: Path) -> None:
    """``comparison`` to ``path``, indented, whole or not at all."""
    write_text(to_json(comparison, indent=1).decode() + "\n", path)


def read_comparison_json(path: Path) -> Comparison:
    """The comparison in a file.

    Raises:
        InputError: it cannot be read, or is not one.
    """
    try:
        return from_json(path.read_bytes(), Comparison)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: is not a comparison of this lab: {error}") from error


def read_columns(paths: Sequence[Path], page: Path | None = None) -> list[Column]:
    """Every result below ``paths``, with links to its report relative to ``page``.

    A path is a ``result.json``, a folder with one, the folder of a comparison (``compare.json``, failures included),
    or a folder of such folders.

    Raises:
        InputError: there is no result, or one cannot be read.
    """
    found = [column for path in paths for column in _columns(path, page)]
    if len(paths) == 1 and (paths[0] / COMPARISON).is_file():
        return found
    named = iter(names([column.result for column in found if column.result]))
    told = [next(named) if column.result else column.name for column in found]
    return [column._replace(name=name) for column, name in zip(found, numbered(told), strict=True)]


def _columns(path: Path, page: Path | None) -> Iterator[Column]:
    if not path.is_dir() or (path / RESULT).is_file():
        yield _column(path, page)
    elif (path / COMPARISON).is_file():
        yield from _compared(path, page)
    else:
        below = sorted(each for each in _folders(path) if (each / RESULT).is_file())
        if not below:
            raise InputError(
                f"{path}: there is no result in it\n    allowed: a folder with {RESULT}, or with {COMPARISON}, "
                "or of such folders"
            )
        yield from (_column(each, page) for each in below)


def _folders(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _compared(folder: Path, page: Path | None) -> Iterator[Column]:
    for run in read_comparison_json(folder / COMPARISON).runs:
        if run.folder:
            yield _column(folder / run.folder, page)._replace(name=run.name)
        else:
            yield Column(run.name, failure=run.reason or run.outcome, ran=run.outcome != "not run")


def _column(path: Path, page: Path | None) -> Column:
    file = path / RESULT if path.is_dir() else path
    result = read_json(file)
    report = file.parent / REPORT
    link = ""
    if page and report.is_file():
        link = quote(os.path.relpath(report.resolve(), page.resolve().parent))
    return Column(result.lab.overlay, result, link=link)
