"""Every online model Vigil has; they fulfil the detectors' contract on feature frames."""

from __future__ import annotations

from typing import Any, Final

from engine.detector import Detector
from models.heart_baseline.detector import HeartBaselineModel

MODELS: Final[tuple[type[Detector[Any, Any]], ...]] = (HeartBaselineModel,)
