"""The walk over a frame: its headers, their fields, and the VM's frame within.

It is driven by :data:`chimera.wire.formats.LAYERS` and makes no Scapy object, for captures hold many frames.
Nothing here raises on any bytes: the walk ends where a header does not fit, or where nothing is known about what
follows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from chimera.model.result import Header
from chimera.wire.formats import LAYERS
from chimera.wire.layers import Layer, Next
from chimera.wire.probe import MAGIC

Step = tuple[str, int, int]  # layer, where it begins, its length

_MINIMUM = {layer.name: layer.minimum for layer in LAYERS.values()}
_ANNOUNCED = {claim: layer.name for layer in LAYERS.values() for claim in layer.claims}
_TAG = _MINIMUM["vlan"]


def _named(found: Next, frame: bytes, at: int) -> str:
    """The name of the header that stands at ``at``; ``""`` where nothing is known that begins so."""
    name = found if isinstance(found, str) else _ANNOUNCED.get(found, "")
    variant = LAYERS[name].variant if name else None
    return variant(frame, at) if variant else name


def walk(frame: bytes) -> Iterator[Step]:
    """The headers of a frame from the outside in, as far as they are known and whole."""
    at, name = 0, _ANNOUNCED.get(("frame", int.from_bytes(frame[12:14], "big")), "eth")
    while name:
        layer, minimum = LAYERS[name], _MINIMUM[name]
        if at + minimum > len(frame):
            return
        length = layer.length(frame, at) if layer.length else minimum
        if length < minimum or at + length > len(frame):
            return
        yield name, at, length
        name = _named(layer.following(frame, at), frame, at + length)
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


def identified(header: Header) -> str:
    """A header in a line: its name and the fields by which a reader tells one frame from another, if it has them."""
    layer, fields, note = LAYERS[header.name], header.fields, ""
    if layer.group and fields.get(layer.group[0]) == "1":
        fields = {name: value for name, value in fields.items() if not name.startswith(layer.group[1])}
        note = " (multi-destination)"
    values = " ".join(f"{name}={fields[name]}" for name in layer.shown if name in fields)
    return f"{header.name} {values}{note}".strip()


def limit(frame: bytes) -> tuple[str, int | None]:
    """What bounds the way of a frame: name and value of the field; empty and None where it has none that is known.

    The field is that of the outermost header that has one.
    """
    for header in dissect(frame):
        if found := LAYERS[header.name].limit:
            field, name = found
            return name, int(header.fields[field])
    return "", None


def tunnel_key(frame: bytes) -> tuple[str, str, str] | None:
    """What a tunnel port of Open vSwitch takes off a frame: ``tun_id``, ``tun_src``, ``tun_dst``; else None."""
    found = carried(frame)
    outer = dissect(frame)[: len(found.headers) - 1] if found else []
    ip = next((header.fields for header in outer if header.name == "ip"), None)
    keys = (header.fields.get(LAYERS[header.name].tunnel_id) for header in outer)
    key = next(filter(None, keys), None)
    return (key, ip["source"], ip["destination"]) if key and ip else None


def hints(frame: bytes) -> Iterator[str]:
    """Values for Wireshark's ``-d`` without which it would misread this frame."""
    for (name, at, _), (following, _, _) in pairwise(walk(frame)):
        if (decode_as := LAYERS[name].decode_as) and (hint := decode_as(frame, at, following)):
            yield hint


