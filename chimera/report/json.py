"""``result.json``, written whole or not at all."""

from __future__ import annotations

import re
from pathlib import Path

from chimera.model.codec import from_json, to_json
from chimera.model.errors import InputError
from chimera.model.result import Result
from chimera.output import write_text

# A list of numbers as the indenting formatter leaves it: one a line. A JSON string holds no raw line break (RFC 8259,
# section 7), so nothing that matches is inside one.
_NUMBERS = re.compile(r"\[\n([-+.eE\dnul,\s]*)\]")


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
