"""A resident's own limits are in force from the frame after they were set, whatever the detector has kept from the frame before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from detectors.heart.detector import HeartDetector
from engine.frame import NS_PER_S, frame

T0_NS = 1_750_000_000 * NS_PER_S
BPM = 100.0
OWN_BPM_MAX = 80.0


def tachycardias(detector: HeartDetector, after_s: int, seconds: int = 120) -> int:
    """How often a heart rate of BPM is said to be too fast, from `after_s` seconds on."""
    found = 0
    for second in range(after_s, after_s + seconds):
        values = np.array([[[BPM, 16.0, 97.0, np.nan, np.nan, np.nan]]], np.float32)
        said = detector.step(frame("vitals", [0], [T0_NS + second * NS_PER_S], 1.0, values, gap_ns=[-1 if second == 0 else 0]))
        found += sum(d.code == "heart.tachycardia" and d.phase == "onset" for d in said.detections)
    return found


def overridden(detector: HeartDetector) -> HeartDetector:
    """The resident gets a limit of their own."""
    detector.override(0, "rate_bpm_max", OWN_BPM_MAX)
    return detector


def restored(detector: HeartDetector) -> HeartDetector:
    """The state of another detector, in which the limit was set, is taken over."""
    detector.restore(overridden(HeartDetector(capacity=1)).snapshot())
    return detector


def grown(detector: HeartDetector) -> HeartDetector:
    """The limit stays when there is room for more residents."""
    overridden(detector).grow(4)
    return detector


@pytest.mark.parametrize("change", [overridden, restored, grown])
def test_a_limit_set_between_two_frames_is_in_force_with_the_next(change: Callable[[HeartDetector], HeartDetector]) -> None:
    detector = HeartDetector(capacity=1)
    assert tachycardias(detector, 0) == 0
    assert tachycardias(change(detector), 120) == 1


def test_whoever_comes_next_has_the_usual_limits() -> None:
    detector = overridden(HeartDetector(capacity=1))
    assert tachycardias(detector, 0) == 1
    detector.forget(np.array([0], np.int32))
    assert tachycardias(detector, 0) == 0
