"""Labs from Python: in a plain file or a notebook, what a script under ``scripts/`` does.

    import chimera

    with chimera.Lab("dual-dc", overlay="vxlan") as lab:
        with lab.watch("web1"):
            lab.migrate("web1", "hv3")
        print(lab.net["web4"].cmd("ping -c1 web1"))
    print(lab.result().migrations[0].network_outage_ms)
    lab.report("out/")

Where what runs. The sandbox and the lab's own process in it are started by a fresh interpreter
(:mod:`chimera.inside`), never by a fork of the user's process: a notebook has threads, and what a forked copy of them
would do with their locks is anybody's guess. The user's process stays where it is, with its files, its network and its
plots, and asks over a socket, a whole verb at a time: verbs are few, what they take and return is plain data, and what
is inside the lab may change without its users noticing. (To proxy the engine's objects one by one would have made every
attribute of them an interface.) Programs on the nodes (``lab.net``) are not relayed: a thread of the user's process is
inside the sandbox (:mod:`chimera.net.gate`), so that they are its own children, with pipes and signals as usual, and at
the same time processes of the lab, which freeze with their VM and end with it.

Whatever ends the block, or the process, ends the lab: the launcher watches the user's process, the sandbox watches the
launcher, and the kernel removes what was in the sandbox. Nothing is found by name, and nothing waits to be cleaned up.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import resource
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from chimera import output, share
from chimera.channel import Caller, Channel
from chimera.inside import Hold, Run, need_root
from chimera.launch import CAPTURES
from chimera.load import load_topology, parse_topology
from chimera.model.errors import InputError, SessionError
from chimera.model.events import Event, event_from_json
from chimera.model.result import Expectation, Result
from chimera.model.settings import DEFAULT_OVERLAY, DEFAULT_TOPOLOGY
from chimera.model.topology import Endpoint, Topology
from chimera.net import netns
from chimera.net.gate import Gate
from chimera.net.mn import LabNet, mininet_view
from chimera.report.folders import EVENTS, REPORT, RESULT
from chimera.report.html import write_html
from chimera.report.json import write_json
from chimera.scenario import lab as scenario
from chimera.session import Experiment, need_machine, prepare_topology

Progress = Callable[[str], None]
C = TypeVar("C", bound=type)

_HOME = str(Path(__file__).resolve().parent.parent)
_START = (
    "import sys; sys.path.insert(0, sys.argv[3]); from chimera.inside import main; "
    "sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))"
)
_LOCAL = {"vm", "wait", "wan_links"}  # verbs that need nothing but the topology, or nothing at all


def topology(source: str | os.PathLike[str] | Mapping[str, Any] | None = None, /, **words: Any) -> Topology:
    """A network, to be given to :class:`Lab`: by name, from a file, or written in Python.

    ``source`` is a name in ``topologies/``, the path of a file (YAML, or Mininet's Python), YAML text of several lines,
    or a mapping as YAML would give it. ``words`` are the top-level words of the topology language, for networks that
    are written as a call::

        chimera.topology(
            name="rack",
            switches={"tor": {}},
            hypervisors={"hv[1-2]": {"uplink": "tor"}},
            vms={"vm[1-4]": {"hypervisor": "hv1"}},
        )

    Raises:
        InputError: there is no such file, or something in it is wrong; of what was written in Python, an error's line
            is that of the same as JSON, one word a line, and its key says which.
    """
    if source is not None and words:
        raise InputError("topology(): give a source or the words of the language, not both")
    if source is None or isinstance(source, Mapping):
        written = dict(words if source is None else source)
        try:
            text = json.dumps(written, indent=1, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"topology(): {error}\n    allowed: texts, numbers, True, False, lists and dicts"
            ) from error
        return parse_topology(text, "topology()")
    text = os.fspath(source)
    if "\n" in text:
        return parse_topology(text, "topology()")
    return load_topology(text, [share.folder("topologies")])


def run(
    scenario: str,
    topology: str | None = None,
    overlay: str | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    capture: bool = False,
    progress: Progress | None = None,
    **settings: object,
) -> Result:
    """Do what ``lab run SCENARIO`` does, and return its result; a failed expectation is in it, and raises nothing.

    ``scenario`` is a name in ``scripts/`` or ``labs/``, or a path; ``settings`` are those of ``--set``. ``out`` gets
    ``result.json``, ``report.html`` and with ``capture`` the captures; ``force`` replaces a result that is there.
    ``progress`` is called with a line of text now and then.

    Raises:
        InputError: something is wrong with what was asked for; nothing was started.
        MachineError: the machine lacks something, such as root's rights.
        LabError: it ended without a result.
    """
    chosen = _settings(settings)
    folder = None if out is None else Path(out).absolute()
    if capture and folder is None:
        raise InputError("capture needs a folder to write to\n    fix: add out=…")
    _check_out(folder, force)
    helper = _Helper(progress)
    try:
        result = helper.order(Run(scenario, topology, overlay, chosen, folder, capture, _command()))
        assert isinstance(result, Result)
        return result
    finally:
        helper.end()


def _remote(cls: C) -> C:
    """Have every verb of a scenario's lab done by the lab's own process; docstrings and signatures stay."""
    for name, verb in vars(scenario.Lab).items():
        if inspect.isfunction(verb) and not name.startswith("_") and name not in {*_LOCAL, *vars(cls)}:
            block = inspect.isgeneratorfunction(inspect.unwrap(verb))
            setattr(cls, name, _block(name, verb) if block else _call(name, verb))
    return cls


def _call(name: str, verb: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(verb)

    @functools.wraps(verb)
    def call(self: Lab, *arguments: Any, **keywords: Any) -> Any:
        signature.bind(self, *arguments, **keywords)
        return self._ask("verb", name, *arguments, **keywords)

    return call


def _block(name: str, verb: Callable[..., Any]) -> Callable[..., AbstractContextManager[None]]:
    signature = inspect.signature(verb)

    @contextmanager
    def block(self: Lab, *arguments: Any, **keywords: Any) -> Iterator[None]:
        number = self._ask("enter", name, *arguments, **keywords)
        try:
            yield
        finally:
            if self.running:
                self._ask("leave", number)

    @functools.wraps(verb)
    def call(self: Lab, *arguments: Any, **keywords: Any) -> AbstractContextManager[None]:
        signature.bind(self, *arguments, **keywords)
        return block(self, *arguments, **keywords)

    return call


@_remote
class Lab(scenario.Lab):
    """A lab, for as long as a ``with`` block; or in a notebook from :meth:`up` to :meth:`down`.

    It has the verbs of a scenario's lab (docs/scenarios.md), each of which returns when it is done::

        with chimera.Lab("dual-dc", overlay="vxlan", gateway="anycast") as lab:
            lab.migrate("web1", "hv3")

    ``topology`` is a name, a path, or what :func:`topology` returned; ``settings`` are those of ``--set``: the
    overlay's, the migrations' and the topology's. With ``capture`` every link is captured for :meth:`report`.
    ``progress`` is called with a line of text now and then (``print`` will do), from another thread.

    What the block raises ends the lab and is raised on. Verbs may be called from several threads.

    Raises:
        InputError: a name or a setting that cannot be; nothing was started.
    """

    def __init__(
        self,
        topology: str | os.PathLike[str] | Topology = DEFAULT_TOPOLOGY,
        overlay: str = DEFAULT_OVERLAY,
        *,
        capture: bool = False,
        progress: Progress | None = None,
        **settings: object,
    ) -> None:
        self._chosen = _settings(settings)
        network = topology if isinstance(topology, Topology) else _load(topology)
        self._order = Hold(network, overlay, self._chosen, capture)
        self._experiment: Experiment = prepare_topology(network, overlay, settings=self._chosen)
        self._progress = progress
        self._helper: _Helper | None = None
        self._gate: Gate | None = None
        self._net: LabNet | None = None
        self._result: Result | None = None
        self._captures: dict[str, BinaryIO] = {}
        self._events = b""
        self._claims: list[Expectation] = []
        self._children_s = 0.0
        self.settings = {}
        self.migration = self._experiment.migration

    __eq__, __hash__ = object.__eq__, object.__hash__

    def __repr__(self) -> str:
        state = "up" if self.running else "ended" if self._result else "not up"
        return f"<Lab {self.topology.name} over {self._experiment.overlay.name}, {state}>"

    def __getattr__(self, name: str) -> Any:
        if name in ("network", "migrator", "controller", "observer", "tell"):
            raise AttributeError(f"'{name}' is in the lab's own process: use the lab's verbs, or lab.net")
        raise AttributeError(f"'Lab' object has no attribute '{name}'")

    # -- from beginning to end -------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """True while the lab is up."""
        return self._helper is not None and not self._helper.over

    def up(self) -> Lab:
        """Bring the lab up, and return when every flow is where it should be.

        Raises:
            MachineError: the machine lacks something, such as root's rights.
            SessionError: it is up, or was.
        """
        if self._helper is not None:
            raise SessionError("this lab is up already" if self.running else "this lab has ended: make another one")
        need_root(_command())
        need_machine(self._experiment)
        self._helper = _Helper(self._progress)
        try:
            self._gate = self._helper.enter(self._helper.order(self._order))
        except BaseException:
            self._end()
            self._helper = self._gate = None
            raise
        self._children_s = _children_s()
        return self

    def down(self) -> None:
        """End the lab. What was measured stays: :meth:`result`, :meth:`report`."""
        if not self.running:
            self._end()
            return
        try:
            self._finish()
        finally:
            took_s = self._end()
        if self._result:
            self._result = replace(self._result, timing=replace(self._result.timing, down_s=round(took_s, 3)))

    def __enter__(self) -> Lab:
        return self.up()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.down()
        else:
            self._end()

    def _finish(self) -> None:
        """Take stock for the last time; capture files are held open, as the sandbox takes their names with it."""
        assert self._gate
        result, files, self._events = self._ask("finish", self._outside_s())
        self._captures = self._gate.do(lambda: {link: _hold_open(path) for link, path in files.items()})
        self._result = result

    def _outside_s(self) -> float:
        """Processor time of this process's children that ended: nearly all of them ran in the lab (``lab.net``)."""
        return _children_s() - self._children_s

    def _end(self) -> float:
        """End the sandbox, and return how long that took, in seconds."""
        begin = time.monotonic()
        if self._helper:
            self._helper.end()
        return time.monotonic() - begin

    # -- what came out ---------------------------------------------------------------------------

    def result(self) -> Result:
        """Everything that was measured until now; after the block, in all of it.

        What goes on, such as a :meth:`watch` whose block has not ended, is not in it yet.

        Raises:
            SessionError: the lab is not up, or ended before anything could be taken from it.
        """
        found: Result = self._result or self._ask("result", self._outside_s())
        return replace(found, expectations=[*self._claims])

    def events(self) -> list[Event]:
        """Everything that happened until now, as ``lab events`` shows it: ``event.t``, ``event.text`` and more by kind.

        Raises:
            SessionError: the lab is not up, or ended before anything could be taken from it.
        """
        return [event_from_json(line) for line in self._told().splitlines()]

    def _told(self) -> bytes:
        return self._events or bytes(self._ask("events"))

    def report(self, out: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write ``result.json``, ``report.html``, ``events.jsonl`` and, once the lab is down, captures to a folder.

        Returns the path of the page.

        Raises:
            InputError: the folder cannot be written to, or holds a result and ``force`` is not given.
        """
        folder = Path(out).absolute()
        _check_out(folder, force)
        result, told = self.result(), self._told()
        with output.staged(folder, "", f"python-{os.getpid()}-{threading.get_ident()}") as staging:
            assert staging
            with output.refusals(folder):
                write_json(result, staging / RESULT)
                write_html(result, staging / REPORT)
                (staging / EVENTS).write_bytes(told)
                if self._captures:
                    (staging / CAPTURES).mkdir()
                for link, file in self._captures.items():
                    file.seek(0)
                    with open(staging / CAPTURES / f"{link}.pcapng", "wb") as copy:
                        shutil.copyfileobj(file, copy)
        return folder / REPORT

    def expect(self, name: str, passed: bool | None, detail: str = "") -> None:
        """Say what should have come out, and whether it did; the report shows it, and ``result().passed`` tells."""
        self._claims.append(Expectation(name, bool(passed), detail))

    # -- the lab, from here ----------------------------------------------------------------------

    @property
    def topology(self) -> Topology:
        """What the lab was built from."""
        return self._experiment.topology

    @property
    def notes(self) -> list[str]:  # type: ignore[override]
        """What :meth:`note` was told."""
        return list(self._ask("value", "notes"))

    @property
    def net(self) -> LabNet:
        """The lab as a :class:`mininet.net.Mininet`: ``lab.net['web1'].cmd('ping -c1 10.1.0.14')``.

        Commands run on the node, on a VM with the VM's own files; it goes on being the VM wherever that moves.

        Raises:
            SessionError: the lab is not up.
        """
        if self._net is None:
            self._ask("location")
            gate = self._gate
            assert gate
            self._net = mininet_view(
                self.topology, self._experiment.underlay, lambda: self._ask("location"),
                lambda link, up: self.restore(link) if up else self.cut(link),
                enter=lambda node, argv: list(self._ask("program", node, list(argv))), start=gate.start,
            )  # fmt: skip
        return self._net

    def start_migration(self, vm: Endpoint | str, to: str) -> threading.Thread:
        """Begin to move a VM and return at once; ``join()`` waits for the end, the outcome is in the result.

        Raises:
            InputError: there is no such VM or hypervisor, or the VM is there already.
        """
        number = self._ask("start_migration", self.vm(vm), to)
        waiting = threading.Thread(target=lambda: self._ask("join", number), name=f"migrate {vm}", daemon=True)
        waiting.start()
        return waiting

    def _ask(self, name: str, /, *arguments: Any, **keywords: Any) -> Any:
        if self._helper is None:
            raise SessionError("the lab is not up\n    fix: use it as 'with chimera.Lab(…) as lab:', or call lab.up()")
        return self._helper.call(name, *arguments, **keywords)


class _Helper:
    """The launcher of a sandbox, a process of its own, and the way to ask the lab in it."""

    def __init__(self, progress: Progress | None) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            words = (str(theirs.fileno()), str(os.getpid()), _HOME)
            # A session of its own: Ctrl-C is for this process, which ends the launcher.
            self._process = netns.start(
                "", [sys.executable, "-c", _START, *words], pass_fds=[theirs.fileno()],
                start_new_session=True,
            )  # fmt: skip
        self._owner = os.getpid()
        self._gate: Gate | None = None
        self._ending = threading.Lock()
        self._ended = False
        self._caller = Caller(Channel(ours.detach()), progress or (lambda text: None), self._left)

    @property
    def over(self) -> bool:
        """True once the lab has ended, or is being ended, and in a process that the user's has forked."""
        return self._ended or os.getpid() != self._owner or self._process.poll() is not None

    def order(self, what: Hold | Run) -> Any:
        """Give the one order, and return what came of it."""
        return self._caller.call("order", what)

    def call(self, name: str, /, *arguments: Any, **keywords: Any) -> Any:
        """Ask the lab."""
        return self._caller.call(name, *arguments, **keywords)

    def enter(self, session: int) -> Gate:
        """A way into the sandbox whose first process has that PID."""
        self._gate = Gate(session)
        return self._gate

    def _left(self) -> None:
        """The lab has ended; without our children's end being noticed, the kernel would keep the sandbox."""
        if self._gate:
            self._gate.close()
            self._gate.reap()

    def end(self) -> None:
        """End the sandbox and all that runs in it, and wait until it is gone.

        A second time this does nothing, and neither in a process that the user's has forked: the lab is not its own.
        """
        if os.getpid() != self._owner:
            return
        with self._ending:
            self._ended = True
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
            self._caller.close()
            if self._gate:
                self._gate.close()
                self._gate.reap()
            self._process.wait()


def _load(name_or_path: str | os.PathLike[str]) -> Topology:
    return load_topology(os.fspath(name_or_path), [share.folder("topologies")])


def _settings(given: Mapping[str, object]) -> dict[str, str]:
    """Keywords as ``--set`` has them: numbers and texts; True and False are on and off.

    Raises:
        InputError: a value that is neither.
    """
    for name, value in given.items():
        if not isinstance(value, str | int | float):
            raise InputError(f"{name}: {value!r} is not a valid value\n    allowed: a text, a number, True or False")
    return {name: ("off", "on")[value] if isinstance(value, bool) else str(value) for name, value in given.items()}


def _check_out(out: Path | None, force: bool) -> None:
    if out:
        output.check_folder(out, "", CAPTURES, results=() if force else (RESULT,))


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _hold_open(path: str) -> BinaryIO:
    return open(path, "rb")


def _command() -> str:
    """What this process was started by, as far as that can be told."""
    return " ".join([sys.executable, *filter(None, sys.argv[:1])])


__all__ = ["Lab", "Result", "run", "topology"]
