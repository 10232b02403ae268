"""Entry points of the heart detector for RR intervals and vital signs: one frame, all its slots."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.heart.inline import borrow, inline_kernel
from detectors.heart.latches import interrupt_code, judge_condition
from detectors.heart.rhythm import (
    RR_MS_MAX,
    STALE_WORDS_NS,
    break_chain,
    forget_pattern,
    interrupt,
    interrupt_pattern,
    judge_limits,
    judge_rate,
    minute_of,
    on_interval,
    pass_time,
    set_back,
)
from detectors.heart.state import (
    BRADYCARDIA,
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
    SIGN_GAP_NS,
    SIGN_NS,
    SIGNS,
    SPO2_LOW,
    SPO2_PERCENT_MIN,
    SPO2_SUM,
    SPO2S,
    TACHYCARDIA,
    VITALS,
    Found,
    HeartLimits,
    HeartState,
)
from engine.frame import GAP_RESTART, NS_PER_S, Bool, Float32, Int64
from engine.jit import kernel
from engine.kinds import channel

HOLD_NS: Final = 10 * NS_PER_S
HOLD_INTERVALS: Final = 3
"""A vital sign, or RR intervals, that are missing for longer than both are interrupted; the interval is that of the channel itself."""
RESPIRATION_HYSTERESIS: Final = 2.0
SPO2_HYSTERESIS: Final = 2.0
"""In breaths a minute and percent: the accuracy of the sensors (ISO 80601-2-61 allows 4 % A_rms)."""
RR_CLOCK_NS: Final = NS_PER_S
"""An RR device that is contiguous may still round its chunk times this much, or have them stamped on arrival."""
CHANNELS: Final = tuple(channel("vitals", name) for name in ("heart_rate_bpm", "respiration_per_min", "spo2_percent"))
HEART_RATE, RESPIRATION, SPO2 = CHANNELS
HEART_SIGN, BREATH_SIGN, SPO2_SIGN = range(SIGNS)
"""A channel's place in `SIGN_NS` and its like."""


@kernel
def rr_frame(
    state: HeartState, limits: HeartLimits, found: Found, slots: Int64, t0_ns: Int64, gap_ns: Int64, valid: Bool, samples: Float32
) -> None:
    """RR interval chunks: samples (k, n, 1) in ms, one after the other from t0.

    Durations follow one another, whatever the stamps say: what was lost between two of them says nothing about the rate of those that were
    heard, and only a longer silence interrupts. It does break the chain: successive differences and patterns do not go across.
    """
    state, limits, found = borrow(state), borrow(limits), borrow(found)
    for row in range(slots.shape[0]):
        slot = int(slots[row])
        last_ns = state.tally[slot, LAST_NS + RR]
        start_ns = t0_ns[row]
        if gap_ns[row] == GAP_RESTART or last_ns == NEVER:
            interrupt(state, slot, RR, False)
            forget_pattern(state, slot, RR)
            set_back(state, found, slot, start_ns)
        elif start_ns - last_ns > HOLD_NS:
            interrupt(state, slot, RR, False)
            interrupt_pattern(state, slot, RR, start_ns - last_ns)
            if start_ns - last_ns > STALE_WORDS_NS:
                forget_pattern(state, slot, RR)
        elif abs(start_ns - last_ns) <= RR_CLOCK_NS:
            start_ns = last_ns  # contiguous: keep the running sum, so that times do not depend on how the stream was cut
        else:
            break_chain(state, slot, RR)
        end_ns = start_ns
        for i in range(samples.shape[1]):
            value = float(samples[row, i, 0])
            if not valid[row]:
                interrupt(state, slot, RR, False)
                continue
            if not value > 0.0:
                break_chain(state, slot, RR)
                continue
            end_ns += int(value * 1e6 + 0.5)
            parity = minute_of(state, found, slot, end_ns)
            if parity >= 0 and value <= RR_MS_MAX:
                state.sums[slot, parity, COVERED_RR_S] += value * 1e-3
            on_interval(state, limits, found, slot, RR, end_ns, value, parity, True)
            pass_time(state, found, slot, end_ns)
        if end_ns > start_ns:  # chunks without a value are no intervals, however often they come
            state.tally[slot, LAST_NS + RR] = end_ns


