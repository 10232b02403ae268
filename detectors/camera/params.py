"""What a home may tune about falls that a camera reports."""

from __future__ import annotations

from pydantic import Field

from engine.detector import Params


class CameraParams(Params):
    """Which reports of a camera become an alarm."""

    confidence_fraction_min: float = Field(default=0.5, ge=0, le=1, description="Least confidence of the camera's own analysis, 0..1.")
    same_fall_s: float = Field(
        default=60.0, ge=1, le=3600, description="Reports closer than this to the last one belong to the same fall, s."
    )
