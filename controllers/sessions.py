"""OpenFlow sessions with switches, and when a switch may be programmed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ryu.ofproto import ofproto_v1_3 as ofp
from ryu.ofproto import ofproto_v1_3_parser as parser

from controllers import translate


class Session:
    """One OpenFlow session: what was asked, what is not yet confirmed."""

    def __init__(self, datapath: Any) -> None:
        self.datapath = datapath
        self._programmed = False
        self._unconfirmed = 0  # xid of the last barrier
        self._ports: list[Any] = []
        self._cookies: list[int] = []

    @property
    def settled(self) -> bool:
        """True where the switch was programmed and has confirmed everything."""
        return self._programmed and not self._unconfirmed

    def ask_state(self) -> None:
        """Ask for the ports, then for the flows: when the flows are known, so are the ports."""
        self.datapath.send_msg(parser.OFPPortDescStatsRequest(self.datapath, 0))
        self.datapath.send_msg(parser.OFPFlowStatsRequest(self.datapath))

    def ports_reply(self, msg: Any) -> list[Any] | None:
        """All ports, when the last part of the answer has come."""
        self._ports += msg.body
        if msg.flags & ofp.OFPMPF_REPLY_MORE:
            return None
        ports, self._ports = self._ports, []
        return ports

    def flows_reply(self, msg: Any) -> frozenset[int] | None:
        """The cookies of all flows, when the last part of the answer has come."""
        self._cookies += [flow.cookie for flow in msg.body]
        if msg.flags & ofp.OFPMPF_REPLY_MORE:
            return None
        cookies, self._cookies = frozenset(self._cookies), []
        return cookies

    def framed(self, messages: Sequence[bytes], *, barrier: bool) -> bytes:
        """Messages to send in order and at once; with a barrier, the session is unsettled until it is confirmed."""
        parts = list(messages)
        if barrier:
            request = parser.OFPBarrierRequest(self.datapath)
            self._unconfirmed = self.datapath.set_xid(request)
            self._programmed = True
            parts.append(translate.barrier(self._unconfirmed))
        return b"".join(parts)

    def barrier_reply(self, xid: int) -> None:
        """Note a confirmation, if it is of everything sent so far."""
        if xid == self._unconfirmed:
            self._unconfirmed = 0
