"""Every detector Vigil has. Registering here gets a class the conformance suite, its parameters in the configuration, and a place in the engine."""

from __future__ import annotations

from typing import Any, Final

from detectors.camera.detector import CameraDetector
from detectors.falls.detector import FallDetector
from detectors.fire.detector import FireDetector
from detectors.heart.detector import HeartDetector
from detectors.pressure_injury.detector import PressureInjuryDetector
from detectors.sos.detector import SosDetector
from engine.detector import Detector

DETECTORS: Final[tuple[type[Detector[Any, Any]], ...]] = (
    FallDetector,
    HeartDetector,
    PressureInjuryDetector,
    FireDetector,
    SosDetector,
    CameraDetector,
)
