"""What a care manager may tune, and why the defaults are what they are."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from detectors.pressure_injury.state import PressureInjuryLimits
from engine.detector import Params
from engine.frame import NS_PER_S


class PressureInjuryParams(Params):
    """Turning schedule, what counts as a turn, and how long missing data is bridged."""

    turn_interval_s: float = Field(
        7200,
        ge=1800,
        le=21600,
        description="longest time on one side before a turn is due; 2 h is the customary default, 3 and 4 h were as safe on "
        "high-density foam (TEAM-UP, Yap et al., Adv Skin Wound Care 2022;35:315)",
    )
    unseen_interval_s: float = Field(
        14400,
        ge=1800,
        le=28800,
        description="longest time in bed when posture cannot be seen (bed sensor alone, coarse map): turns are invisible then, so the "
        "upper end of the 2-4 h range applies",
    )
    decompression_s: float = Field(
        900,
        ge=120,
        le=3600,
        description="a turn counts when the former side stays relieved this long (15 min: the TEAM-UP protocol's definition of a turn)",
    )
    exit_confirm_s: float = Field(
        120,
        ge=10,
        le=900,
        description="out of bed this long counts as relief (tissue oxygen recovers in 111 s on average: Coggrave & Rose, Spinal Cord "
        "2003;41:692)",
    )
    gap_bridge_s: float = Field(
        1800,
        ge=0,
        le=7200,
        description="missing data is counted as time on the same side for this long; after a longer gap the clock starts anew",
    )
    map_fresh_s: float = Field(
        900, ge=60, le=3600, description="the map decides presence and posture until it is this old; then the bed sensor says who is in bed"
    )
    analysis_period_s: float = Field(5, ge=1, le=60, description="one map in each such period is analysed")
    vote_time_constant_s: float = Field(60, ge=5, le=300, description="memory of the posture vote: a restless minute does not change it")
    vote_fraction_min: float = Field(0.6, gt=0.5, lt=1, description="share of the vote a new posture needs to be believed")
    posture_probability_min: float = Field(
        0.5, ge=0.34, lt=1, description="a map whose most probable posture is less probable than this tells none"
    )
    contact_fraction_min: float = Field(0.06, ge=0, le=0.5, description="share of loaded cells below which nobody lies there")
    load_fraction_min: float = Field(
        0.15, ge=0, le=0.9, description="mean load below this share of the resident's own usual load is an empty bed (blanket, creep)"
    )
    coherence_ratio_min: float = Field(
        0.3,
        ge=0,
        le=0.9,
        description="correlation of neighbouring rows below which a map is noise, not a body (bodies: > 0.6, noise: about 0)",
    )
    missing_fraction_max: float = Field(0.3, ge=0, le=0.9, description="share of missing cells above which a map tells nothing")
    stuck_s: float = Field(600, ge=60, le=7200, description="identical maps for this long come from a stuck device: they tell nothing")
    in_bed_fraction_min: float = Field(0.5, gt=0, le=1, description="bed sensor: in-bed fraction from which somebody lies there")
    moisture_fraction_min: float = Field(0.5, gt=0, le=1, description="moisture fraction from which bedding counts as wet")
    moisture_hysteresis_fraction: float = Field(
        0.1, ge=0, le=0.5, description="moisture must fall this much below moisture_fraction_min to count as dry"
    )
    moisture_confirm_s: float = Field(300, ge=0, le=3600, description="wet, or dry again, for this long before it is said")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.decompression_s >= self.turn_interval_s:
            raise ValueError(
                f"decompression_s {self.decompression_s} must be below turn_interval_s {self.turn_interval_s}: no turn could ever count"
            )
        if self.gap_bridge_s and self.map_fresh_s > self.gap_bridge_s:
            raise ValueError(
                f"map_fresh_s {self.map_fresh_s} must not exceed gap_bridge_s {self.gap_bridge_s}: the clock would restart in between"
            )
        return self

    def limits(self) -> PressureInjuryLimits:
        """The same in nanoseconds, as the kernels take it."""

        def ns(seconds: float) -> int:
            return round(seconds * NS_PER_S)

        return PressureInjuryLimits(
            ns(self.unseen_interval_s),
            ns(self.decompression_s),
            ns(self.exit_confirm_s),
            ns(self.gap_bridge_s),
            ns(self.map_fresh_s),
            ns(self.analysis_period_s),
            ns(self.vote_time_constant_s),
            ns(self.stuck_s),
            ns(self.moisture_confirm_s),
            self.vote_fraction_min,
            self.posture_probability_min,
            self.contact_fraction_min,
            self.load_fraction_min,
            self.coherence_ratio_min,
            self.missing_fraction_max,
            self.in_bed_fraction_min,
            self.moisture_fraction_min,
            self.moisture_fraction_min - self.moisture_hysteresis_fraction,
        )
