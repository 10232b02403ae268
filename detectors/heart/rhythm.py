"""From RR intervals and vital signs to conditions and minutes: rates, atrial fibrillation, latches, features."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

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
    ECG,
    HEART_SUM,
    HEARTS,
    MINUTE,
    MINUTE_BEATS,
    MINUTE_NS,
    NEVER,
    RR,
    SPO2_SUM,
    SPO2S,
    TACHYCARDIA,
    VITALS,
    WINDOW_BEATS_MAX,
    WORDS,
    Found,
    HeartState,
    Limits,
)
from engine.frame import NS_PER_S
from engine.jit import kernel

CODE_COUNT: Final = len(CODES)
RR_MS_MIN: Final = 200.0
"""300 bpm: nothing in an adult's ventricles conducts faster (refractory period of ventricular muscle ~200 ms)."""
RR_MS_MAX: Final = 3000.0
"""Longer is a dropout for an RR device (Task Force of ESC and NASPE, Circulation 1996;93:1043); the ECG has asystole for it."""
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
STALE_WORDS_NS: Final = 300 * NS_PER_S
"""RR patterns on both sides of a longer interruption are not one episode."""


@kernel
def report(state: HeartState, found: Found, slot: int, code: int, onset: int, onset_ns: int, decided_ns: int, value: float) -> None:
    """Write one finding; a full buffer cannot happen while conditions turn at most once a second (see `buffers`)."""
    row = found.used[0]
    if row < found.event.shape[0]:
        found.event[row, 0] = slot
        found.event[row, 1] = code
        found.event[row, 2] = onset
        found.event[row, 3] = onset_ns
        found.event[row, 4] = decided_ns
        found.value[row] = value
        found.used[0] = row + 1


@kernel
def judge_condition(
    state: HeartState,
    found: Found,
    slot: int,
    source: int,
    code: int,
    verdict: int,
    start_ns: int,
    now_ns: int,
    confirm_ns: int,
    clear_ns: int,
    value: float,
) -> None:
    """Latch one condition of one slot.

    `verdict`: 1 it holds (since `start_ns` when new), 0 it is over beyond the hysteresis, -1 neither. A condition is
    raised once, by whichever source confirms it first, and only that source can clear it, after `clear_ns` of 0.
    """
    raised_by = state.active[slot, code]
    if raised_by == 0:
        if verdict != 1:
            state.since_ns[slot, source, code] = NEVER
            return
        if state.since_ns[slot, source, code] == NEVER:
            state.since_ns[slot, source, code] = start_ns
        since = state.since_ns[slot, source, code]
        if now_ns - since >= confirm_ns:
            state.active[slot, code] = source + 1
            state.onset_ns[slot, code] = since
            state.calm_ns[slot, code] = NEVER
            for other in range(state.since_ns.shape[1]):
                state.since_ns[slot, other, code] = NEVER
            report(state, found, slot, code, 1, since, now_ns, value)
    elif raised_by == source + 1:
        if verdict != 0:
            state.calm_ns[slot, code] = NEVER
            return
        if state.calm_ns[slot, code] == NEVER:
            state.calm_ns[slot, code] = now_ns
        if now_ns - state.calm_ns[slot, code] >= clear_ns:
            state.active[slot, code] = 0
            report(state, found, slot, code, 0, state.onset_ns[slot, code], now_ns, value)


@kernel
def interrupt(state: HeartState, slot: int, source: int) -> None:
    """Data of `source` went missing: what was building up starts again, what is raised stays raised."""
    for code in range(CODE_COUNT):
        state.since_ns[slot, source, code] = NEVER
        if state.active[slot, code] == source + 1:
            state.calm_ns[slot, code] = NEVER
    if source != VITALS:
        state.rr_count[slot, source] = 0
        state.symbols[slot, source] = 0


@kernel
def forget_pattern(state: HeartState, slot: int, source: int) -> None:
    """Empty the atrial fibrillation window."""
    state.word_count[slot, source, 0] = 0
    state.word_count[slot, source, 1] = 0
    state.word_sum[slot, source] = 0.0


