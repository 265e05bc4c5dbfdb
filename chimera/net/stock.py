"""Mininet as it is, to compare with: on Open vSwitch's userspace datapath, in a sandbox of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mininet.net import Mininet
from mininet.node import OVSSwitch
from mininet.topo import LinearTopo

from chimera.net.ovs import OpenVSwitch
from chimera.net.services import Supervisor

_DEFAULT_RUNDIR = Path("/run/openvswitch")


@contextmanager
def stock_mininet(switches: int, hosts: int) -> Iterator[None]:
    """``linear,SWITCHES,HOSTS`` of stock Mininet, started; it stops at the end. Nothing of this lab's is in it."""
    Mininet.inited = True  # its init() would change the host's kernel settings
    net = Mininet(LinearTopo(switches, hosts), switch=_user_switch(OVSSwitch), controller=None)
    net.start()
    yield
    net.stop()


def one_switch_for_all() -> None:
    """The Open vSwitch Mininet expects, where it expects it, but inside this sandbox."""
    os.environ.pop("OVS_RUNDIR", None)
    _DEFAULT_RUNDIR.mkdir(parents=True)
    switch = OpenVSwitch("stock", Supervisor())
    switch.socket = str(_DEFAULT_RUNDIR / "db.sock")
    switch.folder.mkdir(parents=True)
    os.environ["OVS_DBDIR"] = str(switch.folder)
    switch.start_here()


def _user_switch(base: type) -> Callable[..., object]:
    def make(name: str, **params: object) -> object:
        return base(name, datapath="user", failMode="standalone", **params)

    return make
