"""What the heart detector remembers per slot, and the buffers its kernels write to.

Columns of the two front-end matrices are named here so that a slot's hot numbers share cache lines.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.frame import NS_PER_S, Float32, Float64, Int32, Int64, UInt8

SOURCES: Final = 3
ECG: Final = 0
RR: Final = 1
VITALS: Final = 2

BRADYCARDIA: Final = 0
TACHYCARDIA: Final = 1
ASYSTOLE: Final = 2
VENTRICULAR_TACHYCARDIA: Final = 3
VENTRICULAR_FIBRILLATION: Final = 4
ATRIAL_FIBRILLATION: Final = 5
SPO2_LOW: Final = 6
RESPIRATION_LOW: Final = 7
RESPIRATION_HIGH: Final = 8
CODES: Final = (
    "heart.bradycardia",
    "heart.tachycardia",
    "heart.asystole",
    "heart.ventricular_tachycardia",
    "heart.ventricular_fibrillation",
    "heart.atrial_fibrillation",
    "heart.spo2_low",
    "heart.respiration_low",
    "heart.respiration_high",
)
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
RATE_MHZ, ANCHOR_RAW, ANCHOR_NS, RAW, CARRY, GOOD_0, GOOD_1, N, MISSING, MISSING_0, MISSING_1, SAME, DOWN, LEARN = range(14)
PEAK_N, LAST_BAD, BEAT_COUNT, LEARN_PEAKS, CHAIN, SEARCH_DUE, SECOND_DUE, QRS_AT, NOISE_AT, BACK_N = range(14, 24)
RUN, RUN_NS, WAVE, WAVE_NS, TEMPLATED, MISFITS = range(24, 30)
INT_COLUMNS: Final = 30

# float columns of the ECG front end
SUM_0, SUM_1, HELD_0, HELD_1, BASE_0, BASE_1, SLOPE_0, SLOPE_1, AREA_0, AREA_1, LAST_S, PEAK = range(12)
THRESHOLD, NOISE_RATIO, LEARN_MAX, LEARN_SUM, LAST_BEAT, LAST_SLOPE, BACK, BACK_SLOPE, BACK_AT, BACK_WIDTH = range(12, 22)
TYPICAL_RR, NORMAL_WIDTH = range(22, 24)
FLOAT_COLUMNS: Final = 24

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
SUM_COLUMNS: Final = 14


class HeartState(NamedTuple):
    """All arrays have axis 0 = slot; `source` axes are ECG, RR (, VITALS); times are device ns or NEVER."""

    count: Int64  # (s, INT_COLUMNS) ECG front end
    level: Float64  # (s, FLOAT_COLUMNS) ECG front end
    wave: Float32  # (s, LEADS, RING) decimated signal, offset removed, mV
    slope: Float32  # (s, LEADS, RING) its smoothed slope, mV a step
    peaks: Float64  # (s, 2, LEVELS) QRS and noise peaks of the feature signal
    recent_rr: Float64  # (s, LEVELS) last RR intervals in internal samples, for search-back
    shapes: Float64  # (s, 2, TEMPLATE) the normal beat; the last ventricular one
    beat_ns: Int64  # (s, BEATS_KEPT) last beats
    beat_wide: UInt8  # (s, BEATS_KEPT) 1: judged ventricular
    rr: Float64  # (s, 2, WINDOW_BEATS_MAX) ms
    rr_count: Int64  # (s, 2) contiguous intervals so far
    last_ns: Int64  # (s, SOURCES) end of the source's data
    symbols: Int64  # (s, 2) the word being built
    words: Int32  # (s, 2, WORDS)
    word_count: Int64  # (s, 2, 2) words so far, distinct words in the window
    word_sum: Float64  # (s, 2) sum of c log2 c over the distinct words
    active: UInt8  # (s, codes) 0, or 1 + the source that raised it
    onset_ns: Int64  # (s, codes)
    calm_ns: Int64  # (s, codes) since when it has been over
    since_ns: Int64  # (s, SOURCES, codes) since when the condition has held
    sums: Float64  # (s, 2, SUM_COLUMNS) even and odd minute
    minute_rr: NDArray[np.uint16]  # (s, 2, 2, MINUTE_BEATS) ms; even/odd minute, source
    minute_beats: Int64  # (s, 2, 2)
    emit_ns: Int64  # (s, 2) when the open minute is complete; end of the last minute emitted


def initial(capacity: int) -> HeartState:
    """State of `capacity` slots that have seen nothing."""
    codes = len(CODES)
    count = np.zeros((capacity, INT_COLUMNS), np.int64)
    sums = np.zeros((capacity, 2, SUM_COLUMNS))
    sums[:, :, MINUTE] = NEVER
    return HeartState(
        count=count,
        level=np.zeros((capacity, FLOAT_COLUMNS)),
        wave=np.zeros((capacity, LEADS, RING), np.float32),
        slope=np.zeros((capacity, LEADS, RING), np.float32),
        peaks=np.zeros((capacity, 2, LEVELS)),
        recent_rr=np.zeros((capacity, LEVELS)),
        shapes=np.zeros((capacity, 2, TEMPLATE)),
        beat_ns=np.zeros((capacity, BEATS_KEPT), np.int64),
        beat_wide=np.zeros((capacity, BEATS_KEPT), np.uint8),
        rr=np.zeros((capacity, 2, WINDOW_BEATS_MAX)),
        rr_count=np.zeros((capacity, 2), np.int64),
        last_ns=np.full((capacity, SOURCES), NEVER, np.int64),
        symbols=np.zeros((capacity, 2), np.int64),
        words=np.zeros((capacity, 2, WORDS), np.int32),
        word_count=np.zeros((capacity, 2, 2), np.int64),
        word_sum=np.zeros((capacity, 2)),
        active=np.zeros((capacity, codes), np.uint8),
        onset_ns=np.full((capacity, codes), NEVER, np.int64),
        calm_ns=np.full((capacity, codes), NEVER, np.int64),
        since_ns=np.full((capacity, SOURCES, codes), NEVER, np.int64),
        sums=sums,
        minute_rr=np.zeros((capacity, 2, 2, MINUTE_BEATS), np.uint16),
        minute_beats=np.zeros((capacity, 2, 2), np.int64),
        emit_ns=np.full((capacity, 2), NEVER, np.int64),
    )


class Limits(NamedTuple):
    """Parameters as the kernels take them: columns (slots,) where a care plan may differ, else scalars; times in ns."""

    rate_bpm_min: Float64
    rate_bpm_max: Float64
    spo2_percent_min: Float64
    respiration_per_min_low: Float64
    respiration_per_min_high: Float64
    rate_hysteresis_bpm: float
    rate_confirm_ns: int
    clear_ns: int
    rate_window_beats: int
    asystole_s: float
    ventricular_rr_ms_max: float
    ventricular_beats_min: int
    fibrillation_s: int
    atrial_entropy_min: float
    atrial_confirm_ns: int
    spo2_confirm_ns: int
    respiration_confirm_ns: int


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


def buffers(slots: int, seconds: float) -> Found:
    """Room for everything that `slots` slots can say in `seconds` of data: each code turns at most once a second."""
    turns = int(seconds) + 3
    minutes = int(seconds / 60) + 3
    return Found(
        np.zeros((slots * len(CODES) * turns, EVENT_COLUMNS), np.int64),
        np.zeros(slots * len(CODES) * turns),
        np.zeros((slots * minutes, 2 + len(FEATURES))),
        np.zeros(2, np.int64),
    )
