"""One VM moves to the other data centre and back, under load, while others talk to it.

A TCP session from a VM at the other site stays open all the time; probes, one every millisecond, come from
there, from a neighbour on the VM's own hypervisor and from the external client.
"""

from chimera.scenario import Expect, Lab, Result, shown

SETTINGS = {"vm": ""}  # which VM moves; empty: the topology's own choice
ALLOWED_MS = 50  # beyond a WAN round trip, in one run on a machine that may be busy; `lab bench vmotion` gives medians


def run(lab: Lab) -> None:
    vm = lab.mobile_vm()
    home = lab.whereabouts(vm)
    away = lab.hypervisor_elsewhere(vm)
    with lab.tcp_session(vm), lab.watch(vm):
        lab.wait(0.5)
        lab.paths("before")
        lab.migrate(vm, to=away)
        lab.paths(f"at {away}")
        lab.migrate(vm, to=home)
        lab.paths("after")
    if lab.equal_paths(vm) > 1:
        lab.spread(vm)


def check(result: Result, expect: Expect) -> None:
    wan_ms = result.wan_round_trip_ms()
    expect("it moved away and back", len(result.migrations) == 2, f"{len(result.migrations)} migrations")
    for move in result.migrations:
        way = f"{move.vm}, {move.source} → {move.destination}"
        expect(f"{way}: completed", not move.aborted, move.aborted or f"stunned for {move.stun_ms} ms")
        expect(f"{way}: the TCP session survived", move.tcp_survived)
        expect(f"{way}: no probe answered twice", move.probes_duplicated == 0, f"{shown(move.probes_duplicated)} were")
        expect(f"{way}: somebody talked to it", bool(move.vantage_points), f"{len(move.vantage_points)} vantage points")
        for seen in move.vantage_points:
            text = f"{seen.network_outage_ms} ms ± {seen.resolution_ms}, a WAN round trip is {wan_ms:g} ms"
            if seen.unobserved_ms:
                text += f"; for {seen.unobserved_ms} ms of it the machine did not run the probes"
            least_ms = seen.network_least_ms
            within = least_ms is not None and least_ms <= wan_ms + ALLOWED_MS
            expect(f"{way}: {seen.name} waits hardly longer than the stun and a WAN round trip", within, text)
            expect(f"{way}: {seen.name} does not wait shorter than the stun", not seen.impossible, text)
