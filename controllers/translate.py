"""Flows and actions as OpenFlow 1.3 messages, Open vSwitch's extensions included.

The same flow goes to many switches, so it is turned to bytes once; its transaction identifier is 0, which
the barrier that follows makes unnecessary.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, ClassVar

from ryu.lib.pack_utils import msg_pack_into
from ryu.ofproto import ofproto_v1_3 as ofp
from ryu.ofproto import ofproto_v1_3_parser as parser
from ryu.ofproto.ofproto_protocol import ProtocolDesc

from chimera.model.control import AddFlow, DeleteFlow, PacketOut
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


def message(effect: AddFlow | DeleteFlow | PacketOut) -> bytes:
    """The message that carries out an effect."""
    match effect:
        case AddFlow(_, flow):
            return added(flow)
        case DeleteFlow(_, cookie):
            return deleted(cookie)
        case PacketOut(_, data, actions, in_port):
            return packet_out(data, actions, in_port)


@lru_cache(maxsize=65536)
def added(flow: Flow) -> bytes:
    """A flow-mod that adds the flow."""
    return _bytes(
        parser.OFPFlowMod(
            _SWITCH,
            cookie=flow.cookie,
            table_id=flow.table,
            priority=flow.priority,
            idle_timeout=flow.idle_timeout_s,
            match=_match(flow),
            instructions=_instructions(flow.actions),
        )
    )


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


def _match(flow: Flow) -> Any:
    """A match. os-ken sorts fields by class, Nicira's first, and a prerequisite must stand before its field."""
    wanted = {name: _matched(name, value) for name, value in flow.match}
    if "nw_ttl" in wanted:
        wanted["eth_type_nxm"] = wanted.pop("eth_type")
    return parser.OFPMatch(**wanted)


def _matched(name: str, value: Value) -> Any:
    """OpenFlow marks a present VLAN tag by a bit of ``vlan_vid`` (1.3.5 section 7.2.3.7); flows leave it out."""
    if name == "vlan_vid" and isinstance(value, int):
        return value | ofp.OFPVID_PRESENT
    return value


def _instructions(actions: tuple[Action, ...]) -> list[Any]:
    apply = [_action(action) for action in actions if not isinstance(action, Goto)]
    instructions = [parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, apply)] if apply else []
    return instructions + [parser.OFPInstructionGotoTable(a.table) for a in actions if isinstance(a, Goto)]


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
