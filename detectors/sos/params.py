"""What a home may tune about call buttons."""

from __future__ import annotations

from pydantic import Field

from engine.detector import Params


class SosParams(Params):
    """When a press is a new call. Shorter times can only add calls, never lose one."""

    rearm_s: float = Field(
        default=5.0,
        ge=0.2,
        le=60,
        description="Presses within this time of a call belong to it (bouncing contact, a button pressed repeatedly), s.",
    )
    held_s: float = Field(
        default=8.0,
        ge=1,
        le=10,
        description="A button that reports no releases, and reports pressed again within this time, is being held down, s.",
    )
    unreleased_s: float = Field(
        default=30.0,
        ge=10,
        le=3600,
        description="The same for a button that does report releases (a pull cord that stays pulled); a lost release locks no longer, s.",
    )
