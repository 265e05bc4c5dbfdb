"""A capture of an underlay link to the header stack of a VM's frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from chimera.model.result import Wire
from chimera.wire.headers import carried, dissect, is_undecoded
from chimera.wire.pcapng import Frame
from chimera.wire.probe import find_probe, vm_frame_bytes

UNKNOWN = "unknown"  # what a stack ends with where the VM's frame was not found


def _vm_bytes(frame: bytes) -> int:
    """The length of the VM's frame that carries the probe: known, because the lab made the probe."""
    return vm_frame_bytes(ipv6=_network_layer(frame) == "ipv6")


def _network_layer(frame: bytes) -> str:
    return next((h.name for h in reversed(dissect(frame)) if h.name in ("ip", "ipv6")), "ip")


def wire(frames: Iterable[Frame], link: str, at_most: int = 1000) -> Wire:
    """How the probes in a capture of ``link`` are encapsulated, as most of them are.

    ``stack`` goes from the outermost header through the VM's Ethernet header, ``headers`` through the probe's UDP.
    Overhead is the frame's length on the wire minus the known length of the VM's frame. A
    capture without a probe gives an empty :class:`Wire`.
    """
    seen: Counter[tuple[int, tuple[str, ...]]] = Counter()
    example: dict[tuple[int, tuple[str, ...]], Frame] = {}
    for frame in frames:
        if find_probe(frame.data):
            key = frame.wire_length, tuple(h.name for h in dissect(frame.data))
            seen[key] += 1
            example.setdefault(key, frame)
            if seen.total() >= at_most:
                break
    if not seen:
        return Wire(link=link)
    return _describe(example[seen.most_common(1)[0][0]], link, seen.total())


def _describe(frame: Frame, link: str, count: int) -> Wire:
    headers = dissect(frame.data)
    found = carried(frame.data)
    vm_bytes = _vm_bytes(frame.data)
    if found:
        stack = list(found.headers)
    else:
        stack = [*(h.name for h in headers), UNKNOWN] if is_undecoded(frame.data) else ["eth"]
    return Wire(
        stack=stack,
        overhead_bytes=frame.wire_length - vm_bytes,
        headers=headers,
        link=link,
        frames=count,
        vm_frame_bytes=vm_bytes,
        wire_frame_bytes=frame.wire_length,
    )
