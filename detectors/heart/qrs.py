"""QRS complexes from one or two ECG leads, one sample after the other.

The chain, after Pan & Tompkins (IEEE Trans Biomed Eng 1985;32:230) and Hamilton (Computers in Cardiology 2002;29:101),
written anew and made cheap:

1. average neighbouring samples down to about 125 Hz;
2. slope = difference of two adjacent 24 ms means (band-pass around 15 Hz), per lead;
3. feature = mean of |slope| over 100 ms, summed over the leads;
4. a local maximum with nothing larger in 200 ms is a candidate; it is a QRS complex if it exceeds
   noise + fraction * (signal - noise), where signal and noise are medians of the last eight QRS and noise peaks;
5. not if it has slopes in one direction only (a baseline step), nor if it comes within 360 ms of a beat at less
   than half its slope (a T wave);
6. when a beat is overdue by half the usual interval, the best rejected candidate is taken if it reaches half the
   threshold; if there is none, the threshold comes down to that half step by step, and further only once an asystole
   would have been raised.

Differences from the papers: the position of a beat is the centre of energy of its slope (no jumps between R and S),
the threshold falls in silence (a lead that loses amplitude is found again) and stands where it stood when the
complexes come back as large as before, missing, constant and stepping
signals never reach the filters, and two leads share one feature.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from detectors.heart.inline import inline_kernel
from detectors.heart.state import (
    AREA_0,
    AREA_1,
    ASYSTOLE,
    BACK,
    BACK_AT,
    BACK_N,
    BACK_SLOPE,
    BACK_WIDTH,
    BASE_0,
    CHAIN,
    DOWN,
    FADED,
    HELD_0,
    KNOWN,
    LAST_BAD,
    LAST_BEAT,
    LAST_POSSIBLE,
    LAST_S,
    LAST_SLOPE,
    LEADS,
    LEARN,
    LEARN_MAX,
    LEARN_PEAKS,
    LEARN_SUM,
    LEVELS,
    MISSING_0,
    NOISE_AT,
    NOISE_PEAKS,
    NOISE_RATIO,
    NORMAL_WIDTH,
    PEAK,
    PEAK_FROM,
    QRS_AT,
    QRS_PEAKS,
    RAISED_BY,
    RECENT_RR,
    RING,
    RUN,
    SAME,
    SEARCH_DUE,
    SLOPE_0,
    SLOPE_1,
    SMOOTH,
    TEMPLATED,
    THRESHOLD,
    TYPICAL_RR,
    WAVE,
    HeartState,
)
from engine.frame import Float64
from engine.jit import kernel

INTERNAL_HZ: Final = 125.0
"""Enough for QRS energy (10-25 Hz) with room for the filters; what most wearables send anyway."""
SLOPE_S: Final = 0.024
"""Length of each mean in the slope: response sin^2(x)/x, x = pi f 24 ms, peaks at 15.5 Hz, between Pan & Tompkins' 5-15 Hz and
Elgendi's 8-20 Hz (PLoS ONE 2013;8:e73557)."""
AREA_S: Final = 0.100
"""Integration window: the width of a normal QRS complex (PLoS ONE 2013;8:e73557: 97 +- 11 ms)."""
REFRACTORY_S: Final = 0.200
"""No two ventricular beats are closer (Pan & Tompkins 1985)."""
T_WAVE_S: Final = 0.360
T_WAVE_SLOPE: Final = 0.5
"""Pan & Tompkins 1985: within 360 ms, at less than half the slope of the beat before, it is a T wave."""
THRESHOLD_FRACTION: Final = 0.35
"""Between Pan & Tompkins' 0.25 and Hamilton's 0.475 for peaks of an 80-150 ms window."""
NOISY: Final = 0.5
"""Noise peaks at half the height of QRS peaks: beats are counted, but a rate built on them raises nothing."""
NOISE_FADE: Final = 0.98
"""Noise that large, when no new peak confirms it, is forgotten with the beats (half in 34): rates must not stay untrusted for ever."""
AT_STEPS: Final = 8
"""Beats are placed to an eighth of a sample (1 ms), so that the last bit of a sum decides nothing."""
STEP_RATIO: Final = 0.15
"""A QRS complex goes up and down; a baseline step has slopes of one sign only."""
SEARCH_BACK: Final = 1.5
SEARCH_FRACTION: Final = 0.5
"""Hamilton 2002: after 1.5 usual intervals, half the threshold."""
LEARN_S: Final = 2.0
"""Pan & Tompkins 1985: two seconds to learn levels."""
LEARN_SIGNAL: Final = 0.8
LEARN_NOISE_OF_MEAN: Final = 0.5
LEARN_NOISE_OF_MAX: Final = 0.3
FADE: Final = 0.8
FADE_S: Final = 0.5
"""While no beat is found the expected height shrinks by a fifth every half second, to SEARCH_FRACTION at first: a heart that is
merely slow shows P waves, T waves and noise in between, all far below that, and none of them may pass for its beats."""
HUSH_S: Final = 1.0
"""So long after the time of an asystole (judged once a second) it may shrink further, unless one is raised: what is that small
then is noise, not a heartbeat."""
CEILING_MV: Final = 4.0
"""Feature of two leads of 5 mV, the largest QRS complex a monitor must expect (IEC 60601-2-27); above it is artefact, not a heart."""
FLOOR_MV: Final = 0.02
"""Lowest threshold: the feature of a QRS complex of about 50 uV (a complex of 80 ms and height A has a feature of 0.4 A)."""
BRIDGE_S: Final = 0.1
"""A shorter dropout is bridged by holding the last value. It may hide a QRS complex, which is about as long, but not two."""
DUE_FROM: Final = 0.5
"""A bridged hole that ends half a usual interval after the last beat, or later, may hide the next one; from SEARCH_BACK intervals on
that beat was overdue before the hole came, and is not in it."""
STUCK_S: Final = 1.5
"""A constant value for longer is no electrode on skin; coarse converters do repeat themselves between two slow beats."""


