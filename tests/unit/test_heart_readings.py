"""Vital signs and RR intervals as devices send them: each sign in its own time, each interval after the one before."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.heart.detector import HeartDetector
from engine.events import Detection
from engine.frame import NS_PER_S, frame

T0_NS = 1_767_571_200 * NS_PER_S
NAN = float("nan")
Reading = tuple[float, float, float, float]
"""Second, heart rate, respiration, SpO2; NaN is no value."""


def judged(readings: Iterable[Reading], rate_hz: float = 1.0, detector: HeartDetector | None = None) -> list[Detection]:
    """What the detector says about single readings, each a chunk of its own."""
    detector = detector or HeartDetector(capacity=1)
    found: list[Detection] = []
    before_s = None
    for second, heart, breaths, spo2 in readings:
        gap_ns = -1 if before_s is None else max(0, round((second - before_s - 1 / rate_hz) * NS_PER_S))
        values = np.array([[[heart, breaths, spo2, NAN, NAN, NAN]]], np.float32)
        found += detector.step(frame("vitals", [0], [T0_NS + round(second * NS_PER_S)], rate_hz, values, gap_ns=[gap_ns])).detections
        before_s = second
    return found


def onsets(found: list[Detection]) -> list[tuple[str, float]]:
    return [(d.code, (d.onset_ns - T0_NS) / NS_PER_S) for d in found if d.phase == "onset"]


def at(spo2: dict[int, float], seconds: int) -> list[Reading]:
    """A pulse once a second, and SpO2 at some of them."""
    return [(float(s), 75.0, NAN, spo2.get(s, NAN)) for s in range(seconds)]


def test_two_single_values_ten_minutes_apart_are_no_low_of_ten_minutes() -> None:
    assert onsets(judged(at({100: 70.0, 700: 70.0}, 720))) == []


def test_the_pulse_does_not_hold_an_oxygen_value_that_stopped_coming() -> None:
    """Low for 40 s, then nothing for five minutes, then low for 40 s: never low for a minute, as far as anybody knows."""
    low = dict.fromkeys([*range(100, 140), *range(440, 480)], 80.0)
    assert onsets(judged(at(low, 500))) == []
    longer = dict.fromkeys([*range(100, 140), *range(440, 505)], 80.0)
    assert onsets(judged(at(longer, 520))) == [("heart.spo2_low", 440.0)]


@pytest.mark.parametrize("every_s", [2, 5, 15, 30, 60, 300, 600])
def test_oxygen_that_comes_slower_than_the_pulse_is_still_judged(every_s: int) -> None:
    """A wrist band counts the pulse each second and measures oxygen when it has time for it: that time is an interval, no gap."""
    until_s = 6 * every_s + max(6 * every_s, 75)
    values = {s: 97.0 if s < 6 * every_s else 80.0 for s in range(0, until_s, every_s)}
    found = onsets(judged(at(values, until_s)))
    assert found == [("heart.spo2_low", 6.0 * every_s)]


def test_oxygen_in_uneven_intervals_is_still_judged() -> None:
    times = np.cumsum([5, 40] * 10)
    found = onsets(judged(at({int(s): 97.0 if s < 200 else 80.0 for s in times}, 460)))
    assert [code for code, _ in found] == ["heart.spo2_low"]


def test_a_low_value_that_is_measured_every_ten_minutes_from_the_start_is_raised_with_the_third() -> None:
    """One gap may be a probe that was off; two alike are how this channel is measured."""
    found = judged(at({100: 70.0, 700: 70.0, 1300: 70.0}, 1400))
    assert [d.code for d in found] == ["heart.spo2_low"]
    assert found[0].decided_ns == T0_NS + 1300 * NS_PER_S


@pytest.mark.parametrize("channel", range(3))
def test_a_gap_in_one_channel_interrupts_no_other(channel: int) -> None:
    """All three too far out for 30 s of 20 s: the channel with a gap of 15 s is judged from after it, the others from the start."""
    bad = (150.0, 30.0, 80.0)
    readings: list[Reading] = []
    for s in range(200):
        values = [NAN if index == channel and 20 <= s < 35 else value for index, value in enumerate(bad)]
        readings.append((float(s), values[0], values[1], values[2]))
    since = dict(onsets(judged(readings)))
    codes = ("heart.tachycardia", "heart.respiration_high", "heart.spo2_low")
    assert since == {code: (35.0 if index == channel else 0.0) for index, code in enumerate(codes)}


def test_a_condition_clears_over_readings_of_its_own_channel_only() -> None:
    low = dict.fromkeys(range(100), 80.0)
    back = {110: 97.0, 400: 97.0}
    found = judged(at(low | back, 420))
    assert [d.phase for d in found] == ["onset"]


@settings(deadline=None, max_examples=60)
@given(
    present=st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=30, max_size=300),
    values=st.tuples(st.sampled_from([30.0, 75.0, 150.0]), st.sampled_from([5.0, 16.0, 30.0]), st.sampled_from([80.0, 97.0])),
)
def test_each_channel_is_judged_as_if_it_were_alone(present: list[tuple[bool, bool, bool]], values: tuple[float, float, float]) -> None:
    rows = [[v if there else NAN for v, there in zip(values, here, strict=True)] for here in present]
    together = {(d.code, d.phase, d.onset_ns, d.decided_ns) for d in judged((float(s), r[0], r[1], r[2]) for s, r in enumerate(rows))}
    alone = set()
    for channel in range(3):
        own = [[v if index == channel else NAN for index, v in enumerate(row)] for row in rows]
        alone |= {(d.code, d.phase, d.onset_ns, d.decided_ns) for d in judged((float(s), r[0], r[1], r[2]) for s, r in enumerate(own))}
    assert together == alone


def test_a_clock_that_is_set_back_begins_anew_and_its_minutes_too() -> None:
    detector = HeartDetector(capacity=1)
    values = np.array([[[150.0, 16.0, 97.0, NAN, NAN, NAN]]], np.float32)
    minutes = []
    for s in range(20):
        detector.step(frame("vitals", [0], [T0_NS + s * NS_PER_S], 1.0, values, gap_ns=[-1 if s == 0 else 0]))
    found = []
    for s in range(-3600, -3400):
        said = detector.step(frame("vitals", [0], [T0_NS + s * NS_PER_S], 1.0, values, gap_ns=[-1 if s == -3600 else 0]))
        found += said.detections
        minutes += [int(f.t0_ns[0]) for f in said.features]
    assert onsets(found) == [("heart.tachycardia", -3600.0)]
    assert [(t - T0_NS) / NS_PER_S for t in minutes if t < T0_NS] == [-3600.0, -3540.0, -3480.0]


# -- RR intervals ---------------------------------------------------------------------------------------------------------------


def intervals(chunks: Iterable[tuple[float, float, list[float]]], detector: HeartDetector | None = None) -> list[Detection]:
    """What the detector says about RR chunks (start s, gap s or -1e-9 for the first, values in ms)."""
    detector = detector or HeartDetector(capacity=1)
    found: list[Detection] = []
    for start_s, gap_s, rr_ms in chunks:
        samples = np.array(rr_ms, np.float32).reshape(1, -1, 1)
        found += detector.step(
            frame("rr_interval", [0], [T0_NS + round(start_s * NS_PER_S)], 0.0, samples, gap_ns=[round(gap_s * NS_PER_S)])
        ).detections
    return found


def stamped_on_arrival(bpm: float, seconds: float, jitter_s: float, seed: int) -> list[tuple[float, float, list[float]]]:
    """A chest strap notifies once a second with the intervals that ended since; the gateway stamps them when they come."""
    rng = np.random.default_rng(seed)
    beats = np.cumsum(np.full(int(seconds * bpm / 60), 60 / bpm) + rng.normal(0, 0.01, int(seconds * bpm / 60)))
    rr_ms = np.diff(beats, prepend=0.0) * 1000
    chunks: list[tuple[float, float, list[float]]] = []
    end_s = 0.0
    for second in range(int(seconds)):
        own = rr_ms[(beats > second) & (beats <= second + 1)]
        if not own.size:
            continue
        start_s = max(end_s, second + rng.uniform(0, jitter_s))  # time does not go back within a stream
        chunks.append((start_s, -1e-9 if not chunks else start_s - end_s, [float(v) for v in own]))
        end_s = start_s + own.sum() / 1000
    return chunks


@pytest.mark.parametrize("bpm", [140.0, 170.0])
@pytest.mark.parametrize("jitter_s", [0.0, 0.1, 0.4])
def test_fast_intervals_stamped_on_arrival_are_a_tachycardia(bpm: float, jitter_s: float) -> None:
    found = intervals(stamped_on_arrival(bpm, 120, jitter_s, seed=1))
    assert [d.code for d in found if d.phase == "onset"] == ["heart.tachycardia"]
    assert found[0].decided_ns - T0_NS < 45 * NS_PER_S
    assert found[0].values["heart_rate_bpm"] == pytest.approx(bpm, rel=0.03)


def test_intervals_of_which_some_were_not_heard_are_still_judged() -> None:
    """Every fourth notification is lost, and one value of each fifth is no value: three intervals in four say 150."""
    chunks: list[tuple[float, float, list[float]]] = []
    for k in range(80):
        if k % 4 == 3:
            continue
        chunks.append((k * 1.2, -1e-9 if k == 0 else (1.2 if k % 4 == 0 else 0.0), [400.0, 0.0 if k % 5 == 1 else 400.0, 400.0]))
    assert [d.code for d in intervals(chunks) if d.phase == "onset"] == ["heart.tachycardia"]


def test_intervals_after_a_longer_silence_begin_anew() -> None:
    """20 s of 150 a minute, nothing for 40 s, 20 s of it: never half a minute, as far as anybody knows."""
    burst = [400.0] * 50
    assert [d.phase for d in intervals([(0.0, -1e-9, burst), (60.0, 40.0, burst)])] == []


def test_a_flagged_chunk_of_intervals_interrupts() -> None:
    detector = HeartDetector(capacity=1)
    found: list[Detection] = []
    for k in range(10):
        samples = np.full((1, 20, 1), 400.0, np.float32)
        valid = [k % 3 != 2]
        start = T0_NS + k * 8 * NS_PER_S
        found += detector.step(frame("rr_interval", [0], [start], 0.0, samples, gap_ns=[-1 if k == 0 else 0], valid=valid)).detections
    assert found == []


def test_irregular_intervals_with_gaps_of_a_second_are_still_fibrillation() -> None:
    rng = np.random.default_rng(3)
    chunks: list[tuple[float, float, list[float]]] = []
    end_s = 0.0
    for k in range(120):
        values = [float(v) for v in rng.uniform(450, 1100, 8)]
        gap_s = -1e-9 if k == 0 else 0.3
        chunks.append((end_s + max(gap_s, 0.0), gap_s, values))
        end_s += max(gap_s, 0.0) + sum(values) / 1000
    assert "heart.atrial_fibrillation" in [d.code for d in intervals(chunks)]
