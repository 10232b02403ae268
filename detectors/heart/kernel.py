"""Entry point of the heart detector for ECG: one frame, all its slots."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.heart.flat import LINE_BEATS, flat_as_ever, note_line
from detectors.heart.inline import borrow, inline_kernel
from detectors.heart.latches import judge_condition
from detectors.heart.pacing import has_spike, look_again, take_out_spikes
from detectors.heart.qrs import (
    NOISY,
    SEARCH_FRACTION,
    Candidate,
    Grid,
    accept,
    consider,
    hidden_between,
    learn,
    maybe_hidden,
    measure,
    overdue,
    recalled,
    restart,
)
from detectors.heart.rhythm import (
    EPISODE_END_BEATS,
    STALE_WORDS_NS,
    forget_pattern,
    interrupt,
    interrupt_pattern,
    minute_of,
    on_interval,
    pass_time,
)
from detectors.heart.state import (
    AREA_0,
    AREA_1,
    ASYSTOLE,
    BASE_0,
    BASE_1,
    BEAT_COUNT,
    BEATS_KEPT,
    CARRY,
    COVERED_S,
    DOWN,
    ECG,
    GOOD_0,
    GOOD_1,
    HELD_0,
    HELD_1,
    HOLDS,
    KNOWN,
    LAST_BAD,
    LAST_NS,
    LAST_POSSIBLE,
    LAST_S,
    LEADS,
    LEARN,
    LEARN_MAX,
    LEARN_PEAKS,
    LEARN_SUM,
    MISSING_0,
    MISSING_1,
    NEVER,
    NOISE_RATIO,
    OVER,
    PEAK,
    PEAK_FROM,
    PEAK_N,
    RAISED_BY,
    RAW,
    RING,
    SAME,
    SEARCH_DUE,
    SECOND_DUE,
    SLOPE_0,
    SLOPE_1,
    SUM_0,
    SUM_1,
    THRESHOLD,
    Found,
    HeartLimits,
    HeartState,
    N,
)
from detectors.heart.timeline import bridged, open_stream, sample_ns
from detectors.heart.twave import is_dome
from detectors.heart.ventricles import on_shape, on_wave_second
from engine.frame import NS_PER_S, Bool, Float32, Int64
from engine.jit import kernel

MASK: Final = RING - 1
KNOWN_BEATS: Final = 8
"""Asystole means that beats stopped: so many must have been seen on this contact with the skin."""


@inline_kernel
def beating(state: HeartState, slot: int, asystole_s: float) -> bool:
    """True when the last EPISODE_END_BEATS beats came without a pause that is an asystole itself."""
    last = state.tally[slot, BEAT_COUNT] - 1
    for k in range(EPISODE_END_BEATS - 1):
        pause_ns = state.beats[slot, 0, (last - k) % BEATS_KEPT] - state.beats[slot, 0, (last - k - 1) % BEATS_KEPT]
        if pause_ns >= asystole_s * NS_PER_S:
            return False
    return True


@inline_kernel
def on_beat(state: HeartState, limits: HeartLimits, g: Grid, found: Found, slot: int, beat: Candidate, now_n: int) -> None:
    """A QRS complex: the rhythm, the run of ventricular beats, the end of an asystole."""
    count = state.tally[slot]
    spoiled = hidden_between(state, slot, beat)  # two intervals, as likely as one: it says nothing of the rate, and teaches nothing
    interval_ms = accept(state, g, slot, beat, now_n, spoiled) * 1000.0 / g.rate_internal_hz
    t_ns = sample_ns(state, g, slot, beat.at)
    now_ns = sample_ns(state, g, slot, now_n)
    wide = on_shape(state, limits, g, found, slot, beat, interval_ms, t_ns, now_n, now_ns)
    if count[BEAT_COUNT] % LINE_BEATS == 0:
        note_line(state, g, slot, now_n)
    index = count[BEAT_COUNT] % BEATS_KEPT
    state.beats[slot, 0, index] = t_ns
    state.beats[slot, 1, index] = 1 if wide else 0
    count[BEAT_COUNT] += 1
    if state.tally[slot, LAST_NS + ECG] != NEVER:
        since_ns = t_ns - state.tally[slot, LAST_NS + ECG]
        interrupt_pattern(state, slot, ECG, since_ns)
        if since_ns > STALE_WORDS_NS:
            forget_pattern(state, slot, ECG)
    state.tally[slot, LAST_NS + ECG] = t_ns
    if interval_ms > 0.0:
        parity = minute_of(state, found, slot, t_ns)
        on_interval(state, limits, found, slot, ECG, now_ns, interval_ms, parity, state.level[slot, NOISE_RATIO] <= NOISY)
    if state.latch[slot, RAISED_BY, ASYSTOLE] != 0 and beating(state, slot, limits.asystole_s):
        judge_condition(state, limits, found, slot, ECG, ASYSTOLE, OVER, now_ns, now_ns, 0.0, 0.0)


@inline_kernel
def on_second(state: HeartState, limits: HeartLimits, g: Grid, found: Found, slot: int, n: int) -> None:
    """Once a second of signal time: coverage, asystole, fibrillation, finished minutes."""
    count = state.tally[slot]
    now_ns = sample_ns(state, g, slot, n)
    good = count[DOWN] == 0 and count[LEARN] == 0 and count[LAST_BAD] <= n - g.second
    parity = minute_of(state, found, slot, now_ns - NS_PER_S // 2)
    if good and parity >= 0:
        state.sums[slot, parity, COVERED_S] += 1.0
    if good:
        silent_s = (n - max(state.level[slot, LAST_POSSIBLE], float(count[LAST_BAD]))) / g.rate_internal_hz
        if silent_s >= limits.asystole_s and count[KNOWN] >= KNOWN_BEATS:
            start_ns = now_ns - int(silent_s * NS_PER_S)
            judge_condition(state, limits, found, slot, ECG, ASYSTOLE, HOLDS, start_ns, now_ns, 0.0, silent_s)
        on_wave_second(state, limits, g, found, slot, n, now_ns)
    pass_time(state, found, slot, now_ns)


@kernel
def on_learning(state: HeartState, g: Grid, slot: int, n: int, peak: float) -> None:
    """A local maximum while levels are being learned; the last one ends the learning."""
    level = state.level[slot]
    level[LEARN_MAX] = max(level[LEARN_MAX], peak)
    level[LEARN_SUM] += peak
    state.tally[slot, LEARN_PEAKS] += 1
    if n >= state.tally[slot, LEARN]:
        learn(state, g, slot, n)


@inline_kernel
def on_peak(
    state: HeartState, limits: HeartLimits, g: Grid, found: Found, slot: int, leads: int, peak_n: int, height: float, now_n: int
) -> bool:
    """A local maximum of the feature stood for the refractory time: judge it. True when that was done without the spikes in it: the
    running sums, PEAK, PEAK_N and LAST_S are then to be read again."""
    count = state.tally[slot]
    level = state.level[slot]
    again = -1
    at = now_n
    while True:
        if again < 0 and height > SEARCH_FRACTION * level[THRESHOLD] and has_spike(state, g, slot, leads, peak_n, now_n):
            again = take_out_spikes(state, g, slot, leads, now_n)
            at = again - 1
        if again < 0 or at >= again:
            if count[LEARN] != 0:
                on_learning(state, g, slot, now_n, height)
            else:
                candidate = measure(state, g, slot, leads, peak_n, height)
                tall = candidate.height > level[THRESHOLD]
                if not (tall and is_dome(state, g, slot, leads, candidate, now_n)) and consider(state, g, slot, candidate):
                    on_beat(state, limits, g, found, slot, candidate, now_n)
            if again < 0:
                count[PEAK_FROM] = now_n
                return False
            count[PEAK_FROM] = at
        at = look_again(state, g, slot, leads, at + 1, now_n)
        if at > now_n:
            return True
        peak_n, height = count[PEAK_N], level[PEAK]


@inline_kernel
def on_timer(state: HeartState, limits: HeartLimits, g: Grid, found: Found, slot: int, n: int) -> None:
    """A due time came: search-back, or the turn of a second of signal time."""
    count = state.tally[slot]
    if n >= count[SECOND_DUE]:
        count[SECOND_DUE] = n + g.second
        on_second(state, limits, g, found, slot, n)
    if n >= count[SEARCH_DUE]:
        if count[DOWN] != 0 or count[LEARN] != 0:
            count[SEARCH_DUE] = n + g.second
        elif overdue(state, g, slot, n, limits.asystole_s):
            on_beat(state, limits, g, found, slot, recalled(state, slot), n)


@kernel
def _filter_rows(
    state: HeartState,
    limits: HeartLimits,
    g: Grid,
    found: Found,
    slots: Int64,
    t0_ns: Int64,
    gap_ns: Int64,
    valid: Bool,
    samples: Float32,
) -> None:
    """Chunks (k, n, c) through filters and rhythm, sample by sample; a hole in time (`gap_ns` > 0) restarts the front end."""
    state, limits, found = borrow(state), borrow(limits), borrow(found)
    leads = min(LEADS, samples.shape[2])
    decimation = g.decimation
    bridge = g.bridge
    window = g.area
    m = g.slope
    inverse = 1.0 / m
    share = 1.0 / g.area
    for row in range(slots.shape[0]):
        slot = int(slots[row])
        open_stream(state, g, found, slot, t0_ns[row], gap_ns[row])
        count = state.tally[slot]
        level = state.level[slot]
        wave_0 = state.signal[slot, 0]
        wave_1 = state.signal[slot, 1]
        slope_0 = state.signal[slot, LEADS]
        slope_1 = state.signal[slot, LEADS + 1]
        n = count[N]
        carry = count[CARRY]
        sum_0, sum_1 = level[SUM_0], level[SUM_1]
        good_0, good_1 = count[GOOD_0], count[GOOD_1]
        missing_0, missing_1 = count[MISSING_0], count[MISSING_1]
        same = count[SAME]
        down = count[DOWN] != 0
        x_0, x_1 = level[HELD_0], level[HELD_1]
        base_0, base_1 = level[BASE_0], level[BASE_1]
        rise_0, rise_1 = level[SLOPE_0], level[SLOPE_1]
        area_0, area_1 = level[AREA_0], level[AREA_1]
        last_s = level[LAST_S]
        peak = level[PEAK]
        peak_n = count[PEAK_N]
        due = min(count[SECOND_DUE], count[SEARCH_DUE])
        usable = valid[row]
        for i in range(samples.shape[1]):
            value = samples[row, i, 0]
            if usable and value == value:  # noqa: PLR0124 - NaN is missing
                sum_0 += value
                good_0 += 1
            if leads == 2:
                value = samples[row, i, 1]
                if usable and value == value:  # noqa: PLR0124
                    sum_1 += value
                    good_1 += 1
            carry += 1
            if carry < decimation:
                continue
            carry = 0
            if n >= due:
                on_timer(state, limits, g, found, slot, n)
                due = min(count[SECOND_DUE], count[SEARCH_DUE])

            # where nothing was measured the last value is held; after a longer hole the lead goes on from there
            next_0, next_1 = x_0, x_1
            if good_0 > 0:
                mean = sum_0 if good_0 == 1 else sum_0 / good_0
                if missing_0 > bridge:
                    base_0 = mean - x_0
                next_0 = mean - base_0
                missing_0 = 0
                sum_0 = 0.0
                good_0 = 0
            else:
                missing_0 += 1
                if good_1 == 0 and missing_0 <= bridge:
                    maybe_hidden(state, g, slot, n + 1 - min(missing_0, missing_1 + 1), n + 1)
            if good_1 > 0:
                mean = sum_1 if good_1 == 1 else sum_1 / good_1
                if missing_1 > bridge:
                    base_1 = mean - x_1
                next_1 = mean - base_1
                missing_1 = 0
                sum_1 = 0.0
                good_1 = 0
            else:
                missing_1 += 1
            same = same + 1 if next_0 == x_0 and next_1 == x_1 else 0
            x_0, x_1 = next_0, next_1
            if same > bridge and ((missing_0 > bridge and missing_1 > bridge) or (same >= g.stuck and not flat_as_ever(state, slot, x_0))):
                if not down:
                    down = True
                    count[DOWN] = 1
                    interrupt(state, slot, ECG, False)
                n += 1
                continue
            if down:
                down = False
                restart(state, g, slot, n, False)
                due = min(count[SECOND_DUE], count[SEARCH_DUE])
                base_0 += x_0
                base_1 += x_1
                x_0 = x_1 = rise_0 = rise_1 = area_0 = area_1 = last_s = peak = 0.0

            rise_0 += x_0 - 2.0 * wave_0[(n - m) & MASK] + wave_0[(n - 2 * m) & MASK]
            wave_0[n & MASK] = x_0
            slope = rise_0 * inverse
            area_0 += abs(slope) - abs(slope_0[(n - window) & MASK])
            slope_0[n & MASK] = slope
            s = area_0
            if leads == 2:
                rise_1 += x_1 - 2.0 * wave_1[(n - m) & MASK] + wave_1[(n - 2 * m) & MASK]
                wave_1[n & MASK] = x_1
                slope = rise_1 * inverse
                area_1 += abs(slope) - abs(slope_1[(n - window) & MASK])
                slope_1[n & MASK] = slope
                s += area_1
            s *= share
            if s >= peak and s > last_s:
                peak = s
                peak_n = n
            elif peak > 0.0 and n - peak_n >= g.refractory:
                if on_peak(state, limits, g, found, slot, leads, peak_n, peak, n):
                    rise_0, rise_1 = level[SLOPE_0], level[SLOPE_1]
                    area_0, area_1 = level[AREA_0], level[AREA_1]
                    s, peak, peak_n = level[LAST_S], level[PEAK], count[PEAK_N]
                else:
                    peak = 0.0
                due = min(count[SECOND_DUE], count[SEARCH_DUE])
            last_s = s
            n += 1
        count[RAW] += samples.shape[1]
        count[N] = n
        count[CARRY] = carry
        level[SUM_0], level[SUM_1] = sum_0, sum_1
        count[GOOD_0], count[GOOD_1] = good_0, good_1
        count[MISSING_0], count[MISSING_1] = missing_0, missing_1
        count[SAME] = same
        level[HELD_0], level[HELD_1] = x_0, x_1
        level[BASE_0], level[BASE_1] = base_0, base_1
        level[SLOPE_0], level[SLOPE_1] = rise_0, rise_1
        level[AREA_0], level[AREA_1] = area_0, area_1
        level[LAST_S] = last_s
        level[PEAK] = peak
        count[PEAK_N] = peak_n


@kernel
def ecg_frame(
    state: HeartState,
    limits: HeartLimits,
    g: Grid,
    found: Found,
    slots: Int64,
    t0_ns: Int64,
    gap_ns: Int64,
    valid: Bool,
    samples: Float32,
) -> None:
    """ECG chunks: samples (k, n, c) in mV; the first two leads are used.

    A hole of up to `g.bridge` goes through the filters as missing samples, on the one path that samples take: the running sums of
    slope and area are then always those of the rings, and timers and peaks in the hole are seen.
    """
    gaps = gap_ns.copy()  # the caller's is not written to
    for row in range(slots.shape[0]):
        if gap_ns[row] <= 0 or not bridged(state, g, slots[row], gap_ns[row]):
            continue
        gaps[row] = 0
        missing = int(gap_ns[row] * 1e-9 * g.rate_hz + 0.5)
        if missing > 0:
            hole = np.full((1, missing, samples.shape[2]), np.nan, np.float32)
            own, start_ns = np.full(1, slots[row], np.int64), np.full(1, t0_ns[row] - gap_ns[row], np.int64)
            _filter_rows(state, limits, g, found, own, start_ns, np.zeros(1, np.int64), np.ones(1, np.bool_), hole)
    _filter_rows(state, limits, g, found, slots, t0_ns, gaps, valid, samples)
