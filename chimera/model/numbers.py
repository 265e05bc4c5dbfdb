"""Numbers as people write them. Python's own ``int`` and ``float`` also take ``1_0``, full-width digits and ``nan``."""

from __future__ import annotations

import re

_WHOLE = re.compile(r"[+-]?[0-9]{1,15}")
_DECIMAL = re.compile(r"[+-]?([0-9]{1,15}(\.[0-9]{0,15})?|\.[0-9]{1,15})")


def whole(text: str) -> int | None:
    """The whole number that ``text`` says; None where it says none."""
    return int(text) if _WHOLE.fullmatch(text) else None


def decimal(text: str) -> float | None:
    """The number that ``text`` says, with or without a decimal point; None where it says none."""
    return float(text) if _DECIMAL.fullmatch(text) else None
