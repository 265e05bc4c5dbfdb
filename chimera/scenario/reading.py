"""Scenario scripts read without running them: what they say of themselves, and whether they could run."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import NamedTuple

from chimera.load.find import MAX_BYTES, read_bytes
from chimera.model.errors import InputError

Value = str | int | float | bool

# what a script may define, what it is called with, and how that is written
_FUNCTIONS = {
    "run": (1, "def run(lab: Lab) -> None: …"),
    "check": (2, "def check(result: Result, expect: Expect) -> None: …"),
    "possible": (2, "def possible(topology: Topology, underlay: Underlay) -> None: …"),
}
_FIX = 'SETTINGS = {"vm": "", "flows": 100}'


class Reading(NamedTuple):
    """A script: the first line of its docstring, what ``--set`` may change (with defaults), its code, not yet run."""

    summary: str
    settings: Mapping[str, Value]
    code: CodeType


def read_script(path: Path) -> Reading:
    """What the script at ``path`` says, checked as far as that goes without running it.

    Raises:
        InputError: it is not valid Python, or not a scenario; with file, line and column.
    """
    source = read_bytes(path)
    if len(source) > MAX_BYTES:
        raise InputError(f"{path}:1:1: larger than {MAX_BYTES // 1000} kB: this is not a scenario")
    tree, code = _parse(source, path)
    defined = dict(_definitions(tree.body))
    if "run" not in defined and "*" not in defined:
        raise InputError(f"{path}:1:1: this is not a scenario: it defines no run(lab)\n    fix: {_FUNCTIONS['run'][1]}")
    for name, (count, fix) in _FUNCTIONS.items():
        if name in defined and (wrong := _misfit(defined[name], name, count)):
            raise InputError(f"{_place(path, defined[name])}: {wrong}\n    fix: {fix}")
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    return Reading(summary, _settings(defined["SETTINGS"], path) if "SETTINGS" in defined else {}, code)


def _parse(source: bytes, path: Path) -> tuple[ast.Module, CodeType]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source, str(path)), compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f"{path}:{error.lineno or 1}:{error.offset or 1}"
        line = f"\n    {error.text.strip()}" if error.text and error.text.strip() else ""
        raise InputError(f"{where}: not valid Python: {error.msg}{line}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte; brackets without end
        raise InputError(f"{path}:1:1: not valid Python: {error}") from error


def _definitions(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    """Every name that the module itself defines, with what defines it; ``*`` for what another module does."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name, node) for alias in node.names)
        elif isinstance(node, ast.Assign):
            yield from ((name.id, node.value) for name in node.targets if isinstance(name, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value
        else:
            inner = (getattr(node, part, []) for part in ("body", "handlers", "orelse", "finalbody"))
            yield from _definitions(stmt for part in inner for each in part for stmt in _flat(each))


def _flat(node: ast.stmt | ast.ExceptHandler) -> list[ast.stmt]:
    return node.body if isinstance(node, ast.ExceptHandler) else [node]


def _misfit(node: ast.AST, name: str, count: int) -> str:
    """Why a definition cannot be called with ``count`` arguments; empty where it can, or only running it would tell."""
    if isinstance(node, ast.AsyncFunctionDef):
        return f"{name} is called, not awaited: it cannot be async"
    if isinstance(node, ast.Constant | ast.List | ast.Tuple | ast.Dict | ast.Set | ast.JoinedStr):
        return f"{name} is not a function"
    if not isinstance(node, ast.FunctionDef) or node.decorator_list:
        return ""
    given = node.args
    positional = len(given.posonlyargs) + len(given.args)
    required = positional - len(given.defaults)
    keywords = [word.arg for word, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default is None]
    if required > count or keywords or (positional < count and given.vararg is None):
        takes = f"{required + len(keywords)}" if required > count or keywords else f"{positional}"
        return f"{name} is called with {count} argument{'s' if count > 1 else ''}, and takes {takes}"
    return ""


def _settings(node: ast.AST, path: Path) -> dict[str, Value]:
    if not isinstance(node, ast.Dict):
        raise InputError(f"{_place(path, node)}: SETTINGS maps names to defaults, written out\n    fix: {_FIX}")
    settings: dict[str, Value] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        name = _literal(key or value, path)
        if key is None or not isinstance(name, str):
            raise InputError(f"{_place(path, key or value)}: the name of a setting must be a text\n    fix: {_FIX}")
        default = _literal(value, path)
        if not isinstance(default, str | int | float | bool):
            message = f"the default of '{name}' cannot be written on a command line"
            raise InputError(f"{_place(path, value)}: {message}\n    allowed: a text, a number, True or False")
        settings[name] = default
    return settings


def _literal(node: ast.expr, path: Path) -> object:
    try:
        found: object = ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        message = "SETTINGS is read without running the script: write the value itself"
        raise InputError(f"{_place(path, node)}: {message}\n    fix: {_FIX}") from None
    return found


def _place(path: Path, node: ast.AST) -> str:
    return f"{path}:{getattr(node, 'lineno', 1)}:{getattr(node, 'col_offset', 0) + 1}"
