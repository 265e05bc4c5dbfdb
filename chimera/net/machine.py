"""What this machine can do, what follows from each gap, and the command that fixes it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

from chimera.model.errors import MachineError
from chimera.net import probes, tools
from chimera.net.probes import Outcome, program


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing a lab needs or can use.

    ``present`` is None where it could not be tried (without root). ``consequence`` says what follows from its
    absence and ``remedy`` is the command that fixes it; both are empty where it is there.
    """

    name: str
    present: bool | None
    required: bool
    detail: str
    consequence: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class _Probe:
    name: str
    required: bool
    consequence: str
    remedy: str
    look: Callable[[], Outcome]

    def capability(self) -> Capability:
        found = self.look()
        if found.present:
            return Capability(self.name, True, self.required, found.detail)
        remedy = found.remedy or self.remedy
        return Capability(self.name, found.present, self.required, found.detail, self.consequence, remedy)


def survey() -> list[Capability]:
    """Everything a lab needs or can use, required things first. Takes a few tenths of a second."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(_Probe.capability, _probes()))


def missing(capabilities: list[Capability]) -> list[Capability]:
    """Those whose absence keeps a lab from running here; what could not be tried without root is not among them."""
    return [c for c in capabilities if c.required and c.present is False]


@cache
def need_tun() -> None:
    """Have ``/dev/net/tun``: stock kernels have it in a module that nothing loads by itself.

    Raises:
        MachineError: it is not to be had.
    """
    if not probes.tun_node().is_char_device():
        raise MachineError("/dev/net/tun is missing: Open vSwitch's userspace datapath cannot make bridges", _MAKE_TUN)


def need_translators() -> None:
    """Have eBPF and the translators for wire formats that Open vSwitch lacks.

    Raises:
        MachineError: they are not to be had; overlays without them run all the same.
    """
    for found, remedy in ((probes.ebpf(), _PRIVILEGED), (probes.translators(), _apt("clang", "libbpf-dev"))):
        if found.present is False:
            raise MachineError(f"this overlay's frames need an eBPF translator: {found.detail}", found.remedy or remedy)


def has_netem() -> bool:
    """True where the kernel delays and loses frames by itself (``sch_netem``); else the lab's delay line does it."""
    return probes.netem().present is True


# -- the table ------------------------------------------------------------------------------------------------


def _apt(*packages: str) -> str:
    return " ".join(("apt-get install -y", *packages))


_PRIVILEGED = "docker run --privileged …  (in a container), or a kernel that has it: vagrant up"
_STOCK_KERNEL = "vagrant up  (Debian's stock kernel has it)"
_NO_LAB = "no lab can run"
_MAKE_TUN = "mkdir -p /dev/net && mknod /dev/net/tun c 10 200"  # loading the module was tried already


def _probes() -> tuple[_Probe, ...]:
    return (
        _Probe("root", True, _NO_LAB, "sudo lab …", probes.root),
        _Probe("namespaces", True, "there is no sandbox to run a lab in", _PRIVILEGED, probes.namespaces),
        _Probe("veth", True, "there are no links between nodes", _PRIVILEGED, probes.veth),
        _Probe(
            "tun/tap",
            True,
            "Open vSwitch's userspace datapath cannot make bridges",
            _MAKE_TUN,
            probes.tun,
        ),
        _Probe("packet sockets", True, "nothing can be captured or delayed", _PRIVILEGED, probes.packet_sockets),
        _Probe("Open vSwitch", True, "hypervisors have no switch", _apt("openvswitch-switch"), probes.open_vswitch),
        _Probe("Mininet", True, _NO_LAB, _apt("mininet"), probes.mininet),
        _Probe("mnexec", True, "Mininet cannot start hosts", _apt("mininet"), program("mnexec")),
        _Probe("OpenFlow controller", True, "overlays have no control plane", "pip install os-ken", probes.controller),
        _Probe("ip", True, "interfaces cannot be set up", _apt("iproute2"), program("ip", "-Version")),
        _Probe("nftables", True, "gateways cannot keep tenants apart", _apt("nftables"), probes.nftables),
        _Probe("the lab's C tools", True, "nothing is probed or captured", _apt(*tools.PACKAGES), probes.own_tools),
        _Probe(
            "netem",
            False,
            "links are impaired by the lab's own delay line in user space instead",
            _STOCK_KERNEL,
            probes.netem,
        ),
        _Probe(
            "kernel datapath",
            False,
            "Open vSwitch forwards in user space, which is the default anyway",
            _STOCK_KERNEL,
            probes.kernel_datapath,
        ),
        _Probe(
            "eBPF",
            False,
            "overlays whose wire format Open vSwitch lacks do not run",
            _PRIVILEGED,
            probes.ebpf,
        ),
        _Probe(
            "translators",
            False,
            "overlays whose wire format Open vSwitch lacks do not run",
            _apt("clang", "libbpf-dev"),
            probes.translators,
        ),
        _Probe(
            "user namespaces",
            False,
            "nothing: labs run as root",
            "sysctl -w user.max_user_namespaces=10000",
            probes.user_namespaces,
        ),
        _Probe("C compiler", False, "edited C tools cannot be built", _apt(*tools.PACKAGES), program("cc")),
        _Probe("ping", False, "VMs have no ping to try by hand", _apt("iputils-ping"), program("ping")),
        _Probe("iperf3", False, "throughput cannot be measured by iperf3", _apt("iperf3"), program("iperf3")),
        _Probe("tcpdump", False, "captures cannot be read in the terminal", _apt("tcpdump"), program("tcpdump")),
        _Probe("tshark", False, "the tests lack their judge of wire formats", _apt("tshark"), program("tshark")),
        _Probe(
            "Chromium", False, "reports are not tested in a browser", _apt("chromium-driver"), program("chromedriver")
        ),
        _Probe(
            "size",
            False,
            f"below {probes.ENOUGH_MEMORY_MB} MB only small topologies fit",
            "LAB_VM_MEMORY=8192 vagrant reload  (for the VM; else add memory)",
            probes.size,
        ),
    )
