"""What a care manager may tune about the personal heart-rate baseline."""

from __future__ import annotations

from pydantic import Field

from engine.detector import Params


class HeartBaselineParams(Params):
    """Limits and times of the personal baseline."""

    deviation_z: float = Field(4, ge=2, le=10, description="how many personal standard deviations from the usual rate are unusual")
    deviation_bpm_min: float = Field(15, ge=5, le=60, description="and at least this far from it")
    confirm_min: float = Field(20, ge=1, le=240, description="how long the heart rate must stay unusual")
    clear_min: float = Field(15, ge=1, le=240, description="how long it must be usual again")
    warmup_h: float = Field(12, ge=1, le=168, description="hours of good minutes in a part of the day before it is judged")
    half_life_h: float = Field(72, ge=6, le=720, description="hours of good minutes after which a memory counts half")
    coverage_fraction_min: float = Field(0.5, ge=0.1, le=1, description="share of a minute that must have been measured")
