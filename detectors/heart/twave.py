"""Tall T waves: as high and as steep as the QRS complex before them, and no second heartbeat.

A monitor is to count right at T waves of 1.2 mV after a QRS complex of 1 mV, at 80 a minute and QT 350 ms (ANSI/AAMI EC13:2002, 3.1.2.1 c; IEC
60601-2-27:2011, 201.12.1.101.17). Such a wave of 180 ms rises as steeply as a complex of 100 ms, so that the slope (Pan & Tompkins 1985: less
than half) says nothing. What tells them apart is that the wave is a dome: its steepest rise and its steepest fall lie 90 ms and more
apart, those of a complex 20 to 50 ms, of a wide one 80 ms at most; and that it comes while the ventricles recover.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.heart.inline import inline_kernel
from detectors.heart.qrs import Candidate, Grid
from detectors.heart.state import (
    CHAIN,
    LAST_BEAT,
    LAST_SLOPE,
    LEADS,
    LEVELS,
    QRS_AT,
    RECENT_RR,
    RING,
    TYPICAL_RR,
    HeartState,
)

DOME_S: Final = 0.08
"""The limbs of a T wave are further apart."""
DOME_SLOPE_MAX: Final = 1.2
"""A T wave is not steeper than the complex before it, but for the smoothing of both."""
DOME_EVEN: Final = 0.4
"""Its two limbs are about as steep as each other: the gentler one by so much at least."""
TURN: Final = 0.15
"""Slopes below this share of the steepest have no sign."""
RUN_RR_S: Final = 0.45
HURRIED_RR_S: Final = 0.6
DOME_SLOPE_HURRIED: Final = 0.7
"""Above 133 a minute from the last beat to the one before, or 100 as usual, a wide wave as steep as that may as well be the next beat of a
ventricular run. (The usual interval is also short where T waves have been counted; the last one is then shorter than HURRIED_RR_S.)"""
QRS_AFTER_S: Final = 0.08
"""So long after the middle of a complex its own slopes are over."""
LIMB_REACH_S: Final = 0.16
"""So far from the middle of a complex, or of one limb of a T wave, the limbs are looked for."""


@inline_kernel
def limbs(state: HeartState, g: Grid, slot: int, leads: int, first: int, last: int) -> tuple[float, float, bool]:
    """Steepest rise and fall among samples `first` to `last` of the lead in which they are steepest.

    Returns the time between them (s), their middle (internal samples), and whether they are the two sides of one wave: the gentler at least
    DOME_EVEN of the steeper, and the slope between them turns once.
    """
    steepest = 0.0
    apart_s = 0.0
    middle = 0.0
    one_wave = False
    for lead in range(leads):
        slope = state.signal[slot, LEADS + lead]
        up = 0.0
        down = 0.0
        up_n = first
        down_n = first
        for n in range(first, last + 1):
            value = slope[n & (RING - 1)]
            if value > up:
                up = value
                up_n = n
            elif -value > down:
                down = -value
                down_n = n
        if max(up, down) > steepest:
            steepest = max(up, down)
            apart_s = abs(up_n - down_n) / g.rate_internal_hz
            middle = 0.5 * (up_n + down_n) - g.slope + 0.5
            turns = 0
            sign = 0
            for n in range(min(up_n, down_n), max(up_n, down_n) + 1):
                value = slope[n & (RING - 1)]
                if abs(value) > TURN * steepest:
                    turns += sign != 0 and (value > 0.0) != (sign > 0)
                    sign = 1 if value > 0.0 else -1
            one_wave = turns == 1 and min(up, down) >= DOME_EVEN * steepest
    return apart_s, middle, one_wave


@inline_kernel
def is_dome(state: HeartState, g: Grid, slot: int, leads: int, candidate: Candidate, now_n: int) -> bool:
    """Whether the candidate is the T wave of the last beat by its shape."""
    level = state.level[slot]
    before = state.past[slot, RECENT_RR, (state.tally[slot, QRS_AT] - 1) % LEVELS]
    hurried_rr = HURRIED_RR_S * g.rate_internal_hz
    hurried = before < RUN_RR_S * g.rate_internal_hz or (level[TYPICAL_RR] < hurried_rr <= before)
    steep = candidate.slope / level[LAST_SLOPE] if level[LAST_SLOPE] > 0.0 else np.inf
    if state.tally[slot, CHAIN] == 0 or steep > (DOME_SLOPE_HURRIED if hurried else DOME_SLOPE_MAX):
        return False
    reach = int(LIMB_REACH_S * g.rate_internal_hz)
    at = int(candidate.at) + g.slope
    if candidate.at - level[LAST_BEAT] >= g.t_wave + reach // 2:
        return False
    first = max(at - reach, int(level[LAST_BEAT]) + g.slope + int(QRS_AFTER_S * g.rate_internal_hz), now_n - RING + 1)
    apart_s, middle, one_wave = limbs(state, g, slot, leads, first, min(at + reach, now_n))
    if not one_wave or apart_s < DOME_S or middle - level[LAST_BEAT] >= g.t_wave:
        return False
    # In ventricular fibrillation and flutter every wave is a dome: a T wave is one after a complex that is none.
    at = int(level[LAST_BEAT]) + g.slope
    complex_s = limbs(state, g, slot, leads, max(at - reach, now_n - RING + 1), at + int(QRS_AFTER_S * g.rate_internal_hz))[0]
    return complex_s < DOME_S
