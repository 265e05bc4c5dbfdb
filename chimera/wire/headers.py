"""The walk over a frame: its headers, their fields, and the VM's frame within.

It is driven by the tables of :mod:`chimera.wire.layers` and makes no Scapy object, for captures hold many frames.
Nothing here raises on any bytes: the walk ends where a header does not fit, or where nothing is known about what
follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from chimera.model.result import Header
from chimera.wire.formats import FABRICPATH_TYPE
from chimera.wire.layers import LAYERS, Layer, announced
from chimera.wire.probe import MAGIC

Step = tuple[str, int, int]  # layer, where it begins, its length

_MINIMUM = {layer.name: layer.minimum for layer in LAYERS.values()}
_FABRICPATH = FABRICPATH_TYPE.to_bytes(2, "big")
_TAG = 4  # bytes of an 802.1Q tag


def walk(frame: bytes) -> Iterator[Step]:
    """The headers of a frame from the outside in, as far as they are known and whole."""
    at, name = 0, "fabricpath" if frame[12:14] == _FABRICPATH else "eth"
    while name:
        layer, minimum = LAYERS[name], _MINIMUM[name]
        if at + minimum > len(frame):
            return
        length = layer.length(frame, at) if layer.length else minimum
        if length < minimum or at + length > len(frame):
            return
        yield name, at, length
        name = layer.following(frame, at)
        at += length


def _fields(layer: Layer, data: bytes) -> dict[str, str]:
    """The named fields of a header whose bytes are ``data``."""
    whole, left = int.from_bytes(data, "big"), len(data) * 8
    values: dict[str, int] = {}
    found: dict[str, str] = {}
    for field in layer.fields:
        if field.flag and values[field.flag] != field.value:
            continue
        left -= field.bits
        value = values[field.name] = whole >> left & ((1 << field.bits) - 1)
        if field.name:
            found[field.name] = field.show(value)
    return found


def dissect(frame: bytes) -> list[Header]:
    """Every header of an Ethernet frame, outermost first, with its fields as text."""
    return [Header(name, length, _fields(LAYERS[name], frame[at : at + length])) for name, at, length in walk(frame)]


# -- what the underlay carries -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Carried:
    """A VM's frame as the underlay carries it.

    ``overhead_bytes`` is what encapsulation adds: the length of the underlay's frame without that of the VM's.
    ``frame`` is the VM's, from its Ethernet header on; where ``ethernet`` is False the format carries IP only, and it
    begins with the IP header. ``headers`` are the names of the layers in front of and including its first header.
    ``vlan`` is the VLAN ID of the tag that a stretched VLAN or TRILL adds, which is taken off the frame.

    ``outer_destination`` is where the copy goes: with a tunnel over IP the address of the tunnel endpoint, in a fabric
    the egress identifier as decimal text. ``multi_destination`` marks a fabric's frames that go to all ends of a
    distribution tree: then it is the tree. ``instance`` is LISP's instance ID, in which the packet's addresses are
    meant.
    """

    overhead_bytes: int
    frame: bytes
    headers: tuple[str, ...]
    outer_destination: str = ""
    vlan: int | None = None
    ethernet: bool = True
    multi_destination: bool = False
    instance: int | None = None


def carried(frame: bytes) -> Carried | None:
    """The VM's frame within an underlay's frame; ``None`` where it is the underlay's own (ARP, TCP of a migration …).

    A VM's frame is what stands behind a tunnel's or fabric's header, or carries an 802.1Q tag.
    """
    steps: list[Step] = []
    for step in walk(frame):
        steps.append(step)
        if len(steps) > 1 and _is_vms(steps[-2][0], step[0]):
            return _within(frame, steps)
    if len(steps) > 1 and steps[1][0] == "vlan":
        return Carried(_TAG, _untagged(frame), ("eth", "vlan"), vlan=_vlan(frame))
    return None


def _is_vms(before: str, name: str) -> bool:
    return name == "eth" or (before in ("lisp", "lisp-gpe") and name in ("ip", "ipv6"))


def _within(frame: bytes, steps: Sequence[Step]) -> Carried:
    """What stands at the last step; TRILL's tag is the ingress RBridge's, and no part of the VM's frame."""
    *outer, (name, at, _) = steps
    vms, names = frame[at:], tuple(step[0] for step in steps)
    where, every = _toward(frame, outer)
    if outer[-1][0] == "trill" and _is_tagged(vms):
        within, tag = (*names, "vlan"), _vlan(vms)
        return Carried(at + _TAG, _untagged(vms), within, where, vlan=tag, multi_destination=every)
    if name == "eth":
        return Carried(at, vms, names, where, multi_destination=every)
    instance = _instance(frame, outer[-1])
    return Carried(at - _MINIMUM["eth"], vms, names, where, ethernet=False, instance=instance)


