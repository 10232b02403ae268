"""Ventricular rhythms: runs of strange wide beats, and waves without beats."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from detectors.heart.inline import inline_kernel
from detectors.heart.latches import judge_condition
from detectors.heart.qrs import Candidate, Grid
from detectors.heart.state import (
    ECG,
    HOLDS,
    LAST_BAD,
    LAST_BEAT,
    MISFITS,
    NEITHER,
    NORMAL_WIDTH,
    OVER,
    RING,
    RUN,
    RUN_NS,
    TEMPLATE,
    TEMPLATED,
    TYPICAL_RR,
    VENTRICULAR_FIBRILLATION,
    VENTRICULAR_TACHYCARDIA,
    WAVE,
    WAVE_NS,
    Found,
    HeartLimits,
    HeartState,
    number,
)

NORMAL: Final = number(0)
LAST_STRANGE: Final = number(1)
"""Rows of HeartState.shapes."""

DOMINANT_BEATS: Final = 8
"""Beats after which the normal beat of this resident is known."""
RELEARN_BEATS: Final = 60
"""So many beats in a row that do not fit, at an unhurried rate: the electrode or the posture changed, not the heart."""
SHAPE_BEFORE_S: Final = 0.10
SHAPE_S: Final = 0.25
"""The part of a beat that is compared: the QRS complex and the start of the T wave."""
FIT: Final = 0.8
"""Correlation from which a beat counts as the normal one (and teaches it)."""
STRANGE: Final = 0.75
"""Correlation below which it is another kind of beat."""
KINSHIP: Final = 0.5
"""Beats of one focus resemble each other; noise does not."""
WIDER: Final = 1.15
"""A ventricular beat is conducted from cell to cell: its slopes spread over more time than those of the normal beat."""
LEARN_RATE: Final = 0.1

WAVE_HZ_MIN: Final = 2.0
WAVE_HZ_MAX: Final = 9.0
"""Flutter and fibrillation waves: 150-500 a minute."""
WAVE_CREST_MAX: Final = 3.2
"""Peak over mean absolute value: 1.57 for a sine, 2-3 for fibrillation, 5-10 with QRS complexes standing out of a baseline."""
WAVE_LEAK_MAX: Final = 0.6
"""What is left when the wave is added to itself half a period later, as a fraction (Kuo & Dillman 1978, the VF filter leakage)."""
WAVE_MV_MIN: Final = 0.15
"""Smaller waves cannot be told from noise (AHA: coarse fibrillation >= 0.2 mV)."""
BEATLESS_S: Final = 1.2
HURRIED_RR_S: Final = 0.5
"""Waves are looked for only where the QRS detector finds no beats or many: a steady normal rhythm is not fibrillation."""


@inline_kernel
def _likeness(state: HeartState, slot: int, start: int, span: int, which: int) -> float:
    """Correlation of `span` samples of lead 0 from `start` with a remembered shape; 0 where there is none."""
    wave = state.signal[slot, 0]
    shape = state.shapes[slot, which]
    mean = 0.0
    for k in range(span):
        mean += wave[(start + k) & (RING - 1)]
    mean /= span
    ab = 0.0
    aa = 0.0
    bb = 0.0
    for k in range(span):
        a = wave[(start + k) & (RING - 1)] - mean
        b = shape[k]
        ab += a * b
        aa += a * a
        bb += b * b
    return ab / math.sqrt(aa * bb) if aa > 0.0 and bb > 0.0 else 0.0


@inline_kernel
def _remember(state: HeartState, slot: int, start: int, span: int, which: int, weight: float) -> None:
    """Move a remembered shape (mean removed) towards `span` samples of lead 0 from `start`."""
    wave = state.signal[slot, 0]
    shape = state.shapes[slot, which]
    mean = 0.0
    for k in range(span):
        mean += wave[(start + k) & (RING - 1)]
    mean /= span
    for k in range(span):
        shape[k] += weight * (wave[(start + k) & (RING - 1)] - mean - shape[k])


@inline_kernel
def on_shape(
    state: HeartState,
    limits: HeartLimits,
    g: Grid,
    found: Found,
    slot: int,
    beat: Candidate,
    interval_ms: float,
    t_ns: int,
    now_n: int,
    now_ns: int,
) -> bool:
    """Compare a beat with the resident's normal one, count ventricular runs; True when it is strange and wide."""
    count = state.tally[slot]
    level = state.level[slot]
    span = min(TEMPLATE, int(SHAPE_S * g.rate_internal_hz))
    start = math.floor(beat.at + 0.5) - int(SHAPE_BEFORE_S * g.rate_internal_hz)
    if start + span > now_n or start <= now_n - RING:  # found by search-back so late that its shape is gone
        return False
    known = count[TEMPLATED]
    likeness = _likeness(state, slot, start, span, NORMAL)
    if known < DOMINANT_BEATS or likeness >= FIT:
        weight = max(LEARN_RATE, 1.0 / (min(known, DOMINANT_BEATS) + 1.0))
        _remember(state, slot, start, span, NORMAL, weight)
        level[NORMAL_WIDTH] += weight * (beat.width_s - level[NORMAL_WIDTH])
        count[TEMPLATED] = min(known + 1, DOMINANT_BEATS)
        count[MISFITS] = 0
    elif not interval_ms <= limits.ventricular_rr_ms_max:
        count[MISFITS] += 1
        if count[MISFITS] >= RELEARN_BEATS:
            count[TEMPLATED] = 0
            count[MISFITS] = 0
    strange = known >= DOMINANT_BEATS and likeness < STRANGE and beat.width_s >= WIDER * level[NORMAL_WIDTH]
    if strange:
        kin = _likeness(state, slot, start, span, LAST_STRANGE) >= KINSHIP
        if count[RUN] > 0 and kin and interval_ms <= limits.ventricular_rr_ms_max:
            count[RUN] += 1
        else:
            count[RUN] = 1
            count[RUN_NS] = t_ns
        _remember(state, slot, start, span, LAST_STRANGE, 1.0)
    else:
        count[RUN] = 0
    verdict = NEITHER
    if count[RUN] >= limits.ventricular_beats_min:
        verdict = HOLDS
    elif count[RUN] <= 1:
        verdict = OVER
    rate = 60_000.0 / interval_ms if interval_ms > 0.0 else np.nan
    judge_condition(state, limits, found, slot, ECG, VENTRICULAR_TACHYCARDIA, verdict, count[RUN_NS], now_ns, 0.0, rate)
    return strange


