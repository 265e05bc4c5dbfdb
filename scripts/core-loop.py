"""Two neighbours in the core send each other what is for one hypervisor, until a hop count ends the frames.

Meanwhile VMs on other hypervisors are probed across the same core: the loop is no business of theirs.
"""

from contextlib import nullcontext

from chimera.scenario import Expect, Lab, Result, check_core, shown

SETTINGS = {"vm": "", "probes": 200}  # the VM whose hypervisor is misrouted; how many probes are sent to it
possible = check_core


def run(lab: Lab) -> None:
    vm = lab.mobile_vm()
    pair, target = lab.core_pair(vm), lab.whereabouts(vm)
    others = lab.bystanders(vm)
    with lab.watch(*others) if others else nullcontext():
        lab.wait(0.3)
        lab.misroute(pair.at, target=target, towards=pair.via)
        lab.misroute(pair.via, target=target, towards=pair.at)
        lab.circle(vm, pair, probes=int(lab.settings["probes"]))
        lab.repair()
        lab.wait(0.3)


def check(result: Result, expect: Expect) -> None:
    expect("a loop was made", bool(result.loops))
    for loop in result.loops:
        most, limit = loop.crossings_most, loop.started_at
        way = f"{loop.limit} {shown(limit)} at the first sighting, {shown(most)} crossings at most"
        expect("probes circled", (loop.crossings_median or 0) > 2, f"{shown(loop.crossings_median)} at the median")
        allowed = most is not None and limit is not None and most <= limit + 1
        expect("no probe crossed more often than its limit allows", allowed, way)
        if loop.bystanders_lost is not None:
            heard = f"{loop.bystanders_lost} of {loop.bystanders_sent} probes lost"
            expect("bystanders lost nothing", loop.bystanders_lost == 0, heard)
        expect("repaired, the core leads to the VM again", loop.reachable_after)
