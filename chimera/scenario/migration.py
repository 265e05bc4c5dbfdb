"""``migrate VM to HYPERVISOR``: the real sequence, or a roll-back.

reserve → pre-copy rounds → stun → last pages → move → resume → announce → the source forgets.

A VM is one set of processes in one namespace, so it cannot run in two places; until the interface has
moved, every failure leaves it running at the source.
"""

from __future__ import annotations

import copy
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chimera.model.errors import DeadlineError, InputError, MigrationAborted, SessionError, did_you_mean
from chimera.model.record import MigrationRecord
from chimera.model.result import Phase, Round
from chimera.model.topology import Endpoint
from chimera.net import guests, kernel, netns
from chimera.net.memory_copy import Receiver, Sender
from chimera.net.network import Network
from chimera.scenario.precopy import Guest, Limits, dirtied, last_pages_ms, verdict
from chimera.wire.announce import announcement

ANNOUNCEMENTS = ("rarp", "garp", "none")
_REPEATS_S = (0.05, 0.15)  # announcements may be lost; hypervisors repeat them
_PACE_MBPS = 500.0
_MB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """How migrations are done; ``pace_mbps`` 0 takes what the network gives."""

    announce: str = "rarp"
    pace_mbps: float = _PACE_MBPS
    limits: Limits = Limits()


