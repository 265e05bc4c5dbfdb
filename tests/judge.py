"""Wireshark and tcpdump as judges of frames: what they decode, and what they call malformed."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

needs_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is missing: apt-get install tshark")
needs_tcpdump = pytest.mark.skipif(not shutil.which("tcpdump"), reason="tcpdump is missing: apt-get install tcpdump")

Fields = dict[str, list[str]]
FABRICPATH = b"\x89\x03"
OTV = ("-d", "udp.port==8472,vxlan")  # Wireshark has no dissector for OTV's data frames; the bits are VXLAN's
NOT_RPC = ("--disable-protocol", "rpc")  # a heuristic that takes some probes for its own
PROBES = ("-d", "udp.port==7007,data")  # whatever the prober's own port happens to be somebody's


def control_words(labels: Mapping[int, bool]) -> list[str]:
    """Options that say for each label whether a pseudowire control word follows: Wireshark can but guess."""
    return [o for label, there in labels.items() for o in ("-d", f"mpls.label=={label},pweth{'' if there else 'no'}cw")]


def write_pcap(path: Path, frames: Iterable[bytes]) -> Path:
    """Frames as a capture; FabricPath's get the check sequence that Wireshark takes off, whether it is there or not."""
    parts = [struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
    for frame in frames:
        data = frame + zlib.crc32(frame).to_bytes(4, "little") if frame[12:14] == FABRICPATH else frame
        parts.append(struct.pack("=IIII", 0, 0, len(data), len(data)) + data)
    path.write_bytes(b"".join(parts))
    return path


def decode(pcap: Path, *options: str) -> list[Fields]:
    """Every frame's fields by Wireshark's names, each with its values in the order of the frame.

    Numbers come as Wireshark shows them; booleans as ``1`` and ``0``. ``-Y filter`` chooses frames.
    """
    return [_fields(packet) for packet in _tshark(pcap, "-T", "json", *options)]


def complaints(fields: Fields) -> set[str]:
    """What Wireshark says is wrong with a decoded frame; empty where nothing is."""
    return {"_ws.malformed", "_ws.short"} & fields.keys()


def malformed(pcap: Path, *options: str) -> list[str]:
    """The frames of a whole capture that Wireshark calls malformed or too short: number, time, and its summary of each.

    Frames that were cut short by a snap length are not malformed but short: judge captures of whole frames.
    """
    found = subprocess.run(
        ["tshark", "-n", "-r", str(pcap), *NOT_RPC, *PROBES, *options, "-Y", "_ws.malformed || _ws.short"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return found.stdout.splitlines()


def tcpdump(pcap: Path, *options: str) -> str:
    """What tcpdump prints."""
    argv = ["tcpdump", "-nn", "-e", "-v", "-r", str(pcap), *options]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def _tshark(pcap: Path, *options: str) -> list[Any]:
    argv = ["tshark", "-n", "-r", str(pcap), *NOT_RPC, *options]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found: list[Any] = json.loads(done.stdout, object_pairs_hook=list)  # names repeat: a frame has two Ethernets
    return found


def _fields(packet: list[Any]) -> Fields:
    found: Fields = {}
    _collect(dict(dict(packet)["_source"])["layers"], found)
    return found


def _collect(pairs: list[Any], found: Fields) -> None:
    for name, value in pairs:
        if isinstance(value, str):
            found.setdefault(name, []).append({"True": "1", "False": "0"}.get(value, value))
        elif value and isinstance(value[0], (list, tuple)):
            found.setdefault(name, [])
            _collect(value, found)
        else:  # one name, many values
            found.setdefault(name, []).extend(str(v) for v in value)
