"""Tall T waves: no second heartbeat (the test signal of ANSI/AAMI EC13:2002, 3.1.2.1 c, and others)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pytest

from benchmarks.quality.heart import score_beats
from detectors.heart.detector import HeartDetector, detect_beats
from detectors.heart.examples import WAVES, chunks
from engine.frame import NS_PER_S, Float64
from streams.pipeline.core import Core
from streams.recordings.format import read

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
SECONDS: Final = 90
BPM: Final = 80.0
QT_S: Final = 0.35
T_S: Final = 0.18
QRS_S: Final = 0.1
BEATS: Final = np.arange(0.5, SECONDS, 60 / BPM)


def ec13(rate_hz: float, t_mv: float, dome: str, qrs: str) -> Float64:
    """QRS complexes of 1 mV and 100 ms, T waves of 180 ms that end 350 ms after the complex begins."""
    t = np.arange(int(SECONDS * rate_hz)) / rate_hz
    signal = np.random.default_rng(1).normal(0, 0.01, t.size)
    for beat in BEATS:
        u = (t - beat + QRS_S / 2) / QRS_S
        at, mv = ([0.0, 0.5, 1.0], [0.0, 1.0, 0.0]) if qrs == "triangle" else ([0.0, 0.2, 0.45, 0.75, 1.0], [0.0, -0.15, 1.0, -0.3, 0.0])
        signal += np.interp(u, at, mv, left=0.0, right=0.0)
        u = (t - (beat - QRS_S / 2 + QT_S - T_S)) / T_S
        wave = np.sin(np.pi * u) if dome == "half sine" else 0.5 * (1 - np.cos(2 * np.pi * u))
        signal += np.where((u > 0) & (u < 1), t_mv * wave, 0.0)
    return signal


def usual(rate_hz: float, t_mv: float, late_s: float) -> Float64:
    """The project's synthetic beat (R 0.9 mV) with another T wave."""
    t = np.arange(int(SECONDS * rate_hz)) / rate_hz
    signal = np.random.default_rng(2).normal(0, 0.02, t.size)
    for beat in BEATS:
        for offset, width, height in (*WAVES[:-1], (late_s, 0.05, t_mv / 0.82)):
            signal += 0.82 * height * np.exp(-0.5 * ((t - beat - offset) / width) ** 2)
    return signal


def check(signal: Float64, rate_hz: float) -> None:
    for leads in (signal[:, None], np.stack([signal, 0.7 * signal], axis=1)):
        found, _ = detect_beats(leads, rate_hz)
        beats, times = BEATS[(BEATS > 8.4) & (BEATS < 88.6)], found / NS_PER_S  # both ends lie between two beats
        near = times[(times > 8.4) & (times < 88.6)]
        _, missed, extra = score_beats(beats, near, window_s=0.06)
        assert (missed, extra) == (0, 0)
        detector = HeartDetector(capacity=1)
        assert [d for chunk in chunks(leads, rate_hz) for d in detector.step(chunk).detections] == []


@pytest.mark.parametrize("rate_hz", [125.0, 250.0, 360.0, 500.0])
@pytest.mark.parametrize("t_mv", [0.3, 0.6, 0.9, 1.2, -0.9, -1.2])
@pytest.mark.parametrize(("dome", "qrs"), [("half sine", "triangle"), ("half sine", "qrs"), ("cosine", "triangle"), ("cosine", "qrs")])
def test_the_standard_t_wave_is_no_heartbeat(rate_hz: float, t_mv: float, dome: str, qrs: str) -> None:
    check(ec13(rate_hz, t_mv, dome, qrs), rate_hz)


@pytest.mark.parametrize("rate_hz", [100.0, 125.0, 250.0, 500.0])
@pytest.mark.parametrize("t_mv", [0.6, 1.2, -1.2])
@pytest.mark.parametrize("late_s", [0.24, 0.26, 0.3, 0.33])
def test_a_t_wave_of_a_gentle_shape_is_no_heartbeat(rate_hz: float, t_mv: float, late_s: float) -> None:
    check(usual(rate_hz, t_mv, late_s), rate_hz)


@pytest.mark.parametrize("rate_hz", [125.0, 250.0])
@pytest.mark.parametrize("rr_s", [0.3, 0.34])
def test_a_fast_heart_is_not_taken_for_t_waves(rate_hz: float, rr_s: float) -> None:
    """200 and 176 a minute, narrow and wide: the next beat comes where a T wave would."""
    for widen in (1.0, 2.2):
        t = np.arange(int(60 * rate_hz)) / rate_hz
        beats = np.concatenate([np.arange(0.5, 20, 0.8), np.arange(20.3, 60, rr_s)])
        signal = np.random.default_rng(3).normal(0, 0.02, t.size)
        for beat in beats:
            wide = widen if beat > 20 else 1.0
            for offset, width, height in WAVES[1:4]:
                signal += height * np.exp(-0.5 * ((t - beat - wide * offset) / (wide * width)) ** 2)
        detector = HeartDetector(capacity=1)
        said = {d.code for chunk in chunks(signal, rate_hz) for d in detector.step(chunk).detections}
        assert said & {"heart.tachycardia", "heart.ventricular_tachycardia"}
        found, _ = detect_beats(signal, rate_hz)
        fast = found[(found > 25 * NS_PER_S) & (found < 59 * NS_PER_S)]
        assert abs(len(fast) - 34 / rr_s) <= 4


def test_fibrillation_is_no_row_of_t_waves() -> None:
    """Every wave of it is a dome as high as the one before, in the time of a T wave."""
    recording = read(EXAMPLES / "ventricular-fibrillation.vigil")
    core = Core(registry=recording.registry)
    events = [event for record in recording.records for event in core.telemetry(record.payload, record.arrival_ns).outputs.events]
    assert "heart.ventricular_fibrillation" in {event.code for event in events if event.phase == "onset"}
