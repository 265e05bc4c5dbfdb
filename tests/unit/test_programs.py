"""From what a switch should hold to what it is asked for: differences, adoption, and whose it is to program."""

from __future__ import annotations

from chimera.model.control import Hold
from chimera.model.flow import Flow, Output
from chimera.overlay.programs import Batch, Programs

WEB, DB = ("interface", "web"), ("interface", "db")


def flow(mac: int, port: int, *, table: int = 1, idle_s: int = 0) -> Flow:
    """A way to a MAC."""
    return Flow(table, 100, (("eth_dst", f"02:00:00:00:00:{mac:02x}"),), (Output(port),), idle_s)


def adopted(*flows: Flow) -> Programs:
    """A switch that holds what it should."""
    programs = Programs()
    programs.hold(Hold("hv1", {WEB: flows}))
    programs.connected("hv1", frozenset())
    programs.batches()
    return programs


def test_a_switch_that_connects_gets_all_of_it_later_tables_first() -> None:
    programs = Programs()
    first, later = flow(1, 1, table=0), flow(1, 2, table=3)
    programs.hold(Hold("hv1", {WEB: (first, later)}))
    assert programs.batches() == []  # nobody is there
    programs.connected("hv1", frozenset())
    assert programs.batches() == [Batch("hv1", (later, first), (), first=True)]
    assert programs.batches() == []


def test_a_switch_that_holds_some_gets_the_rest_and_loses_what_is_nobodys() -> None:
    kept, missing = flow(1, 1), flow(2, 2)
    programs = Programs()
    programs.hold(Hold("hv1", {WEB: (kept,), DB: (missing,)}))
    programs.connected("hv1", frozenset({kept.cookie, 0xBAD, 0}))
    assert programs.batches() == [Batch("hv1", (missing,), (0xBAD,), first=True)]


def test_a_switch_that_holds_all_confirms_all_the_same() -> None:
    programs = Programs()
    programs.hold(Hold("hv1", {WEB: (flow(1, 1),)}))
    programs.connected("hv1", frozenset({flow(1, 1).cookie}))
    assert programs.batches() == [Batch("hv1", (), (), first=True)]


def test_what_replaces_a_flow_needs_no_deletion() -> None:
    old, new = flow(1, 1), flow(1, 2)
    programs = adopted(old)
    programs.hold(Hold("hv1", {WEB: (new,)}))
    assert programs.batches() == [Batch("hv1", (new,), ())]
    programs.hold(Hold("hv1", {WEB: ()}))
    assert programs.batches() == [Batch("hv1", (), (new.cookie,))]


def test_what_was_changed_and_changed_back_is_not_asked_for() -> None:
    old = flow(1, 1)
    programs = adopted(old)
    programs.hold(Hold("hv1", {WEB: ()}))
    programs.hold(Hold("hv1", {WEB: (old,)}))
    assert programs.batches() == []


def test_a_flow_that_goes_to_another_cause_stays() -> None:
    moved = flow(1, 1)
    programs = adopted(moved)
    programs.hold(Hold("hv1", {DB: (moved,), WEB: ()}))
    assert programs.batches() == []


def test_what_may_have_expired_is_sent_again_where_that_is_asked() -> None:
    expiring, lasting = flow(1, 1, idle_s=300), flow(2, 2)
    programs = adopted(expiring, lasting)
    programs.hold(Hold("hv1", {WEB: (expiring, lasting)}))
    assert programs.batches() == []
    programs.hold(Hold("hv1", {WEB: (expiring, lasting)}, refresh=True))
    assert programs.batches() == [Batch("hv1", (expiring,), ())]


def test_what_changes_while_a_switch_is_away_it_gets_when_it_returns() -> None:
    old, new = flow(1, 1), flow(2, 2)
    programs = adopted(old)
    programs.disconnected("hv1")
    programs.hold(Hold("hv1", {WEB: (new,)}))
    assert programs.batches() == []
    programs.connected("hv1", frozenset({old.cookie}))
    assert programs.batches() == [Batch("hv1", (new,), (old.cookie,), first=True)]


def test_a_switch_is_not_programmed_by_who_never_said_what_it_should_hold() -> None:
    programs = Programs()
    programs.connected("hv1", frozenset({0xBAD}))
    assert programs.batches() == []
    programs.hold(Hold("hv1", {WEB: ()}))
    assert programs.batches() == [Batch("hv1", (), (0xBAD,), first=True)]


def test_an_old_answer_of_a_switch_hides_nothing_that_it_was_asked_for_since() -> None:
    """An agent that begins again may have two answers coming; the simulator found it (one schedule in 300)."""
    old, new = flow(1, 1), flow(2, 2)
    programs = adopted(old)
    programs.hold(Hold("hv1", {WEB: (new,)}))
    programs.connected("hv1", frozenset())  # told before it had any flow
    (batch,) = programs.batches()
    assert (batch.added, batch.deleted) == ((new,), (old.cookie,))


def test_what_comes_between_a_switch_and_its_adoption_is_part_of_the_adoption() -> None:
    held, other = flow(1, 1), flow(2, 2)
    programs = Programs()
    programs.hold(Hold("hv1", {WEB: (held,)}))
    programs.connected("hv1", frozenset({held.cookie, other.cookie}))
    programs.hold(Hold("hv1", {DB: (other,)}))
    assert programs.batches() == [Batch("hv1", (), (), first=True)]
