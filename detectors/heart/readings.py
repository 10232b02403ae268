"""Entry points of the heart detector for RR intervals and vital signs: one frame, all its slots."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.heart.inline import borrow
from detectors.heart.rhythm import (
    RR_MS_MAX,
    STALE_WORDS_NS,
    forget_pattern,
    interrupt,
    judge_condition,
    judge_limits,
    judge_rate,
    minute_of,
    on_interval,
    pass_time,
)
from detectors.heart.state import (
    BREATH_SUM,
    BREATHS,
    COVERED_RR_S,
    COVERED_VITALS_S,
    HEART_SUM,
    HEARTS,
    LAST_NS,
    NEVER,
    RESPIRATION_HIGH,
    RESPIRATION_LOW,
    RESPIRATION_PER_MIN_MAX,
    RESPIRATION_PER_MIN_MIN,
    RR,
    SPO2_LOW,
    SPO2_PERCENT_MIN,
    SPO2_SUM,
    SPO2S,
    VITALS,
    Found,
    HeartLimits,
    HeartState,
)
from engine.frame import GAP_RESTART, NS_PER_S, Bool, Float32, Int64
from engine.jit import kernel
from engine.kinds import channel

VITALS_HOLD_NS: Final = 10 * NS_PER_S
VITALS_HOLD_PERIODS: Final = 3
"""A vital sign that is missing for longer than both is interrupted."""
RESPIRATION_HYSTERESIS: Final = 2.0
SPO2_HYSTERESIS: Final = 2.0
"""In breaths a minute and percent: the accuracy of the sensors (ISO 80601-2-61 allows 4 % A_rms)."""
RR_CLOCK_NS: Final = NS_PER_S
"""An RR device that is contiguous may still round its chunk times this much."""
HEART_RATE: Final = channel("vitals", "heart_rate_bpm")
RESPIRATION: Final = channel("vitals", "respiration_per_min")
SPO2: Final = channel("vitals", "spo2_percent")


@kernel
def rr_frame(
    state: HeartState, limits: HeartLimits, found: Found, slots: Int64, t0_ns: Int64, gap_ns: Int64, valid: Bool, samples: Float32
) -> None:
    """RR interval chunks: samples (k, n, 1) in ms, one after the other from t0."""
    state, limits, found = borrow(state), borrow(limits), borrow(found)
    for row in range(slots.shape[0]):
        slot = int(slots[row])
        last_ns = state.tally[slot, LAST_NS + RR]
        start_ns = t0_ns[row]
        if gap_ns[row] != 0 or last_ns == NEVER:
            interrupt(state, slot, RR)
            if gap_ns[row] == GAP_RESTART or last_ns == NEVER or start_ns - last_ns > STALE_WORDS_NS:
                forget_pattern(state, slot, RR)
        elif abs(start_ns - last_ns) <= RR_CLOCK_NS:
            start_ns = last_ns  # contiguous: keep the running sum, so that times do not depend on how the stream was cut
        end_ns = start_ns
        for i in range(samples.shape[1]):
            value = float(samples[row, i, 0])
            if not valid[row] or not value > 0.0:
                interrupt(state, slot, RR)
                continue
            end_ns += int(value * 1e6 + 0.5)
            parity = minute_of(state, found, slot, end_ns)
            if parity >= 0 and value <= RR_MS_MAX:
                state.sums[slot, parity, COVERED_RR_S] += value * 1e-3
            on_interval(state, limits, found, slot, RR, end_ns, value, parity, True)
            pass_time(state, found, slot, end_ns)
        state.tally[slot, LAST_NS + RR] = end_ns


@kernel
def vitals_frame(
    state: HeartState,
    limits: HeartLimits,
    found: Found,
    slots: Int64,
    t0_ns: Int64,
    gap_ns: Int64,
    valid: Bool,
    rate_hz: float,
    samples: Float32,
) -> None:
    """Vital sign chunks: samples (k, n, >= 3): heart rate, respiration, SpO2, ...

    A value must stay beyond its limit for the confirmation time; readings further apart than that stand for themselves.
    """
    state, limits, found = borrow(state), borrow(limits), borrow(found)
    period_ns = 1e9 / rate_hz if rate_hz > 0.0 else 0.0
    hold_ns = max(float(VITALS_HOLD_NS), VITALS_HOLD_PERIODS * period_ns)
    weight = min(period_ns * 1e-9, 60.0) if rate_hz > 0.0 else 0.0
    for row in range(slots.shape[0]):
        slot = int(slots[row])
        if gap_ns[row] == GAP_RESTART or gap_ns[row] > hold_ns:
            interrupt(state, slot, VITALS)
        for i in range(samples.shape[1]):
            t_ns = t0_ns[row] + int(i * period_ns + 0.5)
            heart = float(samples[row, i, HEART_RATE]) if valid[row] else np.nan
            breaths = float(samples[row, i, RESPIRATION]) if valid[row] else np.nan
            spo2 = float(samples[row, i, SPO2]) if valid[row] else np.nan
            if not (heart > 0.0 or breaths >= 0.0 or spo2 > 0.0):
                continue
            if state.tally[slot, LAST_NS + VITALS] != NEVER and t_ns - state.tally[slot, LAST_NS + VITALS] > hold_ns:
                interrupt(state, slot, VITALS)
            state.tally[slot, LAST_NS + VITALS] = t_ns
            parity = minute_of(state, found, slot, t_ns)
            if parity >= 0:
                state.sums[slot, parity, COVERED_VITALS_S] += weight
            if heart > 0.0:  # 0 is how monitors say "no pulse found": asystole is for the ECG
                if parity >= 0:
                    state.sums[slot, parity, HEART_SUM] += heart
                    state.sums[slot, parity, HEARTS] += 1.0
                judge_rate(state, limits, found, slot, VITALS, heart, t_ns, t_ns, period_ns, True)
            if breaths >= 0.0:
                if parity >= 0:
                    state.sums[slot, parity, BREATH_SUM] += breaths
                    state.sums[slot, parity, BREATHS] += 1.0
                low = limits.per_slot[slot, RESPIRATION_PER_MIN_MIN]
                high = limits.per_slot[slot, RESPIRATION_PER_MIN_MAX]
                slow = judge_limits(breaths, low, high, RESPIRATION_HYSTERESIS, True)
                fast = judge_limits(breaths, low, high, RESPIRATION_HYSTERESIS, False)
                judge_condition(state, limits, found, slot, VITALS, RESPIRATION_LOW, slow, t_ns, t_ns, period_ns, breaths)
                judge_condition(state, limits, found, slot, VITALS, RESPIRATION_HIGH, fast, t_ns, t_ns, period_ns, breaths)
            if spo2 > 0.0:
                if parity >= 0:
                    state.sums[slot, parity, SPO2_SUM] += spo2
                    state.sums[slot, parity, SPO2S] += 1.0
                verdict = judge_limits(spo2, limits.per_slot[slot, SPO2_PERCENT_MIN], 100.0, SPO2_HYSTERESIS, True)
                judge_condition(state, limits, found, slot, VITALS, SPO2_LOW, verdict, t_ns, t_ns, period_ns, spo2)
            pass_time(state, found, slot, t_ns)
