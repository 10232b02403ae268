"""The fire detector against the tables of the standards it claims."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.fire.detector import FEATURE, FEATURE_COLUMNS, FireDetector
from detectors.fire.filters import cohb_after, ramp_lag_s
from detectors.fire.params import FireParams
from engine.events import Detection
from engine.frame import GAP_RESTART, NS_PER_S, frame

START_NS = 1_700_000_040 * NS_PER_S
NAN = float("nan")
Rows = NDArray[np.float32]


def air(seconds: int, *, smoke: float = 0.0, co: float = 0.0, temperature: float = 22.0, humidity: float = NAN) -> Rows:
    """Steady air, one row a second."""
    return np.tile(np.array([smoke, co, temperature, humidity], np.float32), (seconds, 1))


def run(
    rows: Rows,
    detector: FireDetector | None = None,
    *,
    interval_s: float = 1.0,
    start_s: float = 0.0,
    kind: str = "room_air",
    gap: int = GAP_RESTART,
) -> list[Detection]:
    """Feed rows one by one."""
    detector = detector or FireDetector(capacity=1)
    found: list[Detection] = []
    for i, row in enumerate(rows):
        t0_ns = START_NS + round((start_s + i * interval_s) * NS_PER_S)
        found += detector.step(frame(kind, 0, t0_ns, 1 / interval_s, row[None, None, :], gap_ns=[gap if i == 0 else 0])).detections
    return found


def onset_s(found: Iterable[Detection], code: str) -> float | None:
    """Seconds at which `code` was first decided."""
    return next(((d.decided_ns - START_NS) / NS_PER_S for d in found if d.code == code and d.phase == "onset"), None)


@pytest.mark.parametrize(("ppm", "earliest_min", "latest_min"), [(70, 60, 240), (150, 10, 50), (400, 4, 15)])
@pytest.mark.parametrize("interval_s", [1.0, 60.0])
def test_co_alarms_within_the_times_of_ul_2034(ppm: float, earliest_min: float, latest_min: float, interval_s: float) -> None:
    rows = air(int(latest_min * 60 / interval_s), co=ppm, smoke=NAN, temperature=NAN)
    decided = onset_s(run(rows, interval_s=interval_s), "fire.co")
    assert decided is not None
    assert earliest_min * 60 <= decided <= latest_min * 60


def test_co_is_silent_at_30_ppm_for_30_days() -> None:
    assert run(air(30 * 24 * 60, co=30.0), interval_s=60.0) == []


def test_cohb_agrees_with_the_published_curve() -> None:
    """UL 2034's 10 % curve passes close to 70 ppm at 189 min, 150 ppm at 50 min, 400 ppm at 15 min."""
    for ppm, minutes in ((70, 189), (150, 50), (400, 15)):
        assert cohb_after(0.5, ppm, minutes * 60.0) == pytest.approx(10.0, abs=0.4)


@pytest.mark.parametrize(
    ("rate_k_per_min", "earliest_s", "latest_s"),
    [(1, 1740, 2420), (3, 433, 820), (5, 249, 500), (10, 60, 260), (20, 30, 140), (30, 20, 100)],
)
def test_heat_responds_within_class_a1_times(rate_k_per_min: float, earliest_s: float, latest_s: float) -> None:
    """EN 54-5 table of response times, class A1, from 25 °C."""
    rows = air(2600, temperature=25.0)
    rows[60:, 2] += np.arange(rows.shape[0] - 60) * rate_k_per_min / 60
    rows[:, 2] = np.minimum(rows[:, 2], 120.0)
    found = run(rows)
    first = min(t - 60 for t in (onset_s(found, "fire.heat"), onset_s(found, "fire.rate_of_rise")) if t is not None)
    assert earliest_s <= first <= latest_s


def test_rate_of_rise_never_stands_alone() -> None:
    """12 K/min from 15 to 30 °C is an opened oven or a heated bathroom; the same with smoke is a fire."""
    rows = air(400, temperature=15.0)
    rows[120:, 2] += np.minimum(np.arange(280) * 0.2, 15.0)
    assert run(rows) == []
    rows[150:, 0] = 0.006
    codes = [d.code for d in run(rows) if d.phase == "onset"]
    assert "fire.rate_of_rise" in codes
    assert "fire.smoke" in codes


