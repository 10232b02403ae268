"""Filters of the fire detector: what smoke, carbon monoxide and temperature are, behind noise, drift and wild readings.

Time constants are in seconds and every filter uses the true time since the channel's last reading, so 10 Hz and one
reading a minute run through the same code and no cut into chunks can change a result.
"""

from __future__ import annotations

import math
from typing import Final

from detectors.fire.state import CO, NEVER, NS_PER_S, S_PER_MIN, SMOKE, TEMPERATURE, FireLimits, FireState
from engine.jit import kernel

SMOKE_FILTER_S: Final = 5.0
"""Long enough to average an optical sensor's noise, short against a fire's minute."""
SMOKE_SETTLE_S: Final = 20.0
"""A fresh sensor's offset is read off its first seconds; the offset that may be assumed is bounded (smoke_offset_ratio)."""
SMOKE_BASELINE_DOWN_S: Final = 600.0
"""Air that is cleaner than the baseline proves the baseline wrong: it comes down within minutes, but rises by drift only."""
CO_FILTER_S: Final = 15.0
HEAT_FAST_S: Final = 5.0
HEAT_SLOW_S: Final = 30.0
"""Rate of rise = difference of a 5 s and a 30 s filter over the difference of their lags: exact on a ramp at any rate."""
RATE_SPAN_S: Final = 300.0
"""Readings further apart give no rate: both filters have arrived and their difference is rounding error."""
BASELINE_UP_S: Final = 900.0
BASELINE_DOWN_S: Final = 60.0
"""A room's ordinary temperature and CO: follows up in a quarter of an hour, down in a minute."""

ALONE_S: Final = 45.0
"""A reading whose successor is due later than this may have to stand alone: EN 54-2 (7.12.1) lets a first alarm signal wait no longer than 60 s
to be confirmed by the same detector. A quarter is left for the jitter of slow sensors."""
UNKNOWN_WAIT_S: Final = 600.0
"""A single reading of a sensor that does not say how often it measures, and never spoke before: the slowest that the kind allows."""
SURE_HEAT_K: Final = 11.0
"""So far over the limit one reading is enough: class A1 of EN 54-5 / GB 4716 responds from 54 to 65 °C, so no A1 detector is silent there."""
POWER_ON_C: Final = 85.0
"""What the most common one-wire probe (DS18B20, data sheet: power-on reset value) reports before it has measured: never believed alone."""
SURE_CO_PPM: Final = 300.0
SURE_CO_S: Final = 180.0
"""EN 50291-1: at 300 ppm the alarm has to sound within three minutes. A reading whose successor comes later must be believed."""

SURE_CABLE_K: Final = 20.0
"""PVC bears 70 °C for ever, the best ordinary insulation (XLPE) 90 °C: IEC 60364-5-52 table 52.1."""
SURE_CURRENT_RATIO: Final = 2.0

COHB_START_PERCENT: Final = 0.5
COHB_TAU_S: Final = 2398.0 * 0.0404 * 60.0
COHB_SCALE: Final = 218.0
COHB_BACKGROUND: Final = 0.0003
COHB_PPM: Final = 1316.0
"""Carboxyhaemoglobin after Coburn, Forster and Kane (J Clin Invest 1965;44:1899) with the constants of UL 2034:
%(t) = %(0) e^(-t/2398B) + 218 (1 - e^(-t/2398B)) (0.0003 + ppm/1316), B = 0.0404 (heavy work), t in minutes."""
COHB_CEILING_PERCENT: Final = 20.0
"""Beyond this more dose adds no information; without a ceiling a saturated sensor would stay in alarm for half a day."""


@kernel
def cohb_after(cohb_percent: float, co_ppm: float, seconds: float) -> float:
    """Carboxyhaemoglobin (%) after `seconds` at `co_ppm` (see COHB_PPM for the source)."""
    settled = COHB_SCALE * (COHB_BACKGROUND + max(co_ppm, 0.0) / COHB_PPM)
    after: float = settled + (cohb_percent - settled) * math.exp(-seconds / COHB_TAU_S)
    return min(after, COHB_CEILING_PERCENT)


@kernel
def ramp_lag_s(dt_s: float, tau_s: float) -> float:
    """How far (s) an exponential filter of `tau_s`, fed every `dt_s`, trails a ramp: dt a/(1-a), a = e^(-dt/tau)."""
    keep = math.exp(-dt_s / tau_s)
    return dt_s * keep / (1.0 - keep)


@kernel
def _follow(old: float, new: float, dt_s: float, tau_s: float) -> float:
    return old + (1.0 - math.exp(-dt_s / tau_s)) * (new - old)


@kernel
def _baseline(old: float, new: float, dt_s: float) -> float:
    return _follow(old, new, dt_s, BASELINE_UP_S if new > old else BASELINE_DOWN_S)


@kernel
def median_of_three(state: FireState, slot: int, channel: int, value: float, fresh: bool) -> float:
    """Median of the last three readings, also over a silence: one wild reading moves nothing, a step passes at its second reading."""
    before = state.before[slot, channel]
    if fresh:
        before[0] = value
        before[1] = value
    older, newer = float(before[0]), float(before[1])
    before[0] = newer
    before[1] = value
    return max(min(older, newer), min(max(older, newer), value))


