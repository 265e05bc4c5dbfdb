"""How each number was obtained, in the words of a page."""

from __future__ import annotations

from typing import NamedTuple


class Definition(NamedTuple):
    """A figure of the report, what it means, and where it comes from."""

    figure: str
    meaning: str
    method: str


DEFINITIONS = (
    Definition(
        "stun",
        "How long the VM did not run, as it saw that itself.",
        "The process that answers probes inside the VM is also a heartbeat: it notes the time at least every half "
        "millisecond. The stun is the longest time around the freezing in which it did not. As it is this process that "
        "answers, no answer can lie inside a stun.",
    ),
    Definition(
        "outage",
        "The longest silence that a vantage point heard around the migration.",
        "A prober at the vantage point sends a numbered probe every millisecond (less often on a machine that is many "
        "times slower than usual, as an observation then says), and the kernel stamps every answer. The outage is the "
        "longest gap between an answer and the next one. A VM that comes nearer is heard sooner, which makes no "
        "silence shorter: the one around the stun begins when the VM gave the last answer that was heard, and ends "
        "when the next one arrives, less the least time that the way back takes from then on. "
        "A migration's outage is that of its worst vantage point.",
    ),
    Definition(
        "network outage",
        "What the network added to the stun.",
        "Outage minus stun, for each vantage point on its own, with its sign. It is exact to ± the intervals of probes "
        "and heartbeat together; one that is below zero by more is marked ✗: then something measured wrong.",
    ),
    Definition(
        "machine stall, not observed",
        "How long the machine did not run who measures.",
        "The stall is the longest time between two probes of a prober, or outside the stun between two beats of the "
        "heartbeat: about one interval when all is well. Not observed is how much of an outage beyond the stun was "
        "such time: up to that much of it is the machine's and not the network's.",
    ),
    Definition(
        "fit for this run",
        "Whether the machine had the time that the figures take for granted.",
        "Processor time from the kernel's own counters over the scenario, of this lab's processes and of all others; "
        "delay lines count the frames that leave more than a millisecond late; stalls as above. Too much of one of "
        "these, and nothing is marked as best or worst.",
    ),
    Definition(
        "probes lost, duplicated",
        "Probes that no answer came to, or more than one.",
        "By sequence number, over all the probes of the vantage point around the migration; a migration's figure is "
        "the sum over its vantage points.",
    ),
    Definition(
        "misdelivered",
        "Probes that reached a port they were not for.",
        "A listener at every other port looks for the probes' own numbers.",
    ),
    Definition(
        "leaked",
        "Misdelivered probes that came out in another segment, which none may: flooding stays within its own.",
        "The same listeners, at the ports of VMs of other segments.",
    ),
    Definition(
        "TCP survived",
        "A session opened before the migration goes on after it.",
        "Both ends count the bytes and compare them; one byte lost or changed is a no.",
    ),
    Definition(
        "round trip",
        "How long a probe and its answer take.",
        "Kernel time stamps of a probe and its answer. A path's figure is the median of the probes sent at that "
        "moment. The plots show single probes near the silence; elsewhere the slowest and a few others stand for all.",
    ),
    Definition(
        "WAN crossings",
        "How often one request and its answer together cross a link between sites: the trombone.",
        "Copies of the same packet counted in captures on every inter-site link; the median over the packets "
        "looked at.",
    ),
    Definition(
        "hops",
        "The nodes one packet passes.",
        "The same packet found in captures along the way, in the order of the time stamps, as most packets went. On "
        "the map, the shortest way joins two nodes between which nothing was captured.",
    ),
    Definition(
        "overhead",
        "What the overlay adds to a VM's frame.",
        "Length of the captured frame on an underlay link minus the length of the frame the VM sent.",
    ),
    Definition(
        "BUM frames",
        "Broadcast, unknown-unicast and multicast copies that load the links between sites.",
        "Counted in captures on the inter-site links over the whole run.",
    ),
    Definition(
        "control messages",
        "What the control plane says to make it work.",
        "Packets of the control plane, by type, each with the time it was seen.",
    ),
    Definition(
        "state",
        "What each node must remember.",
        "Flows, MACs, mappings and routes read from the nodes at the end of the run.",
    ),
    Definition(
        "links: configured and measured",
        "What the topology wants of a link and what the link gives.",
        "Each impaired link is measured, one direction at a time, by itself; a dash means that it was not measured.",
    ),
    Definition(
        "up, run, down",
        "How long the lab took to start, to run the scenario and to stop.",
        "The session's own monotonic clock.",
    ),
)