def test_a_kitchen_may_have_its_own_limit() -> None:
    rows = air(300, temperature=30.0)
    rows[60:, 2] = 60.0
    kitchen = FireDetector(capacity=1)
    kitchen.override(0, "heat_static_c", 80.0)
    assert onset_s(run(rows), "fire.heat") is not None
    assert onset_s(run(rows, kitchen), "fire.heat") is None
    with pytest.raises(ValueError, match="heat_static_c"):
        kitchen.override(0, "heat_static_c", 120.0)


def test_smoke_limit_cannot_be_set_below_the_standards() -> None:
    with pytest.raises(ValueError, match="smoke_alarm_db_per_m"):
        FireParams(smoke_alarm_db_per_m=0.04)


@pytest.mark.parametrize(("db_per_m", "alarms"), [(0.15, False), (0.25, True)])
def test_smoke_alone_alarms_at_its_limit(db_per_m: float, alarms: bool) -> None:
    rows = air(300)
    rows[60:, 0] = db_per_m / 10
    decided = onset_s(run(rows), "fire.smoke")
    assert (decided is not None) == alarms
    if decided is not None:
        assert decided - 60 < 30


@pytest.mark.parametrize("share_per_h", [0.26, 1.0, 10.0])
def test_slow_smoke_meets_en_54_7(share_per_h: float) -> None:
    """A fire growing at R >= A/4 per hour alarms within 1.6 A/R + 100 s, in spite of drift compensation."""
    limit_per_m = FireParams().smoke_alarm_db_per_m / 10
    per_s = share_per_h * limit_per_m / 3600
    bound_s = 1.6 * limit_per_m / per_s + 100
    interval_s = 10.0
    rows = air(int(bound_s / interval_s) + 10)
    rows[:, 0] = np.arange(rows.shape[0]) * interval_s * per_s
    decided = onset_s(run(rows, interval_s=interval_s), "fire.smoke")
    assert decided is not None
    assert decided <= bound_s


def test_an_offset_from_the_start_is_no_fire_and_a_fire_on_top_of_it_is_one() -> None:
    rows = air(600, smoke=0.011, co=600.0)
    assert run(rows[:200]) == []
    rows[120:, 0] = 0.035
    decided = onset_s(run(rows), "fire.smoke")
    assert decided is not None
    assert decided < 140


def test_a_restart_in_smoke_does_not_learn_the_smoke() -> None:
    detector = FireDetector(capacity=1)
    assert run(air(120), detector) == []
    assert onset_s(run(air(60, smoke=0.03), detector, start_s=200.0), "fire.smoke") is not None


def test_one_wild_reading_moves_nothing() -> None:
    rows = air(300)
    rows[60] = (50.0, 200_000.0, 1500.0, NAN)
    rows[120] = (-1.0, -500.0, -60.0, NAN)
    assert run(rows) == []


@pytest.mark.parametrize("damage", ["nan", "stuck", "saturated"])
def test_a_real_fire_is_seen_after_bad_data(damage: str) -> None:
    bad = {
        "nan": air(300, smoke=NAN, co=NAN, temperature=NAN),
        "stuck": air(3600),
        "saturated": air(300, smoke=50.0, co=200_000.0, temperature=1500.0),
    }
    detector = FireDetector(capacity=1)
    run(bad[damage], detector)
    run(air(3600), detector, start_s=4000.0, gap=0)
    assert not detector.state.active.any()
    fire = air(200)
    fire[:, 0] += np.arange(200) * 0.002
    fire[:, 2] += np.arange(200) * 0.5
    codes = {d.code for d in run(fire, detector, start_s=8000.0, gap=0) if d.phase == "onset"}
    assert {"fire.smoke", "fire.heat", "fire.rate_of_rise"} <= codes
    assert all(np.isfinite(array).all() for array in detector.state)


