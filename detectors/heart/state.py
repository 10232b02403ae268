"""What the heart detector remembers per slot, and the buffers its kernels write to.

Columns of the two front-end matrices are named here so that a slot's hot numbers share cache lines.
"""

from __future__ import annotations

from typing import Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from detectors.heart.events import EVENTS
from engine.frame import NS_PER_S, Float32, Float64, Int32, Int64

UInt16 = NDArray[np.uint16]

SOURCES: Final = 3


def number(value: int) -> int:
    """`value` as a NumPy integer: of a Python constant, numba would compile every kernel that takes it anew."""
    return cast("int", np.int64(value))


ECG: Final = number(0)
RR: Final = number(1)
VITALS: Final = number(2)
SIGNS: Final = 3
"""Vital signs that are judged: heart rate, respiration, SpO2."""

HOLDS: Final = number(1)
OVER: Final = number(0)
NEITHER: Final = number(-1)

BRADYCARDIA: Final = number(0)
TACHYCARDIA: Final = number(1)
ASYSTOLE: Final = number(2)
VENTRICULAR_TACHYCARDIA: Final = number(3)
VENTRICULAR_FIBRILLATION: Final = number(4)
ATRIAL_FIBRILLATION: Final = number(5)
SPO2_LOW: Final = number(6)
RESPIRATION_LOW: Final = number(7)
RESPIRATION_HIGH: Final = number(8)
CODES: Final = tuple(event.code for event in EVENTS)
VALUES: Final = (
    "heart_rate_bpm",
    "heart_rate_bpm",
    "no_beat_s",
    "heart_rate_bpm",
    "wave_hz",
    "rr_entropy",
    "spo2_percent",
    "respiration_per_min",
    "respiration_per_min",
)
"""The number that goes with each code."""

FEATURES: Final = (
    "heart_rate_bpm",
    "rmssd_ms",
    "beats",
    "coverage_fraction",
    "rr_entropy",
    "respiration_per_min",
    "spo2_percent",
)

NEVER: Final = -1

LEADS: Final = 2
RING: Final = 128
"""Samples kept of each lead: >= 0.68 s at the highest internal rate (187.5 Hz), enough to judge a beat 0.3 s after it."""
LEVELS: Final = 8
"""Peaks remembered for the adaptive threshold (Hamilton 2002 uses the last eight)."""
TEMPLATE: Final = 48
"""Samples of the normal beat: 0.25 s at the highest internal rate."""
WORDS: Final = 127
"""RR patterns in the atrial fibrillation window (Zhou et al. 2015: 127 beats)."""
WINDOW_BEATS_MAX: Final = 16
MINUTE_BEATS: Final = 240
BEATS_KEPT: Final = 32

# integer columns of the ECG front end
RATE_MHZ, ANCHOR_RAW, ANCHOR_NS, RAW, CARRY, GOOD_0, GOOD_1, N, MISSING_0, MISSING_1, SAME, DOWN, LEARN = range(13)
PEAK_N, LAST_BAD, BEAT_COUNT, LEARN_PEAKS, CHAIN, SEARCH_DUE, SECOND_DUE, QRS_AT, NOISE_AT, BACK_N = range(13, 23)
RUN, RUN_NS, WAVE, WAVE_NS, TEMPLATED, MISFITS = range(23, 29)
KNOWN: Final = 29
"""Beats seen on this contact with the skin."""
RR_COUNT: Final = 30
"""+ source: RR intervals so far since the last interruption; the rate is the mean of the last of them."""
SYMBOLS: Final = 32
"""+ source: the rhythm word being built."""
WORD_COUNT: Final = 34
"""+ source: rhythm words so far."""
DISTINCT: Final = 36
"""+ source: distinct words in the window."""
LAST_NS: Final = 38
"""+ ECG or RR: device time of the last beat, end of the last interval."""
SIGN_NS: Final = 40
"""+ channel of `readings.CHANNELS`: device time of its last value."""
EMITTED_NS: Final = 43
"""End of the last minute summed up."""
SIGN_GAP_NS: Final = 44
"""+ channel: time between its last two values, and (+ SIGNS) between the two before; NEVER where not known."""
RR_CHAIN: Final = 50
"""+ source: contiguous RR intervals without a hole or a missing value, however small."""
PEAK_FROM: Final = 52
"""Where the last candidate was judged."""
INT_COLUMNS: Final = 53

# float columns of the ECG front end
SUM_0, SUM_1, HELD_0, HELD_1, BASE_0, BASE_1, SLOPE_0, SLOPE_1, AREA_0, AREA_1, LAST_S, PEAK = range(12)
THRESHOLD, NOISE_RATIO, LEARN_MAX, LEARN_SUM, LAST_BEAT, LAST_SLOPE, BACK, BACK_SLOPE, BACK_AT, BACK_WIDTH = range(12, 22)
TYPICAL_RR, NORMAL_WIDTH = range(22, 24)
FADED: Final = 26
"""Share of the remembered QRS peaks that is still expected: 1, less in silence."""
WORD_SUM: Final = 24
"""+ source: sum of c log2 c over the distinct words."""
LAST_POSSIBLE: Final = 27
"""The last beat, or the end of a bridged hole after it in which the next one may be hidden."""
SMOOTH, LINE_MV, LINE_SPAN_MV = range(28, 31)
"""Share of the beats of late between which the line was constant; its height, and how far from it a line is the same."""
FLOAT_COLUMNS: Final = 31

# rows of HeartState.past
QRS_PEAKS, NOISE_PEAKS, RECENT_RR, RR_WINDOW = range(4)
"""The last peaks (LEVELS), the last RR intervals in internal samples (LEVELS); + source: RR intervals in ms."""

