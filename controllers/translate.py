"""Flows and actions as OpenFlow 1.3 messages, Open vSwitch's extensions included.

The same flow goes to many switches, and its parts (a field, an action) stand in many flows: Ryu turns each part to
bytes once, and a message is put together from them. Its transaction identifier is 0, which the barrier that follows
makes unnecessary.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, ClassVar

from ryu.lib.pack_utils import msg_pack_into
from ryu.ofproto import ofproto_v1_3 as ofp
from ryu.ofproto import ofproto_v1_3_parser as parser
from ryu.ofproto.ofproto_protocol import ProtocolDesc

from chimera.model.flow import (
    Action,
    CheckLarger,
    DecTtl,
    Flow,
    Goto,
    Learn,
    Move,
    Output,
    SetField,
    Value,
)

_MOD = struct.Struct("!QQBBHHHIIIH2x")
_MOST_FLOWS = 500_000  # whose bytes are kept
_added: dict[int, bytes] = {}
_SWITCH = ProtocolDesc(ofp.OFP_VERSION)  # messages are for any switch of this version
_BITS = {field.name: field.type.size * 8 for field in ofp.oxm_types} | {"vlan_vid": 12, "vlan_pcp": 3, "ip_dscp": 6}
_DELETE_LEARNED = 1 << 1  # NX_LEARN_F_DELETE_LEARNED, nicira-ext.h
_ALL_BITS = (1 << 64) - 1


class SetNeighbourDiscovery(parser.OFPAction):  # os-ken lacks the fields
    """Set-field of the fields that Open vSwitch 2.11 and later has for neighbour discovery (class ``ERICOXM_OF``).

    ::

        |  type 25 | length 16 |  class 0x1000 | field, no mask, bytes |  value …  | padding to 8 bytes
    """

    FIELDS: ClassVar = {"nd_reserved": (1, 4), "nd_options_type": (2, 1)}  # number and bytes, ovs-fields(7)
    _CLASS = 0x1000
    cls_action_type, cls_action_len = ofp.OFPAT_SET_FIELD, 16

    def __init__(self, name: str, value: int) -> None:
        super().__init__()
        number, size = self.FIELDS[name]
        field = struct.pack("!HBB", self._CLASS, number << 1, size) + value.to_bytes(size)
        self._bytes = struct.pack("!HH", self.type, self.len) + field.ljust(self.len - 4, b"\0")

    def serialize(self, buf: bytearray, offset: int) -> None:
        """Write it into a message."""
        msg_pack_into(f"{self.len}s", buf, offset, self._bytes)


class NXActionCheckPktLarger(parser.NXAction):  # os-ken lacks it
    """Length and result bit, as ``NXAST_CHECK_PKT_LARGER`` of Open vSwitch 2.12 and later has them.

    ::

        |  subtype 49   | packet length |
        | bit of field  |  field (NXM header, 32 bits) … |  padding to 8 bytes
    """

    _subtype = 49
    _REG0 = 1 << 16 | 0 << 9 | 4  # class NXM_1, field 0, 4 bytes

    def __init__(self, frame_bytes: int) -> None:
        super().__init__()
        self.frame_bytes = frame_bytes

    def serialize_body(self) -> bytes:
        """What follows the subtype."""
        return struct.pack("!HHI", self.frame_bytes, 0, self._REG0)


def added(flow: Flow) -> bytes:
    """A flow-mod that adds the flow (OpenFlow 1.3.5 section 7.3.4.1)."""
    known = _added.get(flow.cookie)
    if known is None:
        if len(_added) >= _MOST_FLOWS:
            _added.clear()
        known = _added[flow.cookie] = _flow_mod(flow)
    return known


def _flow_mod(flow: Flow) -> bytes:
    body = _MOD.pack(
        flow.cookie, 0, flow.table, ofp.OFPFC_ADD, flow.idle_timeout_s, 0, flow.priority,
        ofp.OFP_NO_BUFFER, 0, 0, 0,  # port and group count for deletions only
    ) + _match_bytes(flow.match) + _instruction_bytes(flow.actions)  # fmt: skip
    return struct.pack("!BBHI", ofp.OFP_VERSION, ofp.OFPT_FLOW_MOD, ofp.OFP_HEADER_SIZE + len(body), 0) + body


def _match_bytes(match: tuple[tuple[str, Value], ...]) -> bytes:
    """A match (section 7.2.3), sorted by class and number as Ryu does: a prerequisite stands before what needs it."""
    fields = b"".join(sorted(_field(*field) for field in _named(match)))
    size = 4 + len(fields)
    return struct.pack("!HH", ofp.OFPMT_OXM, size) + fields + bytes(-size % 8)


def _instruction_bytes(actions: tuple[Action, ...]) -> bytes:
    apply = b"".join(_action_bytes(action) for action in actions if not isinstance(action, Goto))
    first = struct.pack("!HH4x", ofp.OFPIT_APPLY_ACTIONS, 8 + len(apply)) + apply if apply else b""
    then = [struct.pack("!HHB3x", ofp.OFPIT_GOTO_TABLE, 8, a.table) for a in actions if isinstance(a, Goto)]
    return first + b"".join(then)


@lru_cache(maxsize=65536)
def _field(name: str, value: Value) -> bytes:
    """One field of a match, with its header (section 7.2.3.2)."""
    buffer = bytearray()
    parser.OFPMatch(**{name: _matched(name, value)}).serialize(buffer, 0)
    _, size = struct.unpack_from("!HH", buffer)
    return bytes(buffer[4:size])


@lru_cache(maxsize=65536)
def _action_bytes(action: Action) -> bytes:
    buffer = bytearray()
    _action(action).serialize(buffer, 0)
    return bytes(buffer).ljust(int.from_bytes(buffer[2:4]), b"\0")  # Ryu leaves the padding at its end out


def deleted(cookie: int) -> bytes:
    """A flow-mod that deletes, from all tables, the flows that carry the cookie."""
    return _bytes(
        parser.OFPFlowMod(
            _SWITCH,
            cookie=cookie,
            cookie_mask=_ALL_BITS,
            table_id=ofp.OFPTT_ALL,
            command=ofp.OFPFC_DELETE,
            out_port=ofp.OFPP_ANY,
            out_group=ofp.OFPG_ANY,
        )
    )


def packet_out(data: bytes, actions: Iterable[Action], in_port: int = ofp.OFPP_CONTROLLER) -> bytes:
    """A packet-out of a frame that the controller made, or that came in by a port."""
    translated = [_action(action) for action in actions]
    return _bytes(
        parser.OFPPacketOut(
            _SWITCH,
            buffer_id=ofp.OFP_NO_BUFFER,
            in_port=in_port,
            actions=translated,
            data=data,
        )
    )


def barrier(xid: int) -> bytes:
    """A barrier request; the reply with the same ``xid`` says that all before it is done."""
    return struct.pack("!BBHI", ofp.OFP_VERSION, ofp.OFPT_BARRIER_REQUEST, ofp.OFP_HEADER_SIZE, xid)


def _bytes(built: Any) -> bytes:
    built.set_xid(0)
    built.serialize()
    return bytes(built.buf)


def _named(match: tuple[tuple[str, Value], ...]) -> Iterator[tuple[str, Value]]:
    """Fields by Ryu's names; Nicira's TTL needs Nicira's EtherType before it."""
    expiring = any(name == "nw_ttl" for name, _ in match)
    for name, value in match:
        yield ("eth_type_nxm" if expiring and name == "eth_type" else name), value