@kernel
def _c_log_c(count: int) -> float:
    return count * math.log2(count) if count > 1 else 0.0


@kernel
def pattern_entropy(state: HeartState, slot: int, source: int, rr_ms: float) -> float:
    """Entropy of the last 127 three-beat words, 0..1; NaN until the window is full.

    Zhou, Ding, Wu, Zhang, PLoS ONE 2015;10(9):e0136544: H'' = -k / (N log2 N) * sum p log2 p with k distinct words among
    N. Updated word by word: sum p log2 p = (sum c log2 c) / N - log2 N.
    """
    contiguous = state.rr_count[slot, source]
    symbol = min(SYMBOL_MAX, int(60_000.0 / rr_ms / SYMBOL_BPM))
    word = ((state.symbols[slot, source] << SYMBOL_BITS) | symbol) & ((1 << (3 * SYMBOL_BITS)) - 1)
    state.symbols[slot, source] = word
    if contiguous >= 3:
        words = state.words[slot, source]
        total = state.word_count[slot, source, 0]
        index = total % WORDS
        if total >= WORDS:
            old = words[index]
            same = 0
            for k in range(WORDS):
                same += words[k] == old
            state.word_sum[slot, source] += _c_log_c(same - 1) - _c_log_c(same)
            if same == 1:
                state.word_count[slot, source, 1] -= 1
            words[index] = -1
        same = 0
        for k in range(min(total, WORDS)):
            same += words[k] == word
        state.word_sum[slot, source] += _c_log_c(same + 1) - _c_log_c(same)
        if same == 0:
            state.word_count[slot, source, 1] += 1
        words[index] = word
        state.word_count[slot, source, 0] = total + 1
    if state.word_count[slot, source, 0] < WORDS:
        return np.nan
    distinct = state.word_count[slot, source, 1]
    return distinct / (WORDS * math.log2(WORDS)) * (math.log2(WORDS) - state.word_sum[slot, source] / WORDS)


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
        source = ECG if state.minute_beats[slot, parity, ECG] > 0 else RR
        beats = state.minute_beats[slot, parity, source]
        squares, differences = (sums[DIFF_SQUARES], sums[DIFFS]) if source == ECG else (sums[DIFF_SQUARES_RR], sums[DIFFS_RR])
        heart = np.nan
        if beats > 0:
            heart = 60_000.0 / np.median(state.minute_rr[slot, parity, source, : min(beats, MINUTE_BEATS)])
        elif sums[HEARTS] > 0:
            heart = sums[HEART_SUM] / sums[HEARTS]
        entropy = np.nan
        distinct = state.word_count[slot, source, 1]
        if state.word_count[slot, source, 0] >= WORDS:
            entropy = distinct / (WORDS * math.log2(WORDS)) * (math.log2(WORDS) - state.word_sum[slot, source] / WORDS)
        out[2] = heart
        out[3] = math.sqrt(squares / differences) if differences > 0 else np.nan
        out[4] = beats
        out[5] = min(1.0, max(sums[COVERED_S], sums[COVERED_RR_S], sums[COVERED_VITALS_S]) / 60.0)
        out[6] = entropy
        out[7] = sums[BREATH_SUM] / sums[BREATHS] if sums[BREATHS] > 0 else np.nan
        out[8] = sums[SPO2_SUM] / sums[SPO2S] if sums[SPO2S] > 0 else np.nan
        found.used[1] = row + 1
    state.emit_ns[slot, 1] = (int(sums[MINUTE]) + 1) * MINUTE_NS
    sums[:] = 0.0
    sums[MINUTE] = NEVER
    state.minute_beats[slot, parity, :] = 0


@kernel
def minute_of(state: HeartState, found: Found, slot: int, t_ns: int) -> int:
    """Row (0 or 1) of the open sums for the minute of `t_ns`; -1 when that minute has been summed up already."""
    if t_ns < state.emit_ns[slot, 1]:
        return -1
    minute = t_ns // MINUTE_NS
    parity = minute & 1
    if state.sums[slot, parity, MINUTE] != minute:
        if state.sums[slot, 1 - parity, MINUTE] != NEVER and state.sums[slot, 1 - parity, MINUTE] < minute - 1:
            emit_minute(state, found, slot, 1 - parity)
        emit_minute(state, found, slot, parity)
        state.sums[slot, parity, MINUTE] = minute
    return parity


