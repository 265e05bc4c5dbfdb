"""What Wireshark has to be told before it reads a capture of the lab's overlays right."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from chimera.wire import pcapng
from chimera.wire.headers import walk


def decode_as(path: Path) -> list[str]:
    """Values for ``-d`` (Decode As) that a capture needs, sorted; empty where Wireshark knows all of it by itself.

    Whether a pseudowire control word follows a label Wireshark can but guess, and some MAC addresses mislead it; OTV's
    port it knows for other uses.

    Raises:
        ValueError: where the file is not pcapng.
    """
    found = set()
    for frame in pcapng.read(path):
        for (name, at, _), (following, _, _) in pairwise(walk(frame.data)):
            if name == "mpls" and following in ("pwcw", "eth"):
                label = int.from_bytes(frame.data[at : at + 3], "big") >> 4
                found.add(f"mpls.label=={label},pweth{'' if following == 'pwcw' else 'no'}cw")
            elif name == "otv":
                found.add("udp.port==8472,vxlan")
    return sorted(found)
