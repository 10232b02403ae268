"""Conditions as latches: raised once when they have held, cleared once when they have been over, whoever of the sources says so."""

from __future__ import annotations

from typing import Final

from detectors.heart.inline import inline_kernel
from detectors.heart.state import (
    CALM_NS,
    CLEARED_NS,
    HOLDS,
    NEVER,
    ONSET_NS,
    OVER,
    QUIET,
    RAISED_BY,
    RETURNS,
    SAID,
    SINCE_NS,
    SOURCES,
    Found,
    HeartLimits,
    HeartState,
)
from engine.frame import NS_PER_S

RETURN_NS: Final = 1800 * NS_PER_S
RETURN_SHIFT: Final = 2
RETURNS_MAX: Final = 2
"""See `on_confirmed`."""


@inline_kernel
def report(found: Found, slot: int, code: int, onset: int, onset_ns: int, decided_ns: int, value: float) -> None:
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


@inline_kernel
def judge_condition(
    state: HeartState,
    limits: HeartLimits,
    found: Found,
    slot: int,
    source: int,
    code: int,
    verdict: int,
    start_ns: int,
    now_ns: int,
    period_ns: float,
    value: float,
) -> None:
    """Latch one condition of one slot.

    `verdict`: HOLDS (since `start_ns` when new), OVER (beyond the hysteresis) or NEITHER. A condition is raised once, by
    whichever source confirms it first, and only that source can clear it, after the code's time of OVER (see `on_confirmed`). Readings
    that come further apart (`period_ns`) than the confirmation time stand for themselves.
    """
    latch = state.latch[slot]
    raised_by = latch[RAISED_BY, code]
    if raised_by == 0 or (raised_by == source + 1 and latch[QUIET, code] != 0):
        if verdict != HOLDS:
            latch[SINCE_NS + source, code] = NEVER
        else:
            if latch[SINCE_NS + source, code] == NEVER:
                latch[SINCE_NS + source, code] = start_ns
            since = latch[SINCE_NS + source, code]
            confirm_ns = limits.turn_ns[0, code]
            if now_ns - since >= confirm_ns or period_ns >= confirm_ns:
                on_confirmed(state, limits, found, slot, source, code, since, now_ns, value)
    if raised_by == source + 1:
        if verdict != OVER:
            latch[CALM_NS, code] = NEVER
            return
        if latch[CALM_NS, code] == NEVER:
            latch[CALM_NS, code] = now_ns
        calm_ns = now_ns - latch[CALM_NS, code]
        clear_ns = limits.turn_ns[1, code]
        if calm_ns >= clear_ns:
            latch[QUIET, code] = 1
            longer_ns = min(clear_ns << (RETURN_SHIFT * latch[RETURNS, code]), limits.turn_ns[2, code])
            if calm_ns >= longer_ns:
                latch[RAISED_BY, code] = 0
                latch[QUIET, code] = 0
                latch[CLEARED_NS, code] = now_ns
                report(found, slot, code, OVER, latch[ONSET_NS, code], now_ns, value)


@inline_kernel
def on_confirmed(
    state: HeartState, limits: HeartLimits, found: Found, slot: int, source: int, code: int, since_ns: int, now_ns: int, value: float
) -> None:
    """A condition held for its confirmation time: it is raised, or is back before its end was reported.

    A value that wanders about its limit is one condition, reported a few times and not each time it crosses: whenever it comes back within
    RETURN_NS of its end it must stay away longer before it is over, four times and sixteen times as long, up to the third row of `turn_ns`. What
    is back meanwhile is reported only where it is worse than when it was reported last: ended and begun anew.
    """
    latch = state.latch[slot]
    back = latch[RAISED_BY, code] != 0
    worse = limits.worse[code]
    said = latch[SAID, code] * 1e-3
    if not back or (worse > 0.0 and value >= said + worse) or (worse < 0.0 and value <= said + worse):
        if back:
            report(found, slot, code, OVER, latch[ONSET_NS, code], now_ns, value)
        elif latch[CLEARED_NS, code] != NEVER and now_ns - latch[CLEARED_NS, code] <= RETURN_NS:
            latch[RETURNS, code] = min(latch[RETURNS, code] + 1, RETURNS_MAX)
        else:
            latch[RETURNS, code] = 0
        latch[RAISED_BY, code] = source + 1
        latch[ONSET_NS, code] = since_ns
        latch[SAID, code] = int(value * 1000.0) if value == value else 0  # noqa: PLR0124 - NaN
        report(found, slot, code, HOLDS, since_ns, now_ns, value)
    latch[CALM_NS, code] = NEVER
    latch[QUIET, code] = 0
    for other in range(SOURCES):
        latch[SINCE_NS + other, code] = NEVER


@inline_kernel
def interrupt_code(state: HeartState, slot: int, source: int, code: int) -> None:
    """What `source` says about one condition went missing: it starts again where it was building up, and stays raised where it is."""
    state.latch[slot, SINCE_NS + source, code] = NEVER
    if state.latch[slot, RAISED_BY, code] == source + 1:
        state.latch[slot, CALM_NS, code] = NEVER