@inline_kernel
def wave_hz(state: HeartState, g: Grid, slot: int, n: int) -> float:
    """Frequency of a fibrillation or flutter wave in the last second before sample `n` of lead 0; 0 when there is none.

    Mean frequency and half-period shift after Kuo & Dillman (Computers in Cardiology 1978:347); we add the crest
    factor, because rhythmic movement lets QRS complexes stand out of the wave and fibrillation does not.
    """
    size = min(RING, g.second)
    wave = state.signal[slot, 0]
    first = n - size + 1
    mean = 0.0
    for k in range(size):
        mean += wave[(first + k) & (RING - 1)]
    mean /= size
    total = 0.0
    change = 0.0
    peak = 0.0
    for k in range(size):
        value = wave[(first + k) & (RING - 1)] - mean
        total += abs(value)
        peak = max(peak, abs(value))
        if k > 0:
            change += abs(value + mean - wave[(first + k - 1) & (RING - 1)])
    if total <= 0.0 or peak < WAVE_MV_MIN or peak * size > WAVE_CREST_MAX * total:
        return 0.0
    hz = change / total * g.rate_internal_hz / (2.0 * math.pi)
    if not WAVE_HZ_MIN <= hz <= WAVE_HZ_MAX:
        return 0.0
    shift = max(1, int(g.rate_internal_hz / (2.0 * hz) + 0.5))
    left = 0.0
    both = 0.0
    for k in range(shift, size):
        early = wave[(first + k - shift) & (RING - 1)] - mean
        late = wave[(first + k) & (RING - 1)] - mean
        left += abs(late + early)
        both += abs(late) + abs(early)
    return hz if both > 0.0 and left <= WAVE_LEAK_MAX * both else 0.0


@inline_kernel
def on_wave_second(state: HeartState, limits: HeartLimits, g: Grid, found: Found, slot: int, n: int, now_ns: int) -> None:
    """Once a second of good signal: count the seconds of fibrillation."""
    count = state.tally[slot]
    level = state.level[slot]
    beatless = n - level[LAST_BEAT] > BEATLESS_S * g.rate_internal_hz
    hz = 0.0
    if (beatless or level[TYPICAL_RR] < HURRIED_RR_S * g.rate_internal_hz) and count[LAST_BAD] < n - g.second:
        hz = wave_hz(state, g, slot, n)
    if hz > 0.0:
        if count[WAVE] == 0:
            count[WAVE_NS] = now_ns - int(1e9)
        count[WAVE] += 1
    else:
        count[WAVE] = 0
    verdict = NEITHER
    if count[WAVE] >= limits.fibrillation_s:
        verdict = HOLDS
    elif count[WAVE] == 0:
        verdict = OVER
    judge_condition(state, limits, found, slot, ECG, VENTRICULAR_FIBRILLATION, verdict, count[WAVE_NS], now_ns, 0.0, hz)
