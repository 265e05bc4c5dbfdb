"""How an overlay's frames look on the links: the one place where an overlay names its headers.

How many bytes that adds, the port it is sent to, and whether a capture shows what was meant, follow from the names.
What the headers are is in :mod:`chimera.wire.formats`, which is looked at only when something is asked: the control
plane and the command line's completion know overlays, and need no Scapy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chimera.model.underlay import Translator

if TYPE_CHECKING:
    from chimera.wire.layers import Layer


@dataclass(frozen=True, slots=True)
class WireFormat:
    """The headers of a frame on the underlay, by name, from the outside in through the first of the VM's own.

    That one is ``eth``, or ``ip`` where a VM's Ethernet is not carried; a tag behind it is the format's. ``translator``
    makes the format from Open vSwitch's VXLAN, where Open vSwitch does not send it by itself.

    Raises:
        ValueError: when one of the figures is asked for, and there is no header of a name.
    """

    headers: str
    translator: Translator | None = None

    @property
    def stack(self) -> tuple[str, ...]:
        """The names, as results have them."""
        return tuple(self.headers.split())

    @property
    def overhead_bytes(self) -> int:
        """By how many bytes a frame on the wire is longer than the VM's."""
        *_, last = self._layers()
        vms_ip = last.minimum if last.name == "ip" else 0
        return sum(layer.minimum for layer in self._layers()) - vms_ip - _layers()["eth"].minimum

    @property
    def added_bytes(self) -> int:
        """By how many bytes a VM's IP packet grows to become the underlay's: what an MTU must have room for.

        The outer Ethernet header does not count, nor a tag that belongs to it.
        """
        outer_tag = sum(layer.minimum for layer in self._layers()[1:2] if layer.name == "vlan")
        return self.overhead_bytes - outer_tag

    @property
    def udp_port(self) -> int:
        """The destination port.

        Raises:
            ValueError: where none of the headers is announced by one.
        """
        for layer in self._layers():
            for space, number in layer.claims:
                if space == "udp-port":
                    return number
        raise ValueError(f"wire format '{self.headers}' has no UDP port")

    def _layers(self) -> list[Layer]:
        known = _layers()
        unknown = [name for name in self.stack if name not in known]
        if unknown:
            raise ValueError(
                f"wire format '{self.headers}': chimera/wire/formats.py has no header '{unknown[0]}'\n"
                f"    allowed: {', '.join(known)}"
            )
        return [known[name] for name in self.stack]


def _layers() -> Mapping[str, Layer]:
    from chimera.wire.formats import LAYERS  # noqa: PLC0415  it brings Scapy

    return LAYERS


VXLAN = WireFormat("eth ip udp vxlan eth")  # also between Open vSwitch and a translator
