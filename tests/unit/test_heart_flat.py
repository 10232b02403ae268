"""Flat lines: an electrode that fell off is not a heart that stands still."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.heart.detector import HeartDetector
from detectors.heart.examples import RATE_HZ, WAVES, chunks, ecg
from engine.events import Detection
from engine.frame import NS_PER_S, Float64

T0_NS = 1_767_571_200 * NS_PER_S
NAN = float("nan")


def said(signal: Float64, detector: HeartDetector, rate_hz: float = RATE_HZ) -> list[Detection]:
    return [d for chunk in chunks(signal, rate_hz, start_ns=T0_NS) for d in detector.step(chunk).detections]


def smooth(seconds: float, stop_s: float) -> Float64:
    """Beats until `stop_s` on a line without any noise, in steps of 5 uV: a device that filters heavily."""
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    signal = np.full(t.size, 0.35)
    for beat in np.arange(0.5, stop_s, 0.9):
        for offset, width, height in WAVES:
            signal += height * np.exp(-0.5 * ((t - beat - offset) / width) ** 2)
    return np.asarray(np.round(signal / 0.005) * 0.005)


@pytest.mark.parametrize("noise_mv", [0.004, 0.01, 0.03])
@pytest.mark.parametrize("rate_hz", [100.0, 125.0, 250.0, 500.0])
def test_a_flat_line_with_noise_is_asystole(noise_mv: float, rate_hz: float) -> None:
    signal = ecg(np.arange(0.5, 30, 0.8), 50, rate_hz, noise_mv=noise_mv)
    signal[int(30.4 * rate_hz) :] = np.random.default_rng(4).normal(0, noise_mv, signal.size - int(30.4 * rate_hz))
    found = said(signal, HeartDetector(capacity=1), rate_hz)
    assert [(d.code, d.phase) for d in found] == [("heart.asystole", "onset")]


@pytest.mark.parametrize("level_mv", [0.0, 5.0, -1.2])
def test_a_constant_line_is_no_asystole_where_there_is_noise_between_the_beats(level_mv: float) -> None:
    signal = ecg(np.arange(0.5, 30, 0.8), 50)
    signal[int(30.4 * RATE_HZ) :] = level_mv
    assert said(signal, HeartDetector(capacity=1)) == []


def test_a_constant_line_is_asystole_where_the_line_between_beats_is_constant_too() -> None:
    """This device never shows noise: a constant line at the usual height is as flat as ever, and the beats are gone."""
    detector = HeartDetector(capacity=1)
    found = said(smooth(60, 30.0), detector)
    assert [(d.code, d.phase) for d in found] == [("heart.asystole", "onset")]
    assert found[0].decided_ns - T0_NS <= 36 * NS_PER_S


@pytest.mark.parametrize("level_mv", [2.5, -2.5])
def test_a_saturated_line_is_no_asystole_whatever_the_device(level_mv: float) -> None:
    signal = smooth(60, 30.0)
    signal[int(30.4 * RATE_HZ) :] = level_mv
    assert said(signal, HeartDetector(capacity=1)) == []


def test_a_beat_hidden_by_missing_samples_is_no_pause() -> None:
    """At 28 a minute one hidden complex makes 4.3 s without a beat, and at 50 every second one makes 25 a minute."""
    slow = ecg(np.arange(0.5, 120, 60 / 28), 120)
    for beat in np.arange(0.5, 120, 60 / 28)[20::5]:
        slow[int((beat - 0.045) * RATE_HZ) : int((beat + 0.045) * RATE_HZ)] = NAN
    assert {d.code for d in said(slow, HeartDetector(capacity=1))} == {"heart.bradycardia"}
    calm = ecg(np.arange(0.5, 180, 1.2), 180)
    for beat in np.arange(0.5, 180, 1.2)[20::2]:
        calm[int((beat - 0.045) * RATE_HZ) : int((beat + 0.045) * RATE_HZ)] = NAN
    assert said(calm, HeartDetector(capacity=1)) == []
