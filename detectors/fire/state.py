"""What the fire detector remembers per room, its parameters and its findings, as the kernels take them."""

from __future__ import annotations

from typing import Final, NamedTuple

from engine.frame import Bool, Float64, Int64

NEVER: Final = -1
"""A time that has not come yet."""

# Channels with a memory. The first three are columns of room_air in this order, the last two of electrical.
SMOKE: Final = 0
CO: Final = 1
TEMPERATURE: Final = 2
HUMIDITY: Final = 3
RESIDUAL: Final = 3
CABLE: Final = 4
CHANNELS: Final = 5
ROOM_COLUMNS: Final = 4
ELECTRICAL_COLUMNS: Final = 2

# Conditions, in the order of detector.CODES.
C_SMOKE: Final = 0
C_HEAT: Final = 1
C_RISE: Final = 2
C_CO: Final = 3
C_PREWARNING: Final = 4
C_RESIDUAL: Final = 5
C_CABLE: Final = 6
CONDITIONS: Final = 7

DB_PER_OD: Final = 10.0
"""Optical density (decadic, 1/m) times ten is dB/m (EN 54-7, definition of m)."""

MINUTE_NS: Final = 60_000_000_000
S_PER_MIN: Final = 60.0
NS_PER_S: Final = 1e9

# Share of a limit at which its pre-warning starts and ends, and at which the alarm ends.
HALF: Final = 0.5
QUARTER: Final = 0.25
HEAT_PREWARNING_K: Final = 10.0
"""Pre-warning 10 K below the alarm, as shipping A1 heat detectors do."""
HEAT_HYSTERESIS_K: Final = 5.0
CABLE_HYSTERESIS_K: Final = 10.0
RESIDUAL_CLEAR_SHARE: Final = 0.8
COHB_HYSTERESIS_PERCENT: Final = 1.0

VALUES: Final = 6
FEATURES: Final = 6


class FireState(NamedTuple):
    """Per room: last readings, filters, latches and the running minute. Times are device ns, NEVER = none."""

    seen_ns: Int64  # (slot, CHANNELS) time of the last reading
    before: Float64  # (slot, CHANNELS, 2) the two readings before, newest last
    smoke: Float64  # (slot, 2) filtered, clean-air baseline; 1/m
    smoke_start_ns: Int64  # (slot,) when this room's smoke channel first spoke
    co: Float64  # (slot, 3) filtered ppm, baseline ppm, COHb %
    heat: Float64  # (slot, 4) fast, slow, baseline °C; rate K/min
    raised: Bool  # (slot, 3) pre-warning level of SMOKE, CO, TEMPERATURE
    active: Bool  # (slot, CONDITIONS)
    since_ns: Int64  # (slot, CONDITIONS) start of the run above the limit
    below_ns: Int64  # (slot, CONDITIONS) start of the run below the lower limit
    onset_ns: Int64  # (slot, CONDITIONS) of the active condition
    minute: Int64  # (slot,) number of the running minute of device time
    sums: Float64  # (slot, ROOM_COLUMNS)
    counts: Float64  # (slot, ROOM_COLUMNS)


class FireLimits(NamedTuple):
    """Parameters common to all rooms, in SI-like units: 1/m, ppm, K, K/min, seconds as ns."""

    heat_fast_below_c: float
    heat_fast_rise_in_1min_c: float
    rise_c_min: float
    rise_floor_below_c: float
    rise_corroborate_c: float
    smoke_corroborated_per_m: float
    smoke_drift_ratio_per_h: float
    smoke_offset_ratio: float
    cohb_prewarning_percent: float
    co_floor_ppm: float
    co_corroborate_ppm: float
    clear_ns: int
    confirm_ns: tuple[int, int, int, int, int, int, int]


class Columns(NamedTuple):
    """Parameters that may differ by room, (slot,) each."""

    heat_static_c: Float64
    rise_in_1min_c: Float64
    smoke_alarm_db_per_m: Float64
    cohb_alarm_percent: Float64
    residual_current_ma: Float64
    cable_c: Float64


class Found(NamedTuple):
    """Transitions: `when` int64 (m, 5) = slot, condition, 1 for onset or 0 for clear, onset_ns, decided_ns; `values` (m, VALUES).

    `minutes` int64 (f, 2) = slot, start of the minute; `features` (f, FEATURES).
    """

    when: Int64
    values: Float64
    minutes: Int64
    features: Float64
