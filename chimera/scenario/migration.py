"""``migrate VM to HYPERVISOR``: the real sequence, or a roll-back.

reserve → pre-copy rounds → stun → last pages → move → resume → announce → the source forgets.

A VM is one set of processes in one namespace, so it cannot run in two places; until the interface has
moved, every failure leaves it running at the source. Once it has, nothing takes that back: the VM runs at the
destination, is announced there, and what fails from then on is a warning on the record.
"""

from __future__ import annotations

import copy
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from chimera import namespaces
from chimera.deadline import exceeds, slowness
from chimera.model.errors import DeadlineError, InputError, MigrationAborted, SessionError, not_one_of
from chimera.model.record import MigrationRecord
from chimera.model.result import Phase, Round
from chimera.model.topology import Endpoint
from chimera.net import guests, memory_copy
from chimera.net.memory_copy import STALL_S, Receiver, Release, Sender
from chimera.net.network import Network
from chimera.scenario.precopy import Guest, Limits, dirtied, last_pages_ms, on_slow_machine, verdict
from chimera.wire.announce import announcement

ANNOUNCEMENTS = ("rarp", "garp", "none")
_REPEATS_S = (0.05, 0.15)  # announcements may be lost; hypervisors repeat them
_PACE_MBPS = 500.0
_MB = 1 << 20
_SAY_S = 5.0
_MORE_CONNECTIONS = 16  # at a receiver, than there can be migrations


@dataclass(frozen=True)
class Settings:
    """How migrations are done; ``pace_mbps`` 0 takes what the network gives."""

    announce: str = "rarp"
    pace_mbps: float = _PACE_MBPS
    limits: Limits = Limits()


