"""Which reports of a camera are a fall."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.camera.detector import CameraDetector
from detectors.camera.params import CameraParams
from engine.events import Detection
from engine.frame import NS_PER_S, frame
from engine.kinds import CAMERA_FALL

START_NS = 1_700_000_000 * NS_PER_S


def falls(*reports: tuple[float, float, float], params: CameraParams | None = None, valid: bool = True) -> list[Detection]:
    """Detections in reports (second, code, confidence)."""
    detector = CameraDetector(params, capacity=1)
    found = []
    for second, code, confidence in reports:
        sample = np.array([[[code, confidence]]], np.float32)
        found += detector.step(frame("camera_event", 0, START_NS + round(second * NS_PER_S), 0.0, sample, valid=[valid])).detections
    return found


def test_a_confident_fall_alarms_at_once() -> None:
    found = falls((5, CAMERA_FALL, 0.75))
    assert [(d.code, d.onset_ns, d.score) for d in found] == [("camera.fall", START_NS + 5 * NS_PER_S, 0.75)]


@pytest.mark.parametrize("report", [(0, CAMERA_FALL, 0.49), (0, 2, 1.0), (0, float("nan"), 1.0), (0, CAMERA_FALL, float("nan"))])
def test_other_reports_do_not(report: tuple[float, float, float]) -> None:
    assert falls(report) == []


def test_a_person_who_stays_down_is_one_fall() -> None:
    assert len(falls(*((second, CAMERA_FALL, 0.9) for second in range(0, 600, 30)))) == 1


def test_another_fall_is_another_alarm() -> None:
    assert len(falls((0, CAMERA_FALL, 0.9), (90, CAMERA_FALL, 0.9))) == 2


def test_a_late_report_is_its_own_fall() -> None:
    assert [d.onset_ns - START_NS for d in falls((100, CAMERA_FALL, 0.9), (10, CAMERA_FALL, 0.9))] == [100 * NS_PER_S, 10 * NS_PER_S]


def test_flagged_chunks_are_not_used() -> None:
    assert falls((0, CAMERA_FALL, 0.9), valid=False) == []


def test_confidence_is_a_parameter() -> None:
    assert falls((0, CAMERA_FALL, 0.8), params=CameraParams(confidence_fraction_min=0.9)) == []