@inline_kernel
def time_of_sign(state: HeartState, slot: int, sign: int, code: int, other: int, t_ns: int, period_ns: float) -> float:
    """Note a value of one channel at `t_ns`: a gap in it interrupts `code` and `other`. Returns the interval at which it is measured, ns.

    A channel has a time of its own: a band that counts the pulse every second measures oxygen when it has time for it. What is an interval
    and what is a gap, its last two distances tell: more than HOLD_INTERVALS of the longer one is a gap; both longer than a confirmation
    time is a channel whose values stand for themselves, and once is a probe that was off.
    """
    count = state.tally[slot]
    last_ns = count[SIGN_NS + sign]
    newer, older = count[SIGN_GAP_NS + sign], count[SIGN_GAP_NS + SIGNS + sign]
    count[SIGN_NS + sign] = t_ns
    if last_ns != NEVER:
        gap_ns = t_ns - last_ns
        if gap_ns > max(float(HOLD_NS), HOLD_INTERVALS * max(period_ns, float(newer), float(older))):
            interrupt_code(state, slot, VITALS, code)
            interrupt_code(state, slot, VITALS, other)
        if gap_ns > 0:
            older = newer
            newer = gap_ns
            count[SIGN_GAP_NS + sign] = newer
            count[SIGN_GAP_NS + SIGNS + sign] = older
    return max(period_ns, float(min(newer, older)))


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
    weight = min(period_ns * 1e-9, 60.0) if rate_hz > 0.0 else 0.0
    for row in range(slots.shape[0]):
        slot = int(slots[row])
        if gap_ns[row] == GAP_RESTART:
            interrupt(state, slot, VITALS, False)
            set_back(state, found, slot, t0_ns[row])
            state.tally[slot, SIGN_NS : SIGN_NS + SIGNS] = NEVER
        for i in range(samples.shape[1]):
            t_ns = t0_ns[row] + int(i * period_ns + 0.5)
            heart = float(samples[row, i, HEART_RATE]) if valid[row] else np.nan
            breaths = float(samples[row, i, RESPIRATION]) if valid[row] else np.nan
            spo2 = float(samples[row, i, SPO2]) if valid[row] else np.nan
            if not (heart > 0.0 or breaths >= 0.0 or spo2 > 0.0):
                continue
            parity = minute_of(state, found, slot, t_ns)
            if parity >= 0:
                state.sums[slot, parity, COVERED_VITALS_S] += weight
            if heart > 0.0:  # 0 is how monitors say "no pulse found": asystole is for the ECG
                if parity >= 0:
                    state.sums[slot, parity, HEART_SUM] += heart
                    state.sums[slot, parity, HEARTS] += 1.0
                every_ns = time_of_sign(state, slot, HEART_SIGN, BRADYCARDIA, TACHYCARDIA, t_ns, period_ns)
                judge_rate(state, limits, found, slot, VITALS, heart, t_ns, t_ns, every_ns, True)
            if breaths >= 0.0:
                if parity >= 0:
                    state.sums[slot, parity, BREATH_SUM] += breaths
                    state.sums[slot, parity, BREATHS] += 1.0
                every_ns = time_of_sign(state, slot, BREATH_SIGN, RESPIRATION_LOW, RESPIRATION_HIGH, t_ns, period_ns)
                low = limits.per_slot[slot, RESPIRATION_PER_MIN_MIN]
                high = limits.per_slot[slot, RESPIRATION_PER_MIN_MAX]
                slow = judge_limits(breaths, low, high, RESPIRATION_HYSTERESIS, True)
                fast = judge_limits(breaths, low, high, RESPIRATION_HYSTERESIS, False)
                judge_condition(state, limits, found, slot, VITALS, RESPIRATION_LOW, slow, t_ns, t_ns, every_ns, breaths)
                judge_condition(state, limits, found, slot, VITALS, RESPIRATION_HIGH, fast, t_ns, t_ns, every_ns, breaths)
            if spo2 > 0.0:
                if parity >= 0:
                    state.sums[slot, parity, SPO2_SUM] += spo2
                    state.sums[slot, parity, SPO2S] += 1.0
                every_ns = time_of_sign(state, slot, SPO2_SIGN, SPO2_LOW, SPO2_LOW, t_ns, period_ns)
                verdict = judge_limits(spo2, limits.per_slot[slot, SPO2_PERCENT_MIN], 100.0, SPO2_HYSTERESIS, True)
                judge_condition(state, limits, found, slot, VITALS, SPO2_LOW, verdict, t_ns, t_ns, every_ns, spo2)
            pass_time(state, found, slot, t_ns)
