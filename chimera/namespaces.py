"""Network namespaces by name, and how a thread works inside one (setns(2))."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

FOLDER = "/run/netns"  # of the sandbox, which has one of its own
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def path(name: str) -> str:
    """Where the kernel keeps the namespace called ``name``."""
    return f"{FOLDER}/{name}"


def setns(descriptor: int, kind: int = 0) -> None:
    """Move the calling thread into the namespace behind a descriptor (setns(2)).

    Raises:
        OSError: the kernel refused.
    """
    if _libc.setns(descriptor, kind):
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Run a block with the calling thread in a network namespace, by its file; sockets opened there stay there."""
    with open("/proc/thread-self/ns/net", "rb") as home, open(namespace, "rb") as other:
        setns(other.fileno(), CLONE_NEWNET)
        try:
            yield
        finally:
            setns(home.fileno(), CLONE_NEWNET)
