"""``result.json``, written whole or not at all."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from chimera.model.codec import from_json, to_json
from chimera.model.errors import InputError
from chimera.model.result import Result

# A list of numbers as the indenting formatter leaves it: one a line. A JSON string holds no raw line break (RFC 8259,
# section 7), so nothing that matches is inside one.
_NUMBERS = re.compile(r"\[\n([-+.eE\dnul,\s]*)\]")


def write_text(text: str, path: Path) -> None:
    """``text`` to ``path`` as UTF-8; who reads meanwhile sees the old file or the new one, never half of it.

    A link is followed, and what is there but no file (``/dev/stdout``) is written to and not replaced.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8", errors="replace")
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        os.chmod(temporary, 0o644)  # mkstemp gives 0600, and a lab that ran as root is read by its user
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_json(result: Result, path: Path | str) -> None:
    """``result`` to ``path``, indented for people who look into it."""
    text = _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", to_json(result, indent=1).decode())
    write_text(text + "\n", Path(path))


def read_json(path: Path | str) -> Result:
    """The result that :func:`write_json` wrote.

    Raises:
        InputError: where the file cannot be read or is not a result.
    """
    try:
        return from_json(Path(path).read_bytes(), Result)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: is not a result of this lab: {error}") from error
