"""A synthetic week of minutes for the conformance suite: quiet days, then a fever."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.frame import NS_PER_S, Float64, Frame, frame
from models.heart_baseline.detector import COLUMNS, COVERAGE, FEATURE, HEART_RATE, HOURS_PER_PART
from models.heart_baseline.events import CODE

EXPECTED: Final = (CODE,)
_START_NS: Final = 1_767_225_600 * NS_PER_S  # 2026-01-01T00:00:00Z, the start of a part of the day
_MINUTE_NS: Final = 60 * NS_PER_S
_DAYS: Final = 4
_FEVER_AT_MIN: Final = (_DAYS - 1) * 24 * 60 + 60
_MINUTES: Final = _FEVER_AT_MIN + 60
_FEVER_BPM: Final = 45.0
ONSET_NS: Final = _START_NS + _FEVER_AT_MIN * _MINUTE_NS


def _minutes(extra_bpm: Float64) -> list[Frame]:
    """One frame a minute of a resident at 62 bpm by night and 72 by day."""
    rng = np.random.default_rng(7)
    frames = []
    for minute in range(_MINUTES):
        night = minute // 60 % 24 < HOURS_PER_PART
        row = np.full((1, 1, len(COLUMNS)), np.nan, np.float32)
        row[0, 0, HEART_RATE] = (62.0 if night else 72.0) + rng.normal(0, 3) + extra_bpm[minute]
        row[0, 0, COVERAGE] = 1.0
        frames.append(frame(FEATURE, [0], [_START_NS + minute * _MINUTE_NS], 1 / 60, row, gap_ns=[-1 if minute == 0 else 0]))
    return frames


def positive() -> list[Frame]:
    """Three usual days, then an hour 45 bpm above what is usual at night."""
    extra = np.zeros(_MINUTES)
    extra[_FEVER_AT_MIN:] = _FEVER_BPM
    return _minutes(extra)


def negative() -> list[Frame]:
    """The same days without the fever."""
    return _minutes(np.zeros(_MINUTES))
