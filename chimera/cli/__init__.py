"""The command line: ``lab VERB …``. One file per verb; a verb's file is imported when it is used."""

from __future__ import annotations

import errno
import importlib
import io
import signal
import sys
from types import FrameType

import click

from chimera import __version__
from chimera.model.errors import LabError, MachineError

# verb -> (where its click command is, what it does); the order is that of --help
COMMANDS = {
    "run": ("chimera.cli.run:run", "Run a scenario and report what the VM's users noticed."),
    "up": ("chimera.cli.up:up", "Start a lab that stays up."),
    "down": ("chimera.cli.up:down", "End a lab."),
    "status": ("chimera.cli.status:status", "Which labs are up, and what is in them."),
    "cli": ("chimera.cli.enter:cli", "Mininet's command line on a running lab."),
    "exec": ("chimera.cli.enter:execute", "Run a program on a node of a running lab."),
    "migrate": ("chimera.cli.act:migrate", "Move a VM of a running lab."),
    "link": ("chimera.cli.act:link", "Cut, restore or change a link of a running lab."),
    "stop": ("chimera.cli.act:stop", "Power off a hypervisor or gateway, or end the controller."),
    "start": ("chimera.cli.act:start", "Power it on again."),
    "capture": ("chimera.cli.capture:capture", "Capture a link of a running lab into a pcapng file."),
    "trace": ("chimera.cli.trace:trace", "Follow a packet from VM to VM: headers and flows at each hop."),
    "inspect": ("chimera.cli.inspect:inspect", "Everything known about a running lab, or a node or link of it."),
    "graph": ("chimera.cli.graph:graph", "Draw a topology as SVG."),
    "validate": ("chimera.cli.files:validate", "Check a topology or lab file."),
    "schema": ("chimera.cli.files:schema", "Print the JSON Schema of topology or lab files."),
    "list": ("chimera.cli.files:list_", "List topologies, overlays, scenarios and labs."),
    "compare": ("chimera.cli.compare:compare", "Compare results in one table."),
    "simulate": ("chimera.cli.simulate:simulate", "A control plane in virtual time: larger than a machine."),
    "doctor": ("chimera.cli.doctor:doctor", "What this machine can do, and how to fix what is missing."),
    "bench": ("chimera.cli.bench:bench", "Measure the lab itself: startup, dataplane, vmotion."),
    "completion": ("chimera.cli.completion:completion", "Print a completion script for your shell."),
    "test": ("chimera.cli.test:test", "Run the lab's own tests."),
}


# what a path on the command line may lead to, or a full disk: nothing that a traceback would explain
FILE_ERRORS = {
    errno.EACCES: 2,
    errno.EEXIST: 2,
    errno.EISDIR: 2,
    errno.ELOOP: 2,
    errno.ENAMETOOLONG: 2,
    errno.ENOTDIR: 2,
    errno.EROFS: 2,
    errno.EDQUOT: 3,
    errno.ENOMEM: 3,
    errno.ENOSPC: 3,
}
_NO_ROOM = ("map segment", "allocate memory")  # how the loader of a library says that there is no memory for it


class LazyGroup(click.Group):
    """A group that imports a command when it is used, so that ``--help`` stays instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table itself: no verb is imported to list it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with a likely fix for a verb that is not there."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from chimera.model.errors import did_you_mean

            hint = did_you_mean(args[0], COMMANDS)
            raise click.UsageError(f"no command '{args[0]}'. {hint or 'lab --help lists them.'}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="lab")
def lab() -> None:
    """Chimera Lab: overlay networks and VM mobility, on real packets.

    \b
    Example:  sudo lab run vmotion --topology dual-dc --overlay vxlan --out results
    """


class Interrupted(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal; no ``except Exception`` may swallow it."""


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Once: what is being ended already is not interrupted in that."""
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted


def main() -> None:
    """Entry point: run the command; every expected error becomes a text and an exit status.

    ``./lab`` starts Python with the signals held back that end a command, so that none of them meets a process that
    cannot answer yet; and they are held back again once the outcome stands.
    """
    try:
        for number in _ENDING:
            signal.signal(number, _interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        status = _outcome()
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    except (Interrupted, click.exceptions.Abort, KeyboardInterrupt):
        click.echo("lab: interrupted; nothing is left running", err=True)
        status = 130
    sys.exit(status)


def _outcome() -> int:
    """The command's exit status; what went wrong is told."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a file's name, or an arrow, that the terminal cannot show
    try:
        status = lab(standalone_mode=False, prog_name="lab")
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except LabError as error:
        click.echo(f"lab: {error}", err=True)
        return error.exit_status
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has enough
        return 0
    except (MemoryError, ImportError, OSError) as error:
        text, code = _without_traceback(error)
        click.echo(f"lab: {text}", err=True)
        return code
    return status if isinstance(status, int) else 0


def _without_traceback(error: MemoryError | ImportError | OSError) -> tuple[str, int]:
    """What to say of an error that a traceback would not explain, and the exit status; others are raised again."""
    if isinstance(error, OSError) and error.errno in FILE_ERRORS:
        return ": ".join(str(t) for t in (error.filename, error.strerror) if t), FILE_ERRORS[error.errno]
    if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_ROOM):
        remedy = "ulimit -v unlimited, or end other programs"
        return str(MachineError("there is not enough memory", remedy)), MachineError.exit_status
    raise error