def _is_tagged(frame: bytes) -> bool:
    return frame[12:14] == b"\x81\x00" and len(frame) >= _MINIMUM["eth"] + _TAG


def _instance(frame: bytes, lisp: Step) -> int | None:
    """The instance ID, where the I bit says that there is one (RFC 9300 section 5.1)."""
    at = lisp[1]
    return int.from_bytes(frame[at + 4 : at + 7], "big") if frame[at] & 0x08 else None


def _untagged(frame: bytes) -> bytes:
    return frame[:12] + frame[12 + _TAG :]


def _vlan(frame: bytes) -> int:
    return int.from_bytes(frame[14:16], "big") & 0xFFF


def _toward(frame: bytes, outer: Sequence[Step]) -> tuple[str, bool]:
    """Where a frame with these outer headers goes, and whether that is a tree."""
    for name, at, _ in outer:
        if name == "ip":
            return str(IPv4Address(frame[at + 16 : at + 20])), False
        if name == "ipv6":
            return str(IPv6Address(frame[at + 24 : at + 40])), False
        if name == "trill":
            return str(int.from_bytes(frame[at + 2 : at + 4], "big")), bool(frame[at] & 0x08)
        if name == "fabricpath":
            group = bool(frame[0] & 1)
            ftag, switch = int.from_bytes(frame[14:16], "big") >> 6, int.from_bytes(frame[1:3], "big") & 0xFFF
            return str(ftag if group else switch), group
    return "", False


_UNDERLAYS_OWN = {"arp", "rarp", "tcp", "icmp", "icmpv6"}  # what may stand within is no frame of a VM
_OWN_ETHERTYPES = {0x88CC}  # LLDP
_OWN_PROTOCOLS = {0, 2, 89, 103, 112}  # IPv6's hop-by-hop options, IGMP, OSPF, PIM, VRRP
_LEAST_ETHERTYPE = 0x600  # below it stands a length, of IEEE 802.3's frames (spanning tree)


def is_undecoded(frame: bytes) -> bool:
    """Whether a frame in which :func:`carried` finds no VM's frame may carry one all the same, in an unknown format.

    So it is where a header announces something that no table here knows, or stands in front of what it announces and
    that cannot be read; and where one of the lab's probes lies deeper than the headers that were found.
    """
    steps = list(walk(frame))
    name, at, length = steps[-1] if steps else ("", 0, 0)
    if not steps or name in _UNDERLAYS_OWN:
        return False
    if name == "eth":
        number = int.from_bytes(frame[12:14], "big")
        return number >= _LEAST_ETHERTYPE and not announced("ethertype", number) and number not in _OWN_ETHERTYPES
    if name in ("ip", "ipv6"):
        number = frame[at + 9] if name == "ip" else frame[at + 6]
        return number not in _OWN_PROTOCOLS and not announced("ip-protocol", number)
    probe = frame.find(MAGIC)
    return probe != at + length if name == "udp" and probe >= 0 else name != "udp"


def inner(frame: bytes) -> tuple[int, bytes]:
    """Bytes of encapsulation and the VM's frame; ``(0, frame)`` where nothing is encapsulated."""
    found = carried(frame)
    return (found.overhead_bytes, found.frame) if found else (0, frame)
