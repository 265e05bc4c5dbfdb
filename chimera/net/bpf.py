"""eBPF maps by their pins, through bpf(2); and the loading of programs, which a C tool does."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from chimera.model.errors import MachineError, SessionError
from chimera.net import netns
from chimera.net.tools import TRANSLATOR_LOADER, native_tool

FOLDER = Path("/sys/fs/bpf")  # the sandbox's own
SYSTEM_CALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}

_LOOKUP, _UPDATE, _DELETE, _NEXT_KEY, _OPEN = 1, 2, 3, 4, 7  # enum bpf_cmd, linux/bpf.h
_ATTRIBUTES_BYTES = 128
_libc = ctypes.CDLL(None, use_errno=True)


def load(node: str, program: Path, hooks: Sequence[str]) -> Path:
    """Load an object in a node and attach its programs, ``HOOK:INTERFACE:PROGRAM`` each; returns where its maps are.

    Raises:
        MachineError: the kernel does not take it, or does not let us.
    """
    pins = FOLDER / node
    pins.mkdir(exist_ok=True)
    try:
        netns.run(node, [str(native_tool(TRANSLATOR_LOADER)), str(program), str(pins), *hooks])
    except SessionError as error:
        raise MachineError(
            f"no eBPF on this machine, or not for us: {error}",
            "run as real root; in a container, with --privileged",
        ) from error
    return pins


class Map:
    """A pinned map whose keys and values have fixed sizes; both are bytes here."""

    def __init__(self, pin: Path, key_bytes: int, value_bytes: int) -> None:
        self._key_bytes, self._value_bytes = key_bytes, value_bytes
        path = ctypes.create_string_buffer(os.fsencode(pin))
        self._fd = _call(_OPEN, _words(ctypes.addressof(path)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the map; it stays in the kernel."""
        os.close(self._fd)

    def update(self, key: bytes, value: bytes) -> None:
        """Set one entry."""
        assert (len(key), len(value)) == (self._key_bytes, self._value_bytes)
        self._on_entry(_UPDATE, ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value))

    def delete(self, key: bytes) -> None:
        """Remove one entry, which must be there."""
        self._on_entry(_DELETE, ctypes.create_string_buffer(key, len(key)))

    def get(self, key: bytes) -> bytes:
        """The value of a key. Raises OSError (ENOENT) where it has none."""
        value = ctypes.create_string_buffer(self._value_bytes)
        self._on_entry(_LOOKUP, ctypes.create_string_buffer(key, len(key)), value)
        return value.raw

    def __iter__(self) -> Iterator[bytes]:
        """All keys of a hash."""
        previous: ctypes.Array[ctypes.c_char] | None = None
        while True:
            found = ctypes.create_string_buffer(self._key_bytes)
            after = ctypes.addressof(previous) if previous else 0
            try:
                _call(_NEXT_KEY, _words(self._fd, after, ctypes.addressof(found)))
            except FileNotFoundError:
                return
            yield found.raw
            previous = found

    def _on_entry(self, command: int, key: ctypes.Array[ctypes.c_char], value: object = None) -> None:
        address = ctypes.addressof(value) if isinstance(value, ctypes.Array) else 0
        _call(command, _words(self._fd, ctypes.addressof(key), address))


def _words(*values: int) -> bytes:
    """``union bpf_attr`` of the map commands: the file descriptor is padded to 8 bytes, what follows are addresses."""
    return b"".join(value.to_bytes(8, sys.byteorder) for value in values)


def _call(command: int, attributes: bytes) -> int:
    number = SYSTEM_CALL.get(platform.machine())
    if number is None:
        raise MachineError(f"the bpf system call is not known for {platform.machine()}")
    buffer = ctypes.create_string_buffer(attributes, _ATTRIBUTES_BYTES)
    result: int = _libc.syscall(number, command, buffer, _ATTRIBUTES_BYTES)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
