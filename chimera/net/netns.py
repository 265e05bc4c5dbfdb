"""Network namespaces by name: running programs in them, one at a time or in batches."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from chimera import namespaces
from chimera.model.errors import SessionError

PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL  # for callers of start()
TimeoutExpired = subprocess.TimeoutExpired
_FAILED = re.compile(r"Command failed -:(\d+)")
_NOTHING_TO_DO = {  # the kernel's words for it: a route that is gone is another error than a rule
    "add": ("File exists",),
    "del": ("No such process", "No such file or directory"),
}


def command(name: str, argv: Sequence[str]) -> list[str]:
    """``argv`` wrapped so that it runs in the namespace; the empty name is the sandbox's own."""
    return ["nsenter", f"--net={namespaces.path(name)}", "--", *argv] if name else list(argv)


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


def ip_batch(name: str, lines: Iterable[str], *, again: bool = False, family: str = "") -> None:
    """Hand many ``ip`` commands to the kernel in one process.

    With ``again``, what is to be added may be there already, and what is to be deleted may be gone; the lines after
    it are carried out all the same. ``family`` is ``-6`` where words without an address mean IPv6.

    Raises:
        SessionError: the kernel or ``ip`` refused a line; the text has each such line, and why.
    """
    commands = list(lines)
    if not commands:
        return
    argv = ["ip", *(["-n", name] if name else []), *([family] if family else []), *(["-force"] if again else [])]
    text = "\n".join(commands)
    done = subprocess.run([*argv, "-batch", "-"], input=text, capture_output=True, text=True, check=False)
    refused = list(_refused(commands, done.stderr, again)) if done.returncode else []
    if refused:
        raise SessionError(f"ip -batch{f' in {name}' if name else ''}: {'; '.join(refused)}")


def _refused(commands: Sequence[str], stderr: str, again: bool) -> Iterator[str]:
    """The commands that failed, with what ``ip`` wrote before it named the number of each."""
    reason: list[str] = []
    for line in stderr.splitlines():
        failed = _FAILED.fullmatch(line)
        if failed is None:
            reason.append(line.strip())
            continue
        command = commands[int(failed[1]) - 1]
        if not (again and _is_so_already(command, reason)):
            yield f"'{command}': {' '.join(reason)}"
        reason = []
    if reason:  # ``ip`` gave up on what it could not read: none of the lines after it was carried out
        yield " ".join(reason)


def _is_so_already(command: str, reason: Sequence[str]) -> bool:
    """Whether a command failed only since there was nothing left for it to do."""
    verb = command.split()[1]
    return reason in [[f"RTNETLINK answers: {words}"] for words in _NOTHING_TO_DO.get(verb, ())]
