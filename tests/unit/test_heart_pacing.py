"""Pacemaker spikes: no heartbeat, and what answers them is one."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.heart import score_beats
from detectors.heart.detector import HeartDetector, detect_beats
from detectors.heart.examples import chunks, ecg
from engine.events import Detection
from engine.frame import NS_PER_S, Float64
from simulator.cardiac import WAVES, Beat

RATES = [100.0, 125.0, 128.0, 250.0, 256.0, 360.0, 500.0, 1000.0]
FINE = 16
SPIKES_MV = [0.6, 2.0, 20.0]
"""As left by the device: 2 to 700 mV at the skin for 0.1 to 2 ms (IEC 60601-2-27), less what its low-pass and its input range take."""


def spikes(times_s: Float64, seconds: float, rate_hz: float, height_mv: float, low_pass_hz: float) -> Float64:
    """Pulses of 1 ms behind a Gaussian low-pass, as a device of `rate_hz` samples them; the highest sample is about `height_mv`."""
    fine = np.arange(int(seconds * rate_hz) * FINE) / (rate_hz * FINE)
    signal = np.zeros(fine.size)
    sd = max(0.133 / low_pass_hz, 0.0004)  # -3 dB of a Gaussian: sd in time = sqrt(ln 2) / (2 pi f)
    for t in times_s:
        first, last = np.searchsorted(fine, [t - 6 * sd, t + 6 * sd])
        signal[first:last] += height_mv * np.exp(-0.5 * ((fine[first:last] - t) / sd) ** 2)
    sampled: Float64 = signal.reshape(-1, FINE).mean(axis=1) * max(1.0, 1 / (rate_hz * sd * 2.5))
    return sampled


def paced_qrs(spikes_s: Float64, seconds: float, rate_hz: float, after_s: float = 0.11) -> Float64:
    """Wide ventricular complexes whose main wave comes `after_s` after each spike (they begin 80 ms before it)."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    signal = np.zeros(t.size)
    for beat in spikes_s + after_s:
        first, last = np.searchsorted(t, [beat - 0.2, beat + 0.7])
        for offset, width, height in WAVES[Beat.VENTRICULAR]:
            signal[first:last] += height * np.exp(-0.5 * ((t[first:last] - beat - offset) / width) ** 2)
    return signal


def line(seconds: float, rate_hz: float, noise_mv: float = 0.015, seed: int = 5) -> Float64:
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    return np.random.default_rng(seed).normal(0, noise_mv, t.size) + 0.05 * np.sin(2 * np.pi * 0.25 * t)


def said(signal: Float64, rate_hz: float) -> list[Detection]:
    detector = HeartDetector(capacity=1)
    return [d for chunk in chunks(signal, rate_hz, start_ns=0) for d in detector.step(chunk).detections]


@pytest.mark.parametrize("height_mv", SPIKES_MV)
@pytest.mark.parametrize("rate_hz", RATES)
def test_spikes_that_capture_nothing_are_an_asystole(rate_hz: float, height_mv: float) -> None:
    """A paced heart answers for 30 s and then no more; the pacemaker goes on at 70 a minute."""
    times = np.arange(0.5, 60, 60 / 70)
    answered = times[times < 30]
    low_pass_hz = min(0.4 * rate_hz, 100.0)
    signal = line(60, rate_hz) + spikes(times, 60, rate_hz, height_mv, low_pass_hz) + paced_qrs(answered, 60, rate_hz)
    found = said(signal, rate_hz)
    assert [(d.code, d.phase) for d in found] == [("heart.asystole", "onset")]
    assert found[0].decided_ns / NS_PER_S - (answered[-1] + 0.11) <= 6.0


@pytest.mark.parametrize("height_mv", SPIKES_MV)
@pytest.mark.parametrize("rate_hz", RATES)
def test_spikes_without_capture_on_an_otherwise_silent_line(rate_hz: float, height_mv: float) -> None:
    """A device whose line is smooth between the spikes: it is no electrode that fell off, for the spikes are measured."""
    times = np.arange(0.5, 60, 60 / 70)
    signal = ecg(times[times < 30], 60, rate_hz, noise_mv=0.01)
    signal[int(30.6 * rate_hz) :] = 0.0
    signal += spikes(times[times > 31], 60, rate_hz, height_mv, min(0.4 * rate_hz, 100.0))
    assert [(d.code, d.phase) for d in said(signal, rate_hz)] == [("heart.asystole", "onset")]


