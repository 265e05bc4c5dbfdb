"""Network namespaces by name: running programs in them, one at a time or in batches."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from typing import Any

from chimera.model.errors import SessionError

FOLDER = "/run/netns"
PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL  # for callers of start()
TimeoutExpired = subprocess.TimeoutExpired


def path(name: str) -> str:
    """Where the kernel keeps the namespace called ``name``."""
    return f"{FOLDER}/{name}"


def command(name: str, argv: Sequence[str]) -> list[str]:
    """``argv`` wrapped so that it runs in the namespace; the empty name is the sandbox's own."""
    return ["nsenter", f"--net={path(name)}", "--", *argv] if name else list(argv)


def start(name: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a program in a namespace and return at once."""
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(command(name, argv), **options)


def run(name: str, argv: Sequence[str], *, check: bool = True, stdin: str = "") -> str:
    """Run a program in a namespace and return what it printed.

    Raises:
        SessionError: it failed (with its own words), unless ``check`` is False.
    """
    done = subprocess.run(command(name, argv), input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode:
        where = f" in {name}" if name else ""
        raise SessionError(f"{' '.join(argv)}{where} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def ip_batch(name: str, lines: Iterable[str], *, force: bool = False, family: str = "") -> None:
    """Hand many ``ip`` commands to the kernel in one process.

    ``force`` goes on after a line that fails (what is there already, or gone already); ``family`` is ``-6`` where words
    without an address mean IPv6.
    """
    text = "\n".join(lines)
    if not text:
        return
    argv = [
        "ip",
        *(["-n", name] if name else []),
        *([family] if family else []),
        *(["-force"] if force else []),
        "-batch",
        "-",
    ]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode and not force:
        raise SessionError(f"ip -batch{f' in {name}' if name else ''}: {done.stderr.strip()}")
