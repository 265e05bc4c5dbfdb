"""The few system calls Python 3.11 does not wrap: unshare, setns, mount, prctl, inotify, and ethtool's ioctl."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Self

CLONE_FS = 0x00000200  # root and working directory of one's own, which a thread needs for a mount namespace
CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000

MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_BIND = 0x1000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8

_PR_SET_PDEATHSIG = 1
_IN_MODIFY, _IN_MOVED_TO, _IN_CREATE = 0x2, 0x80, 0x100
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17
_LOOK_S = 0.02  # between two looks at a folder whose changes nothing tells
_PIDFD_GETFD = 438  # the same on every architecture

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    """Leave the namespaces named by ``flags`` for new ones (unshare(2))."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2); raises OSError that names the target."""
    result = _libc.mount(
        source.encode(), target.encode(), fstype.encode() or None, ctypes.c_ulong(flags), data.encode() or None
    )
    _check(result, f"mount {target}")


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send this process ``signal_number`` when the thread ends that forked it (prctl(2))."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


class FolderChanges:
    """Readable when something was made or written in a folder that it was told of (inotify(7)).

    A user may have so many of these at once (``fs.inotify.max_user_instances``, 128 by default), and all labs on a
    machine are root's. Where there is none to be had, it is never readable, and ``again_s`` says after how long to
    look; else that is None.
    """

    def __init__(self) -> None:
        self.again_s: float | None = None
        self._fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self.again_s = _LOOK_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return int(self._fd)

    def add(self, folder: Path) -> None:
        """Watch a folder, too."""
        if self.again_s is not None:
            return
        mask = _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE
        if _libc.inotify_add_watch(self._fd, os.fsencode(folder), mask) < 0:
            code = ctypes.get_errno()
            if code != errno.ENOSPC:  # fs.inotify.max_user_watches: the same, of folders
                raise OSError(code, os.strerror(code), str(folder))
            self.again_s = _LOOK_S

    def forget(self) -> None:
        """Take what is to be read: from now on readable means something new."""
        try:
            while os.read(self._fd, 1 << 16):
                pass
        except BlockingIOError:
            return


def checksum_in_software(interface: str) -> None:
    """Turn off transmit checksum offload of an interface of this thread's namespace.

    A veth leaves the checksum of what it sends to its peer, and Open vSwitch's userspace datapath
    forwards the frame as it is: TCP through it would fail (facts.md).
    """
    value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", interface.encode(), ctypes.addressof(value)).ljust(40, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        fcntl.ioctl(channel, _SIOCETHTOOL, request)


def packet_sockets(pid: int) -> Iterator[socket.socket]:
    """Duplicates of the AF_PACKET sockets of another process (pidfd_getfd(2)), each closed after its turn."""
    with open(f"/proc/{pid}/net/packet") as table:
        inodes = {line.split()[8] for line in table.readlines()[1:]}
    pidfd = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{name}")
            except FileNotFoundError:
                continue  # closed meanwhile
            if target.startswith("socket:[") and target[8:-1] in inodes:
                fd = _libc.syscall(_PIDFD_GETFD, pidfd, int(name), 0)
                if fd >= 0:
                    with socket.socket(fileno=fd) as duplicate:
                        yield duplicate
    finally:
        os.close(pidfd)
