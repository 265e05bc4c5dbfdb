"""Flow-mods are put together from parts: byte for byte what Ryu makes of the whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from overlay_labs import Lab, inventory, running
from test_overlay_machine import VARIANTS

import controllers  # noqa: F401  makes ryu importable
from chimera.model.control import PortUp, SwitchUp
from chimera.model.flow import Flow, Goto, Output
from chimera.wire import openflow
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


@pytest.mark.parametrize("variant", VARIANTS)
def test_lengths_are_known_without_the_bytes(variant: str) -> None:
    overlay, options = VARIANTS[variant]
    made = running(overlay, **options)
    for flow in {flow for name in made.switches for flow in made.wanted(name)}:
        assert openflow.flow_mod_bytes(flow) == len(translate.added(flow)), flow


def test_lengths_of_what_only_some_networks_need() -> None:
    limited = Lab(replace(inventory("vxlan", mode="flood"), packet_limit=1400))
    limited.happen(PortUp("hv1", "r1", "", 1), SwitchUp("hv1"))
    for flow in limited.wanted("hv1"):
        assert openflow.flow_mod_bytes(flow) == len(translate.added(flow)), flow
    assert len(translate.deleted(1)) == openflow.DELETE_BYTES
    assert len(translate.barrier(1)) == openflow.BARRIER_BYTES
    packet = translate.packet_out(b"x" * 60, (Output(1),), 3)
    assert openflow.packet_out_bytes(b"x" * 60, (Output(1),)) == len(packet)
