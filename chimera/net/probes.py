"""The single probes behind :mod:`chimera.net.machine`: each tries one thing, and leaves nothing behind.

What makes an interface, a qdisc or a datapath is tried in a network namespace of its own, which ends with
the program that ran in it.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chimera.model.errors import MachineError
from chimera.net import bpf, tools

ENOUGH_MEMORY_MB = 2000
AS_ROOT = "sudo lab doctor"

_DEADLINE_S = 10
_BPF_PROG_LOAD = 5
_BPF_PROG_TYPE_XDP = 6
_RETURN_0 = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)  # r0 = 0; exit


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a probe found; ``remedy`` replaces the usual one where the probe knows better."""

    present: bool | None
    detail: str
    remedy: str = ""


_UNTRIED = Outcome(None, "not tried: needs root", AS_ROOT)

# -- trying ---------------------------------------------------------------------------------------------------


def _run(*command: str) -> tuple[int, str]:
    """Exit status and the last line of what the command wrote; 127 where there is no such command."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_DEADLINE_S,
        )
    except (FileNotFoundError, PermissionError):
        return 127, f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} gave no answer in {_DEADLINE_S} s"
    lines = done.stdout.strip().splitlines()
    return done.returncode, lines[-1] if lines else ""


def _tried(*command: str, says: str) -> Outcome:
    """Run a command in a network namespace of its own; ``says`` is the detail where it succeeds."""
    if os.geteuid() != 0:
        return _UNTRIED
    code, text = _run("unshare", "--net", *command)
    return Outcome(True, says) if code == 0 else Outcome(False, text or f"{command[0]} failed")


def root() -> Outcome:
    """Whether this process may do what a lab does."""
    if os.geteuid() == 0:
        return Outcome(True, "user 0")
    return Outcome(False, f"user {os.geteuid()}")


def namespaces() -> Outcome:
    """A sandbox like a lab's own, with nothing in it."""
    return _tried(
        "unshare",
        *("--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "true"),
        says="mount, PID and network",
    )


def user_namespaces() -> Outcome:
    """Namespaces without root; a kernel or its administrator may forbid them."""
    code, text = _run("unshare", "--user", "--map-root-user", "--net", "true")
    return Outcome(True, "a user may make them") if code == 0 else Outcome(False, text)


def tun_node() -> Path:
    """``/dev/net/tun``, its module loaded where the kernel has it in one and nothing has asked for it yet."""
    node = Path("/dev/net/tun")
    if not node.is_char_device():
        _run("modprobe", "tun")
    return node


def tun() -> Outcome:
    """A tap device, which every bridge of the userspace datapath is."""
    node = tun_node()
    if not node.is_char_device():
        return Outcome(False, f"{node} is not there")
    return _tried("ip", "tuntap", "add", "dev", "probe", "mode", "tap", says=str(node))


def veth() -> Outcome:
    """The two ends of a cable."""
    return _tried("ip", "link", "add", "probe0", "type", "veth", "peer", "name", "probe1", says="pairs can be made")


def nftables() -> Outcome:
    """A chain that sees what an interface receives."""
    chain = "table netdev probe { chain lo { type filter hook ingress device lo priority 0; meta mark set 1; }; }"
    return _tried("nft", chain, says="what interfaces receive can be marked")


def packet_sockets() -> Outcome:
    """A raw socket, as captures and the delay line use."""
    if os.geteuid() != 0:
        return _UNTRIED
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except OSError as error:
        return Outcome(False, str(error.strerror))
    return Outcome(True, "frames can be captured")


def netem() -> Outcome:
    """A delay on the loopback of a namespace."""
    says = "the kernel impairs links"
    found = _tried("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms", says=says)
    if found.present is False and _has_module("sch_netem"):
        return Outcome(False, found.detail, "modprobe sch_netem")
    return found


def kernel_datapath() -> Outcome:
    """A datapath of the kernel's own in a namespace."""
    found = _tried("ovs-dpctl", "add-dp", "probe", says="module openvswitch")
    if found.present is False and _has_module("openvswitch"):
        return Outcome(False, found.detail, "modprobe openvswitch")
    return found


def _has_module(name: str) -> bool:
    return _run("modprobe", "--dry-run", "--quiet", name)[0] == 0


def ebpf() -> Outcome:
    """Load the smallest XDP program through bpf(2) and let go of it."""
    if os.geteuid() != 0:
        return _UNTRIED
    call = bpf.SYSTEM_CALL.get(platform.machine())
    if call is None:
        return Outcome(False, f"its system call is not known for {platform.machine()}")
    program, licence = ctypes.create_string_buffer(_RETURN_0), ctypes.create_string_buffer(b"GPL")
    request = struct.pack(
        "=IIQQ", _BPF_PROG_TYPE_XDP, len(_RETURN_0) // 8, ctypes.addressof(program), ctypes.addressof(licence)
    )
    attributes = ctypes.create_string_buffer(request.ljust(128, b"\0"))
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(call, _BPF_PROG_LOAD, attributes, 128)
    if fd < 0:
        return Outcome(False, os.strerror(ctypes.get_errno()))
    os.close(fd)
    return Outcome(True, "programs can be loaded")


def translators() -> Outcome:
    """Have every translator built; whether the kernel takes programs is :func:`ebpf`'s."""
    try:
        made = [tools.translator(name).name for name in tools.translator_names()]
        tools.native_tool(tools.TRANSLATOR_LOADER)
    except MachineError as error:
        return Outcome(False, str(error).splitlines()[0], error.remedy)
    return Outcome(True, f"{len(made)} are compiled")


# -- looking --------------------------------------------------------------------------------------------------


def program(name: str, *ask: str) -> Callable[[], Outcome]:
    """Look for a program, and where ``ask`` is given run it with that for its version."""

    def look() -> Outcome:
        path = shutil.which(name)
        if path is None:
            return Outcome(False, f"no {name} on the PATH")
        return Outcome(True, _run(path, *ask)[1] if ask else path)

    return look


def open_vswitch() -> Outcome:
    """The daemons and their tools, and the version."""
    for name in ("ovs-vswitchd", "ovsdb-server", "ovs-ofctl", "ovs-appctl", "ovsdb-tool"):
        if shutil.which(name) is None:
            return Outcome(False, f"no {name} on the PATH")
    done = subprocess.run(["ovs-vswitchd", "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    lines = done.stdout.splitlines()
    return Outcome(done.returncode == 0, lines[0].split()[-1] if lines else done.stderr.strip())


def mininet() -> Outcome:
    """Debian's package, seen from this interpreter."""
    if importlib.util.find_spec("mininet") is None:
        return Outcome(False, f"{sys.executable} cannot import it")
    return Outcome(True, importlib.metadata.version("mininet"))


def controller() -> Outcome:
    """The library that the Ryu applications run on."""
    try:
        return Outcome(True, f"os-ken {importlib.metadata.version('os-ken')}")
    except importlib.metadata.PackageNotFoundError:
        return Outcome(False, f"{sys.executable} has no os-ken")


def own_tools() -> Outcome:
    """The lab's C programs: there, or built now."""
    try:
        made = [tools.native_tool(name).name for name in tools.native_names()]
    except (MachineError, OSError) as error:
        return Outcome(False, str(error).splitlines()[0])
    return Outcome(True, f"{len(made)} programs, compiled")


def size() -> Outcome:
    """Processors and memory."""
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000
    text = f"{len(os.sched_getaffinity(0))} processors, {memory_mb} MB"
    return Outcome(memory_mb >= ENOUGH_MEMORY_MB, text)
