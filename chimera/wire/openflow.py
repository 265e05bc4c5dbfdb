"""How long OpenFlow 1.3 messages are, without building them: the simulator counts millions.

The bytes themselves are Ryu's (``controllers.translate``), and a test holds the two against each other.
"""

from __future__ import annotations

from chimera.model.flow import Action, CheckLarger, DecTtl, Flow, Goto, Learn, Move, Output, SetField, Value

HEADER_BYTES = 8
BARRIER_BYTES = HEADER_BYTES
DELETE_BYTES = 56  # a flow-mod with an empty match and no instructions
PORT_BYTES = 64  # section 7.2.1
PORT_STATUS_BYTES = 16 + PORT_BYTES  # section 7.4.3
STATS_BYTES = STATS_REQUEST_BYTES = 16  # the head of a multipart message, section 7.3.5
FLOW_STATS_REQUEST_BYTES = 56
PACKET_BYTES = 42  # around the frame of a packet-in with an in-port and a tunnel ID
_MOD_BYTES, _MATCH_BYTES, _OXM_BYTES, _INSTRUCTION_BYTES = 48, 4, 4, 8
_NICIRA_BYTES = 10  # type, length, vendor, subtype

_FIELD_BYTES = {
    "in_port": 4, "eth_dst": 6, "eth_src": 6, "eth_type": 2, "vlan_vid": 2, "ip_proto": 1,
    "ipv4_src": 4, "ipv4_dst": 4, "arp_op": 2, "arp_spa": 4, "arp_tpa": 4, "arp_sha": 6, "arp_tha": 6,
    "ipv6_src": 16, "ipv6_dst": 16, "icmpv6_type": 1, "ipv6_nd_target": 16, "ipv6_nd_sll": 6, "ipv6_nd_tll": 6,
    "tunnel_id": 8, "tun_flags": 2, "tun_ipv4_src": 4, "tun_ipv4_dst": 4, "reg0": 4, "reg1": 4, "nw_ttl": 1,
    "nd_reserved": 4, "nd_options_type": 1,
}  # fmt: skip


def flow_mod_bytes(flow: Flow) -> int:
    """The length of the message that adds a flow; so long is it in a switch's answer, too (section 7.3.5.2)."""
    match = _MATCH_BYTES + sum(_field_bytes(name, value) for name, value in flow.match)
    apply = sum(map(action_bytes, flow.actions))
    instructions = (_INSTRUCTION_BYTES + apply) * bool(apply)
    instructions += _INSTRUCTION_BYTES * bool(flow.actions and isinstance(flow.actions[-1], Goto))
    return _MOD_BYTES + _padded(match) + instructions


def packet_out_bytes(frame: bytes, actions: tuple[Action, ...]) -> int:
    """The length of a packet-out."""
    return 24 + sum(map(action_bytes, actions)) + len(frame)


def _field_bytes(name: str, value: Value) -> int:
    return _OXM_BYTES + _FIELD_BYTES[name] * (2 if isinstance(value, tuple) else 1)


def _padded(length: int) -> int:
    return length + -length % 8


def action_bytes(action: Action) -> int:  # noqa: PLR0911  one line per kind of action
    """The length of an action, with its padding; an instruction is none."""
    match action:  # the most frequent ones first
        case SetField():
            return _SET_FIELD_BYTES[action.field]
        case Output():
            return 16
        case Goto():
            return 0
        case Move():
            return 24
        case DecTtl():
            return 8
        case CheckLarger():
            return _padded(_NICIRA_BYTES + 8)
        case Learn():
            specs = [*_learn_bytes(action), 8] if action.output_from else _learn_bytes(action)
            return _padded(_NICIRA_BYTES + 22 + sum(specs))
    raise ValueError(f"{action} is unknown")


_SET_FIELD_BYTES = {name: _padded(4 + _OXM_BYTES + size) for name, size in _FIELD_BYTES.items()}


def _learn_bytes(learn: Learn) -> list[int]:
    """The lengths of what a learned flow matches and loads (``nx_flow_mod_spec``, nicira-ext.h)."""
    return [
        2 + (6 if isinstance(source, str) else _FIELD_BYTES[target] + _FIELD_BYTES[target] % 2) + 6
        for source, target in (*learn.match, *learn.load)
    ]
