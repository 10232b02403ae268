"""Heart detector and baseline: what fires, what stays quiet, and what missing data may not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality.heart import score_beats, scored
from detectors.heart.detector import HeartDetector, detect_beats
from detectors.heart.examples import RATE_HZ, chunks, ecg, positive
from detectors.heart.params import HeartParams
from engine.detector import Detector
from engine.events import Detection
from engine.frame import NS_PER_S, Frame, frame
from models.heart_baseline.detector import COLUMNS, FEATURE, HeartBaselineModel
from models.heart_baseline.examples import positive as fever
from streams.recordings.importers import wfdb_records

MINUTE = 60


def say(detector: Detector[Any, Any], frames: list[Frame]) -> list[Detection]:
    return [d for f in frames for d in detector.step(f).detections]


def vitals(
    seconds: int, heart: float = 70, respiration: float = 16, spo2: float = 97, start_s: float = 0, first: bool = True
) -> list[Frame]:
    rows = np.tile(np.array([heart, respiration, spo2, 36.5, 120, 80], np.float32), (1, seconds, 1))
    return [frame("vitals", [0], [int(start_s * NS_PER_S)], 1.0, rows, gap_ns=[-1 if first else 0])]


def onsets(found: list[Detection]) -> list[str]:
    return [d.code for d in found if d.phase == "onset"]


@pytest.mark.parametrize("rate_hz", [100.0, 125.0, 250.0, 360.0, 1000.0])
def test_every_beat_is_found_at_any_rate(rate_hz: float) -> None:
    beats = np.arange(0.5, 60, 0.8)
    times, wide = detect_beats(ecg(beats, 60, rate_hz), rate_hz)
    hits, missed, extra = score_beats(beats[beats > 4], times[times > 4 * NS_PER_S] / NS_PER_S, window_s=0.05)
    assert (missed, extra) == (0, 0)
    assert hits > 60
    assert not wide.any()


def test_asystole_fires_within_six_seconds_and_clears_with_the_beats() -> None:
    beats = np.concatenate([np.arange(0.5, 30, 0.8), np.arange(42, 60, 0.8)])
    found = say(HeartDetector(), chunks(ecg(beats, 60)))
    assert [(d.code, d.phase) for d in found] == [("heart.asystole", "onset"), ("heart.asystole", "clear")]
    assert found[0].decided_ns - found[0].onset_ns <= 6 * NS_PER_S
    assert found[1].onset_ns == found[0].onset_ns


@pytest.mark.parametrize("rr_s", [1.8, 3.5])
def test_a_heart_that_slows_suddenly_is_found_beat_by_beat(rr_s: float) -> None:
    beats = np.concatenate([np.arange(0.5, 30, 0.8), np.arange(30 + rr_s - 0.3, 118, rr_s)])
    signal = ecg(beats, 120)
    times, _ = detect_beats(signal, RATE_HZ)
    _, missed, extra = score_beats(beats[beats > 4], times[times > 4 * NS_PER_S] / NS_PER_S)
    assert (missed, extra) == (0, 0)
    assert onsets(say(HeartDetector(), chunks(signal))) == ["heart.bradycardia"]


@pytest.mark.parametrize("share", [0.5, 0.3])
def test_complexes_that_become_smaller_are_found_again(share: float) -> None:
    beats = np.arange(0.5, 90, 0.8)
    signal = ecg(beats, 90)
    signal[int(30 * RATE_HZ) :] *= share
    times, _ = detect_beats(signal, RATE_HZ)
    late = beats[beats > 45]
    hits, _, extra = score_beats(late, times[times > 45 * NS_PER_S - NS_PER_S // 5] / NS_PER_S)
    assert (hits, extra) == (late.size, 0)


def test_an_asystole_lasts_until_five_beats_follow_each_other() -> None:
    beats = np.concatenate([np.arange(0.5, 30, 0.8), np.arange(35, 80, 4.8), np.arange(80, 100, 0.8)])
    found = [d for d in say(HeartDetector(), chunks(ecg(beats, 100))) if d.code == "heart.asystole"]
    assert [d.phase for d in found] == ["onset", "clear"]
    assert found[1].decided_ns - found[0].decided_ns > 45 * NS_PER_S


@pytest.mark.parametrize("tail", [np.nan, 0.0, 5.0])
def test_a_lead_that_falls_off_is_not_asystole(tail: float) -> None:
    signal = ecg(np.arange(0.5, 30, 0.8), 60)
    signal[int(30 * RATE_HZ) :] = tail
    assert say(HeartDetector(), chunks(signal)) == []


def test_missing_data_clears_nothing() -> None:
    detector = HeartDetector()
    assert onsets(say(detector, positive())) == ["heart.tachycardia"]
    start = positive()[-1].t0_ns[0] + NS_PER_S
    silence = chunks(np.full(int(600 * RATE_HZ), np.nan), start_ns=int(start))
    assert say(detector, [f._replace(gap_ns=np.zeros(1, np.int64)) for f in silence]) == []


def test_bradycardia_from_rr_intervals() -> None:
    rr = np.full((1, 60, 1), 1800, np.float32)
    found = say(HeartDetector(), [frame("rr_interval", [0], [0], 0.0, rr, gap_ns=[-1])])
    assert onsets(found) == ["heart.bradycardia"]
    assert found[0].values["heart_rate_bpm"] == pytest.approx(33.3, abs=0.1)


def test_irregular_intervals_are_fibrillation_and_regular_ones_are_not() -> None:
    rng = np.random.default_rng(3)
    chaos = rng.uniform(450, 1100, (1, 900, 1)).astype(np.float32)
    calm = (800 + 30 * np.sin(np.arange(900) / 4) + rng.normal(0, 8, 900)).astype(np.float32).reshape(1, 900, 1)
    assert "heart.atrial_fibrillation" in onsets(say(HeartDetector(), [frame("rr_interval", [0], [0], 0.0, chaos, gap_ns=[-1])]))
    assert say(HeartDetector(), [frame("rr_interval", [0], [0], 0.0, calm, gap_ns=[-1])]) == []


@pytest.mark.parametrize(
    ("reading", "code"),
    [
        ({"heart": 150}, "heart.tachycardia"),
        ({"heart": 30}, "heart.bradycardia"),
        ({"spo2": 85}, "heart.spo2_low"),
        ({"respiration": 6}, "heart.respiration_low"),
        ({"respiration": 30}, "heart.respiration_high"),
    ],
)
def test_vital_signs_fire_once_and_clear_once(reading: dict[str, float], code: str) -> None:
    found = say(HeartDetector(), vitals(200, **reading) + vitals(200, start_s=200, first=False))  # type: ignore[arg-type]
    assert [(d.code, d.phase) for d in found] == [(code, "onset"), (code, "clear")]


def test_two_sources_do_not_double_an_event() -> None:
    detector = HeartDetector()
    rr = frame("rr_interval", [0], [0], 0.0, np.full((1, 300, 1), 400, np.float32), gap_ns=[-1])
    assert onsets(say(detector, [*vitals(120, heart=150), rr])) == ["heart.tachycardia"]


def test_a_resident_has_limits_of_their_own() -> None:
    detector = HeartDetector()
    detector.override(0, "spo2_percent_min", 84)
    assert say(detector, vitals(300, spo2=88)) == []


def test_minutes_carry_the_median_rate() -> None:
    detector = HeartDetector()
    frames = chunks(ecg(np.arange(0.5, 200, 0.8), 200), start_ns=MINUTE * NS_PER_S)
    rows = [row for f in frames for row in detector.step(f).features]
    assert [int(row.t0_ns[0]) // (MINUTE * NS_PER_S) for row in rows] == [1, 2, 3]
    assert rows[1].samples[0, 0, 0] == pytest.approx(75, abs=0.6)
    assert rows[1].samples[0, 0, 3] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("sizes", [(1,), (7, 130, 31), (999,)])
def test_events_and_minutes_do_not_depend_on_the_cut(sizes: tuple[int, ...]) -> None:
    beats = np.concatenate([np.arange(0.5, 20, 0.8), np.arange(20, 80, 0.4), np.arange(90, 100, 0.8)])
    signal = ecg(beats, 100, 250.0).astype(np.float32)[None, :, None]
    whole = HeartDetector().step(frame("ecg", [0], [0], 250.0, signal, gap_ns=[-1]))
    detector, at, number = HeartDetector(), 0, 0
    found: list[Detection] = []
    minutes: list[Frame] = []
    while at < signal.shape[1]:
        size = sizes[number % len(sizes)]
        part = np.ascontiguousarray(signal[:, at : at + size])
        said = detector.step(frame("ecg", [0], [round(at * NS_PER_S / 250)], 250.0, part, gap_ns=[-1 if at == 0 else 0]))
        found, minutes, at, number = found + said.detections, minutes + said.features, at + size, number + 1
    assert found == whole.detections
    assert "heart.tachycardia" in onsets(found)
    assert "heart.asystole" in onsets(found)
    for mine, other in zip(minutes, whole.features, strict=True):
        np.testing.assert_array_equal(mine.samples, other.samples)


def test_baseline_learns_nothing_from_nonsense_and_survives_a_snapshot() -> None:
    frames = fever()
    plain, cut = HeartBaselineModel(), HeartBaselineModel()
    half = len(frames) // 2
    nonsense = frames[0]._replace(samples=np.full_like(frames[0].samples, np.nan), t0_ns=frames[half].t0_ns)
    first = say(cut, [*frames[:half], nonsense])
    revived = HeartBaselineModel()
    revived.restore(cut.snapshot())
    found = first + say(revived, frames[half:])
    assert found == say(plain, frames)
    assert onsets(found) == ["heart_baseline.deviation"]


def test_baseline_reads_the_columns_that_the_detector_writes() -> None:
    assert HeartDetector.spec.features[FEATURE] == COLUMNS


@pytest.mark.data
def test_beats_of_mitdb_are_found(data_root: Path) -> None:
    records = (wfdb_records.load(header.with_suffix("")) for header in sorted((data_root / "mitdb").glob("*.hea")))
    rows = [row for row in (scored(record, 2) for record in records) if row is not None]
    assert len(rows) > 1
    hits, missed, extra = (sum(getattr(r, name) for r in rows) for name in ("hits", "missed", "extra"))
    assert hits / (hits + missed) >= 0.996
    assert hits / (hits + extra) >= 0.996


def test_parameters_refuse_what_is_not_there() -> None:
    with pytest.raises(ValueError, match="rate_bpm_max"):
        HeartParams(rate_bpm_max=500)