@pytest.mark.parametrize("height_mv", SPIKES_MV)
@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("chambers", ["ventricle", "both"])
def test_the_beats_that_answer_are_found_each_once(rate_hz: float, height_mv: float, chambers: str) -> None:
    times = np.arange(0.5, 90, 60 / 70)
    low_pass_hz = min(0.4 * rate_hz, 100.0)
    signal = line(90, rate_hz) + spikes(times, 90, rate_hz, height_mv, low_pass_hz) + paced_qrs(times, 90, rate_hz)
    if chambers == "both":  # the atrium is paced 160 ms before the ventricle
        signal += spikes(times[1:] - 0.16, 90, rate_hz, height_mv, low_pass_hz)
    found, _ = detect_beats(signal, rate_hz)
    beats = times + 0.11
    hits, missed, extra = score_beats(beats[(beats > 4.3) & (beats < 89)], found[(found > 4.2e9) & (found < 89e9)] / NS_PER_S, window_s=0.1)
    assert (missed, extra) == (0, 0)
    assert hits > 90
    assert said(signal, rate_hz) == []


@pytest.mark.parametrize("rate_hz", RATES)
def test_an_atrial_spike_is_no_second_beat(rate_hz: float) -> None:
    """The heart conducts by itself after an atrial spike: one narrow beat each, not two."""
    beats = np.arange(0.7, 90, 60 / 75)
    signal = ecg(beats, 90, rate_hz) + spikes(beats - 0.2, 90, rate_hz, 3.0, min(0.4 * rate_hz, 100.0))
    found, _ = detect_beats(signal, rate_hz)
    _, missed, extra = score_beats(beats[(beats > 4.3) & (beats < 89)], found[(found > 4.2e9) & (found < 89e9)] / NS_PER_S, window_s=0.05)
    assert (missed, extra) == (0, 0)


def test_a_pacemaker_that_captures_every_third_time_is_a_bradycardia() -> None:
    times = np.arange(0.5, 120, 60 / 70)
    answered = np.concatenate([times[times < 30], times[times >= 30][::3]])
    signal = line(120, 250.0) + spikes(times, 120, 250.0, 2.0, 100.0) + paced_qrs(answered, 120, 250.0)
    assert [d.code for d in said(signal, 250.0) if d.phase == "onset"] == ["heart.bradycardia"]


@pytest.mark.parametrize("rate_hz", [100.0, 125.0, 250.0, 500.0])
@pytest.mark.parametrize("narrow", [0.75, 1.0])
def test_a_narrow_complex_is_no_spike(rate_hz: float, narrow: float) -> None:
    """R waves of 8 and 11 ms standard deviation, the former narrower than an adult's ever are."""
    t = np.arange(int(60 * rate_hz)) / rate_hz
    beats = np.arange(0.5, 60, 0.8)
    signal = line(60, rate_hz)
    for beat in beats:
        for offset, width, height in ((-0.025, 0.010, -0.12), (0.0, 0.011, 1.1), (0.028, 0.011, -0.25)):
            signal += height * np.exp(-0.5 * ((t - beat - narrow * offset) / (narrow * width)) ** 2)
    found, _ = detect_beats(signal, rate_hz)
    _, missed, extra = score_beats(beats[(beats > 4.3) & (beats < 59)], found[(found > 4.2e9) & (found < 59e9)] / NS_PER_S, window_s=0.05)
    assert (missed, extra) == (0, 0)


def test_spikes_do_not_depend_on_the_cut() -> None:
    times = np.arange(0.5, 60, 60 / 70)
    signal = line(60, 250.0) + spikes(times, 60, 250.0, 2.0, 100.0) + paced_qrs(times[times < 30], 60, 250.0)
    whole = HeartDetector(capacity=1)
    parts = HeartDetector(capacity=1)
    found = [d for chunk in chunks(signal, 250.0, start_ns=0) for d in whole.step(chunk).detections]
    said_in_parts: list[Detection] = []
    for chunk in chunks(signal, 250.0, start_ns=0):
        for first in range(0, 250, 50):
            t0_ns = chunk.t0_ns + first * (NS_PER_S // 250)
            part = np.ascontiguousarray(chunk.samples[:, first : first + 50])
            gap_ns = chunk.gap_ns if first == 0 else np.zeros(1, np.int64)
            said_in_parts += parts.step(chunk._replace(t0_ns=t0_ns, samples=part, gap_ns=gap_ns)).detections
    assert said_in_parts == found
    np.testing.assert_array_equal(whole.state.beats, parts.state.beats)
