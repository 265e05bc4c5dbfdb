"""Every VM leaves a hypervisor, a few at a time, before its maintenance.

The first of them is probed from its vantage points throughout.
"""

from itertools import cycle

from chimera.scenario import Expect, Lab, Result, shown

SETTINGS = {
    "hypervisor": "",  # which one to empty; empty: the mobile VM's
    "at_once": 2,  # how many VMs move at the same time
}


def run(lab: Lab) -> None:
    first = lab.mobile_vm()
    source = lab.settings["hypervisor"] or lab.whereabouts(first)
    leaving = lab.vms_on(source)
    others = cycle(h.name for h in lab.topology.hypervisors if h.name != source)
    with lab.tcp_session(first), lab.watch(first):
        lab.wait(0.5)
        lab.migrate_all([(vm, next(others)) for vm in leaving], at_once=int(lab.settings["at_once"]))
    lab.note(
        f"{len(leaving)} VMs left {source}, {lab.settings['at_once']} at a time; {len(lab.vms_on(source))} remain."
    )


def check(result: Result, expect: Expect) -> None:
    for move in result.migrations:
        expect(f"{move.vm} left {move.source}", not move.aborted, move.aborted or f"now at {move.destination}")
    probed = [move for move in result.migrations if move.probes_sent]
    expect("one of them was probed", bool(probed), ", ".join(move.vm for move in probed))
    for move in probed:
        twice = move.probes_duplicated
        expect(f"{move.vm}: no probe answered twice", twice == 0, f"{shown(twice)} were")
        expect(f"{move.vm}: the TCP session survived", move.tcp_survived)
