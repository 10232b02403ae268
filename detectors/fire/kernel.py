"""The arithmetic of the fire detector: one row of readings after the other, per room.

Time constants are in seconds and every filter uses the true time since the channel's last reading, so 10 Hz and one
reading a minute run through the same code and no cut into chunks can change a result.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.frame import GAP_RESTART, Bool, Float64, Int32, Int64
from engine.jit import kernel

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

COHB_START_PERCENT: Final = 0.5
COHB_TAU_S: Final = 2398.0 * 0.0404 * 60.0
COHB_SCALE: Final = 218.0
COHB_BACKGROUND: Final = 0.0003
COHB_PPM: Final = 1316.0
"""Carboxyhaemoglobin after Coburn, Forster and Kane (J Clin Invest 1965;44:1899) with the constants of UL 2034:
%(t) = %(0) e^(-t/2398B) + 218 (1 - e^(-t/2398B)) (0.0003 + ppm/1316), B = 0.0404 (heavy work), t in minutes."""
COHB_CEILING_PERCENT: Final = 20.0
"""Beyond this more dose adds no information; without a ceiling a saturated sensor would stay in alarm for half a day."""

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


class Limits(NamedTuple):
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
def _median(state: FireState, slot: int, channel: int, value: float, fresh: bool) -> float:
    """Median of the last three readings: one wild reading moves nothing, a step passes at its second reading."""
    before = state.before[slot, channel]
    if fresh:
        before[0] = value
        before[1] = value
    older, newer = float(before[0]), float(before[1])
    before[0] = newer
    before[1] = value
    return max(min(older, newer), min(max(older, newer), value))


@kernel
def _pause(state: FireState, slot: int, first: int, last: int) -> None:
    """Runs towards an onset or a clear do not bridge a silence; what is active stays active."""
    state.since_ns[slot, first:last] = NEVER
    state.below_ns[slot, first:last] = NEVER


@kernel
def _judge(
    state: FireState, slot: int, condition: int, above: bool, below: bool, before_ns: int, t_ns: int, confirm_ns: int, clear_ns: int
) -> int:
    """Latch with confirm and clear time: 1 onset, 0 clear, -1 nothing new.

    A run starts at the reading before the first one above the limit, because the median of three holds a step back by one reading.
    """
    if state.active[slot, condition]:
        if not below:
            state.below_ns[slot, condition] = NEVER
            return -1
        if state.below_ns[slot, condition] == NEVER:
            state.below_ns[slot, condition] = t_ns
        if t_ns - state.below_ns[slot, condition] < clear_ns:
            return -1
        state.active[slot, condition] = False
        state.since_ns[slot, condition] = NEVER
        return 0
    if not above:
        state.since_ns[slot, condition] = NEVER
        return -1
    if state.since_ns[slot, condition] == NEVER:
        state.since_ns[slot, condition] = before_ns
    if t_ns - state.since_ns[slot, condition] < confirm_ns:
        return -1
    state.active[slot, condition] = True
    state.onset_ns[slot, condition] = state.since_ns[slot, condition]
    state.below_ns[slot, condition] = NEVER
    return 1


@kernel
def _grown_ints(old: NDArray[np.int64]) -> NDArray[np.int64]:
    new = np.empty((2 * old.shape[0], old.shape[1]), np.int64)
    for row in range(old.shape[0]):  # a slice would bring in the compiler's broadcasting and its error texts: 3 s of compiling
        for column in range(old.shape[1]):
            new[row, column] = old[row, column]
    return new


@kernel
def _grown_reals(old: NDArray[np.float64]) -> NDArray[np.float64]:
    new = np.empty((2 * old.shape[0], old.shape[1]), np.float64)
    for row in range(old.shape[0]):
        for column in range(old.shape[1]):
            new[row, column] = old[row, column]
    return new


@kernel
def _take_smoke(state: FireState, slot: int, value: float, t_ns: int, hold_ns: int, alarm_per_m: float, limits: Limits) -> None:
    seen = int(state.seen_ns[slot, SMOKE])
    fresh = seen == NEVER
    u = _median(state, slot, SMOKE, value, fresh or t_ns - seen > hold_ns)
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


@kernel
def _take_co(state: FireState, slot: int, value: float, t_ns: int, hold_ns: int) -> None:
    seen = int(state.seen_ns[slot, CO])
    fresh = seen == NEVER
    u = _median(state, slot, CO, value, fresh or t_ns - seen > hold_ns)
    co = state.co[slot]
    if fresh:
        co[0] = u
        co[1] = u
        return
    dt_s = (t_ns - seen) / NS_PER_S
    co[0] = _follow(co[0], u, dt_s, CO_FILTER_S)
    co[1] = _baseline(co[1], co[0], dt_s)
    co[2] = cohb_after(co[2], u, min(dt_s, hold_ns / NS_PER_S))


@kernel
def _take_heat(state: FireState, slot: int, value: float, t_ns: int, hold_ns: int) -> None:
    seen = int(state.seen_ns[slot, TEMPERATURE])
    fresh = seen == NEVER
    u = _median(state, slot, TEMPERATURE, value, fresh or t_ns - seen > hold_ns)
    heat = state.heat[slot]
    if fresh:
        heat[0] = u
        heat[1] = u
        heat[2] = u
        heat[3] = 0.0
        return
    dt_s = (t_ns - seen) / NS_PER_S
    heat[0] = _follow(heat[0], u, dt_s, HEAT_FAST_S)
    heat[1] = _follow(heat[1], u, dt_s, HEAT_SLOW_S)
    heat[2] = _baseline(heat[2], heat[0], dt_s)
    lag = ramp_lag_s(dt_s, HEAT_SLOW_S) - ramp_lag_s(dt_s, HEAT_FAST_S)
    heat[3] = S_PER_MIN * (heat[0] - heat[1]) / lag if dt_s <= RATE_SPAN_S else 0.0


@kernel
def room_air(
    slots: Int32,
    t0_ns: Int64,
    period_ns: float,
    hold_ns: int,
    samples: NDArray[np.float32],
    gap_ns: Int64,
    valid: Bool,
    state: FireState,
    limits: Limits,
    columns: Columns,
) -> Found:
    """Rows of (smoke 1/m, CO ppm, temperature °C, humidity %), NaN = missing, to transitions and minute features."""
    when = np.empty((8, 5), np.int64)
    values = np.empty((8, VALUES), np.float64)
    minutes = np.empty((8, 2), np.int64)
    features = np.empty((8, FEATURES), np.float64)
    found = 0
    closed = 0
    for k in range(slots.shape[0]):
        if not valid[k]:
            continue
        s = int(slots[k])
        if gap_ns[k] == GAP_RESTART:
            state.seen_ns[s, SMOKE : TEMPERATURE + 1] = NEVER
            _pause(state, s, C_SMOKE, C_PREWARNING + 1)
        smoke_alarm = columns.smoke_alarm_db_per_m[s] / DB_PER_OD
        static = columns.heat_static_c[s]
        for i in range(samples.shape[1]):
            t = int(t0_ns[k]) + int(i * period_ns + 0.5)
            minute = t // MINUTE_NS
            if minute != state.minute[s]:
                if state.minute[s] != NEVER and state.counts[s].sum() > 0:
                    if closed == minutes.shape[0]:
                        minutes = _grown_ints(minutes)
                        features = _grown_reals(features)
                    minutes[closed, 0] = s
                    minutes[closed, 1] = state.minute[s] * MINUTE_NS
                    for c in range(ROOM_COLUMNS):
                        features[closed, c] = state.sums[s, c] / state.counts[s, c] if state.counts[s, c] > 0 else np.nan
                    features[closed, SMOKE] *= DB_PER_OD
                    features[closed, 4] = state.heat[s, 3] if state.counts[s, TEMPERATURE] > 0 else np.nan
                    features[closed, 5] = state.co[s, 2] if state.counts[s, CO] > 0 else np.nan
                    closed += 1
                state.minute[s] = minute
                state.sums[s, :] = 0.0
                state.counts[s, :] = 0.0
            before = NEVER
            for c in range(ROOM_COLUMNS):
                x = samples[k, i, c]
                if math.isnan(x):
                    continue
                state.sums[s, c] += x
                state.counts[s, c] += 1.0
                if c == HUMIDITY:
                    continue
                seen = int(state.seen_ns[s, c])
                if seen != NEVER and t <= seen:  # the device's clock was set back
                    state.seen_ns[s, c] = NEVER
                    _pause(state, s, C_SMOKE, C_PREWARNING + 1)
                    seen = NEVER
                elif seen != NEVER and t - seen > hold_ns:
                    if c == SMOKE:
                        _pause(state, s, C_SMOKE, C_SMOKE + 1)
                    elif c == CO:
                        _pause(state, s, C_CO, C_CO + 1)
                    else:
                        _pause(state, s, C_HEAT, C_RISE + 1)
                    _pause(state, s, C_PREWARNING, C_PREWARNING + 1)
                before = max(before, seen if seen != NEVER and t - seen <= hold_ns else t)
                if c == SMOKE:
                    _take_smoke(state, s, x, t, hold_ns, smoke_alarm, limits)
                elif c == CO:
                    _take_co(state, s, x, t, hold_ns)
                else:
                    _take_heat(state, s, x, t, hold_ns)
                state.seen_ns[s, c] = t
            if before == NEVER:
                continue

            smoke_here = state.seen_ns[s, SMOKE] == t
            co_here = state.seen_ns[s, CO] == t
            heat_here = state.seen_ns[s, TEMPERATURE] == t
            smoke_live = state.seen_ns[s, SMOKE] != NEVER and t - state.seen_ns[s, SMOKE] <= hold_ns
            co_live = state.seen_ns[s, CO] != NEVER and t - state.seen_ns[s, CO] <= hold_ns
            heat_live = state.seen_ns[s, TEMPERATURE] != NEVER and t - state.seen_ns[s, TEMPERATURE] <= hold_ns

            excess = state.smoke[s, 0] - state.smoke[s, 1]
            co = state.co[s, 0]
            cohb = state.co[s, 2]
            fast = state.heat[s, 0]
            rise = fast - state.heat[s, 2]
            rate = state.heat[s, 3]
            rising_fast = rate >= limits.heat_fast_rise_in_1min_c
            smoke_agrees = smoke_live and excess >= limits.smoke_corroborated_per_m
            co_agrees = co_live and co - state.co[s, 1] >= limits.co_corroborate_ppm
            heat_agrees = heat_live and rising_fast and rise >= limits.rise_corroborate_c
            heat_limit = static - limits.heat_fast_below_c if rising_fast else static

            for condition in range(C_PREWARNING + 1):
                confirm_ns = limits.confirm_ns[condition]
                if condition == C_SMOKE:
                    if not smoke_here:
                        continue
                    limit = limits.smoke_corroborated_per_m if heat_agrees or co_agrees else smoke_alarm
                    above = excess >= min(limit, smoke_alarm)
                    if heat_agrees or co_agrees:  # a second criterion is the confirmation
                        confirm_ns = 0
                    below = not above and excess < HALF * smoke_alarm
                    state.raised[s, SMOKE] = excess >= (QUARTER if state.raised[s, SMOKE] else HALF) * smoke_alarm
                elif condition == C_HEAT:
                    if not heat_here:
                        continue
                    above = fast >= heat_limit
                    below = fast < static - limits.heat_fast_below_c - HEAT_HYSTERESIS_K
                    slack = HEAT_HYSTERESIS_K if state.raised[s, TEMPERATURE] else 0.0
                    state.raised[s, TEMPERATURE] = fast >= heat_limit - HEAT_PREWARNING_K - slack
                elif condition == C_RISE:
                    if not heat_here:
                        continue
                    needed = columns.rise_in_1min_c[s]
                    hot = fast >= static - limits.rise_floor_below_c
                    above = rate >= needed and rise >= limits.rise_c_min and (hot or smoke_agrees or co_agrees)
                    below = rate < HALF * needed
                elif condition == C_CO:
                    if not co_here:
                        continue
                    above = cohb >= columns.cohb_alarm_percent[s] and co >= limits.co_floor_ppm
                    below = co < limits.co_floor_ppm
                    slack = COHB_HYSTERESIS_PERCENT if state.raised[s, CO] else 0.0
                    state.raised[s, CO] = cohb >= limits.cohb_prewarning_percent - slack and co >= limits.co_floor_ppm
                else:
                    alarm = state.active[s, C_SMOKE] or state.active[s, C_HEAT] or state.active[s, C_RISE] or state.active[s, C_CO]
                    raised = state.raised[s, SMOKE] or state.raised[s, CO] or state.raised[s, TEMPERATURE]
                    above = raised and not alarm
                    below = not raised
                verdict = _judge(state, s, condition, above, below, before, t, confirm_ns, limits.clear_ns)
                if verdict < 0:
                    continue
                if found == when.shape[0]:
                    when = _grown_ints(when)
                    values = _grown_reals(values)
                when[found, 0] = s
                when[found, 1] = condition
                when[found, 2] = verdict
                when[found, 3] = state.onset_ns[s, condition]
                when[found, 4] = t
                values[found, 0] = excess * DB_PER_OD if smoke_live else np.nan
                values[found, 1] = fast if heat_live else np.nan
                values[found, 2] = rate if heat_live else np.nan
                values[found, 3] = co if co_live else np.nan
                values[found, 4] = cohb if co_live else np.nan
                values[found, 5] = int(smoke_agrees) + int(co_agrees) + int(heat_agrees or (heat_live and fast >= heat_limit))
                found += 1
    return Found(when[:found], values[:found], minutes[:closed], features[:closed])


@kernel
def electrical(
    slots: Int32,
    t0_ns: Int64,
    period_ns: float,
    hold_ns: int,
    samples: NDArray[np.float32],
    gap_ns: Int64,
    valid: Bool,
    state: FireState,
    limits: Limits,
    columns: Columns,
) -> Found:
    """Rows of (residual current mA, cable temperature °C), NaN = missing, to transitions; the reading is in `values[:, column]`."""
    when = np.empty((8, 5), np.int64)
    values = np.empty((8, VALUES), np.float64)
    found = 0
    for k in range(slots.shape[0]):
        if not valid[k]:
            continue
        s = int(slots[k])
        if gap_ns[k] == GAP_RESTART:
            state.seen_ns[s, RESIDUAL : CABLE + 1] = NEVER
        for i in range(samples.shape[1]):
            t = int(t0_ns[k]) + int(i * period_ns + 0.5)
            for c in range(ELECTRICAL_COLUMNS):
                x = samples[k, i, c]
                if math.isnan(x):
                    continue
                channel = RESIDUAL + c
                condition = C_RESIDUAL + c
                limit = columns.residual_current_ma[s] if c == 0 else columns.cable_c[s]
                clear = limit * RESIDUAL_CLEAR_SHARE if c == 0 else limit - CABLE_HYSTERESIS_K
                seen = int(state.seen_ns[s, channel])
                fresh = seen == NEVER or t <= seen or t - seen > hold_ns
                if fresh:
                    _pause(state, s, condition, condition + 1)
                u = _median(state, s, channel, x, fresh)
                state.seen_ns[s, channel] = t
                verdict = _judge(
                    state, s, condition, u >= limit, u < clear, t if fresh else seen, t, limits.confirm_ns[condition], limits.clear_ns
                )
                if verdict < 0:
                    continue
                if found == when.shape[0]:
                    when = _grown_ints(when)
                    values = _grown_reals(values)
                when[found, 0] = s
                when[found, 1] = condition
                when[found, 2] = verdict
                when[found, 3] = state.onset_ns[s, condition]
                when[found, 4] = t
                values[found, :] = np.nan
                values[found, c] = u
                found += 1
    return Found(when[:found], values[:found], np.empty((0, 2), np.int64), np.empty((0, FEATURES), np.float64))
