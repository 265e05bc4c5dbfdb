"""Frozen types to JSON and back: one codec for results, inventories and API messages."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def _rename(value: Any) -> Any:
    """``from`` is a Python keyword: the field is called ``from_`` in code and ``from`` in JSON."""
    if isinstance(value, dict):
        return {("from" if k == "from_" else k): _rename(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rename(v) for v in value]
    return value


def _restore(value: Any) -> Any:
    if isinstance(value, dict):
        return {("from_" if k == "from" else k): _restore(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_restore(v) for v in value]
    return value


def to_json(value: object, *, indent: int = 0) -> bytes:
    """A dataclass (or anything made of dataclasses, lists and dicts) as JSON."""
    encoded = msgspec.json.encode(_rename(msgspec.to_builtins(value)))
    return msgspec.json.format(encoded, indent=indent) if indent else encoded


def from_json(data: bytes | str, kind: type[T]) -> T:
    """The value of type ``kind`` that ``data`` describes.

    Raises:
        ValueError: where the JSON is malformed or does not fit the type (msgspec's text says where).
    """
    try:
        return msgspec.convert(_restore(msgspec.json.decode(data)), kind, str_keys=True)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
