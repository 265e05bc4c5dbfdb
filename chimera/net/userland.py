"""What a user's machine (a VM, a host, a client) has beside its network: hostname, files and ``/sys`` of its own.

Network nodes share the sandbox's. A user's machine gets a mount and a UTS namespace when something is first run on it,
so that machines nobody enters cost nothing; whoever comes later joins them, and they end with the lab. In them the
host's files are there to be read, under layers of memory that take what is written; ``/run`` is empty, ``/sys`` shows
the machine's own interfaces, and ``/etc/hosts`` has the names of its segment. Processes and the clock are the host's.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Sequence
from pathlib import Path

from chimera import namespaces
from chimera.model.errors import SessionError
from chimera.model.topology import Endpoint, Topology
from chimera.net import netns

FOLDER = Path("/run/userland")
HOME = "/root"

# Mounts whose content is the kernel's: what a process sees there is its own, or is mounted anew.
_OF_THE_KERNEL = ("/proc", "/sys", "/run", "/dev/pts", "/dev/mqueue", "/dev/hugepages")

# $1 hostname, $2 its network namespace, $3 /etc/hosts, then the mounts of files, those above before those below. Runs
# in the new namespaces, and holds them: a mount namespace can be bound to a name only where the kernel takes it for
# younger than ours, which on Linux 6.18 depends on the CPU it was made on. What no layer can be laid on is read-only.
_FURNISH = """
set -eu
name=$1 network=$2 hosts=$3
shift 3
nsenter --net="$network" mount -t sysfs -o nosuid,nodev,noexec,ro sysfs /sys
echo "$name" >/proc/sys/kernel/hostname
mount -t tmpfs -o mode=755,nosuid,nodev userland /run
root=/run/root
mkdir $root
number=0
for point; do
  number=$((number + 1)) layer=/run/layer/$number
  mkdir -p $layer/upper $layer/work
  chmod --reference="$point" $layer/upper
  layers=lowerdir="$point",upperdir=$layer/upper,workdir=$layer/work
  mount -t overlay -o "$layers" userland "$root$point" 2>/dev/null || {
    mount --bind "$point" "$root$point"
    mount -o remount,bind,ro "$root$point"
  }
done
printf '%s' "$hosts" >$root/etc/hosts
echo "$name" >$root/etc/hostname
mount --rbind /proc $root/proc
mount --bind /sys $root/sys
[ ! -d /dev/pts ] || mount --bind /dev/pts $root/dev/pts
mount -t tmpfs -o mode=755,nosuid,nodev userland $root/run
cd $root
pivot_root . .
umount -l .
echo furnished
exec sleep infinity </dev/null >/dev/null 2>&1
"""


def command(topology: Topology, node: str, argv: Sequence[str]) -> list[str]:
    """``argv`` wrapped so that it runs on a node, as its users would run it there.

    Raises:
        SessionError: the machine's namespaces could not be made.
    """
    machine = topology.by_name.get(node)
    if not isinstance(machine, Endpoint):
        return netns.command(node, argv)
    FOLDER.mkdir(exist_ok=True)
    with open(FOLDER / node, "a+") as record:
        fcntl.flock(record, fcntl.LOCK_EX)  # two may be the first on a machine
        record.seek(0)
        pid, _, mounts = record.read().partition(" ")
        if not pid or _mounts(pid) != mounts:
            pid = str(_make(topology, machine))
            record.truncate(0)
            record.write(f"{pid} {_mounts(pid)}")
    entry = [f"--net={namespaces.path(node)}", f"--mount=/proc/{pid}/ns/mnt", f"--uts=/proc/{pid}/ns/uts"]
    return ["nsenter", *entry, f"--wdns={HOME}", "--", *argv]


def _mounts(pid: str) -> str:
    """Which mount namespace a process is in; empty where there is no such process."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def _make(topology: Topology, machine: Endpoint) -> int:
    """Make both namespaces and furnish them; the PID of the process that holds them.

    It is in the sandbox's network namespace: none of the machine's own, so that no migration waits for it.
    """
    arguments = [machine.name, namespaces.path(machine.name), hosts(topology, machine)]
    arguments += layered(Path("/proc/self/mountinfo").read_text())
    argv = ["unshare", "--mount", "--uts", "--propagation", "private", "--", "sh", "-c", _FURNISH, "sh", *arguments]
    holder = netns.start("", argv, stdout=netns.PIPE, stderr=netns.PIPE, start_new_session=True)
    assert holder.stdout and holder.stderr
    with holder.stdout, holder.stderr:
        if not holder.stdout.readline():
            said = holder.stderr.read().decode().strip()
            holder.wait()
            raise SessionError(f"{machine.name} cannot have files of its own: {said}")
    return holder.pid


def hosts(topology: Topology, machine: Endpoint) -> str:
    """Its ``/etc/hosts``: itself, the members of its segment, and their gateway."""
    lines = [f"127.0.0.1 localhost {machine.name}", "::1 localhost ip6-localhost ip6-loopback"]
    if machine.segment:
        segment = topology.segment_of(machine)
        named = [(a.partition("/")[0], vm.name) for vm in topology.endpoints if vm.segment == machine.segment
                 for a in (vm.ip, vm.ip6)]  # fmt: skip
        named += [(segment.gateway, "gateway"), (segment.gateway6, "gateway")]
        lines += [f"{address} {name}" for address, name in named if address]
    return "\n".join(lines) + "\n"


def layered(mountinfo: str) -> list[str]:
    """The mount points of files in a ``/proc/PID/mountinfo``, those above before those below.

    Single files that are mounted, as containers do it, are left to what lies below them.
    """
    written = [line.split()[4] for line in mountinfo.splitlines()]  # octal for spaces and the like: proc(5)
    points = {re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point) for point in written}
    found = {"/", "/dev"} | {p for p in points if not any(p == k or p.startswith(k + "/") for k in _OF_THE_KERNEL)}
    return sorted(point for point in found if os.path.isdir(point))
