"""The time axis, what is left out of a plot, and the header stack."""

from __future__ import annotations

from dataclasses import replace

import pytest
import report_samples as samples
from hypothesis import given
from hypothesis import strategies as st

from chimera.model.result import Header, Phase, Series, Wire
from chimera.report.lanes import (
    DETAILS,
    Window,
    apart,
    clock_of,
    runs,
    stun_window,
    thin,
    tick_label,
    ticks,
    whole_window,
)
from chimera.report.latency import latency_chart, vertical
from chimera.report.stack import added_headers, stack_figure
from chimera.report.timeline import timelines


@given(st.floats(-1e6, 1e6), st.floats(0.1, 1e6))
def test_ticks_are_inside_and_few(start: float, span: float) -> None:
    window = Window(start, start + span)
    found = ticks(window)
    assert 2 <= len(found) <= 7
    assert all(window.holds(t) for t in found)


def test_tick_labels_carry_sign_and_unit() -> None:
    assert [tick_label(t, 20) for t in (-20, 0, 40)] == ["−20 ms", "0", "+40 ms"]
    assert tick_label(-1500, 500) == "−1.5 s"


def test_time_counts_from_the_freeze() -> None:
    move = samples.migration(1, 2.0, "hv1", "hv4")
    assert clock_of(move)(2.0 + 0.05 + 1.84) == pytest.approx(0)
    detail = stun_window(move)
    assert detail is not None
    assert detail.holds(0) and detail.holds(52.6)
    assert detail.span < 200 < whole_window(move).span


def test_without_a_freeze_time_counts_from_the_start() -> None:
    move = samples.aborted().migrations[0]
    assert clock_of(move)(move.started_s) == 0
    assert stun_window(move) is None
    assert len(timelines(move, samples.aborted().control, [], DETAILS[0])) == 1
    assert latency_chart(move, DETAILS[0]) is None


def test_thinning_keeps_spikes_losses_and_all_of_the_focus() -> None:
    probes: list[tuple[float, float | None]] = [(float(t), 1.0) for t in range(10_000)]
    probes[1234] = (1234.0, 99.0)
    probes[7777] = (7777.0, None)
    kept = thin(probes, Window(5000, 5100), 50)
    assert len(kept) < 400
    assert {(1234.0, 99.0), (7777.0, None)} <= set(kept)
    assert {float(t) for t in range(5000, 5101)} <= {t for t, _ in kept}
    assert kept == sorted(kept, key=lambda p: p[0])


def test_runs_end_at_a_change_and_at_a_pause() -> None:
    steady: list[tuple[float, float | None]] = [(float(t), 1.0) for t in range(100)]
    steady[40:50] = [(float(t), None) for t in range(40, 50)]
    later: list[tuple[float, float | None]] = [(float(t), 1.0) for t in range(500, 600)]
    assert runs(steady + later, 1.0) == [(0, 40, True), (40, 50, False), (50, 100, True), (500, 600, True)]


def test_strokes_at_one_pixel_are_drawn_once() -> None:
    assert len(apart([0.0, 0.001, 0.002, 50.0], span=100, strokes_=100)) == 2


def test_the_round_trip_axis_is_logarithmic_only_for_a_wide_range() -> None:
    near, wide = vertical([10.0, 20.0]), vertical([0.2, 20.0])
    assert not near.logarithmic and wide.logarithmic
    assert near.ticks() == [0, 10, 20]
    assert wide.ticks() == pytest.approx([0.1, 1, 10])
    assert wide(0.1) > wide(1) > wide(10)
    assert vertical([]).ticks()[0] == 0


def test_phases_at_the_same_time_stand_below_each_other() -> None:
    move = samples.migration(1, 2.0, "hv1", "hv4")
    overview = timelines(move, samples.vmotion().control, [], DETAILS[0])[0]
    stun, inside = (overview.split(f'class="phase {name}"')[1].split(">")[0] for name in ("stun", "move"))
    assert "top:0px" in stun and "top:22px" in inside


def test_a_run_of_nothing_is_drawn() -> None:
    move = samples.migration(1, 2.0, "hv1", "hv4")
    empty = replace(
        move, phases=[Phase("stun", 2.0, 2.0)], started_s=2.0,
        vantage_points=[replace(move.vantage_points[0], gap_start_s=2.0, gap_end_s=2.0, series=Series([], []))],
    )  # fmt: skip
    assert len(timelines(empty, samples.vmotion().control, [], DETAILS[0])) == 2


@pytest.mark.parametrize(
    ("names", "lengths", "overhead", "added"),
    [
        ("eth ip udp vxlan eth", [14, 20, 8, 8, 14], 50, (0, 1, 2, 3)),
        ("eth trill eth vlan ip", [14, 6, 14, 4, 20], 24, (0, 1, 3)),
        ("fabricpath eth ip", [16, 14, 20], 16, (0,)),
        ("eth dot1q ip", [14, 4, 20], 4, (1,)),
        ("eth ip udp lisp ip", [14, 20, 8, 8, 20], 36, (1, 2, 3)),
        ("eth ip", [14, 20], 7, ()),
        ("eth ip", [14, 20], None, ()),
        ("eth ip", [14, 20], 0, ()),
    ],
)
def test_the_headers_that_make_the_overhead(
    names: str, lengths: list[int], overhead: int | None, added: tuple[int, ...]
) -> None:
    headers = [Header(n, size) for n, size in zip(names.split(), lengths, strict=True)]
    assert added_headers(headers, overhead) == added


def test_the_stack_is_to_scale() -> None:
    drawn = stack_figure(samples.vxlan_wire())
    assert drawn.count("--bytes:14") == 2
    assert "--bytes:50" in drawn and "--bytes:98" in drawn
    assert "left:54.348%" in drawn  # 50 of the 92 bytes of headers


def test_a_stack_without_lengths_is_names() -> None:
    assert stack_figure(Wire(stack=["eth", "trill"])).count("chip") == 3
