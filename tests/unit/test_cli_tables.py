"""What verbs on a running lab print: changes from hop to hop, tables, completion of names."""

from __future__ import annotations

from typing import Any

import click
import pytest

from chimera.cli import common, status, tables
from chimera.cli.trace import changes
from chimera.load import TOPOLOGY_SETTINGS
from chimera.measure.trace import _matches
from chimera.model.errors import SessionError
from chimera.model.verbs import Known, Names

ETH, IP, UDP = "eth source=a destination=b", "ip source=1 destination=2 ttl=64", "udp source=5 destination=6"
OUTER = ["eth source=x destination=y", "ip source=8 destination=9 ttl=64", "udp source=7 destination=4789"]
VXLAN = "vxlan vni=10001"


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ([ETH, IP], [ETH, IP], []),
        ([ETH, IP], [ETH, "ip source=1 destination=2 ttl=63"], ["ip ttl=63"]),
        ([ETH, IP, UDP], [*OUTER, VXLAN, ETH, IP, UDP], [f"+ {h}" for h in (*OUTER, VXLAN)]),
        ([*OUTER, VXLAN, ETH, IP, UDP], [ETH, IP, UDP], ["- eth ip udp vxlan"]),
        ([ETH, IP], [ETH, "ip source=7 destination=7 ttl=9", "lisp instance=1", IP],
         ["- eth", f"+ {ETH}", "+ ip source=7 destination=7 ttl=9", "+ lisp instance=1"]),
        ([ETH, "vlan id=3", IP], [ETH, IP], ["- eth vlan", f"+ {ETH}"]),
    ],
)  # fmt: skip
def test_a_hop_shows_what_changed_since_the_one_before(before: list[str], after: list[str], shown: list[str]) -> None:
    assert list(changes(before, after)) == shown


def test_a_trace_has_each_entry_that_matched_with_its_actions_and_no_remark() -> None:
    said = """Flow: udp,in_port=1

bridge("br-int")
----------------
 0. in_port=1,dl_src=02:00:00:00:00:01, priority 100, cookie 0xd3
    set_field:0x2711->tun_id
    goto_table:1
 1. tun_id=0x2711, priority 100, cookie 0x2b
    output:60001
     -> output to native tunnel
     >> not an action
"""
    assert _matches(said) == [
        "table 0: in_port=1,dl_src=02:00:00:00:00:01, priority 100, cookie 0xd3 "
        "actions set_field:0x2711->tun_id, goto_table:1",
        "table 1: tun_id=0x2711, priority 100, cookie 0x2b actions output:60001",
    ]


def test_a_table_leaves_out_empty_columns_and_keeps_a_line_whole(capsys: pytest.CaptureFixture[str]) -> None:
    tables.table("Links", ("link", "role", "delay"), [("wan", "", 10), ("x" * 90, None, 5)])
    printed = capsys.readouterr().out
    assert "role" not in printed and "x" * 90 in printed
    tables.table("Nothing", ("a",), [])
    assert capsys.readouterr().out == ""


def test_names_of_a_running_lab_complete_and_without_one_nothing_does(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def ask(lab_name: str | None, request: Names) -> Known:
        asked.append(lab_name)
        if lab_name == "gone":
            raise SessionError("no lab")
        return Known(["hv1", "gw1"], [], [], [], ["hv1--leaf1", "wan"], [], {})

    monkeypatch.setattr(status, "ask", ask)
    monkeypatch.setenv("LAB", "mine")
    context = click.Context(click.Command("inspect"))
    parameter = click.Argument(["name"])
    names = status.complete("nodes", "links")
    assert names(context, parameter, "hv") == ["hv1", "hv1--leaf1"]
    context.params = {"lab_name": "gone"}
    assert names(context, parameter, "") == []
    assert asked == ["mine", "gone"]


def test_settings_complete_by_key_and_by_value() -> None:
    context = click.Context(click.Command("run"))
    parameter = click.Option(["--set"])
    context.params = {"scenario": "core-loop"}
    keys = common.complete_setting(context, parameter, "")
    assert {"vm=", "probes=", "announce=", "mode=", "wire="} <= set(keys)
    assert [f"{name}=" for name in TOPOLOGY_SETTINGS] == [key for key in keys if key.startswith("underlay")]
    assert common.complete_setting(context, parameter, "mode=f") == ["mode=flood"]
    context.params = {"scenario": "no-such-one"}
    assert "announce=" in common.complete_setting(context, parameter, "ann")


def test_scenarios_and_labs_complete_without_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a completion must not load anything")

    monkeypatch.setattr("chimera.load.load_lab", refuse)
    monkeypatch.setattr("chimera.scenario.scripts.find_script", refuse)
    parameter = click.Argument(["scenario"])
    context = click.Context(click.Command("run"))
    assert common.complete_scenario(context, parameter, "vm") == ["vmotion"]
    assert "1-first-vmotion" in common.complete_scenario(context, parameter, "")
    assert common.complete_topology(context, parameter, "dual") == ["dual-dc"]