class Migrator:
    """Moves VMs of one network; several at a time, each once."""

    def __init__(
        self,
        network: Network,
        progress: Callable[[str], None],
        wait_wired: Callable[[str, str], str],
        responding: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self.network = network
        self._wait_wired = wait_wired  # returns when the switch has its flows for an interface, or why it may not
        self._responding = responding  # a heartbeat goes on in a VM: what measures the stun
        self.records: list[MigrationRecord] = []
        self._progress = progress
        self._lock = threading.Lock()
        self._moving: dict[str, MigrationRecord] = {}
        self._reserved: dict[str, MigrationRecord] = {}  # VM -> the migration that holds memory at its destination
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
        with self._responding(vm.name):
            return self._migrate(vm, destination, settings)

    def _migrate(self, vm: Endpoint, destination: str, settings: Settings) -> MigrationRecord:
        record = MigrationRecord(vm.name, self.network.location[vm.name], destination, time.time())
        with self._lock:
            if vm.name in self._moving:
                raise SessionError(f"{vm.name} is being migrated already")
            self._moving[vm.name] = record
            self.records.append(record)
        self._progress(f"migrating {vm.name}: {record.source} → {destination}")
        try:
            self._settle(self._run(vm, record, settings), record, vm, settings.announce)
        finally:
            record.ended = time.time()
            with self._lock:
                del self._moving[vm.name]
                self._reserved.pop(vm.name, None)
        for warning in record.warnings:
            self._progress(f"warning: {warning}")
        return record

    # -- the sequence ----------------------------------------------------------------------------

    def _run(self, vm: Endpoint, record: MigrationRecord, settings: Settings) -> Sender:
        """Everything up to the switch-over, or a roll-back; the connection to the destination is still open."""
        stall_s = STALL_S + self.network.longest_round_trip_s()
        sender = Sender(partial(memory_copy.sending_from, record.source), settings.pace_mbps, stall_s)
        try:
            self._copy(sender, record, vm, settings.limits)
        except (OSError, SessionError, DeadlineError) as error:
            sender.close()
            record.aborted = str(error) or type(error).__name__
            self._progress(f"migration of {vm.name} aborted: {record.aborted}; it stays at {record.source}")
            raise MigrationAborted(
                f"migration of {vm.name} to {record.destination} aborted: {record.aborted}; it runs at {record.source}"
            ) from error
        return sender

    def _copy(self, sender: Sender, record: MigrationRecord, vm: Endpoint, limits: Limits) -> None:
        guest = Guest(vm.memory_mb * _MB, vm.dirty_mb_s * _MB)
        vtep = self.network.underlay.vtep
        with _phase(record, "reserve"):
            if record.destination in self.network.stopped:
                raise SessionError(f"{record.destination} is stopped")
            self._receiver(record.destination)
            sender.connect(vtep[record.source], vtep[record.destination])
            sender.reserve(vm.name, guest.memory_bytes)
        left = self._precopy(sender, record, guest, limits)
        self._switch_over(sender, record, vm, left)

    def _precopy(self, sender: Sender, record: MigrationRecord, guest: Guest, limits: Limits) -> int:
        """Copy memory while the VM runs; returns the bytes that are left for the stun."""
        to_send, number, reason, remark = guest.memory_bytes, 0, "", ""
        while not reason:
            number += 1
            done = self._round(sender, record, number, to_send, remark)
            seconds = done.seconds
            self._progress(f"{record.vm}: round {number}, {done.megabytes:.1f} MB at {done.mbps:.0f} Mbit/s")
            left = dirtied(guest, seconds)
            if left >= to_send and (slow := slowness()) > 1:  # before it is given up: is that the machine's fault?
                guest = on_slow_machine(guest, slow)
                left = dirtied(guest, seconds)
                remark = f"the machine is {slow:.1f} times slower than usual, and the guest with it"
                self._progress(f"{record.vm}: {remark}")
            reason = verdict(limits, number, to_send, seconds, left)
            expected_ms = last_pages_ms(to_send, seconds, left)
            to_send = left
        self._progress(f"{record.vm}: pre-copy ends: {reason}")
        if exceeds(expected_ms / 1000, limits.max_stun_ms / 1000):
            raise SessionError(
                f"pre-copy does not converge: {reason}, and the last {to_send / _MB:.1f} MB would stun the VM for "
                f"about {expected_ms / 1000:.1f} s (at most {limits.max_stun_ms / 1000:g} s)"
            )
        return to_send

    def _round(self, sender: Sender, record: MigrationRecord, number: int, length: int, remark: str) -> Round:
        """Send one round of pages, and say of one that takes long how far it is.

        Where the network fails, what had arrived until then is on record, too.
        """
        begin = said = time.monotonic()

        def told(sent: int) -> None:
            nonlocal said
            if time.monotonic() > said + _SAY_S:
                said = time.monotonic()
                self._progress(f"{record.vm}: round {number}, {sent / _MB:.0f} of {length / _MB:.0f} MB")

        try:
            with _phase(record, f"precopy {number}", remark):
                sender.pages(length, told=told)
        finally:
            seconds, arrived = time.monotonic() - begin, sender.arrived
            done = Round(number, arrived / _MB, seconds, arrived * 8 / seconds / 1e6 if seconds else 0.0)
            record.rounds.append(done)
        return done

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

    def _settle(self, sender: Sender, record: MigrationRecord, vm: Endpoint, announce: str) -> None:
        """After the switch-over: the destination is told that the VM is its own, and everybody where it is."""
        try:
            sender.commit()
        except OSError as error:
            record.warnings.append(f"{record.destination} did not confirm that {vm.name} is its own now: {error}")
        finally:
            sender.close()
        if missing := self._wait_wired(vm.name, record.destination):
            record.warnings.append(
                f"nobody confirmed that {record.destination} has its flows for {vm.name} ({missing}): "
                f"{vm.name} may be unreachable"
            )
        try:
            self._announce(record, vm, announce)
        except OSError as error:
            record.warnings.append(f"{vm.name} was not announced at {record.destination}: {error}")
        self._progress(f"{vm.name} runs at {record.destination}")

    def _announce(self, record: MigrationRecord, vm: Endpoint, kind: str) -> None:
        if kind == "none":
            return
        frame = announcement(kind, vm.mac, vm.ip)
        with namespaces.inside(namespaces.path(vm.name)):
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
            raise InputError(not_one_of("VM", vm_name, names))
        hypervisors = [h.name for h in topology.hypervisors]
        if destination not in hypervisors:
            raise InputError(not_one_of("hypervisor", destination, hypervisors))
        if self.network.location[vm_name] == destination:
            raise InputError(f"{vm_name} is at {destination} already")
        return topology.vm(vm_name)

    def _receiver(self, hypervisor: str) -> None:
        """Have the hypervisor listen, from its first incoming migration on, to the others."""
        with self._lock:
            if hypervisor not in self._receivers:
                vtep = self.network.underlay.vtep
                peers = frozenset(address for name, address in vtep.items() if name != hypervisor)
                admit = lambda peer, vm, size: self._admit(hypervisor, peer, vm, size)  # noqa: E731
                most = len(self.network.topology.vms) + _MORE_CONNECTIONS
                listener = memory_copy.listen(hypervisor, vtep[hypervisor])
                self._receivers[hypervisor] = Receiver(listener, peers, admit, most)

    def _admit(self, hypervisor: str, peer: str, vm: str, size: int) -> Release | None:
        """Reserve memory for a VM that is being migrated from this peer to here, where there is that much left."""
        topology, vtep = self.network.topology, self.network.underlay.vtep
        with self._lock:
            record = self._moving.get(vm)
            if record is None or (vtep[record.source], record.destination) != (peer, hypervisor):
                return None
            if vm in self._reserved or size != topology.vm(vm).memory_mb * _MB:
                return None
            coming = [name for name, other in self._reserved.items() if other.destination == hypervisor]
            used = sum(topology.vm(name).memory_mb for name in {*self.network.vms_at(hypervisor), *coming})
            if size > (topology.node(hypervisor).memory_mb - used) * _MB:
                return None
            self._reserved[vm] = record

        def release() -> None:
            with self._lock:
                if self._reserved.get(vm) is record:
                    del self._reserved[vm]

        return release


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