class Migrator:
    """Moves VMs of one network; several at a time, each once."""

    def __init__(
        self, network: Network, progress: Callable[[str], None], wait_wired: Callable[[str, str], bool]
    ) -> None:
        self.network = network
        self._wait_wired = wait_wired  # returns when the switch has its flows for an interface
        self.records: list[MigrationRecord] = []
        self._progress = progress
        self._lock = threading.Lock()
        self._moving: set[str] = set()
        self._reserved: dict[str, dict[str, int]] = {}
        self._receivers: dict[str, Receiver] = {}

    def reporting_to(self, progress: Callable[[str], None]) -> Migrator:
        """This migrator for somebody who asks for migrations: hears of those alone; all else is shared."""
        mine = copy.copy(self)
        mine._progress = progress
        return mine

    def migrate(self, vm_name: str, destination: str, settings: Settings) -> MigrationRecord:
        """Move a VM.

        Raises:
            InputError: there is no such VM or hypervisor, or the VM is there already.
            MigrationAborted: it was rolled back; the VM runs at the source.
        """
        vm = self._check(vm_name, destination)
        record = MigrationRecord(vm.name, self.network.location[vm.name], destination, time.time())
        with self._lock:
            if vm.name in self._moving:
                raise SessionError(f"{vm.name} is being migrated already")
            self._moving.add(vm.name)
            self.records.append(record)
        self._progress(f"migrating {vm.name}: {record.source} → {destination}")
        try:
            self._run(vm, record, settings)
        except (OSError, SessionError, DeadlineError) as error:
            record.aborted = str(error) or type(error).__name__
            self._progress(f"migration of {vm.name} aborted: {record.aborted}; it stays at {record.source}")
            raise MigrationAborted(
                f"migration of {vm.name} to {destination} aborted: {record.aborted}; it runs at {record.source}"
            ) from error
        finally:
            record.ended = time.time()
            with self._lock:
                self._moving.discard(vm.name)
                self._reserved.get(destination, {}).pop(vm.name, None)
        return record

    # -- the sequence ----------------------------------------------------------------------------

    def _run(self, vm: Endpoint, record: MigrationRecord, settings: Settings) -> None:
        guest = Guest(vm.memory_mb * _MB, vm.dirty_mb_s * _MB)
        with _phase(record, "reserve"):
            self._receiver(record.destination)
            vtep = self.network.underlay.vtep
            sender = Sender(record.source, vtep[record.source], vtep[record.destination], settings.pace_mbps)
        try:
            sender.reserve(vm.name, guest.memory_bytes)
            left = self._precopy(sender, record, guest, settings.limits)
            self._switch_over(sender, record, vm, left)
        finally:
            sender.close()
        self._announce(record, vm, settings.announce)
        self._progress(f"{vm.name} runs at {record.destination}; stunned for {record.stun_ms:.0f} ms")

    def _precopy(self, sender: Sender, record: MigrationRecord, guest: Guest, limits: Limits) -> int:
        """Copy memory while the VM runs; returns the bytes that are left for the stun."""
        to_send, number, reason = guest.memory_bytes, 0, ""
        while not reason:
            number += 1
            begin = time.monotonic()
            with _phase(record, f"precopy {number}"):
                sender.pages(to_send)
            seconds = time.monotonic() - begin
            mbps = to_send * 8 / seconds / 1e6 if seconds else 0.0
            record.rounds.append(Round(number, to_send / _MB, seconds, mbps))
            self._progress(f"{record.vm}: round {number}, {to_send / _MB:.1f} MB at {mbps:.0f} Mbit/s")
            left = dirtied(guest, seconds)
            reason = verdict(limits, number, to_send, seconds, left)
            expected_ms = last_pages_ms(to_send, seconds, left)
            to_send = left
        self._progress(f"{record.vm}: pre-copy ends: {reason}")
        if expected_ms > limits.max_stun_ms:
            raise SessionError(
                f"pre-copy does not converge: {reason}, and the last {to_send / _MB:.1f} MB would stun the VM for "
                f"about {expected_ms / 1000:.1f} s (at most {limits.max_stun_ms / 1000:g} s)"
            )
        return to_send

    def _switch_over(self, sender: Sender, record: MigrationRecord, vm: Endpoint, left: int) -> None:
        """Stun, send the last pages, move, resume."""
        record.stun_start = time.time()
        try:
            with _phase(record, "stun", f"{left / _MB:.2f} MB left"):
                guests.freeze(vm.name)
                self.network.set_port(vm.name, False)
                sender.pages(left, final=True)
            with _phase(record, "move"):
                self._move(vm.name, record.destination)
        except (OSError, SessionError, DeadlineError):
            self._roll_back(vm.name, record.source)
            raise
        finally:
            with _phase(record, "resume"):
                guests.thaw(vm.name)
            record.stun_end = time.time()
        sender.commit()

    def _move(self, vm: str, destination: str) -> None:
        network = self.network
        if destination in network.stopped:
            raise SessionError(f"{destination} was lost")
        network.unplug(vm)
        network.move(vm, destination)
        network.plug(vm)

    def _roll_back(self, vm: str, source: str) -> None:
        """Have the VM where it came from, whatever had been done."""
        network = self.network
        if network.location[vm] != source:
            network.move(vm, source)
        network.replug(vm)

    def _announce(self, record: MigrationRecord, vm: Endpoint, kind: str) -> None:
        if kind == "none":
            return
        frame = announcement(kind, vm.mac, vm.ip)
        if not self._wait_wired(vm.name, record.destination):
            self._progress(f"{vm.name}: announced without the controller's word that {record.destination} is ready")
        with kernel.inside(netns.path(vm.name)):
            channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            channel.bind(("eth0", 0))
        with _phase(record, "announce", kind):
            channel.send(frame)
        threading.Thread(target=_repeat, args=(channel, frame), daemon=True).start()

    # -- checks and reservations -----------------------------------------------------------------

    def _check(self, vm_name: str, destination: str) -> Endpoint:
        topology = self.network.topology
        names = [vm.name for vm in topology.vms]
        if vm_name not in names:
            raise InputError(
                f"no VM '{vm_name}'\n    allowed: {', '.join(names)}\n    fix: {did_you_mean(vm_name, names)}"
            )
        hypervisors = [h.name for h in topology.hypervisors]
        if destination not in hypervisors:
            hint = did_you_mean(destination, hypervisors)
            raise InputError(f"no hypervisor '{destination}'\n    allowed: {', '.join(hypervisors)}\n    fix: {hint}")
        if self.network.location[vm_name] == destination:
            raise InputError(f"{vm_name} is at {destination} already")
        return topology.vm(vm_name)

    def _receiver(self, hypervisor: str) -> None:
        with self._lock:
            if hypervisor not in self._receivers:
                address = self.network.underlay.vtep[hypervisor]
                admit = lambda vm, size: self._admit(hypervisor, vm, size)  # noqa: E731
                self._receivers[hypervisor] = Receiver(hypervisor, address, admit)

    def _admit(self, hypervisor: str, vm: str, size: int) -> bool:
        """Reserve memory for a VM, where the hypervisor has that much left."""
        topology = self.network.topology
        with self._lock:
            reserved = self._reserved.setdefault(hypervisor, {})
            used = sum(topology.vm(name).memory_mb * _MB for name in self.network.vms_at(hypervisor))
            free = topology.node(hypervisor).memory_mb * _MB - used - sum(reserved.values())
            if size > free:
                return False
            reserved[vm] = size
            return True


@contextmanager
def _phase(record: MigrationRecord, name: str, detail: str = "") -> Iterator[None]:
    start = time.time()
    try:
        yield
    finally:
        record.phases.append(Phase(name, start, time.time(), detail))


def _repeat(channel: socket.socket, frame: bytes) -> None:
    """Announce again, without holding up the migration."""
    with channel:
        for pause in _REPEATS_S:
            time.sleep(pause)
            try:
                channel.send(frame)
            except OSError:
                return
