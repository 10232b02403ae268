"""Seconds of data that a radio lost: what goes on before and after them goes on, and what they may hide is not made up."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest

from detectors.heart.detector import HeartDetector
from detectors.heart.examples import chunks, ecg
from engine.frame import NS_PER_S, Frame, frame

START_NS: Final = 1_767_225_600 * NS_PER_S


def codes(detector: HeartDetector, frames: list[Frame]) -> list[tuple[str, str, float]]:
    found = []
    for one in frames:
        found += detector.step(one).detections
    return [(d.code, d.phase, (d.decided_ns - START_NS) / NS_PER_S) for d in found]


def lost(frames: list[Frame], gone: Any) -> list[Frame]:
    """Without those whose number is in `gone`; the next one says how long the hole is."""
    left, gap_ns = [], 0
    for number, one in enumerate(frames):
        if number in gone:
            gap_ns += NS_PER_S
        else:
            left.append(one._replace(gap_ns=one.gap_ns + gap_ns) if gap_ns else one)
            gap_ns = 0
    return left


def beats_of(rr_s: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.cumsum(rr_s)


def irregular(seconds: float) -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).uniform(0.4, 1.1, int(seconds / 0.75)).astype(np.float64)


def test_a_tachycardia_is_confirmed_although_one_second_in_ten_is_lost() -> None:
    beats = np.concatenate([np.arange(0.5, 60, 0.8), np.arange(60, 180, 0.42)])
    found = codes(HeartDetector(), lost(chunks(ecg(beats, 180)), range(5, 180, 10)))
    assert [entry[:2] for entry in found] == [("heart.tachycardia", "onset")]
    assert found[0][2] <= 60 + 45


def test_two_short_runs_with_a_minute_between_them_are_none() -> None:
    beats = np.concatenate([np.arange(0.5, 60, 0.8), np.arange(60, 80, 0.42), np.arange(140, 160, 0.42), np.arange(160, 200, 0.8)])
    assert codes(HeartDetector(), lost(chunks(ecg(beats, 200)), range(80, 140))) == []


@pytest.mark.parametrize("share", [0.02, 0.1])
@pytest.mark.parametrize("kind", ["ecg", "rr_interval"])
def test_a_fibrillation_is_confirmed_although_packets_are_lost(kind: str, share: float) -> None:
    rr_s = irregular(900)
    if kind == "ecg":
        frames = chunks(ecg(beats_of(rr_s), 900))
        gone = set(np.flatnonzero(np.random.default_rng(2).random(len(frames)) < share).tolist())
        frames = lost(frames, gone)
    else:
        ends_ns = START_NS + (np.cumsum(rr_s) * NS_PER_S).astype(np.int64)
        frames = []
        for first in range(0, rr_s.size - 20, 20):  # of some 15 s each: more than a rate is carried on over
            begin_ns = int(ends_ns[first - 1]) if first else START_NS
            frames.append(
                frame("rr_interval", [0], [begin_ns], 0.0, (rr_s[None, first : first + 20, None] * 1e3).astype(np.float32), gap_ns=[0])
            )
        frames[0] = frames[0]._replace(gap_ns=np.array([-1]))
        frames = [one for number, one in enumerate(frames) if number % round(1 / share) != 7]
    found = codes(HeartDetector(), frames)
    assert ("heart.atrial_fibrillation", "onset") in [entry[:2] for entry in found]
    assert next(at_s for code, _, at_s in found if code == "heart.atrial_fibrillation") <= 660


def test_minutes_that_nobody_saw_are_no_part_of_a_fibrillation() -> None:
    rr_s = irregular(1500)
    frames = chunks(ecg(beats_of(rr_s), 1500))
    gone = [number for number in range(1500) if number % 400 >= 250]  # four minutes, and a hole of two and a half
    found = codes(HeartDetector(), lost(frames, set(gone)))
    assert [entry for entry in found if entry[0] == "heart.atrial_fibrillation"] == []
