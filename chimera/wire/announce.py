"""What a hypervisor or guest sends so that switches learn where a VM is now.

RARP request (RFC 903), as ESXi and QEMU send it::

    Ethernet: ff:ff:ff:ff:ff:ff <- VM, type 0x8035
    | hardware 1 | protocol 0x0800 | 6 | 4 | operation 3 | VM | 0.0.0.0 | VM | 0.0.0.0 |

Gratuitous ARP (RFC 5227 section 3, an ARP Announcement)::

    Ethernet: ff:ff:ff:ff:ff:ff <- VM, type 0x0806
    | hardware 1 | protocol 0x0800 | 6 | 4 | operation 1 | VM | its IP | 00:00:00:00:00:00 | its IP |
"""

from __future__ import annotations

import ipaddress
import struct

_BROADCAST = b"\xff" * 6
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ETHERTYPE = {"rarp": 0x8035, "garp": 0x0806}
_MINIMUM = 60  # IEEE 802.3 without the frame check sequence


def announcement(kind: str, mac: str, ip: str) -> bytes:
    """The frame of an announcement; ``kind`` is ``rarp`` or ``garp``, ``ip`` may have a prefix length.

    Raises:
        KeyError: another kind.
    """
    vm = bytes.fromhex(mac.replace(":", ""))
    address = ipaddress.ip_interface(ip).ip.packed
    if kind == "rarp":
        body = _ARP.pack(1, 0x0800, 6, 4, 3, vm, bytes(4), vm, bytes(4))
    else:
        body = _ARP.pack(1, 0x0800, 6, 4, 1, vm, address, bytes(6), address)
    return (_BROADCAST + vm + struct.pack("!H", _ETHERTYPE[kind]) + body).ljust(_MINIMUM, b"\0")