def _matched(name: str, value: Value) -> Any:
    """OpenFlow marks a present VLAN tag by a bit of ``vlan_vid`` (1.3.5 section 7.2.3.7); flows leave it out."""
    if name == "vlan_vid" and isinstance(value, int):
        return value | ofp.OFPVID_PRESENT
    return value


def _action(action: Action) -> Any:  # noqa: PLR0911  one line per kind of action
    match action:
        case Output(port):
            return parser.OFPActionOutput(port, ofp.OFPCML_NO_BUFFER)
        case SetField(name, int(value)) if name in SetNeighbourDiscovery.FIELDS:
            return SetNeighbourDiscovery(name, value)
        case SetField(name, value):
            return parser.OFPActionSetField(**{name: _matched(name, value)})
        case Move(source, target):
            return parser.NXActionRegMove(source, target, _BITS[target])
        case DecTtl():
            return parser.OFPActionDecNwTtl()
        case CheckLarger(frame_bytes):
            return NXActionCheckPktLarger(frame_bytes)
        case Learn():
            return _learn(action)
    raise ValueError(f"{action} is an instruction, or unknown")


def _learn(learn: Learn) -> Any:
    specs = [parser.NXFlowSpecMatch(_source(s), (target, 0), _BITS[target]) for s, target in learn.match]
    specs += [parser.NXFlowSpecLoad(_source(s), (target, 0), _BITS[target]) for s, target in learn.load]
    if learn.output_from:
        specs.append(parser.NXFlowSpecOutput((learn.output_from, 0), _BITS[learn.output_from]))
    return parser.NXActionLearn(
        learn.table,
        specs,
        idle_timeout=learn.idle_timeout_s,
        hard_timeout=learn.hard_timeout_s,
        priority=learn.priority,
        cookie=learn.cookie,
        flags=_DELETE_LEARNED if learn.cookie else 0,
    )


def _source(source: str | int) -> tuple[str, int] | int:
    """A field from its first bit on, or a constant."""
    return (source, 0) if isinstance(source, str) else source