def lacks_check_sequence(frame: bytes) -> bool:
    """Whether Wireshark takes the last four bytes of such a frame for a check sequence, which no capture has."""
    name = _ANNOUNCED.get(("frame", int.from_bytes(frame[12:14], "big")))
    return bool(name and LAYERS[name].check_sequence)


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
    distribution tree: then it is the tree. ``tenant`` is the identifier in which addresses are meant where IP only is
    carried (LISP's instance ID).
    """

    overhead_bytes: int
    frame: bytes
    headers: tuple[str, ...]
    outer_destination: str = ""
    vlan: int | None = None
    ethernet: bool = True
    multi_destination: bool = False
    tenant: int | None = None


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
    return name == "eth" or (LAYERS[before].tenant is not None and name in ("ip", "ipv6"))


def _within(frame: bytes, steps: Sequence[Step]) -> Carried:
    """What stands at the last step; a tag that the format adds to it is no part of the VM's frame."""
    *outer, (name, at, _) = steps
    vms, names = frame[at:], tuple(step[0] for step in steps)
    where, every = _toward(frame, outer)
    last, begins, _ = outer[-1]
    if LAYERS[last].tags and _is_tagged(vms):
        within, tag = (*names, "vlan"), _vlan(vms)
        return Carried(at + _TAG, _untagged(vms), within, where, vlan=tag, multi_destination=every)
    if name == "eth":
        return Carried(at, vms, names, where, multi_destination=every)
    tenant = LAYERS[last].tenant
    found = tenant(frame, begins) if tenant else None
    return Carried(at - _MINIMUM["eth"], vms, names, where, ethernet=False, tenant=found)


def _is_tagged(frame: bytes) -> bool:
    return frame[12:14] == b"\x81\x00" and len(frame) >= _MINIMUM["eth"] + _TAG


def _untagged(frame: bytes) -> bytes:
    return frame[:12] + frame[12 + _TAG :]


def _vlan(frame: bytes) -> int:
    return int.from_bytes(frame[14:16], "big") & 0xFFF


def _toward(frame: bytes, outer: Sequence[Step]) -> tuple[str, bool]:
    """Where a frame with these outer headers goes, and whether that is a tree."""
    for name, at, _ in outer:
        if toward := LAYERS[name].toward:
            return toward(frame, at)
    return "", False


_UNDERLAYS_OWN = {"arp", "rarp", "tcp", "icmp", "icmpv6"}  # what may stand within is no frame of a VM
_OWN_ETHERTYPES = {0x88CC}  # LLDP
_OWN_PROTOCOLS = {0, 2, 89, 103, 112}  # IPv6's hop-by-hop options, IGMP, OSPF, PIM, VRRP
_OWN_PORTS = {3784, 4784, 4342}  # of UDP: BFD (RFC 5881, RFC 5883), LISP's control plane (RFC 9301)
_LEAST_ETHERTYPE = 0x600  # below it stands a length, of IEEE 802.3's frames (spanning tree)


def is_undecoded(frame: bytes, endpoints: Collection[str] = ()) -> bool:
    """Whether a frame in which :func:`carried` finds no VM's frame may carry one all the same, in an unknown format.

    So it is where a header announces something that no table here knows, or stands in front of what it announces and
    that cannot be read; where one of the lab's probes lies deeper than the headers that were found; and where the
    tunnel ``endpoints`` (addresses) talk to each other over UDP about nothing that is known.
    """
    steps = list(walk(frame))
    name, at, length = steps[-1] if steps else ("", 0, 0)
    if not steps or name in _UNDERLAYS_OWN:
        return False
    if name == "eth":
        number = int.from_bytes(frame[12:14], "big")
        return number >= _LEAST_ETHERTYPE and ("ethertype", number) not in _ANNOUNCED and number not in _OWN_ETHERTYPES
    if name in ("ip", "ipv6"):
        number = frame[at + 9] if name == "ip" else frame[at + 6]
        return number not in _OWN_PROTOCOLS and ("ip-protocol", number) not in _ANNOUNCED
    if name != "udp":
        return True
    probe = frame.find(MAGIC)
    if probe >= 0:
        return probe != at + length
    return int.from_bytes(frame[at + 2 : at + 4], "big") not in _OWN_PORTS and _between(frame, endpoints)


def _between(frame: bytes, endpoints: Collection[str]) -> bool:
    """Whether a frame goes from one of these addresses to another."""
    outer = next((h for h in dissect(frame) if h.name in ("ip", "ipv6")), None)
    return outer is not None and {outer.fields["source"], outer.fields["destination"]} <= set(endpoints)


def inner(frame: bytes) -> tuple[int, bytes]:
    """Bytes of encapsulation and the VM's frame; ``(0, frame)`` where nothing is encapsulated."""
    found = carried(frame)
    return (found.overhead_bytes, found.frame) if found else (0, frame)
