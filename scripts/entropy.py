"""Many flows between two VMs show how many of the equal-cost paths the wire format lets them use.

A core that balances by the headers it sees needs something there that differs from flow to flow.
"""

from chimera.scenario import Expect, Lab, Result

SETTINGS = {"vm": "", "flows": 100}  # to which VM; how many flows, each from a UDP port of its own


def run(lab: Lab) -> None:
    vm = lab.mobile_vm()
    lab.spread(vm, flows=int(lab.settings["flows"]))


def check(result: Result, expect: Expect) -> None:
    found = result.entropy
    if found is None:
        expect("flows were sent", False)
        return
    ways = ", ".join(f"{flows} by {way}" for way, flows in found.by_path.items()) or "none"
    seen = sum(found.by_path.values())
    expect("every flow was seen on its way", seen == found.flows, f"{found.flows} flows: {ways}")
