"""What a care manager may tune about fall detection."""

from __future__ import annotations

from pydantic import Field

from engine.detector import Params


class FallParams(Params):
    """Limits of the fall rule; the reasons and sources are in README.md."""

    impact_g: float = Field(
        2.0, ge=1.2, le=6.0, description="Smallest peak acceleration magnitude of an impact; lower for a frail person on soft floors."
    )
    impulse_g_s: float = Field(
        0.16,
        ge=0.05,
        le=2.0,
        description="Impulse of a typical gentle fall: the acceleration magnitude above 1 g summed over the second around the peak. 0.16 g·s is a change of speed of 1.6 m/s: a drop of 0.13 m stopped at once, or of 0.4 m on something soft.",
    )
    rotation_deg: float = Field(
        60.0, ge=20.0, le=150.0, description="Turn of the sensor against gravity in a typical fall: an upright trunk turned this far lies."
    )
    rotation_deg_min: float = Field(25.0, ge=0.0, le=90.0, description="Below this turn nothing is called a fall, however hard the impact.")
    still_g: float = Field(0.08, ge=0.02, le=0.5, description="Acceleration scatter of a person who lies still and breathes.")
    still_g_max: float = Field(0.25, ge=0.02, le=1.0, description="Above this scatter the person is up and moving.")
    settle_s: float = Field(1.5, ge=0.3, le=2.0, description="Longest time from the impact to the beginning of stillness.")
    still_s: float = Field(1.0, ge=0.5, le=3.0, description="How long the stillness must last before a fall is called.")
    contrast_ratio: float = Field(
        1.5, ge=1.0, le=5.0, description="How much harder than the 4 s before it an impact must be, else it is one of many steps or claps."
    )
    abrupt_s: float = Field(
        0.7,
        ge=0.3,
        le=1.5,
        description="A hard rhythm (running) that ends lying and still within this time is a fall without the contrast.",
    )
    gap_bridge_s: float = Field(2.0, ge=0.0, le=4.0, description="Longest data gap over which posture before and after are still compared.")
    refractory_s: float = Field(
        60.0, ge=5.0, le=600.0, description="After a fall, further impacts (attempts to get up, helpers) belong to the same fall."
    )
