"""From recordings to figures: windows of migrations, TCP sessions, and where a MAC may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from underlays import shipped, topology

from chimera.measure.conclude import _Whereabouts, bum, migrations, wire
from chimera.measure.instruments import Checkpoint, Instruments
from chimera.measure.listen import Heard, Stray
from chimera.measure.sessions import TcpSession
from chimera.model.events import MigrationPhase, Progress
from chimera.model.record import MigrationRecord
from chimera.model.result import Bum, Migration, Round, Wire
from chimera.model.samples import Gap, Heartbeat, ProbeRecord, ProbeStream
from chimera.model.underlay import Fabric, FabricKind, FabricNode, Forwarding
from chimera.overlay.lisp import instance_id
from chimera.underlay.plan import plan

T0 = 1_700_000_000.0
ORIGIN = T0 - 5  # the run began five seconds before
DUAL = shipped("dual-dc")
RTT = 0.020


def instruments(forwarding: Forwarding = Forwarding.ROUTED) -> Instruments:
    return Instruments(DUAL, plan(DUAL, forwarding), Path("/nonexistent"), dict)


def stream(
    vm: str = "web1", flow: int = 1, silent: tuple[float, float] = (2.0, 2.1), seconds: float = 5
) -> ProbeStream:
    """Probes every 10 ms from T0 on, unanswered where ``silent``."""
    times = [n / 100 for n in range(int(seconds * 100))]
    records = [
        ProbeRecord(n, T0 + t, () if silent[0] <= t < silent[1] else (T0 + t + RTT,)) for n, t in enumerate(times)
    ]
    return ProbeStream(flow, f"v{flow}", vm, "remote", 10.0, records)


def record(vm: str = "web1", *, at: float = 1.0, ended: float = 2.2, aborted: str = "") -> MigrationRecord:
    """A migration hv1 → hv3 that began ``at`` seconds after T0 and stunned from 2.0 to 2.05."""
    return MigrationRecord(
        vm, "hv1", "hv3", T0 + at, T0 + ended, T0 + 2.0, T0 + 2.05, aborted,
        [Round(1, 64.0, 0.6, 500.0), Round(2, 8.0, 0.2, 500.0)], number=1,
    )  # fmt: skip


TOLD = [
    MigrationPhase(1, "web1", "stun", T0 + 2.0, t=T0 + 2.05),
    Progress("something else"),
    MigrationPhase(2, "web1", "stun", T0 + 3.0, t=T0 + 3.05),
]
# Ordered to freeze from 2.0 to 2.05, the VM was frozen from 2.003 to 2.048; 30 ms of its time the machine took before.
BEATS = Heartbeat("web1", 0.5, T0, T0 + 5, (Gap(T0 + 1.5, T0 + 1.53), Gap(T0 + 2.003, T0 + 2.048)))


def concluded(
    records: Sequence[MigrationRecord], *streams: ProbeStream, heard: Sequence[Heard] = ()
) -> list[Migration]:
    measured = instruments()
    measured.streams.extend(streams)
    measured.heard.extend(heard)
    measured.heartbeats.append(BEATS)
    return migrations(records, measured, ORIGIN, TOLD)


# -- migrations --------------------------------------------------------------------------------


def test_the_worst_vantage_point_gives_the_outage_and_counts_add_up() -> None:
    (move,) = concluded([record()], stream(flow=1, silent=(2.0, 2.1)), stream(flow=2, silent=(2.0, 2.3)))
    assert [v.name for v in move.vantage_points] == ["v1", "v2"]
    assert move.outage_ms == pytest.approx(310)
    assert move.stun_ms == pytest.approx(45), "as the VM saw it, not as it was ordered"
    assert move.network_outage_ms == pytest.approx(310 - 45)
    assert (move.resolution_ms, move.machine_stall_ms) == (10.5, pytest.approx(10)), "the prober's interval"
    assert move.probes_lost == 40
    assert move.probes_sent == sum(v.probes_sent for v in move.vantage_points)


def test_times_are_since_the_start_of_the_run() -> None:
    (move,) = concluded([record()], stream())
    assert move.started_s == pytest.approx(6.0)
    assert [phase.name for phase in move.phases] == ["stun"], "those of another migration are its own"
    (other,) = concluded([replace(record(), number=2)], stream())
    assert [phase.start_s for phase in other.phases] == [pytest.approx(8.0)]
    assert (move.phases[0].start_s, move.phases[0].end_s) == (pytest.approx(7.0), pytest.approx(7.05))
    assert move.precopy_s == pytest.approx(0.8)
    assert move.vantage_points[0].gap_start_s == pytest.approx(6.99 + RTT)


def test_a_silence_before_the_stun_is_not_the_migrations() -> None:
    (move,) = concluded([record()], stream(silent=(1.2, 1.8)))  # while memory was copied
    assert move.outage_ms == pytest.approx(10)
    assert move.network_outage_ms == pytest.approx(-35), "answers inside a stun: the sign is kept"
    assert move.vantage_points[0].impossible


def test_without_a_heartbeat_there_is_no_stun_and_no_network_outage() -> None:
    measured = instruments()
    measured.streams.append(stream())
    (move,) = migrations([record()], measured, ORIGIN, TOLD)
    assert (move.outage_ms, move.stun_ms, move.network_outage_ms) == (pytest.approx(110), None, None)


def test_probes_of_another_vm_or_of_another_time_do_not_count() -> None:
    over = stream(flow=3, seconds=0.5)  # ended before the migration began
    (move,) = concluded([record()], stream("web2", flow=2, silent=(2.0, 3.0)), over)
    assert move.vantage_points == []
    assert (move.outage_ms, move.network_outage_ms, move.probes_sent) == (None, None, None)
    assert (move.probes_lost, move.probes_duplicated, move.misdelivered) == (None, None, None)


def test_a_migration_given_up_before_the_stun_has_its_rounds_its_time_and_its_vantage_points() -> None:
    given_up = replace(record(aborted="the network failed"), stun_start=0.0, stun_end=0.0)
    (move,) = concluded([given_up], stream(silent=(1.5, 1.6)))
    assert (move.aborted, move.stun_ms) == ("the network failed", 0)
    assert [(v.name, v.outage_ms, v.network_outage_ms) for v in move.vantage_points] == [
        ("v1", pytest.approx(110), pytest.approx(110)),
    ]  # fmt: skip
    assert (move.outage_ms, move.precopy_s, len(move.rounds)) == (pytest.approx(110), pytest.approx(0.8), 2)
    assert move.machine_stall_ms == pytest.approx(45), "where nothing was frozen, every pause is the machine's"
    assert move.vantage_points[0].unobserved_ms == pytest.approx(30, abs=10), "the responder was not run, within it"
    assert (move.probes_lost, move.misdelivered) == (10, None)  # nobody listened at other ports
    assert move.probes_sent == pytest.approx(120, abs=2)


def test_a_migration_rolled_back_after_the_stun_has_an_outage() -> None:
    (move,) = concluded([record(aborted="destination lost")], stream())
    assert move.outage_ms == pytest.approx(110)


def test_strays_count_for_the_flow_they_belong_to_and_a_second_longer() -> None:
    times = [(0.9, 1), (1.5, 1), (3.1, 1), (3.3, 1), (1.5, 2), (1.5, 7)]
    strays = tuple(Stray(T0 + t, flow, n, 0, "02:00:00:00:00:01") for n, (t, flow) in enumerate(times))
    port = Heard("hv2", "vm9", "10.1.0.19", 0, 0, 6, 0, 6, strays)
    (move,) = concluded([record()], stream(flow=1), stream(flow=2), heard=[port])
    assert [v.misdelivered for v in move.vantage_points] == [2, 1]
    assert move.misdelivered == 3


def test_what_came_out_in_another_segment_has_leaked() -> None:
    assert concluded([record()], stream())[0].leaked is None, "nobody listened"
    strays = tuple(Stray(T0 + t, flow, n, 0, "02:00:00:00:00:01") for n, (t, flow) in enumerate([(1.5, 1), (1.6, 7)]))
    ports = {vm: Heard(f"/run/netns/{vm}", "eth0", "", 0, 0, 2, 0, 2, strays) for vm in ("web3", "red1")}
    (move,) = concluded([record()], stream(flow=1), heard=[ports["web3"]])
    assert (move.misdelivered, move.leaked) == (1, None)
    (move,) = concluded([record()], stream(flow=1), heard=[ports["web3"], replace(ports["red1"], strays=())])
    assert (move.misdelivered, move.leaked) == (1, 0)
    (move,) = concluded([record()], stream(flow=1), heard=list(ports.values()))
    assert (move.misdelivered, move.leaked) == (2, 1)


# -- TCP ---------------------------------------------------------------------------------------

WELL = TcpSession(True, 1, 20.0, 1000, 1000, True, True, 60.0, 2, 60.0, 1, "")


def test_the_first_checkpoint_after_a_migration_speaks_for_it() -> None:
    measured = instruments()
    dead = replace(WELL, alive=False)
    told = [(T0 + 1.5, dead), (T0 + 3.0, WELL), (T0 + 6.0, dead)]
    measured.checkpoints.extend(Checkpoint(when, "web1", session) for when, session in told)
    first, second = migrations([record(), record(at=3.5, ended=5.0)], measured, ORIGIN, TOLD)
    assert (first.tcp_survived, second.tcp_survived) == (True, False)


@pytest.mark.parametrize(
    "loss",
    [{"alive": False}, {"intact": False}, {"connected": False}, {"error": "RST"}],
    ids=lambda loss: next(iter(loss)),
)
def test_a_session_that_lost_anything_did_not_survive(loss: dict[str, Any]) -> None:
    measured = instruments()
    measured.checkpoints.append(Checkpoint(T0 + 3.0, "web1", replace(WELL, **loss)))
    assert migrations([record()], measured, ORIGIN, TOLD)[0].tcp_survived is False


def test_without_a_checkpoint_afterwards_nothing_is_said() -> None:
    measured = instruments()
    assert migrations([record()], measured, ORIGIN, TOLD)[0].tcp_survived is None
    measured.checkpoints += [Checkpoint(T0 + 1.5, "web1", WELL), Checkpoint(T0 + 3.0, "web2", WELL)]  # of another VM
    assert migrations([record()], measured, ORIGIN, TOLD)[0].tcp_survived is None


# -- where a MAC may be ------------------------------------------------------------------------


def mac(vm: str) -> str:
    return DUAL.vm(vm).mac


def back(*, aborted: str = "") -> MigrationRecord:
    return MigrationRecord("web1", "hv3", "hv1", T0 + 10, T0 + 12, aborted=aborted)


@pytest.mark.parametrize(
    ("t", "at"),
    [
        (0.0, {"hv1"}),
        (1.0, {"hv1", "hv3"}),
        (2.1, {"hv1", "hv3"}),
        (2.3, {"hv1", "hv3"}),  # it has arrived; what is under way to the old place is late
        (2.5, {"hv3"}),
        (9.9, {"hv3"}),
        (11.0, {"hv1", "hv3"}),
        (12.3, {"hv1"}),
    ],
)
def test_a_vm_is_at_both_ends_while_it_moves_and_at_one_else(t: float, at: set[str]) -> None:
    where = _Whereabouts(instruments(), [back(), record()], "gw1")  # in any order
    assert set(where.nodes(mac("web1"), T0 + t)) == at
    assert set(where.nodes(mac("web2"), T0 + t)) == {"hv1"}


def test_after_an_aborted_migration_it_is_where_it_was() -> None:
    where = _Whereabouts(instruments(), [record(), back(aborted="cut")], "gw1")
    assert set(where.nodes(mac("web1"), T0 + 20)) == {"hv3"}


def test_a_gateway_is_where_it_is_held() -> None:
    (gateway,) = {s.gateway_mac for s in DUAL.segments if s.gateway_mac}
    assert set(_Whereabouts(instruments(), [], "gw1").nodes(gateway, T0)) == {"gw1"}
    anycast = _Whereabouts(instruments(), [], None)
    assert set(anycast.nodes(gateway, T0)) == {"hv1", "hv2", "hv3", "hv4"}
    assert set(anycast.sites(gateway, T0)) == {"dc1", "dc2"}


def test_places_as_tunnel_addresses_and_as_sites() -> None:
    measured = instruments()
    where = _Whereabouts(measured, [record()], "gw1")
    vtep = measured.underlay.vtep
    assert set(where.vteps(mac("web1"), T0 + 2)) == {vtep["hv1"], vtep["hv3"]}
    assert set(where.sites(mac("web1"), T0 + 2)) == {"dc1", "dc2"}
    assert set(where.sites(mac("web1"), T0)) == {"dc1"}


def test_a_mac_nobody_has_is_nowhere() -> None:
    where = _Whereabouts(instruments(), [], "gw1")
    assert not where.nodes("02:aa:bb:cc:dd:ee", T0)
    assert not where.vteps("ff:ff:ff:ff:ff:ff", T0)


def test_a_tenants_address_is_at_the_vms_place_in_its_instance() -> None:
    measured = instruments()
    where = _Whereabouts(measured, [record()], "gw1")
    vm = DUAL.vm("web1")
    ip, instance = vm.ip.partition("/")[0], instance_id(DUAL, DUAL.segment_of(vm).tenant)
    assert set(where.nodes(f"{instance}/{ip}", T0)) == {"hv1"}
    assert set(where.vteps(f"{instance}/{ip}", T0 + 5)) == {measured.underlay.vtep["hv3"]}
    assert set(where.nodes(f"{instance + 1000}/{ip}", T0)) == {"gw1"}
    assert set(where.nodes(f"{instance}/203.0.113.9", T0)) == {"gw1"}


def test_places_as_identifiers_of_a_fabric() -> None:
    measured = instruments()
    nodes = {name: FabricNode(0x100 + n, {}) for n, name in enumerate(("hv1", "hv2", "hv3", "hv4", "gw1"))}
    measured.underlay = replace(measured.underlay, fabric=Fabric(FabricKind.TRILL, nodes, (0x100,)))
    where = _Whereabouts(measured, [record()], "gw1")
    assert set(where.identifiers(mac("web1"), T0)) == {"256"}
    assert set(where.identifiers(mac("web1"), T0 + 2)) == {"256", "258"}
    assert not where.identifiers("02:aa:bb:cc:dd:ee", T0)


BARE = """
name: bare
switches: {tor: }
hypervisors: {hv1: {uplink: tor}}
bare_metal: {db: {uplink: tor, segment: web}}
tenants: {t: {segments: {web: {subnet: 10.0.0.0/24}}}}
vms: {vm1: {hypervisor: hv1, segment: web}}
"""


def test_a_bare_metal_host_stays_at_its_site() -> None:
    built = topology(BARE)
    measured = Instruments(built, plan(built, Forwarding.BRIDGED), Path("/nonexistent"), dict)
    (host,) = (e for e in built.endpoints if e.name == "db")
    assert set(_Whereabouts(measured, [], None).sites(host.mac, T0)) == {host.site}


def test_what_was_not_captured_is_not_made_up() -> None:
    assert bum(instruments(), [], "gw1") == Bum(wan_frames=None)
    assert wire(instruments()) == Wire()
