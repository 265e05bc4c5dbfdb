"""One frame of every wire format, built from the tables."""

from __future__ import annotations

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from chimera.wire import stacks  # noqa: F401  (with it, Scapy knows what stands on what)
from chimera.wire.formats import GRE, LISP, LISP_GPE, MPLS, OTV, TRILL, VXLAN, ControlWord, FabricPath, Geneve
from chimera.wire.probe import MAGIC, PROBE

VM_A, VM_B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
NODE_A, NODE_B = "02:aa:00:00:00:01", "02:aa:00:00:00:02"
ALL_RBRIDGES = "01:80:c2:00:00:40"  # RFC 6325 section 1.4
PROBE_PAYLOAD = PROBE.pack(MAGIC, 7, 42, 0, 1, 2)


# What wires() has a frame of: the overlay and the options that make it.
VARIANTS: dict[str, tuple[str, dict[str, str]]] = {
    "vxlan": ("vxlan", {}),
    "geneve": ("geneve", {}),
    "mpls udp": ("mpls", {"wire": "udp"}),
    "mpls udp, no control word": ("mpls", {"wire": "udp", "control_word": "off"}),
    "mpls gre": ("mpls", {"wire": "gre"}),
    "mpls gre, no control word": ("mpls", {"wire": "gre", "control_word": "off"}),
    "mpls ip": ("mpls", {"wire": "ip"}),
    "mpls ip, no control word": ("mpls", {"wire": "ip", "control_word": "off"}),
    "lisp lisp": ("lisp", {"wire": "lisp"}),
    "lisp gpe": ("lisp", {"wire": "gpe"}),
    "otv udp": ("otv", {"wire": "udp"}),
    "otv gre": ("otv", {"wire": "gre"}),
    "trill": ("trill", {}),
    "fabricpath": ("fabricpath", {}),
}


def vm_frame(dst: str = VM_B, ip: str = "10.1.0.2") -> Packet:
    """A probe as a VM sends it: 106 bytes."""
    return Ether(src=VM_A, dst=dst) / IP(src="10.1.0.1", dst=ip) / UDP(sport=40000, dport=7007) / PROBE_PAYLOAD


def arp_frame() -> Packet:
    """A VM's broadcast: 42 bytes."""
    return Ether(src=VM_A, dst="ff:ff:ff:ff:ff:ff") / ARP(
        hwsrc=VM_A, psrc="10.1.0.1", hwdst="00:00:00:00:00:00", pdst="10.1.0.2"
    )


def outer(dst: str = "192.0.2.2") -> Packet:
    """What stands before a tunnel's header, or before its UDP header."""
    return Ether(src=NODE_A, dst=NODE_B) / IP(src="192.0.2.1", dst=dst, id=0)


def udp() -> Packet:
    """The UDP header of a tunnel, with some entropy in its source port."""
    return UDP(sport=50123)


def tagged(vm: Packet, vlan: int) -> Packet:
    """A frame with the inner tag of RFC 6325 section 4.1.1."""
    return Ether(src=vm.src, dst=vm.dst) / Dot1Q(vlan=vlan, prio=3) / vm.payload


def trill(vm: Packet, *, m: int = 0, egress: int = 0x1234) -> Packet:
    """Between two RBridges, or towards the end of a tree."""
    header = TRILL(m=m, hops=20, egress=egress, ingress=0xABCD)
    return Ether(src=NODE_A, dst=ALL_RBRIDGES if m else NODE_B) / header / tagged(vm, 101)


def fabricpath(vm: Packet, switch: int = 0x123, group: str = "") -> Packet:
    """Between two edge switches; along a tree with a group's address (hexadecimal), by default a VM's broadcast's."""
    ends = {"source_switch": 0xABC, "source_lid": 101, "ftag": 2, "ttl": 32}
    group = group or (vm.dst.replace(":", "") if int(vm.dst[:2], 16) & 1 else "")
    if not group:
        return FabricPath(destination_switch=switch, destination_lid=101, **ends) / vm
    address = FabricPath(bytes.fromhex(group) + bytes(10)).fields
    return FabricPath(**{name: value for name, value in address.items() if "destination" in name}, **ends) / vm


def wires(vm: Packet) -> dict[str, tuple[Packet, int]]:
    """By overlay and wire: a frame that carries the VM's, and by how much longer than that it is."""
    label = MPLS(label=0xABCDE, tc=5, ttl=61)
    found = {
        "vxlan": (outer() / udp() / VXLAN(vni=0xABCDEF) / vm, 50),
        "geneve": (outer() / udp() / Geneve(vni=0xABCDEF) / vm, 50),
        "mpls udp": (outer() / udp() / label / ControlWord() / vm, 50),
        "mpls udp, no control word": (outer() / udp() / label / vm, 46),
        "mpls gre": (outer() / GRE() / label / ControlWord() / vm, 46),
        "mpls gre, no control word": (outer() / GRE() / label / vm, 42),
        "mpls ip": (outer() / label / ControlWord() / vm, 42),
        "mpls ip, no control word": (outer() / label / vm, 38),
        "otv udp": (outer() / udp() / OTV(instance=0xABCDEF) / vm, 50),
        "otv gre": (outer() / GRE() / label / vm, 42),
        "trill": (trill(vm), 24),
        "fabricpath": (fabricpath(vm), 16),
    }
    if IP in vm:
        found["lisp lisp"] = outer() / udp() / LISP(instance=0xABCDEF) / vm[IP], 36
        found["lisp gpe"] = outer() / udp() / LISP_GPE(instance=0xABCDEF) / vm[IP], 36
    return found
