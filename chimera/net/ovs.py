"""One Open vSwitch per node: its own database, its own daemons, its own folder of sockets."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from chimera.model.errors import DeadlineError, MachineError, SessionError
from chimera.net import kernel, netns
from chimera.net.service import Listens, Restart, Service
from chimera.net.services import Hook, Process, Supervisor, nothing
from chimera.ovsdb import Ovsdb
from chimera.wire.ovsdb import bump, insert, omap

FOLDER = Path("/run/ovs")
DATABASE, SWITCH = "ovsdb-server", "ovs-vswitchd"  # the services of a switch
_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_QUIET = ("-vsyslog:off", "-vconsole:off")
_PACKAGE = "openvswitch-switch"
_READY_S = 20.0
_SO_RCVBUFFORCE = 33
_QUEUE_BYTES = 1 << 20  # the kernel doubles it: some 900 full frames, each with its bookkeeping
# One thread each is plenty for a switch with a handful of ports, and fifty switches share the machine.
_THREADS = {"n-handler-threads": "1", "n-revalidator-threads": "1"}
# Open vSwitch forwards by cached flows and learns what they forwarded later, from their counters, every half second
# while their entries live: what a VM sent before it moved would be learned after its announcement, and what it sends
# afterwards would not, where a cached flow remained from its last stay. Both are over as soon as the cache forgets what
# was silent for a moment, so that the next frame is learned from at once. (max-revalidator does not go below 100 ms.)
_LEARNING = {"max-idle": "10"}  # milliseconds: far less than a VM is stunned for


def empty_database() -> Path:
    """A database with no bridge in it, made once per lab; copying it beats ``ovsdb-tool create`` (facts.md)."""
    path = FOLDER / "empty.db"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        try:
            netns.run("", ["ovsdb-tool", "create", str(path), _SCHEMA])
        except (OSError, SessionError) as error:
            raise MachineError(f"Open vSwitch is not usable: {error}", f"apt-get install {_PACKAGE}") from error
    return path


class OpenVSwitch:
    """The Open vSwitch of one node: two services of it.

    ``start`` may be called from several threads for several nodes at once: the daemons of many
    switches come up in parallel. With ``whole_pages`` frames reach it through XDP, which keeps each in a memory page of
    its own: queues of as many frames take twice the bytes. A switch that ``learns`` from the frames it forwards does so
    in their order, as hardware would. ``restart`` says whether a daemon that ended on its own is started again. After
    that, ``switch_again`` gives the switch what is in no database: addresses, and tables of the daemon's own; and
    ``database_again`` writes what could not be written meanwhile.
    """

    def __init__(
        self, node: str, services: Supervisor, *, whole_pages: bool = False, learns: bool = False,
        restart: Restart | None = None, switch_again: Hook = nothing, database_again: Hook = nothing,
    ) -> None:  # fmt: skip
        self.node = node
        self._services = services
        self._settings = {**_THREADS, **(_LEARNING if learns else {})}
        self._queue_bytes = _QUEUE_BYTES * (2 if whole_pages else 1)
        self._restart, self._switch_again, self._database_again = restart, switch_again, database_again
        self.folder = FOLDER / node
        self.socket = str(self.folder / "db.sock")
        self._db: Ovsdb | None = None
        self._processes: dict[str, Process] = {}

    @property
    def db(self) -> Ovsdb:
        """A session with the database server, opened on first use."""
        if self._db is None:
            self._db = Ovsdb(self.socket, timeout_s=20)
        return self._db

    def start(self, operations: Sequence[dict[str, Any]]) -> None:
        """Start the daemons on a database that ``operations`` filled; returns when the bridges are there.

        The database file stays when they end, and what is in it comes back with them.
        """
        self._start(operations, self._settings, self.node)

    def start_here(self) -> None:
        """Start the daemons without a bridge, in the calling process's own namespace."""
        self._start((), {}, "")

    def _start(self, operations: Sequence[dict[str, Any]], settings: dict[str, str], namespace: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(empty_database(), self.folder / "conf.db")
        try:
            database = self._service(DATABASE, "", str(self.folder / "conf.db"), f"--remote=punix:{self.socket}")
            self._processes[DATABASE] = self._services.start(
                database, lost=self._end_session, again=self._database_again
            )
            root = insert("Open_vSwitch", {"other_config": omap(settings)}, "root")
            self.db.transact(root, *operations, bump())
            switch = self._service(SWITCH, namespace, f"unix:{self.socket}", "--disable-system")
            self._processes[SWITCH] = self._services.start(switch, again=self._is_back)
            self.db.wait_config_applied()
        except SessionError as error:
            raise MachineError(str(error)) from error
        self.deepen_queues()

    def _service(self, program: str, namespace: str, *arguments: str) -> Service:
        base = self.folder / program
        files = f"--pidfile={base}.pid", f"--unixctl={base}.ctl", f"--log-file={base}.log"
        return Service(
            self.node, program, (program, *arguments, *files, *_QUIET), namespace=namespace,
            environment={"OVS_RUNDIR": str(self.folder)}, log=base.with_suffix(".log"), restart=self._restart,
            ready=Listens(Path(self.socket) if program == DATABASE else base.with_suffix(".ctl")),
            patience_s=_READY_S, package=_PACKAGE,
        )  # fmt: skip

    @property
    def forwards(self) -> bool:
        """Whether its daemon runs: without it there are no bridges."""
        return SWITCH in self._processes and self._processes[SWITCH].running

    @property
    def configurable(self) -> bool:
        """Whether its database is there to be written to."""
        return DATABASE in self._processes and self._processes[DATABASE].running

    def _is_back(self) -> None:
        """What a daemon lost with its end comes back: bridges from the database, the rest from its node."""
        self.db.apply()
        self.deepen_queues()
        self._switch_again()

    def _end_session(self) -> None:
        """Whoever talks to the database next begins anew."""
        if self._db:
            self._db.close()
            self._db = None

    def deepen_queues(self) -> None:
        """Give every port a receive queue as deep as a network card's.

        Open vSwitch leaves its packet sockets the kernel's default, about ninety full frames: a switch that has to
        wait a few milliseconds for the processor would lose what arrives meanwhile, and TCP through it would crawl.
        """
        pid = self._processes[SWITCH].pid
        if pid is None:
            return
        try:
            for channel in kernel.packet_sockets(pid):
                channel.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, self._queue_bytes)
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            return  # not allowed to look into another process, or it has just ended: the queues stay as they are

    def appctl(self, command: str, *arguments: str) -> str:
        """What ``ovs-appctl COMMAND`` prints, without the cost of starting it.

        Raises:
            SessionError: the switch does not answer or refuses.
        """
        request = json.dumps({"method": command, "params": list(arguments), "id": 0}).encode()
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(10)
            try:
                channel.connect(str(self.folder / "ovs-vswitchd.ctl"))
                channel.sendall(request)
                reply = _read_json(channel)
            except OSError as error:
                raise SessionError(f"the Open vSwitch of {self.node} does not answer: {error}") from error
        if reply.get("error"):
            raise SessionError(f"{command} on {self.node}: {reply['error']}")
        return str(reply.get("result") or "")

    def ofctl(self, *arguments: str) -> str:
        """What ``ovs-ofctl -O OpenFlow13 …`` prints; bridges are named as usual."""
        argv = ["env", f"OVS_RUNDIR={self.folder}", "ovs-ofctl", "-O", "OpenFlow13", *arguments]
        return netns.run("", argv)

    def wait_ports_forward(self, bridge_ports: Iterable[str], timeout_s: float = 30) -> None:
        """Return when the spanning tree of this switch has settled on its ports (IEEE 802.1D-2004 section 17).

        Raises:
            DeadlineError: it did not in ``timeout_s``.
        """
        wanted = set(bridge_ports)
        db = Ovsdb(self.socket, timeout_s=timeout_s)
        try:
            state: dict[str, Any] = {}
            update = db.monitor({"Port": ["name", "rstp_status"]})
            while True:
                for row in update.get("Port", {}).values():
                    new = row.get("new") or {}
                    state[new.get("name", "")] = dict(new.get("rstp_status") or {})
                if all(_settled(state.get(name, {})) for name in wanted):
                    return
                update = next(db.updates(timeout_s), {})
                if not update:
                    raise DeadlineError(f"{self.node}: the spanning tree did not settle within {timeout_s:g} s")
        finally:
            db.close()


def _settled(status: dict[str, str]) -> bool:
    role, state = status.get("rstp_port_role", ""), status.get("rstp_port_state", "")
    return state == "Forwarding" or (role in ("Alternate", "Backup") and state == "Discarding")


def _read_json(channel: socket.socket) -> dict[str, Any]:
    text = b""
    while chunk := channel.recv(65536):
        text += chunk
        try:
            return dict(json.loads(text))
        except ValueError:
            continue
    raise OSError("connection closed")