@kernel
def until_next_s(t_ns: int, seen_ns: int, period_ns: float, several: bool) -> float:
    """How long (s) the next reading may be in coming: the sensor's interval, or as long as this one was after the one before.

    `period_ns` 0: the interval is not known. `several`: the chunk holds more than one reading, so its interval is a fact.
    """
    period_s = period_ns / NS_PER_S
    if several:
        return period_s
    if seen_ns != NEVER:
        return max(period_s, (t_ns - seen_ns) / NS_PER_S)
    return period_s if period_ns > 0.0 else UNKNOWN_WAIT_S


@kernel
def update_smoke(
    state: FireState, slot: int, value: float, t_ns: int, hold_ns: int, wait_s: float, alarm_per_m: float, limits: FireLimits
) -> bool:
    """One reading of smoke (1/m): the filtered value and the clean-air baseline under it.

    True when it is believed without a second one: it may be long until that comes, and this one is over the limit even with all
    the drift that compensation could ever assume.
    """
    seen = int(state.seen_ns[slot, SMOKE])
    fresh = seen == NEVER
    sure = wait_s > ALONE_S and value >= (1.0 + limits.smoke_offset_ratio) * alarm_per_m
    u = median_of_three(state, slot, SMOKE, value, fresh)
    if sure:
        u = value
    smoke = state.smoke[slot]
    bound = limits.smoke_offset_ratio * alarm_per_m
    dt_s = (t_ns - seen) / NS_PER_S
    smoke[0] = u if fresh else _follow(smoke[0], u, dt_s, SMOKE_FILTER_S)
    if state.smoke_start_ns[slot] == NEVER:
        state.smoke_start_ns[slot] = t_ns
    low = smoke[0]
    if 0 <= t_ns - state.smoke_start_ns[slot] <= SMOKE_SETTLE_S * NS_PER_S:
        smoke[1] = low
    elif not fresh:
        if low < smoke[1]:
            smoke[1] = _follow(smoke[1], low, dt_s, SMOKE_BASELINE_DOWN_S)
        else:
            step = limits.smoke_drift_ratio_per_h * alarm_per_m * min(dt_s, hold_ns / NS_PER_S) / 3600.0
            smoke[1] = min(smoke[1] + step, low)
    smoke[1] = max(-bound, min(bound, smoke[1]))
    return sure


@kernel
def update_co(state: FireState, slot: int, value: float, t_ns: int, hold_ns: int, wait_s: float, alarm_percent: float) -> bool:
    """One reading of carbon monoxide (ppm): the filtered value, the room's baseline, the dose.

    True when it is believed without a second one: it may be long until that comes, and by then a person in this air has the dose
    of an alarm, or more time has gone by than EN 50291-1 gives at this concentration. The dose itself counts confirmed readings only.
    """
    seen = int(state.seen_ns[slot, CO])
    fresh = seen == NEVER
    u = median_of_three(state, slot, CO, value, fresh)
    co = state.co[slot]
    sure = wait_s > ALONE_S and (
        (value >= SURE_CO_PPM and wait_s >= SURE_CO_S) or cohb_after(co[2], value, min(wait_s, UNKNOWN_WAIT_S)) >= alarm_percent
    )
    if fresh:
        co[0] = u
        co[1] = u
        return sure
    dt_s = (t_ns - seen) / NS_PER_S
    co[0] = _follow(co[0], value if sure else u, dt_s, CO_FILTER_S)
    co[1] = _baseline(co[1], co[0], dt_s)
    co[2] = cohb_after(co[2], u, min(dt_s, hold_ns / NS_PER_S))
    return sure


@kernel
def update_heat(state: FireState, slot: int, value: float, t_ns: int, wait_s: float, limit_c: float) -> bool:
    """One reading of temperature (°C): fast and slow filter, the room's baseline, the rate of rise.

    True when it is believed without a second one: it may be long until that comes, and this one is far over the limit.
    """
    seen = int(state.seen_ns[slot, TEMPERATURE])
    fresh = seen == NEVER
    u = median_of_three(state, slot, TEMPERATURE, value, fresh)
    sure = wait_s > ALONE_S and value >= limit_c + SURE_HEAT_K and value != POWER_ON_C
    if sure:
        u = value
    heat = state.heat[slot]
    if fresh:
        heat[0] = u
        heat[1] = u
        heat[2] = u
        heat[3] = 0.0
        return sure
    dt_s = (t_ns - seen) / NS_PER_S
    heat[0] = _follow(heat[0], u, dt_s, HEAT_FAST_S)
    heat[1] = _follow(heat[1], u, dt_s, HEAT_SLOW_S)
    heat[2] = _baseline(heat[2], heat[0], dt_s)
    lag = ramp_lag_s(dt_s, HEAT_SLOW_S) - ramp_lag_s(dt_s, HEAT_FAST_S)
    heat[3] = S_PER_MIN * (heat[0] - heat[1]) / lag if dt_s <= RATE_SPAN_S else 0.0
    return sure
