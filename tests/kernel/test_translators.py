"""Whatever a VM sends arrives as it was sent, over every wire, in an underlay not one byte larger than needed."""

from __future__ import annotations

from lab_support import needs_lab
from wire_labs import VM_MTU, Volley

pytestmark = needs_lab


def test_what_arrives_is_what_was_sent(volley: Volley) -> None:
    """Random frames of all sizes, tagged ones, fragments, other tunnels' packets; over LISP the packets in them."""
    start = 14 if volley.wire.overlay == "lisp" else 0
    sent = sorted(frame[start:] for frame in volley.random)
    assert sorted(frame[start:] for frame in volley.at("random", ("web4", "eth0", "in"))) == sent
    assert max(map(len, volley.random)) == VM_MTU + 14


def test_every_frame_grows_by_the_same_bytes(volley: Volley) -> None:
    sizes = sorted(len(frame) + volley.wire.overhead for frame in volley.random)
    for cable in volley.cables():
        assert sorted(map(len, cable.frames("random"))) == sizes, cable.place


def test_the_largest_packets_go_through_the_smallest_underlay(volley: Volley) -> None:
    mtu = volley.facts["mtu"]
    assert mtu["largest_vm_packet"] == mtu["vm"] == VM_MTU
    assert mtu["underlay"] - VM_MTU == mtu["added_bytes"] == volley.wire.overhead
    largest = max(volley.random, key=len)
    assert any(seen.frame[14:] == largest[14:] for seen in volley.seen["random"] if seen.node == "web4")
