"""From RR intervals and vital signs to conditions and minutes: rates, atrial fibrillation, latches, features."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from detectors.heart.inline import inline_kernel
from detectors.heart.latches import interrupt_code, judge_condition
from detectors.heart.state import (
    ATRIAL_FIBRILLATION,
    BRADYCARDIA,
    BREATH_SUM,
    BREATHS,
    CODES,
    COVERED_RR_S,
    COVERED_S,
    COVERED_VITALS_S,
    DIFF_SQUARES,
    DIFF_SQUARES_RR,
    DIFFS,
    DIFFS_RR,
    DISTINCT,
    ECG,
    EMITTED_NS,
    HEART_SUM,
    HEARTS,
    HOLDS,
    MINUTE,
    MINUTE_BEAT_COUNT,
    MINUTE_BEATS,
    MINUTE_NS,
    NEITHER,
    NEVER,
    OVER,
    RATE_BPM_MAX,
    RATE_BPM_MIN,
    RR,
    RR_CHAIN,
    RR_COUNT,
    RR_WINDOW,
    SPO2_SUM,
    SPO2S,
    SYMBOLS,
    TACHYCARDIA,
    VITALS,
    WINDOW_BEATS_MAX,
    WORD_COUNT,
    WORD_SUM,
    WORDS,
    Found,
    HeartLimits,
    HeartState,
)
from engine.frame import NS_PER_S
from engine.jit import kernel

CODE_COUNT: Final = len(CODES)
RR_MS_MIN: Final = 200.0
"""300 bpm: nothing in an adult's ventricles conducts faster (refractory period of ventricular muscle ~200 ms)."""
RR_MS_MAX: Final = 3000.0
"""Longer is a dropout for an RR device (Task Force of ESC and NASPE, Circulation 1996;93:1043); an ECG shows whether anything is missing."""
ECG_RR_MS_MAX: Final = 20_000.0
"""A pause that a good ECG shows is real: at 3-4 s between beats (below asystole) nothing but bradycardia can be raised. Largest `asystole_s`."""
EPISODE_END_BEATS: Final = 5
"""Beats that end an asystole."""
DIFFERENCE_MAX: Final = 0.2
"""Successive RR intervals that differ by more are not both normal-to-normal (20 % filter, Malik et al., Am J Cardiol 1993;72:1049)."""
ENTROPY_HYSTERESIS: Final = 0.05
SYMBOL_BPM: Final = 5.0
SYMBOL_MAX: Final = 63
SYMBOL_BITS: Final = 6
"""Zhou et al. 2015: heart rate in steps of 5 bpm, at most 63 (315 bpm), three symbols to a word."""
GRACE_NS: Final = 10 * NS_PER_S
"""A minute is summed up this long after its end: beats found by search-back and slower sources still belong to it."""
PATTERN_HOLE_NS: Final = 60 * NS_PER_S
"""What was not seen for a minute of the six that a fibrillation must last is not taken for more of it."""
STALE_WORDS_NS: Final = 300 * NS_PER_S
"""RR patterns on both sides of a longer interruption are not one episode."""


@inline_kernel
def interrupt(state: HeartState, slot: int, source: int, brief: bool) -> None:
    """Data of `source` went missing: what was building up starts again, what is raised stays raised.

    Atrial fibrillation goes on across (see `interrupt_pattern`). `brief`: packets that a radio lost. A rate beyond its limit before and after
    such a hole was so in it: one lost second in thirty must not keep a tachycardia from ever being confirmed.
    """
    for code in range(CODE_COUNT):
        if code != ATRIAL_FIBRILLATION and not (brief and code in (TACHYCARDIA, BRADYCARDIA)):
            interrupt_code(state, slot, source, code)
    if source != VITALS:
        state.tally[slot, RR_COUNT + source] = 0
        break_chain(state, slot, source)


@inline_kernel
def break_chain(state: HeartState, slot: int, source: int) -> None:
    """An interval is missing: the next one follows none, and no pattern of successive ones goes across."""
    state.tally[slot, RR_CHAIN + source] = 0
    state.tally[slot, SYMBOLS + source] = 0


@inline_kernel
def interrupt_pattern(state: HeartState, slot: int, source: int, hole_ns: int) -> None:
    """After a hole of so long an atrial fibrillation that was building up starts again: minutes of irregular beats are asked for, and with a
    few seconds lost here and there they would never be reached."""
    if hole_ns > PATTERN_HOLE_NS:
        interrupt_code(state, slot, source, ATRIAL_FIBRILLATION)


@kernel
def forget_pattern(state: HeartState, slot: int, source: int) -> None:
    """Empty the atrial fibrillation window."""
    interrupt_code(state, slot, source, ATRIAL_FIBRILLATION)
    state.tally[slot, WORD_COUNT + source] = 0
    state.tally[slot, DISTINCT + source] = 0
    state.level[slot, WORD_SUM + source] = 0.0


@inline_kernel
def _c_log_c(count: int) -> float:
    return count * math.log2(count) if count > 1 else 0.0


