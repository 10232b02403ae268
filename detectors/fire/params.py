"""What a home may tune about fire: limits in the units of the standards they come from."""

from __future__ import annotations

from pydantic import Field

from engine.detector import Params


class FireParams(Params):
    """Limits of the fire and electrical-fire detector. The README gives the clause behind every default."""

    heat_static_c: float = Field(
        default=56.0,
        ge=54,
        le=85,
        description="Fixed-temperature limit, °C. 54–65 is class A1 (EN 54-5 / GB 4716); kitchens and boilers: class B, 69–85.",
    )
    heat_fast_below_c: float = Field(
        default=10.0, ge=0, le=10, description="How far below heat_static_c a fast-rising room already alarms, °C."
    )
    heat_fast_rise_in_1min_c: float = Field(
        default=4.0, ge=2, le=10, description="Rise within a minute from which the lower heat limit counts, °C."
    )
    heat_confirm_s: float = Field(default=5.0, ge=0, le=60, description="How long a heat limit must be exceeded, s.")

    rise_in_1min_c: float = Field(
        default=8.3,
        ge=5,
        le=30,
        description="Rise within a minute that counts as a fire criterion, °C (15 °F/min; EN 54-5 tests class R from 10).",
    )
    rise_c_min: float = Field(
        default=8.0, ge=3, le=30, description="Rise over the room's own recent temperature that rate of rise needs as well, °C."
    )
    rise_floor_below_c: float = Field(
        default=20.0, ge=10, le=30, description="Rate of rise counts without smoke or CO only from heat_static_c minus this, °C."
    )
    rise_confirm_s: float = Field(default=10.0, ge=0, le=60, description="How long the rise must last, s.")
    rise_corroborate_c: float = Field(default=3.0, ge=1, le=10, description="Rise that lets heat confirm smoke (when it is that fast), °C.")

    smoke_alarm_db_per_m: float = Field(
        default=0.2, ge=0.05, le=2, description="Smoke alarm limit over the clean-air baseline, dB/m (never below 0.05: EN 54-7 / GB 4715)."
    )
    smoke_corroborated_db_per_m: float = Field(default=0.05, ge=0.05, le=1, description="Smoke limit once heat or CO rises with it, dB/m.")
    smoke_confirm_s: float = Field(default=5.0, ge=0, le=60, description="How long the smoke limit must be exceeded, s.")
    smoke_drift_ratio_per_h: float = Field(
        default=0.05,
        ge=0,
        le=0.09,
        description="Fastest upward drift compensation, share of the alarm limit per hour (EN 54-7, slowly developing fires).",
    )
    smoke_offset_ratio: float = Field(
        default=0.6, ge=0, le=0.6, description="Most that drift compensation may add to the alarm limit, share of it."
    )

    cohb_alarm_percent: float = Field(
        default=7.0,
        ge=6.1,
        le=9.7,
        description="CO alarm: carboxyhaemoglobin of a person breathing this room's air, %. 6.1–9.7 meets UL 2034's table.",
    )
    cohb_prewarning_percent: float = Field(default=6.0, ge=5.6, le=9.0, description="CO pre-warning, % carboxyhaemoglobin.")
    co_floor_ppm: float = Field(
        default=30.0, ge=10, le=60, description="Below this the air is not called dangerous whatever the dose, ppm."
    )
    co_corroborate_ppm: float = Field(default=25.0, ge=10, le=200, description="CO rise that confirms smoke or heat, ppm.")
    co_confirm_s: float = Field(default=10.0, ge=0, le=120, description="How long the dose limit must be exceeded, s.")

    prewarning_confirm_s: float = Field(default=20.0, ge=0, le=300, description="How long a pre-warning level must last, s.")

    residual_current_ma: float = Field(
        default=300.0, ge=20, le=1000, description="Residual-current alarm, mA. GB 50116-2013 9.2.3 asks for 300–500."
    )
    residual_confirm_s: float = Field(default=10.0, ge=0, le=30, description="How long the residual current must last, s.")
    cable_c: float = Field(
        default=70.0,
        ge=45,
        le=140,
        description="Cable-temperature alarm, °C: what PVC insulation bears for ever (IEC 60364-5-52 table 52.1).",
    )
    cable_confirm_s: float = Field(default=10.0, ge=0, le=60, description="How long the cable must stay hot, s.")

    clear_s: float = Field(
        default=60.0, ge=10, le=3600, description="How long readings must be back below the lower limit before an alarm ends, s."
    )
    hold_s: float = Field(
        default=150.0,
        ge=10,
        le=600,
        description="Longest silence of a channel that is bridged, s (or 2.5 times the sensor's own interval, if longer).",
    )
