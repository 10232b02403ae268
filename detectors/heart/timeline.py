"""Where a chunk of ECG lies in time: its place on the grid of internal samples, and what a hole before it means."""

from __future__ import annotations

import math
from typing import Final

from detectors.heart.inline import inline_kernel
from detectors.heart.qrs import Grid, restart
from detectors.heart.rhythm import PATTERN_HOLE_NS, interrupt, interrupt_pattern, set_back
from detectors.heart.state import (
    ANCHOR_NS,
    ANCHOR_RAW,
    CARRY,
    ECG,
    GOOD_0,
    GOOD_1,
    KNOWN,
    LAST_NS,
    NEVER,
    RATE_MHZ,
    RAW,
    SECOND_DUE,
    SUM_0,
    SUM_1,
    Found,
    HeartState,
    N,
)
from engine.frame import GAP_RESTART, NS_PER_S

SAME_CONTACT_NS: Final = 5 * NS_PER_S
"""A hole in time up to this long is packets that a radio lost; who takes a device off, or charges it, is gone for longer."""


@inline_kernel
def sample_ns(state: HeartState, g: Grid, slot: int, n: float) -> int:
    """Device time of internal sample `n` (the middle of the device samples it is the mean of)."""
    count = state.tally[slot]
    raw = n * g.decimation + 0.5 * (g.decimation - 1) - count[ANCHOR_RAW]
    return int(count[ANCHOR_NS] + math.floor(raw * (1e9 / g.rate_hz) + 0.5))


@inline_kernel
def rate_mhz(g: Grid) -> int:
    """The device rate as it is kept in the state."""
    return int(g.rate_hz * 1000.0 + 0.5)


@inline_kernel
def same_rate(state: HeartState, g: Grid, slot: int) -> bool:
    """Whether the stream goes on at the rate it had."""
    return bool(state.tally[slot, RATE_MHZ] == rate_mhz(g))


@inline_kernel
def internal_samples(g: Grid, gap_ns: int) -> int:
    """A hole in time as internal samples."""
    return int(gap_ns * 1e-9 * g.rate_internal_hz + 0.5)


@inline_kernel
def bridged(state: HeartState, g: Grid, slot: int, gap_ns: int) -> bool:
    """Whether a hole in time (`gap_ns` > 0) is short enough to be bridged."""
    return internal_samples(g, gap_ns) <= g.bridge and same_rate(state, g, slot)


@inline_kernel
def open_stream(state: HeartState, g: Grid, found: Found, slot: int, t0_ns: int, gap_ns: int) -> None:
    """Place a chunk in time; restart the front end where its stream starts, changes rate or has a hole."""
    count = state.tally[slot]
    fresh = gap_ns == GAP_RESTART or not same_rate(state, g, slot)
    expected = count[ANCHOR_NS] + math.floor((count[RAW] - count[ANCHOR_RAW]) * (1e9 / g.rate_hz) + 0.5)
    if not fresh and gap_ns == 0 and abs(t0_ns - expected) <= 0.5e9 / g.rate_hz:
        return  # contiguous: keep the anchor, so that times do not depend on how the stream was cut
    if fresh or gap_ns > 0:
        count[CARRY] = 0
        count[GOOD_0] = 0
        count[GOOD_1] = 0
        state.level[slot, SUM_0] = 0.0
        state.level[slot, SUM_1] = 0.0
        count[N] += internal_samples(g, gap_ns) if gap_ns > 0 else 0
        count[RAW] = count[N] * g.decimation
        known = count[KNOWN]
        interrupt(state, slot, ECG, not fresh and gap_ns <= SAME_CONTACT_NS)
        interrupt_pattern(state, slot, ECG, gap_ns if not fresh else PATTERN_HOLE_NS + 1)
        restart(state, g, slot, count[N], fresh)
        if not fresh and gap_ns <= SAME_CONTACT_NS:
            count[KNOWN] = known  # an asystole in which packets are lost is still one
        count[SECOND_DUE] = count[N] + g.second
        if t0_ns < state.tally[slot, LAST_NS + ECG]:
            state.tally[slot, LAST_NS + ECG] = NEVER
        set_back(state, found, slot, t0_ns)
    count[RATE_MHZ] = rate_mhz(g)
    count[ANCHOR_NS] = t0_ns
    count[ANCHOR_RAW] = count[RAW]
