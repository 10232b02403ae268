"""The turn clock, case by case."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from detectors.pressure_injury import examples, posture
from detectors.pressure_injury.detector import FEATURE, PressureInjuryDetector
from detectors.pressure_injury.events import MOISTURE, TURN_OVERDUE
from detectors.pressure_injury.examples import START_NS, maps, stays
from detectors.pressure_injury.params import PressureInjuryParams
from detectors.pressure_injury.posture import LEFT, RIGHT, SUPINE
from engine.detector import Detector
from engine.events import Detection
from engine.frame import NS_PER_S, Frame, frame

HOUR_S = 3600
DUE_NS = START_NS + 7200 * NS_PER_S


def run(detector: PressureInjuryDetector, frames: list[Frame]) -> list[Detection]:
    return [found for one in frames for found in detector.step(one).detections]


def said(detections: list[Detection]) -> list[tuple[str, str]]:
    return [(d.code, d.phase) for d in detections]


def shifted(frames: list[Frame], seconds: float) -> list[Frame]:
    return [f._replace(t0_ns=f.t0_ns + int(seconds * NS_PER_S)) for f in frames]


def bed(t_s: float, in_bed: float, moisture: float = 0.0, movement: float = 0.0) -> Frame:
    values = np.array([[[in_bed, movement, moisture]]], np.float32)
    return frame("bed", 0, START_NS + int(t_s * NS_PER_S), 1 / 60, values)


def map_frame(t_s: float, cells: np.ndarray, shape: tuple[int, int] = examples.SHAPE) -> Frame:
    return frame("pressure_map", 0, START_NS + int(t_s * NS_PER_S), 1 / 60, cells.reshape(1, 1, -1), shape=shape)


def test_two_hours_on_the_back_are_reported_at_the_moment_they_are_over() -> None:
    found = run(PressureInjuryDetector(), examples.positive())
    assert said(found) == [(TURN_OVERDUE, "onset")]
    assert (found[0].onset_ns, found[0].decided_ns) == (DUE_NS, DUE_NS)


def test_turned_in_time_is_silent() -> None:
    assert run(PressureInjuryDetector(), examples.negative()) == []


def test_an_effective_turn_clears_after_fifteen_minutes() -> None:
    found = run(PressureInjuryDetector(), stays([(SUPINE, 9000), (RIGHT, 1800)]))
    assert said(found) == [(TURN_OVERDUE, "onset"), (TURN_OVERDUE, "clear")]
    assert found[1].onset_ns == found[0].onset_ns
    assert found[1].decided_ns == START_NS + (9000 + 900) * NS_PER_S


def test_leaving_the_bed_clears() -> None:
    found = run(PressureInjuryDetector(), stays([(SUPINE, 9000), (None, 1200), (SUPINE, 3600)]))
    assert said(found) == [(TURN_OVERDUE, "onset"), (TURN_OVERDUE, "clear")]


def test_getting_up_starts_the_clock_anew() -> None:
    assert run(PressureInjuryDetector(), stays([(SUPINE, 6000), (None, 600), (SUPINE, 6000)])) == []


def test_a_turn_given_up_after_ten_minutes_is_no_turn() -> None:
    found = run(PressureInjuryDetector(), stays([(SUPINE, 6000), (LEFT, 600), (SUPINE, 1200)]))
    assert said(found) == [(TURN_OVERDUE, "onset")]
    assert found[0].onset_ns == DUE_NS


def test_a_turn_just_before_it_is_due_is_not_overdue() -> None:
    assert run(PressureInjuryDetector(), stays([(SUPINE, 6900), (LEFT, 3600)])) == []


@pytest.mark.parametrize("other", [RIGHT, LEFT, None])
def test_a_restless_minute_is_no_turn(other: int | None) -> None:
    found = run(PressureInjuryDetector(), stays([(SUPINE, 3600), (other, 60), (SUPINE, 1800), (other, 60), (SUPINE, 3600)]))
    assert said(found) == [(TURN_OVERDUE, "onset")]
    assert found[0].onset_ns == DUE_NS


def test_the_care_plan_sets_the_interval() -> None:
    detector = PressureInjuryDetector()
    detector.override(0, "turn_interval_s", 3 * HOUR_S)
    assert run(detector, stays([(SUPINE, 10500)])) == []
    with pytest.raises(ValueError, match="turn_interval_s"):
        detector.override(0, "turn_interval_s", 60.0)


def test_a_short_gap_counts_as_time_on_the_same_side() -> None:
    frames = stays([(SUPINE, 6600)])
    later = shifted(stays([(SUPINE, 600)], seed=2), 6600 + 1200)
    found = run(PressureInjuryDetector(), frames + later)
    assert said(found) == [(TURN_OVERDUE, "onset")]
    assert found[0].onset_ns == DUE_NS
    assert found[0].decided_ns == later[0].t0_ns[0]


def test_after_a_long_gap_the_clock_starts_anew() -> None:
    frames = stays([(SUPINE, 3600)])
    later = shifted(stays([(SUPINE, 7000)], seed=2), 2 * HOUR_S)
    assert run(PressureInjuryDetector(), frames + later) == []


def test_a_gap_never_clears_an_overdue_turn() -> None:
    detector = PressureInjuryDetector()
    assert said(run(detector, stays([(SUPINE, 9000)]))) == [(TURN_OVERDUE, "onset")]
    assert run(detector, shifted(stays([(SUPINE, 9000)], seed=2), 5 * HOUR_S)) == []
    assert said(run(detector, shifted(stays([(LEFT, 1800)], seed=3), 7.5 * HOUR_S))) == [(TURN_OVERDUE, "clear")]


def test_a_turn_that_fell_due_early_in_a_long_gap_is_said_afterwards() -> None:
    frames = stays([(SUPINE, 6600)])
    later = shifted(stays([(RIGHT, 3600)], seed=2), 4 * HOUR_S)
    found = run(PressureInjuryDetector(), frames + later)
    assert said(found) == [(TURN_OVERDUE, "onset")]
    assert (found[0].onset_ns, found[0].decided_ns) == (DUE_NS, later[0].t0_ns[0])


@pytest.mark.parametrize("before", [[(SUPINE, 6600), (None, 300)], [(SUPINE, 6600), (LEFT, 300)]], ids=["up", "turning"])
def test_a_long_gap_after_relief_began_says_nothing(before: list[tuple[int | None, float]]) -> None:
    assert run(PressureInjuryDetector(), stays(before) + shifted(stays([(SUPINE, 3600)], seed=2), 4 * HOUR_S)) == []


def damaged(cells: np.ndarray, how: str) -> np.ndarray:
    grid = cells.reshape(examples.SHAPE).copy()
    if how == "dead row":
        grid[20] = 0
    elif how == "dead column":
        grid[:, 15] = 0
    elif how == "missing rows":
        grid[::8] = 65535
    elif how == "stuck hot cells":
        grid[5, 5] = grid[50, 28] = 4095
    elif how == "offset":
        grid = grid + np.uint16(440)
    return grid


@pytest.mark.parametrize("how", ["dead row", "dead column", "missing rows", "stuck hot cells", "offset"])
@pytest.mark.parametrize("lying", [SUPINE, RIGHT, LEFT])
def test_posture_survives_damage(how: str, lying: int) -> None:
    cells = damaged(maps(lying, 1, np.random.default_rng(4)), how).reshape(-1)
    features = np.zeros(posture.FEATURES)
    posture.describe(cells, *examples.SHAPE, posture.scratch(*examples.SHAPE), np.zeros(posture.SUMMARY), features)
    assert posture.classify(features)[0] == lying


@pytest.mark.parametrize(
    "useless",
    [
        np.full(2048, 65535, np.uint16),
        np.full(2048, 4095, np.uint16),
        np.where(np.arange(2048) % 2, 65535, 300).astype(np.uint16),
    ],
    ids=["all missing", "saturated", "half missing"],
)
def test_maps_that_tell_nothing_neither_clear_nor_reset(useless: np.ndarray) -> None:
    detector = PressureInjuryDetector()
    run(detector, stays([(SUPINE, 7000)]))
    assert run(detector, [map_frame(t, useless) for t in range(7000, 8200, 60)]) == []
    assert all(np.isfinite(column).all() for name, column in detector.state._asdict().items() if name not in {"contact", "peak"})
    found = run(detector, shifted(stays([(SUPINE, 300)], seed=2), 8200))
    assert [d.onset_ns for d in found] == [DUE_NS]


def test_a_stuck_device_becomes_missing_data() -> None:
    detector = PressureInjuryDetector()
    cells = maps(SUPINE, 1, np.random.default_rng(1))
    assert run(detector, [map_frame(t, cells) for t in range(0, 4 * HOUR_S, 60)]) == []
    assert detector.state.seen_ns[0] == START_NS + 600 * NS_PER_S


def test_noise_is_an_empty_bed() -> None:
    rng = np.random.default_rng(3)
    detector = PressureInjuryDetector()
    frames = [map_frame(t, rng.integers(470, 490, 2048).astype(np.uint16)) for t in range(0, 3 * HOUR_S, 60)]
    assert run(detector, frames) == []
    assert detector.state.settled[0] == posture.EMPTY


def test_a_poor_chunk_is_missing_data() -> None:
    detector = PressureInjuryDetector()
    frames = [f._replace(valid=np.array([False])) for f in examples.positive()]
    assert run(detector, frames) == []
    assert detector.state.seen_ns[0] == 0


def test_another_mattress_in_the_night_keeps_the_clock() -> None:
    frames = stays([(SUPINE, 5400)]) + shifted(stays([(SUPINE, 3600)], shape=(48, 24)), 5400)
    assert [d.onset_ns for d in run(PressureInjuryDetector(), frames)] == [DUE_NS]


def test_too_coarse_a_map_falls_back_to_time_in_bed() -> None:
    detector = PressureInjuryDetector()
    found = run(detector, stays([(SUPINE, 5 * HOUR_S)], shape=(12, 6)))
    assert [d.onset_ns for d in found] == [START_NS + 4 * HOUR_S * NS_PER_S]


def test_a_bed_sensor_alone_counts_time_in_bed_whatever_the_movement() -> None:
    detector = PressureInjuryDetector()
    found = run(detector, [bed(t, 1.0, movement=0.8) for t in range(0, 5 * HOUR_S, 60)])
    assert [d.onset_ns for d in found] == [START_NS + 4 * HOUR_S * NS_PER_S]
    assert said(run(detector, [bed(t, 0.0) for t in range(5 * HOUR_S, 5 * HOUR_S + 900, 60)])) == [(TURN_OVERDUE, "clear")]


def test_the_bed_sensor_does_not_contradict_a_fresh_map() -> None:
    detector = PressureInjuryDetector()
    pairs = [(f, bed(i * 60, 0.0)) for i, f in enumerate(examples.positive())]
    assert said(run(detector, list(itertools.chain.from_iterable(pairs)))) == [(TURN_OVERDUE, "onset")]


def test_a_bed_sensor_carries_the_clock_on_when_the_map_is_lost() -> None:
    detector = PressureInjuryDetector()
    assert run(detector, stays([(SUPINE, 3600)])) == []
    found = run(detector, [bed(t, 1.0) for t in range(3600, 8000, 60)])
    assert [(d.onset_ns, d.decided_ns) for d in found] == [(DUE_NS, DUE_NS)]


def test_a_map_that_comes_back_a_little_behind_the_bed_sensor_keeps_the_clock() -> None:
    detector = PressureInjuryDetector()
    run(detector, stays([(SUPINE, 3600)]) + [bed(t, 1.0) for t in range(3600, 6000, 60)])
    found = run(detector, shifted(stays([(SUPINE, 1800)], seed=2), 5900))
    assert [d.onset_ns for d in found] == [DUE_NS]


def test_moisture_is_said_after_minutes_and_taken_back_when_dry() -> None:
    detector = PressureInjuryDetector()
    dry = [bed(t, 1.0, 0.1) for t in range(0, 600, 60)]
    wet = [bed(t, 1.0, 0.8 if t % 180 else np.nan) for t in range(600, 1800, 60)]
    between = [bed(t, 1.0, 0.45) for t in range(1800, 3000, 60)]
    after = [bed(t, 1.0, 0.1) for t in range(3000, 3900, 60)]
    found = run(detector, dry + wet + between)
    assert said(found) == [(MOISTURE, "onset")]
    assert found[0].onset_ns == START_NS + 600 * NS_PER_S
    cleared = run(detector, after)
    assert said(cleared) == [(MOISTURE, "clear")]
    assert cleared[0].onset_ns == found[0].onset_ns


def test_a_splash_is_not_moisture() -> None:
    frames = [bed(t, 1.0, 0.9 if 600 <= t < 780 else 0.0) for t in range(0, 3600, 60)]
    assert run(PressureInjuryDetector(), frames) == []


def test_one_feature_row_a_minute() -> None:
    detector = PressureInjuryDetector()
    cells = maps(LEFT, 600, np.random.default_rng(1))
    whole = frame("pressure_map", 0, START_NS, 1.0, cells[None], shape=examples.SHAPE)
    rows = detector.step(whole).features
    assert [int(f.t0_ns[0] - START_NS) // (60 * NS_PER_S) for f in rows] == list(range(10))
    assert {f.kind for f in rows} == {FEATURE}
    columns = PressureInjuryDetector.spec.features[FEATURE]
    last = dict(zip(columns, rows[-1].samples[0, 0].tolist(), strict=True))
    assert last["posture_code"] == LEFT
    assert last["confidence_fraction"] > 0.9
    assert last["turn_clock_s"] == 540.0
    assert 0.1 < last["contact_fraction"] < 0.5
    assert last["peak_ratio"] > 1.0


def test_a_snapshot_in_mid_stream_changes_nothing() -> None:
    frames = stays([(SUPINE, 9000), (RIGHT, 1800), (None, 600)])
    whole = run(PressureInjuryDetector(), frames)
    first = PressureInjuryDetector()
    found = run(first, frames[:110])
    second: Detector = PressureInjuryDetector(capacity=1)
    second.restore(first.snapshot())
    assert found + run(second, frames[110:]) == whole


def test_a_clock_set_back_starts_anew() -> None:
    detector = PressureInjuryDetector()
    run(detector, stays([(SUPINE, 3600)]))
    assert said(run(detector, shifted(examples.positive(), -86400))) == [(TURN_OVERDUE, "onset")]


def test_parameters_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="no turn could ever count"):
        PressureInjuryParams(turn_interval_s=1800, decompression_s=1800)
    with pytest.raises(ValueError, match="map_fresh_s"):
        PressureInjuryParams(map_fresh_s=3600)