@inline_kernel
def pattern_entropy(state: HeartState, slot: int, source: int, rr_ms: float) -> float:
    """Entropy of the last 127 three-beat words, 0..1; NaN until the window is full.

    Zhou, Ding, Wu, Zhang, PLoS ONE 2015;10(9):e0136544: H'' = -k / (N log2 N) * sum p log2 p with k distinct words among
    N. Updated word by word: sum p log2 p = (sum c log2 c) / N - log2 N.
    """
    contiguous = state.tally[slot, RR_CHAIN + source]
    symbol = min(SYMBOL_MAX, int(60_000.0 / rr_ms / SYMBOL_BPM))
    word = ((state.tally[slot, SYMBOLS + source] << SYMBOL_BITS) | symbol) & ((1 << (3 * SYMBOL_BITS)) - 1)
    state.tally[slot, SYMBOLS + source] = word
    if contiguous >= 3:
        words = state.words[slot, source]
        total = state.tally[slot, WORD_COUNT + source]
        index = total % WORDS
        if total >= WORDS:
            old = words[index]
            same = 0
            for k in range(WORDS):
                same += words[k] == old
            state.level[slot, WORD_SUM + source] += _c_log_c(same - 1) - _c_log_c(same)
            if same == 1:
                state.tally[slot, DISTINCT + source] -= 1
            words[index] = -1
        same = 0
        for k in range(min(total, WORDS)):
            same += words[k] == word
        state.level[slot, WORD_SUM + source] += _c_log_c(same + 1) - _c_log_c(same)
        if same == 0:
            state.tally[slot, DISTINCT + source] += 1
        words[index] = word
        state.tally[slot, WORD_COUNT + source] = total + 1
    if state.tally[slot, WORD_COUNT + source] < WORDS:
        return np.nan
    distinct = state.tally[slot, DISTINCT + source]
    return float(distinct / (WORDS * math.log2(WORDS)) * (math.log2(WORDS) - state.level[slot, WORD_SUM + source] / WORDS))