@kernel
def pass_time(state: HeartState, found: Found, slot: int, now_ns: int) -> None:
    """Sum up the minutes that ended more than the grace time before `now_ns`."""
    first = 0 if state.sums[slot, 0, MINUTE] < state.sums[slot, 1, MINUTE] else 1
    for step in range(2):
        parity = first if step == 0 else 1 - first
        minute = state.sums[slot, parity, MINUTE]
        if minute != NEVER and now_ns >= (int(minute) + 1) * MINUTE_NS + GRACE_NS:
            emit_minute(state, found, slot, parity)


@kernel
def on_interval(
    state: HeartState, limits: Limits, found: Found, slot: int, source: int, t_ns: int, rr_ms: float, parity: int, rates_count: bool
) -> None:
    """One RR interval that ends at `t_ns`: rates, atrial fibrillation and the minute it belongs to.

    `rates_count` False keeps a doubtful interval (poor signal) out of the rate limits.
    """
    if not RR_MS_MIN <= rr_ms <= RR_MS_MAX:
        interrupt(state, slot, source)
        return
    count = state.rr_count[slot, source]
    previous = state.rr[slot, source, (count - 1) % WINDOW_BEATS_MAX]
    state.rr[slot, source, count % WINDOW_BEATS_MAX] = rr_ms
    state.rr_count[slot, source] = count + 1
    if parity >= 0:
        beats = state.minute_beats[slot, parity, source]
        state.minute_rr[slot, parity, source, beats % MINUTE_BEATS] = int(rr_ms)
        state.minute_beats[slot, parity, source] = beats + 1
        if count > 0 and abs(rr_ms - previous) <= DIFFERENCE_MAX * previous:
            square = (rr_ms - previous) * (rr_ms - previous)
            state.sums[slot, parity, DIFF_SQUARES if source == ECG else DIFF_SQUARES_RR] += square
            state.sums[slot, parity, DIFFS if source == ECG else DIFFS_RR] += 1.0
    window = limits.rate_window_beats
    if count + 1 >= window:
        span = 0.0
        for k in range(window):
            span += state.rr[slot, source, (count - k) % WINDOW_BEATS_MAX]
        judge_rate(
            state, limits, found, slot, source, 60_000.0 * window / span, t_ns - int(span * 1e6), t_ns, limits.rate_confirm_ns, rates_count
        )
    entropy = pattern_entropy(state, slot, source, rr_ms)
    verdict = -1
    if entropy >= limits.atrial_entropy_min:
        verdict = 1
    elif entropy < limits.atrial_entropy_min - ENTROPY_HYSTERESIS:
        verdict = 0
    judge_condition(
        state,
        found,
        slot,
        source,
        ATRIAL_FIBRILLATION,
        verdict,
        t_ns,
        t_ns,
        limits.atrial_confirm_ns,
        limits.clear_ns,
        entropy,
    )


@kernel
def judge_rate(
    state: HeartState,
    limits: Limits,
    found: Found,
    slot: int,
    source: int,
    bpm: float,
    start_ns: int,
    now_ns: int,
    confirm_ns: int,
    trusted: bool,
) -> None:
    """Compare a heart rate with the resident's limits."""
    low = limits.rate_bpm_min[slot]
    high = limits.rate_bpm_max[slot]
    slow = -1
    fast = -1
    if trusted:
        slow = 1 if bpm < low else (0 if bpm >= low + limits.rate_hysteresis_bpm else -1)
        fast = 1 if bpm > high else (0 if bpm <= high - limits.rate_hysteresis_bpm else -1)
    judge_condition(state, found, slot, source, BRADYCARDIA, slow, start_ns, now_ns, confirm_ns, limits.clear_ns, bpm)
    judge_condition(state, found, slot, source, TACHYCARDIA, fast, start_ns, now_ns, confirm_ns, limits.clear_ns, bpm)