# rows of HeartState.latch
RAISED_BY, ONSET_NS, CALM_NS, CLEARED_NS, RETURNS, SAID, QUIET, SINCE_NS = range(8)
"""0 or 1 + the source that raised it; since when it has been over; when it was cleared last; how often it came back soon after; its value as last
reported, in thousandths; 1 when it would be cleared but for that; + source: since when the condition has held."""

# columns of HeartLimits.per_slot
RATE_BPM_MIN, RATE_BPM_MAX, SPO2_PERCENT_MIN, RESPIRATION_PER_MIN_MIN, RESPIRATION_PER_MIN_MAX = range(5)
PER_SLOT: Final = ("rate_bpm_min", "rate_bpm_max", "spo2_percent_min", "respiration_per_min_min", "respiration_per_min_max")


# columns of a minute's sums
(
    MINUTE,
    COVERED_S,
    COVERED_RR_S,
    COVERED_VITALS_S,
    DIFF_SQUARES,
    DIFFS,
    HEART_SUM,
    HEARTS,
    BREATH_SUM,
    BREATHS,
    SPO2_SUM,
    SPO2S,
    DIFF_SQUARES_RR,
    DIFFS_RR,
) = range(14)
MINUTE_BEAT_COUNT: Final = 14
"""+ source."""
SUM_COLUMNS: Final = 16


class HeartState(NamedTuple):
    """All arrays have axis 0 = slot; times are device ns or NEVER. Few and wide: each array costs compile and call time."""

    tally: Int64  # (s, INT_COLUMNS)
    level: Float64  # (s, FLOAT_COLUMNS)
    signal: Float32  # (s, 2 LEADS, RING) decimated leads in mV, offset removed; then their smoothed slopes, mV a step
    past: Float64  # (s, RR_WINDOW + 2, WINDOW_BEATS_MAX)
    shapes: Float64  # (s, 2, TEMPLATE) the normal beat; the last ventricular one
    beats: Int64  # (s, 2, BEATS_KEPT) time of the last beats; 1 where it was judged ventricular
    words: Int32  # (s, 2, WORDS) RR patterns by source
    latch: Int64  # (s, SINCE_NS + SOURCES, codes)
    sums: Float64  # (s, 2, SUM_COLUMNS) even and odd minute
    minute_rr: UInt16  # (s, 2, 2, MINUTE_BEATS) ms; even and odd minute, source


def initial(capacity: int) -> HeartState:
    """State of `capacity` slots that have seen nothing."""
    count = np.zeros((capacity, INT_COLUMNS), np.int64)
    count[:, LAST_NS : SIGN_GAP_NS + 2 * SIGNS] = NEVER
    latch = np.full((capacity, SINCE_NS + SOURCES, len(CODES)), NEVER, np.int64)
    latch[:, [RAISED_BY, RETURNS, QUIET]] = 0
    sums = np.zeros((capacity, 2, SUM_COLUMNS))
    sums[:, :, MINUTE] = NEVER
    return HeartState(
        tally=count,
        level=np.zeros((capacity, FLOAT_COLUMNS)),
        signal=np.zeros((capacity, 2 * LEADS, RING), np.float32),
        past=np.zeros((capacity, RR_WINDOW + 2, WINDOW_BEATS_MAX)),
        shapes=np.zeros((capacity, 2, TEMPLATE)),
        beats=np.zeros((capacity, 2, BEATS_KEPT), np.int64),
        words=np.zeros((capacity, 2, WORDS), np.int32),
        latch=latch,
        sums=sums,
        minute_rr=np.zeros((capacity, 2, 2, MINUTE_BEATS), np.uint16),
    )


class HeartLimits(NamedTuple):
    """Parameters as the kernels take them: `per_slot` (slots, PER_SLOT) where a care plan may differ, else scalars; times in ns."""

    per_slot: Float64
    turn_ns: Int64  # (3, codes) how long a condition must hold to be raised, and be over to clear: at first, and at most
    worse: Float64  # (codes,) by how much its value must be worse to be reported anew; negative where lower is worse
    rate_hysteresis_bpm: float
    rate_window_beats: int
    asystole_s: float
    ventricular_rr_ms_max: float
    ventricular_beats_min: int
    fibrillation_s: int
    atrial_entropy_fraction_min: float


class Found(NamedTuple):
    """Where kernels put what they found: `used[0]` rows of `event` and `value`, `used[1]` rows of `feature`.

    `event` int64 columns: slot, code, 1 for onset and 0 for clear, onset_ns, decided_ns; `value` float64; `feature`
    float64 columns: slot, number of the minute since 1970 (device time), then FEATURES.
    """

    event: Int64
    value: Float64
    feature: Float64
    used: Int64


EVENT_COLUMNS: Final = 5
MINUTE_NS: Final = 60 * NS_PER_S


def _rows(slots: int, seconds: float) -> tuple[int, int]:
    """Rows of events (each code turns at most once a second) and of minutes that `slots` slots can need in `seconds` of data."""
    return slots * len(CODES) * (int(seconds) + 3), slots * (int(seconds / 60) + 3)


def buffers(slots: int, seconds: float) -> Found:
    """Room for everything that `slots` slots can report in `seconds` of data."""
    turns, minutes = _rows(slots, seconds)
    return Found(np.zeros((turns, EVENT_COLUMNS), np.int64), np.zeros(turns), np.zeros((minutes, 2 + len(FEATURES))), np.zeros(2, np.int64))


def enough(found: Found, slots: int, seconds: float) -> bool:
    """Whether `found` has that room."""
    turns, minutes = _rows(slots, seconds)
    return len(found.value) >= turns and len(found.feature) >= minutes
