"""Frozen types to JSON and back: one codec for results, inventories and API messages."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


def to_json(value: object, *, indent: int = 0) -> bytes:
    """A dataclass (or anything made of dataclasses, lists and dicts) as JSON."""
    encoded = msgspec.json.encode(value)
    return msgspec.json.format(encoded, indent=indent) if indent else encoded


def from_json(data: bytes | str, kind: type[T]) -> T:
    """The value of type ``kind`` that ``data`` describes.

    Raises:
        ValueError: where the JSON is malformed or does not fit the type (msgspec's text says where).
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
