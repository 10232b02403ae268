"""Lines and values that do not move: an electrode that fell off, a device that froze, or a heart that stands still.

An electrode on skin always picks up noise, and a converter that is fine enough shows it. So a line that is constant to the last digit is
no electrode on skin (`Grid.stuck`), and a flat line with noise is one without heartbeats. There is one exception: devices that smooth their
output so much that the line is constant between the beats as well. Where it was so for beats on end, a constant line at that height is as flat
as ever, and silence on it is silence of the heart.
"""

from __future__ import annotations

from typing import Final

from detectors.heart.inline import inline_kernel
from detectors.heart.qrs import Grid
from detectors.heart.state import LINE_MV, LINE_SPAN_MV, RING, SMOOTH, HeartState
from engine.jit import kernel

SMOOTH_RUN_S: Final = 0.15
"""Constant for longer between two beats: no noise reaches the output (a dropout that is bridged by holding a value is shorter)."""
LINE_BEATS: Final = 4
"""The line is looked at with every fourth beat."""
SMOOTH_LEARN: Final = 0.3
SMOOTH_MIN: Final = 0.5
"""Most of the looks of late, two at least."""
LINE_SPAN: Final = 0.1
"""The line between the beats comes back to its height to a tenth of what the beats measure; a saturated one lies at their edge."""


@kernel
def note_line(state: HeartState, g: Grid, slot: int, now_n: int) -> None:
    """At a beat: whether the line was constant for a while in the last second, and at which height."""
    wave = state.signal[slot, 0]
    level = state.level[slot]
    low = high = last = float(wave[now_n & (RING - 1)])
    run = 0
    longest = 0
    for k in range(1, min(RING, g.second)):
        value = float(wave[(now_n - k) & (RING - 1)])
        low, high = min(low, value), max(high, value)
        run = run + 1 if value == last else 0
        if run > longest:
            longest = run
            height = value
        last = value
    if longest >= SMOOTH_RUN_S * g.rate_internal_hz:
        level[SMOOTH] += SMOOTH_LEARN * (1.0 - level[SMOOTH])
        level[LINE_MV] = height
        level[LINE_SPAN_MV] = LINE_SPAN * (high - low)
    else:
        level[SMOOTH] -= SMOOTH_LEARN * level[SMOOTH]


@inline_kernel
def flat_as_ever(state: HeartState, slot: int, value_mv: float) -> bool:
    """Whether a constant line at this height is what this device shows between beats."""
    level = state.level[slot]
    return bool(level[SMOOTH] > SMOOTH_MIN and abs(value_mv - level[LINE_MV]) <= level[LINE_SPAN_MV])