class Grid(NamedTuple):
    """Seconds as internal samples, at one device rate: the only place where they meet."""

    rate_hz: float
    decimation: int
    rate_internal_hz: float
    slope: int
    area: int
    refractory: int
    t_wave: int
    learn: int
    fade: int
    bridge: int
    stuck: int
    second: int
    settle: int


def grid(rate_hz: float) -> Grid:
    """The grid of a device that samples at `rate_hz` (100-1000)."""
    decimation = max(1, round(rate_hz / INTERNAL_HZ))
    internal = rate_hz / decimation

    def samples(seconds: float) -> int:
        return max(1, round(seconds * internal))

    return Grid(
        rate_hz=float(rate_hz),
        decimation=decimation,
        rate_internal_hz=internal,
        slope=samples(SLOPE_S),
        area=samples(AREA_S),
        refractory=samples(REFRACTORY_S),
        t_wave=samples(T_WAVE_S),
        learn=samples(LEARN_S),
        fade=samples(FADE_S),
        bridge=samples(BRIDGE_S),
        stuck=samples(STUCK_S),
        second=samples(1.0),
        settle=2 * samples(SLOPE_S) + samples(AREA_S),
    )


class Candidate(NamedTuple):
    """A peak of the feature that may be a beat; `at` and `peak_n` in internal samples, `width_s` the spread of its slope energy."""

    height: float
    slope: float
    at: float
    stepped: bool
    width_s: float
    peak_n: int


