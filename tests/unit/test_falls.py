"""The fall rule on movements made by hand: what must be seen, what must not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detectors.falls import FallDetector, FallParams
from detectors.falls.examples import IMPACT_S, ONSET_NS, RATE_HZ, START_NS, negative, positive
from engine.detector import NOTHING
from engine.events import Detection
from engine.frame import GAP_RESTART, NS_PER_S, Frame, frame

BELT = np.array([0.1, -0.99, 0.1])
FLOOR = np.array([0.15, -0.1, 0.98])


def signal_of(frames: list[Frame]) -> np.ndarray:
    return np.concatenate([f.samples[0] for f in frames]).astype(float)


def feed(signal: np.ndarray, rate_hz: float = RATE_HZ, *, detector: FallDetector | None = None, at_s: float = 0.0) -> list[Detection]:
    """The whole signal as one chunk of slot 0."""
    own = detector or FallDetector(capacity=1)
    start_ns = START_NS + round(at_s * NS_PER_S)
    return own.step(frame("accel", [0], [start_ns], rate_hz, signal[np.newaxis].astype(np.float32), gap_ns=[GAP_RESTART])).detections


def still(direction: np.ndarray, seconds: float, seed: int = 0) -> np.ndarray:
    return direction + np.random.default_rng(seed).normal(0, 0.01, (round(seconds * RATE_HZ), 3))


def knock(signal: np.ndarray, at_s: float, peak_g: float, width_s: float, axis: np.ndarray = BELT) -> None:
    count = round(width_s * RATE_HZ)
    first = round(at_s * RATE_HZ)
    signal[first : first + count] += np.outer(peak_g * np.sin(np.pi * (np.arange(count) + 0.5) / count), axis)


def test_a_fall_is_reported_once_with_what_was_measured() -> None:
    (fall,) = feed(signal_of(positive()))
    assert fall.code == "falls.fall"
    assert abs(fall.onset_ns - ONSET_NS) <= 0.1 * NS_PER_S
    assert 1.0 <= (fall.decided_ns - fall.onset_ns) / NS_PER_S <= 2.6
    assert fall.values["peak_g"] == pytest.approx(3.3, abs=0.7)
    assert fall.values["rotation_deg"] == pytest.approx(77, abs=6)
    assert fall.values["still_g"] < 0.05
    assert 0.5 <= fall.score <= 1.0


def test_hard_sitting_down_and_jumping_are_no_falls() -> None:
    assert feed(signal_of(negative())) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_sensor_may_be_mounted_anyhow(seed: int) -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    plain = feed(signal_of(positive()))
    turned = feed(signal_of(positive()) @ turn)
    assert [(d.onset_ns, d.decided_ns) for d in turned] == [(d.onset_ns, d.decided_ns) for d in plain]


@pytest.mark.parametrize("rate_hz", [10.0, 12.5, 19.9, 25.0, 31.25, 32.0, 50.0, 64.0, 100.0, 104.0, 200.0])
def test_the_rule_is_the_same_at_every_rate(rate_hz: float) -> None:
    signal = signal_of(positive())
    t = np.arange(len(signal)) / RATE_HZ
    at = np.arange(0, t[-1], 1 / rate_hz)
    (fall,) = feed(np.stack([np.interp(at, t, axis) for axis in signal.T], axis=1), rate_hz)
    assert abs(fall.onset_ns - ONSET_NS) <= 0.2 * NS_PER_S


def test_streams_too_slow_to_show_an_impact_are_not_judged() -> None:
    assert feed(signal_of(positive())[::10], 5.0) == []


def test_a_device_clipped_at_2_g_still_sees_it() -> None:
    assert len(feed(np.clip(signal_of(positive()), -2, 2))) == 1


@pytest.mark.parametrize("gain", [0.93, 1.07])
def test_an_uncalibrated_device_sees_the_same(gain: float) -> None:
    assert len(feed(signal_of(positive()) * gain)) == 1
    assert feed(signal_of(negative()) * gain) == []


def test_lying_down_without_an_impact_is_no_fall() -> None:
    way = np.linspace(0, 1, round(2 * RATE_HZ))[:, np.newaxis]
    bent = BELT * (1 - way) + FLOOR * way
    turning = bent / np.linalg.norm(bent, axis=1)[:, np.newaxis]
    assert feed(np.concatenate([still(BELT, 10), turning, still(FLOOR, 20)])) == []


def test_clapping_and_then_resting_the_arm_is_no_fall() -> None:
    signal = np.concatenate([still(BELT, 16), still(FLOOR, 14)])
    for clap in np.arange(6.0, 16.0, 0.4):
        knock(signal, clap, 4.0, 0.06)
    # the arm comes to rest over a second, as arms do
    signal[round(16 * RATE_HZ) : round(17 * RATE_HZ)] += np.random.default_rng(3).normal(0, 0.3, (round(RATE_HZ), 3))
    assert feed(signal) == []


def test_a_table_hit_by_the_hand_turns_the_wrist_too_little() -> None:
    tilt = np.array([0.3, -0.95, 0.1])
    signal = np.concatenate([still(BELT, 10), still(tilt, 20)])
    knock(signal, 10.0, 5.0, 0.08)
    assert feed(signal) == []


def test_getting_up_again_is_the_same_fall_and_a_later_one_is_new() -> None:
    again = np.concatenate([still(BELT, 8), still(FLOOR, 10)])
    knock(again, 8.0, 3.0, 0.16)
    detector = FallDetector(FallParams(refractory_s=30), capacity=1)
    assert len(feed(again, detector=detector)) == 1
    assert feed(again, detector=detector, at_s=20.0) == []
    assert len(feed(again, detector=detector, at_s=40.0)) == 1


def _with_gap(signal: np.ndarray, from_s: float, gap_s: float) -> list[Detection]:
    """The device goes silent at from_s for gap_s; the engine says so in gap_ns."""
    detector = FallDetector(capacity=1)
    cut, rest = round(from_s * RATE_HZ), round((from_s + gap_s) * RATE_HZ)
    found = feed(signal[:cut], detector=detector)
    later = frame(
        "accel",
        [0],
        [START_NS + round((from_s + gap_s) * NS_PER_S)],
        RATE_HZ,
        signal[np.newaxis, rest:].astype(np.float32),
        gap_ns=[round(gap_s * NS_PER_S)],
    )
    return found + detector.step(later).detections


def test_a_short_gap_before_the_impact_does_not_hide_the_fall() -> None:
    assert len(_with_gap(signal_of(positive()), IMPACT_S - 1.5, 1.0)) == 1


def test_a_gap_right_after_the_impact_leaves_posture_before_and_after_comparable() -> None:
    assert len(_with_gap(signal_of(positive()), IMPACT_S + 0.5, 0.6)) == 1


def test_after_a_long_gap_nothing_before_it_counts() -> None:
    # the impact comes 1 s after the gap: there is no posture before to compare with
    assert _with_gap(signal_of(positive()), 4.0, IMPACT_S - 5.0) == []


def test_a_resident_may_have_limits_of_their_own() -> None:
    detector = FallDetector(capacity=2)
    detector.override(1, "impact_g", 5.0)
    signal = signal_of(positive()).astype(np.float32)
    both = frame("accel", [0, 1], [START_NS] * 2, RATE_HZ, np.stack([signal, signal]), gap_ns=[GAP_RESTART] * 2)
    assert [d.slot for d in detector.step(both).detections] == [0]
    with pytest.raises(ValueError, match="impact_g"):
        detector.override(1, "impact_g", 50.0)


def test_chunks_the_device_does_not_trust_are_not_judged() -> None:
    detector = FallDetector(capacity=1)
    found = [d for f in positive() for d in detector.step(f._replace(valid=np.array([False]))).detections]
    assert found == []
    assert all(np.isfinite(field).all() for field in detector.state)


def test_activity_is_summed_up_once_a_minute() -> None:
    detector = FallDetector(capacity=3)
    minute = np.concatenate([still(BELT, 60), still(FLOOR, 70)]).astype(np.float32)
    result = detector.step(frame("accel", [2], [START_NS], RATE_HZ, minute[np.newaxis], gap_ns=[GAP_RESTART]))
    assert [f.kind for f in result.features] == ["feature.activity"] * 2
    first, second = result.features
    assert first.slot.tolist() == second.slot.tolist() == [2]
    assert (second.t0_ns - first.t0_ns).tolist() == [60 * NS_PER_S]
    columns: dict[str, Any] = dict(zip(detector.spec.features["feature.activity"], second.samples[0, 0], strict=True))
    assert columns["still_fraction"] == pytest.approx(1.0)
    assert columns["movement_g"] < 0.05
    assert columns["posture_change_deg"] == pytest.approx(78, abs=3)
    assert columns["measured_fraction"] == pytest.approx(1.0)
    assert np.isnan(first.samples[0, 0, 2])


def test_a_quiet_second_says_nothing() -> None:
    detector = FallDetector(capacity=1)
    quiet = still(BELT, 1)[np.newaxis].astype(np.float32)
    assert detector.step(frame("accel", [0], [START_NS], RATE_HZ, quiet, gap_ns=[GAP_RESTART])) is NOTHING