def test_silence_never_ends_an_alarm_but_clean_air_does() -> None:
    detector = FireDetector(capacity=1)
    first = run(air(60, temperature=80.0), detector)
    assert onset_s(first, "fire.heat") is not None
    assert run(air(3600, temperature=NAN), detector, start_s=60.0, gap=0) == []
    back = run(air(200), detector, start_s=4000.0, gap=0)
    ended = [d for d in back if d.phase == "clear" and d.code == "fire.heat"]
    assert len(ended) == 1
    assert ended[0].onset_ns == next(d.onset_ns for d in first if d.code == "fire.heat")


def test_the_slowest_sensor_still_alarms() -> None:
    """One reading in ten minutes, one channel."""
    rows = air(6, smoke=NAN, co=NAN, temperature=22.0)
    rows[3:, 2] = 90.0
    assert onset_s(run(rows, interval_s=600.0), "fire.heat") is not None


def test_wiring_alarms_alone_and_clears() -> None:
    rows = np.tile(np.array([20.0, 40.0], np.float32), (400, 1))
    rows[60:200] = (320.0, 75.0)
    found = run(rows, kind="electrical")
    assert [(d.code, d.phase) for d in found] == [
        ("fire.residual_current", "onset"),
        ("fire.cable_heat", "onset"),
        ("fire.residual_current", "clear"),
        ("fire.cable_heat", "clear"),
    ]
    assert found[0].values == {"residual_current_ma": 320.0}


def test_prewarning_comes_before_the_alarm_and_not_with_it() -> None:
    rows = air(900, temperature=40.0, smoke=NAN, co=NAN)
    rows[60:, 2] += np.arange(840) * 2.0 / 60
    onsets = [d.code for d in run(rows) if d.phase == "onset"]
    assert onsets == ["fire.prewarning", "fire.heat"]


def test_features_leave_once_a_minute() -> None:
    detector = FireDetector(capacity=1)
    rows = air(181, smoke=0.001, co=5.0, temperature=21.0, humidity=50.0)
    result = detector.step(frame("room_air", 0, START_NS - START_NS % (60 * NS_PER_S), 1.0, rows[None], gap_ns=[GAP_RESTART]))
    assert [f.kind for f in result.features] == [FEATURE] * 3
    assert [int(f.t0_ns[0]) % (60 * NS_PER_S) for f in result.features] == [0, 0, 0]
    values = dict(zip(FEATURE_COLUMNS, result.features[1].samples[0, 0].tolist(), strict=True))
    assert values["smoke_db_per_m"] == pytest.approx(0.01, rel=1e-4)
    assert values["humidity_percent"] == 50.0
    assert values["temperature_rate_k_per_min"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("dt_s", [0.1, 1.0, 5.0, 60.0])
def test_ramp_lag_is_what_a_filter_really_trails(dt_s: float) -> None:
    keep = np.exp(-dt_s / 30.0)
    low, ramp = 0.0, 0.0
    for _ in range(20_000):
        ramp += dt_s
        low = keep * low + (1 - keep) * ramp
        if ramp > 3000:
            break
    assert ramp - low == pytest.approx(ramp_lag_s(dt_s, 30.0), rel=1e-6)


@pytest.mark.parametrize("cut", [1, 7, 60, 400])
def test_any_chunking_gives_the_same_events(cut: int) -> None:
    rng = np.random.default_rng(3)
    rows = air(400, humidity=50.0) + rng.normal(0, [0.002, 3, 0.3, 1], (400, 4)).astype(np.float32)
    rows[100:250, 0] += 0.05
    rows[120:300, 2] += 50.0
    rows[rng.random((400, 4)) < 0.1] = np.nan
    whole = run(rows)
    detector = FireDetector(capacity=1)
    parts: list[Detection] = []
    for i in range(0, 400, cut):
        chunk = rows[None, i : i + cut]
        parts += detector.step(frame("room_air", 0, START_NS + i * NS_PER_S, 1.0, chunk, gap_ns=[GAP_RESTART if i == 0 else 0])).detections
    assert whole == parts
    assert {d.code for d in whole} >= {"fire.smoke", "fire.heat"}
