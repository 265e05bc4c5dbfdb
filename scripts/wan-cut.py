"""The WAN fails while a VM's memory is being copied: the migration is given up, and the VM stays where it is."""

from chimera.scenario import Expect, Lab, Result, shown

SETTINGS = {"vm": "", "after_s": 0.5}  # which VM; when the WAN fails, in seconds after the migration began


def run(lab: Lab) -> None:
    vm = lab.mobile_vm()
    home, away = lab.whereabouts(vm), lab.hypervisor_elsewhere(vm)
    with lab.watch(vm):
        lab.wait(0.5)
        moving = lab.start_migration(vm, to=away)
        lab.wait(float(lab.settings["after_s"]))
        for link in lab.wan_links(home, away):
            lab.cut(link)
        moving.join()
        for link in lab.wan_links(home, away):
            lab.restore(link)
        lab.wait(1)
    lab.note(f"after the cut {vm.name} runs at {lab.whereabouts(vm)}.")


def check(result: Result, expect: Expect) -> None:
    expect("a migration was begun", len(result.migrations) == 1, f"{len(result.migrations)} migrations")
    for move in result.migrations:
        expect("the migration was aborted", bool(move.aborted), move.aborted or "it went through")
        expect("the VM was never stunned", move.stun_ms == 0, f"{shown(move.stun_ms)} ms")
        expect("no probe answered twice", move.probes_duplicated == 0, f"{shown(move.probes_duplicated)} were")