@inline_kernel
def median_rr(state: HeartState, slot: int, parity: int, source: int, size: int) -> float:
    """Median of the minute's RR intervals in ms, sorted in place (the minute is over)."""
    values = state.minute_rr[slot, parity, source]
    for i in range(1, size):
        value = values[i]
        j = i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value
    return 0.5 * (float(values[(size - 1) // 2]) + float(values[size // 2]))


@kernel
def emit_minute(state: HeartState, found: Found, slot: int, parity: int) -> None:
    """Sum up one minute of one slot: from the ECG if it saw beats, else from RR intervals, else from vital signs."""
    sums = state.sums[slot, parity]
    if sums[MINUTE] == NEVER:
        return
    row = found.used[1]
    if row < found.feature.shape[0]:
        out = found.feature[row]
        out[0] = slot
        out[1] = sums[MINUTE]
        source = ECG if sums[MINUTE_BEAT_COUNT + ECG] > 0 else RR
        beats = int(state.sums[slot, parity, MINUTE_BEAT_COUNT + source])
        squares, differences = (sums[DIFF_SQUARES], sums[DIFFS]) if source == ECG else (sums[DIFF_SQUARES_RR], sums[DIFFS_RR])
        heart = np.nan
        if beats > 0:
            heart = 60_000.0 / median_rr(state, slot, parity, source, min(beats, MINUTE_BEATS))
        elif sums[HEARTS] > 0:
            heart = sums[HEART_SUM] / sums[HEARTS]
        entropy = np.nan
        distinct = state.tally[slot, DISTINCT + source]
        if state.tally[slot, WORD_COUNT + source] >= WORDS:
            entropy = distinct / (WORDS * math.log2(WORDS)) * (math.log2(WORDS) - state.level[slot, WORD_SUM + source] / WORDS)
        out[2] = heart
        out[3] = math.sqrt(squares / differences) if differences > 0 else np.nan
        out[4] = beats
        out[5] = min(1.0, max(sums[COVERED_S], sums[COVERED_RR_S], sums[COVERED_VITALS_S]) / 60.0)
        out[6] = entropy
        out[7] = sums[BREATH_SUM] / sums[BREATHS] if sums[BREATHS] > 0 else np.nan
        out[8] = sums[SPO2_SUM] / sums[SPO2S] if sums[SPO2S] > 0 else np.nan
        found.used[1] = row + 1
    state.tally[slot, EMITTED_NS] = (int(sums[MINUTE]) + 1) * MINUTE_NS
    sums[:] = 0.0
    sums[MINUTE] = NEVER


@inline_kernel
def minute_of(state: HeartState, found: Found, slot: int, t_ns: int) -> int:
    """Row (0 or 1) of the open sums for the minute of `t_ns`; -1 when that minute has been summed up already."""
    if t_ns < state.tally[slot, EMITTED_NS]:
        return -1
    minute = t_ns // MINUTE_NS
    parity = minute & 1
    if state.sums[slot, parity, MINUTE] != minute:
        if state.sums[slot, 1 - parity, MINUTE] != NEVER and state.sums[slot, 1 - parity, MINUTE] < minute - 1:
            emit_minute(state, found, slot, 1 - parity)
        emit_minute(state, found, slot, parity)
        state.sums[slot, parity, MINUTE] = minute
    return parity


@inline_kernel
def pass_time(state: HeartState, found: Found, slot: int, now_ns: int) -> None:
    """Sum up the minutes that ended more than the grace time before `now_ns`."""
    first = 0 if state.sums[slot, 0, MINUTE] < state.sums[slot, 1, MINUTE] else 1
    for step in range(2):
        parity = first if step == 0 else 1 - first
        minute = state.sums[slot, parity, MINUTE]
        if minute != NEVER and now_ns >= (int(minute) + 1) * MINUTE_NS + GRACE_NS:
            emit_minute(state, found, slot, parity)


@inline_kernel
def set_back(state: HeartState, found: Found, slot: int, t0_ns: int) -> None:
    """A stream starts at `t0_ns`: where its device's clock was set back, minutes start anew."""
    if t0_ns < state.tally[slot, EMITTED_NS] - MINUTE_NS:
        emit_minute(state, found, slot, 0)
        emit_minute(state, found, slot, 1)
        state.tally[slot, EMITTED_NS] = NEVER


@inline_kernel
def on_interval(
    state: HeartState, limits: HeartLimits, found: Found, slot: int, source: int, t_ns: int, rr_ms: float, parity: int, trusted: bool
) -> None:
    """One RR interval that ends at `t_ns`: rates, atrial fibrillation and the minute it belongs to.

    `trusted` False keeps a doubtful interval (poor signal) out of the rate limits.
    """
    if not RR_MS_MIN <= rr_ms <= (ECG_RR_MS_MAX if source == ECG else RR_MS_MAX):
        interrupt(state, slot, source, False)
        return
    count = state.tally[slot, RR_COUNT + source]
    previous = state.past[slot, RR_WINDOW + source, (count - 1) % WINDOW_BEATS_MAX]
    state.past[slot, RR_WINDOW + source, count % WINDOW_BEATS_MAX] = rr_ms
    state.tally[slot, RR_COUNT + source] = count + 1
    chain = state.tally[slot, RR_CHAIN + source]
    state.tally[slot, RR_CHAIN + source] = chain + 1
    if parity >= 0:
        beats = int(state.sums[slot, parity, MINUTE_BEAT_COUNT + source])
        state.minute_rr[slot, parity, source, beats % MINUTE_BEATS] = int(rr_ms)
        state.sums[slot, parity, MINUTE_BEAT_COUNT + source] = beats + 1
        if chain > 0 and abs(rr_ms - previous) <= DIFFERENCE_MAX * previous:
            square = (rr_ms - previous) * (rr_ms - previous)
            state.sums[slot, parity, DIFF_SQUARES if source == ECG else DIFF_SQUARES_RR] += square
            state.sums[slot, parity, DIFFS if source == ECG else DIFFS_RR] += 1.0
    window = limits.rate_window_beats
    if count + 1 >= window:
        span = 0.0
        for k in range(window):
            span += state.past[slot, RR_WINDOW + source, (count - k) % WINDOW_BEATS_MAX]
        judge_rate(state, limits, found, slot, source, 60_000.0 * window / span, t_ns - int(span * 1e6), t_ns, 0.0, trusted)
    entropy = pattern_entropy(state, slot, source, rr_ms)
    verdict = NEITHER
    if entropy >= limits.atrial_entropy_fraction_min:
        verdict = HOLDS
    elif entropy < limits.atrial_entropy_fraction_min - ENTROPY_HYSTERESIS:
        verdict = OVER
    judge_condition(state, limits, found, slot, source, ATRIAL_FIBRILLATION, verdict, t_ns, t_ns, 0.0, entropy)


@inline_kernel
def judge_limits(value: float, low: float, high: float, hysteresis: float, below: bool) -> int:
    """Verdict on "too low" (`below`) or "too high" for one value."""
    if below:
        return HOLDS if value < low else (OVER if value >= low + hysteresis else NEITHER)
    return HOLDS if value > high else (OVER if value <= high - hysteresis else NEITHER)


@inline_kernel
def judge_rate(
    state: HeartState,
    limits: HeartLimits,
    found: Found,
    slot: int,
    source: int,
    bpm: float,
    start_ns: int,
    now_ns: int,
    period_ns: float,
    trusted: bool,
) -> None:
    """Compare a heart rate with the resident's limits; one that is not `trusted` (poor signal) decides nothing."""
    low = limits.per_slot[slot, RATE_BPM_MIN]
    high = limits.per_slot[slot, RATE_BPM_MAX]
    slow = judge_limits(bpm, low, high, limits.rate_hysteresis_bpm, True) if trusted else NEITHER
    fast = judge_limits(bpm, low, high, limits.rate_hysteresis_bpm, False) if trusted else NEITHER
    judge_condition(state, limits, found, slot, source, BRADYCARDIA, slow, start_ns, now_ns, period_ns, bpm)
    judge_condition(state, limits, found, slot, source, TACHYCARDIA, fast, start_ns, now_ns, period_ns, bpm)