@inline_kernel
def median8(values: Float64) -> float:
    """Median of the eight remembered levels, sorted by insertion in the spare half of their row (np.sort takes seconds to compile)."""
    ordered = values[LEVELS:]
    for i in range(LEVELS):
        value = values[i]
        j = i
        while j > 0 and ordered[j - 1] > value:
            ordered[j] = ordered[j - 1]
            j -= 1
        ordered[j] = value
    return float(0.5 * (ordered[LEVELS // 2 - 1] + ordered[LEVELS // 2]))


@inline_kernel
def set_threshold(state: HeartState, slot: int) -> None:
    """Threshold from the medians of signal and noise peaks, the signal as far as it has faded in silence."""
    signal = state.level[slot, FADED] * median8(state.past[slot, QRS_PEAKS])
    noise = min(median8(state.past[slot, NOISE_PEAKS]), signal)
    state.level[slot, NOISE_RATIO] = noise / signal if signal > 0.0 else 1.0
    state.level[slot, THRESHOLD] = max(FLOOR_MV, noise + THRESHOLD_FRACTION * (signal - noise))


@kernel
def restart(state: HeartState, g: Grid, slot: int, n: int, relearn: bool) -> None:
    """Empty the filters of `slot` at internal sample `n`, so that the next sample starts from rest.

    `relearn` also forgets the learned levels (another device, another rate); after a mere dropout they stay.
    """
    level = state.level[slot]
    count = state.tally[slot]
    state.signal[slot] = 0.0
    for column in (SLOPE_0, SLOPE_1, AREA_0, AREA_1, LAST_S, PEAK, BACK):
        level[column] = 0.0
    count[SAME] = 0
    count[CHAIN] = 0
    count[KNOWN] = 0
    count[LAST_BAD] = n
    level[LAST_BEAT] = n
    level[LAST_POSSIBLE] = n
    level[LAST_SLOPE] = 0.0
    level[FADED] = 1.0
    level[SMOOTH] = 0.0
    level[BASE_0] = 0.0
    level[BASE_0 + 1] = 0.0
    count[MISSING_0] = g.bridge + 1  # as after a hole: the next value becomes the base line
    count[MISSING_0 + 1] = g.bridge + 1
    level[HELD_0] = 0.0
    level[HELD_0 + 1] = 0.0
    count[DOWN] = 0
    count[PEAK_FROM] = n
    count[RUN] = 0
    count[WAVE] = 0
    count[SEARCH_DUE] = n + g.learn
    if relearn or level[THRESHOLD] == 0.0:
        count[LEARN] = n + g.settle + g.learn
        level[LEARN_MAX] = 0.0
        level[LEARN_SUM] = 0.0
        count[LEARN_PEAKS] = 0
        level[TYPICAL_RR] = g.rate_internal_hz
        level[NORMAL_WIDTH] = 0.0
        count[TEMPLATED] = 0
        state.past[slot, RECENT_RR] = g.rate_internal_hz
        state.past[slot, QRS_PEAKS] = 0.0
        state.past[slot, NOISE_PEAKS] = 0.0


@kernel
def learn(state: HeartState, g: Grid, slot: int, n: int) -> None:
    """The two seconds of learning are over: first levels from the largest and the mean feature."""
    level = state.level[slot]
    largest = level[LEARN_MAX]
    state.past[slot, QRS_PEAKS] = LEARN_SIGNAL * largest
    state.past[slot, NOISE_PEAKS] = min(
        LEARN_NOISE_OF_MEAN * level[LEARN_SUM] / state.tally[slot, LEARN_PEAKS], LEARN_NOISE_OF_MAX * largest
    )
    set_threshold(state, slot)
    state.tally[slot, LEARN] = 0
    level[LAST_BEAT] = n
    level[LAST_POSSIBLE] = n
    state.tally[slot, SEARCH_DUE] = n + int(SEARCH_BACK * g.rate_internal_hz)


@inline_kernel
def measure(state: HeartState, g: Grid, slot: int, leads: int, peak_n: int, height: float) -> Candidate:
    """Slope, position and shape of the candidate whose feature peaked at `peak_n`."""
    up = 0.0
    down = 0.0
    energy = 0.0
    moment = 0.0
    spread = 0.0
    start = peak_n - g.area - g.slope
    for lead in range(leads):
        ring = state.signal[slot, LEADS + lead]
        for j in range(start, peak_n + g.slope + 1):
            value = ring[j & (RING - 1)]
            up = max(up, value)
            down = max(down, -value)
            square = value * value
            energy += square
            moment += square * (j - peak_n)
            spread += square * (j - peak_n) * (j - peak_n)
    centre = moment / energy if energy > 0.0 else 0.0
    variance = spread / energy - centre * centre if energy > 0.0 else 0.0
    # the slope at n belongs to the edge between its two means, g.slope - 0.5 samples before n
    at = math.floor((peak_n + centre - g.slope + 0.5) * AT_STEPS + 0.5) / AT_STEPS
    steep = max(up, down)
    width_s = math.sqrt(max(variance, 0.0)) / g.rate_internal_hz
    return Candidate(height, steep, at, min(up, down) < STEP_RATIO * steep, width_s, peak_n)


@inline_kernel
def accept(state: HeartState, g: Grid, slot: int, beat: Candidate, now_n: int, spoiled: bool) -> float:
    """Make `beat` the last beat; returns its RR interval in internal samples, NaN when the beat before is not known or the interval `spoiled`
    by a hole in which a beat may be hidden."""
    level = state.level[slot]
    count = state.tally[slot]
    known = count[CHAIN] > 0 and not spoiled
    interval = beat.at - level[LAST_BEAT] if known else np.nan
    if known:
        state.past[slot, RECENT_RR, count[QRS_AT] % LEVELS] = min(interval, 2.0 * g.rate_internal_hz)
        level[TYPICAL_RR] = median8(state.past[slot, RECENT_RR])
    if level[FADED] < 1.0:
        faded = level[FADED]
        level[FADED] = 1.0
        set_threshold(state, slot)
        if beat.height < level[THRESHOLD]:  # the complexes became smaller; else there merely were none
            state.past[slot, QRS_PEAKS] *= faded
    state.past[slot, QRS_PEAKS, count[QRS_AT] % LEVELS] = min(beat.height, CEILING_MV)
    if level[NOISE_RATIO] > NOISY:
        state.past[slot, NOISE_PEAKS] *= NOISE_FADE
    count[QRS_AT] += 1
    count[CHAIN] = count[CHAIN] + 1 if beat.height <= CEILING_MV else 0
    count[KNOWN] = count[KNOWN] + 1 if beat.height <= CEILING_MV else 0
    level[LAST_BEAT] = beat.at
    level[LAST_POSSIBLE] = beat.at
    level[LAST_SLOPE] = beat.slope
    level[BACK] = 0.0
    count[SEARCH_DUE] = max(int(beat.at + SEARCH_BACK * level[TYPICAL_RR]) + g.refractory, now_n + 1)
    set_threshold(state, slot)
    return interval


@inline_kernel
def consider(state: HeartState, g: Grid, slot: int, candidate: Candidate) -> bool:
    """True when the candidate is a beat; else it teaches the noise level and waits for search-back."""
    level = state.level[slot]
    count = state.tally[slot]
    since = candidate.at - level[LAST_BEAT]
    known = count[CHAIN] > 0
    if candidate.stepped or (known and since < g.refractory - 2):
        return False
    if known and since < g.t_wave and candidate.slope < T_WAVE_SLOPE * level[LAST_SLOPE]:
        return False
    if candidate.height > level[THRESHOLD]:
        return True
    state.past[slot, NOISE_PEAKS, count[NOISE_AT] % LEVELS] = candidate.height
    count[NOISE_AT] += 1
    set_threshold(state, slot)
    if candidate.height > level[BACK] and since > g.t_wave:
        level[BACK] = candidate.height
        level[BACK_SLOPE] = candidate.slope
        level[BACK_AT] = candidate.at
        level[BACK_WIDTH] = candidate.width_s
        count[BACK_N] = candidate.peak_n
    return False


@inline_kernel
def maybe_hidden(state: HeartState, g: Grid, slot: int, start_n: int, end_n: int) -> None:
    """A hole from internal sample `start_n` to `end_n` is bridged: note it when the next beat was due there."""
    level = state.level[slot]
    last = level[LAST_POSSIBLE]
    if end_n - last >= DUE_FROM * level[TYPICAL_RR] and start_n - g.area - last <= SEARCH_BACK * level[TYPICAL_RR]:
        level[LAST_POSSIBLE] = end_n


@inline_kernel
def hidden_between(state: HeartState, slot: int, beat: Candidate) -> bool:
    """True when the interval before `beat` is so long, and broken by a hole, that a beat may be missing from it."""
    level = state.level[slot]
    return bool(level[LAST_POSSIBLE] > level[LAST_BEAT] and beat.at - level[LAST_BEAT] > SEARCH_BACK * level[TYPICAL_RR])


@inline_kernel
def overdue(state: HeartState, g: Grid, slot: int, now_n: int, asystole_s: float) -> bool:
    """A beat is overdue: True when the best rejected candidate is taken for it; else the threshold comes down."""
    level = state.level[slot]
    count = state.tally[slot]
    count[SEARCH_DUE] = now_n + g.fade
    if state.latch[slot, RAISED_BY, ASYSTOLE] != 0:
        return False
    if level[BACK] > max(FLOOR_MV, min(1.0, SEARCH_FRACTION / level[FADED]) * level[THRESHOLD]):
        return True
    silent_s = (now_n - level[LAST_BEAT]) / g.rate_internal_hz
    if level[FADED] * FADE >= SEARCH_FRACTION or (silent_s >= asystole_s + HUSH_S and level[THRESHOLD] > FLOOR_MV):
        level[FADED] *= FADE
        set_threshold(state, slot)
    return False


@inline_kernel
def recalled(state: HeartState, slot: int) -> Candidate:
    """The candidate kept for search-back."""
    level = state.level[slot]
    return Candidate(level[BACK], level[BACK_SLOPE], level[BACK_AT], False, level[BACK_WIDTH], state.tally[slot, BACK_N])
