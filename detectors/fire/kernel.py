"""The arithmetic of the fire detector: one row of readings after the other, per room."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detectors.fire.filters import (
    ALONE_S,
    POWER_ON_C,
    SURE_CABLE_K,
    SURE_CURRENT_RATIO,
    median_of_three,
    until_next_s,
    update_co,
    update_heat,
    update_smoke,
)
from detectors.fire.state import (
    C_CO,
    C_HEAT,
    C_PREWARNING,
    C_RESIDUAL,
    C_RISE,
    C_SMOKE,
    CABLE,
    CABLE_HYSTERESIS_K,
    CO,
    COHB_HYSTERESIS_PERCENT,
    DB_PER_OD,
    ELECTRICAL_COLUMNS,
    FEATURES,
    HALF,
    HEAT_HYSTERESIS_K,
    HEAT_PREWARNING_K,
    HUMIDITY,
    MINUTE_NS,
    NEVER,
    QUARTER,
    RESIDUAL,
    RESIDUAL_CLEAR_SHARE,
    ROOM_COLUMNS,
    SMOKE,
    TEMPERATURE,
    VALUES,
    Columns,
    FireLimits,
    FireState,
    Found,
)
from engine.frame import GAP_RESTART, Bool, Int32, Int64
from engine.jit import kernel


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
def room_air(
    slots: Int32,
    t0_ns: Int64,
    period_ns: float,
    hold_ns: int,
    samples: NDArray[np.float32],
    gap_ns: Int64,
    valid: Bool,
    state: FireState,
    limits: FireLimits,
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
            sure_smoke = sure_co = sure_heat = False
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
                wait = until_next_s(t, seen, period_ns, samples.shape[1] > 1)
                if c == SMOKE:
                    sure_smoke = update_smoke(state, s, x, t, hold_ns, wait, smoke_alarm, limits)
                elif c == CO:
                    sure_co = update_co(state, s, x, t, hold_ns, wait, columns.cohb_alarm_percent[s])
                else:
                    sure_heat = update_heat(state, s, x, t, wait, static)
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
                    above = excess >= min(limit, smoke_alarm) or sure_smoke
                    if heat_agrees or co_agrees or sure_smoke:  # a second criterion is the confirmation
                        confirm_ns = 0
                    below = not above and excess < HALF * smoke_alarm
                    state.raised[s, SMOKE] = excess >= (QUARTER if state.raised[s, SMOKE] else HALF) * smoke_alarm
                elif condition == C_HEAT:
                    if not heat_here:
                        continue
                    above = fast >= heat_limit or sure_heat
                    confirm_ns = 0 if sure_heat else confirm_ns
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
                    above = (cohb >= columns.cohb_alarm_percent[s] and co >= limits.co_floor_ppm) or sure_co
                    confirm_ns = 0 if sure_co else confirm_ns
                    below = co < limits.co_floor_ppm and not sure_co
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
    limits: FireLimits,
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
                u = median_of_three(state, s, channel, x, seen == NEVER or t <= seen)
                confirm_ns = limits.confirm_ns[condition]
                sure = SURE_CURRENT_RATIO * limit if c == 0 else limit + SURE_CABLE_K
                wait = until_next_s(t, seen if t > seen else NEVER, period_ns, samples.shape[1] > 1)
                if x >= sure and wait > ALONE_S and not (c == 1 and x == POWER_ON_C):
                    u = x
                    confirm_ns = 0
                state.seen_ns[s, channel] = t
                verdict = _judge(state, s, condition, u >= limit, u < clear, t if fresh else seen, t, confirm_ns, limits.clear_ns)
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
