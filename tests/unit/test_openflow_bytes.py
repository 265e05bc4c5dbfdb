"""Flow-mods are put together from parts: byte for byte what Ryu makes of the whole."""

from __future__ import annotations

from typing import Any

import pytest
from overlay_labs import running
from test_overlay_machine import VARIANTS

import controllers  # noqa: F401  makes ryu importable
from chimera.model.flow import Flow, Goto
from controllers import translate


def by_ryu(flow: Flow) -> bytes:
    """The flow-mod as Ryu serializes it."""
    from ryu.ofproto import ofproto_v1_3 as ofp  # noqa: PLC0415
    from ryu.ofproto import ofproto_v1_3_parser as parser  # noqa: PLC0415

    wanted: dict[str, Any] = {n: translate._matched(n, v) for n, v in translate._named(flow.match)}
    apply = [translate._action(action) for action in flow.actions if not isinstance(action, Goto)]
    instructions: list[Any] = [parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, apply)] if apply else []
    instructions += [parser.OFPInstructionGotoTable(a.table) for a in flow.actions if isinstance(a, Goto)]
    built = parser.OFPFlowMod(
        translate._SWITCH, cookie=flow.cookie, table_id=flow.table, priority=flow.priority,
        idle_timeout=flow.idle_timeout_s, match=parser.OFPMatch(**wanted), instructions=instructions,
    )  # fmt: skip
    built.set_xid(0)
    built.serialize()
    return bytes(built.buf)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_flow_of_every_overlay_is_what_ryu_would_send(variant: str) -> None:
    overlay, options = VARIANTS[variant]
    made = running(overlay, **options)
    flows = {flow for name in made.switches for flow in made.wanted(name)}
    assert len(flows) > 10 or overlay == "vlan"
    for flow in flows:
        assert translate.added(flow) == by_ryu(flow), flow
