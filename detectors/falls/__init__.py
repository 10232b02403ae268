"""Falls from one worn accelerometer: impact, turned body, stillness."""

from detectors.falls.detector import FallDetector
from detectors.falls.params import FallParams

__all__ = ["FallDetector", "FallParams"]
