"""A fall the camera is sure of, and reports that are none."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.frame import GAP_RESTART, NS_PER_S, Frame, frame
from engine.kinds import CAMERA_FALL

START_NS: Final = 1_700_000_000 * NS_PER_S
ONSET_NS: Final = START_NS + 30 * NS_PER_S
EXPECTED: Final = ("camera.fall",)
OTHER_CODE: Final = 7


def _report(t_ns: int, code: float, confidence: float, gap: int = 0) -> Frame:
    return frame("camera_event", 0, t_ns, 0.0, np.array([[[code, confidence]]], np.float32), gap_ns=[gap])


def positive() -> list[Frame]:
    """Something else first, then a fall that the camera repeats while the person lies there."""
    frames = [_report(START_NS, OTHER_CODE, 0.99, GAP_RESTART)]
    return [*frames, *(_report(ONSET_NS + second * NS_PER_S, CAMERA_FALL, 0.9) for second in range(0, 30, 5))]


def negative() -> list[Frame]:
    """Doubtful falls, other codes, missing values."""
    reports = ((CAMERA_FALL, 0.3), (OTHER_CODE, 1.0), (float("nan"), 1.0), (CAMERA_FALL, float("nan")))
    return [_report(START_NS + i * 60 * NS_PER_S, *report, GAP_RESTART if i == 0 else 0) for i, report in enumerate(reports)]
