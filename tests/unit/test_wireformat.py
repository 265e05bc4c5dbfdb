"""An overlay's wire format: what follows from its headers' names is what frames of it have."""

from __future__ import annotations

from itertools import product

import pytest

from chimera.overlay import registry
from chimera.overlay.base import check_options
from chimera.wire.formats import LAYERS
from chimera.wire.headers import carried
from chimera.wire.wireformat import WireFormat
from tests.wire_frames import VARIANTS, tagged, vm_frame, wires

WIRES = wires(vm_frame())
TAGGED = "vlan"  # the one overlay that is no tunnel


def format_of(name: str) -> WireFormat:
    overlay, options = VARIANTS[name]
    descriptor = registry.get(overlay)
    return descriptor.wire(check_options(descriptor, options))


def test_there_is_a_frame_of_every_overlay_in_every_format() -> None:
    """A new overlay needs a frame in tests/wire_frames.py: every test of formats goes by those."""
    wanted = set()
    for overlay in registry.OVERLAYS.values():
        shaping = [o for o in overlay.options if len({overlay.wire(_with(overlay, o.name, v)) for v in o.allowed}) > 1]
        for values in product(*(o.allowed for o in shaping)):
            options = check_options(overlay, dict(zip((o.name for o in shaping), values, strict=True)))
            wanted.add(overlay.wire(options))
    assert wanted == {*map(format_of, VARIANTS), registry.get(TAGGED).wire({})}
    assert VARIANTS.keys() == WIRES.keys()


def _with(overlay: registry.Overlay, name: str, value: str) -> dict[str, str]:
    return {option.name: option.default for option in overlay.options} | {name: value}


@pytest.mark.parametrize("name", VARIANTS)
def test_headers_and_bytes_are_those_of_a_frame(name: str) -> None:
    packet, overhead = WIRES[name]
    wire, found = format_of(name), carried(bytes(packet))
    assert found and wire.stack == found.headers
    assert wire.overhead_bytes == wire.added_bytes == overhead == len(bytes(packet)) - len(bytes(vm_frame()))


def test_a_tag_makes_frames_longer_and_packets_not() -> None:
    wire, found = registry.get(TAGGED).wire({}), carried(bytes(tagged(vm_frame(), 101)))
    assert found and wire.stack == found.headers
    assert (wire.overhead_bytes, wire.added_bytes) == (4, 0)


def test_the_port_is_that_of_the_header_behind_udp() -> None:
    assert WireFormat("eth ip udp otv eth").udp_port == 8472
    with pytest.raises(ValueError, match="wire format 'eth trill eth vlan' has no UDP port"):
        assert WireFormat("eth trill eth vlan").udp_port


def test_a_header_that_nobody_described_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError) as error:
        assert WireFormat("eth ip udp stt eth").added_bytes
    names = ", ".join(LAYERS)
    text = f"wire format 'eth ip udp stt eth': chimera/wire/formats.py has no header 'stt'\n    allowed: {names}"
    assert str(error.value) == text
