"""Clocks of devices, as admission knows them: stamps that wander, crystals that are off, clocks that were set, and clocks that stand still.

What a stream's stamps have been like is one row of whole numbers, so that a kernel gets it as one array. A device whose clock is wrong is
known by its pace: live data comes as fast as it is measured, whatever its stamps say, and what was stored comes faster.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.frame import NS_PER_S, Int64, Samples
from engine.jit import kernel

NEVER_NS: Final = -(2**63)
"""Value of a time that has not happened."""

# Columns of a row.
WANDER, DEVIATION, NEWEST, STOPPED = range(4)
"""Mean deviation of the stamps from the grid of an unnumbered stream; the last chunk's deviation; the newest stamp, as sent; 1 where the clock
stands still or is otherwise no clock."""
LAST, INTERVAL_1, INTERVAL_2 = range(4, 7)
"""When the last chunk began; the two intervals before it, where chunks are single readings (0: not known)."""
RUN, RUN_T0, RUN_ARRIVAL, RUN_LAST, RUN_AT, RUN_SEQ, RUN_LAG = range(7, 14)
"""Chunks on end that the clock, as it is known, cannot explain: how many, stamp and arrival of the first, stamp, arrival and number of the
last, and the smallest lag (arrival less end of the chunk by its stamp)."""
LAG_AT, LAG_FIRST, LAG_MIN, LAG_GROWS = range(14, 18)
"""Half a minute of an estimated clock: its beginning, the first and the smallest lag; 1 where all lags of the half minute before were long and
did not shrink."""
COLUMNS: Final = 18

WOBBLE_NS: Final = 250_000_000
"""By so much stamps may be off the grid: connection intervals and retries of a radio reach 100 ms either way, and the grid follows the
stamps. Or by half a chunk, if that is more."""
WANDER_NS: Final = 100_000_000
"""Assumed of an unnumbered stream until its stamps have shown how good they are."""
WANDER_RATIO: Final = 3
"""A chunk without a number is missing, or comes too late, when the stamp is off by more than so many mean deviations."""
WANDER_UP: Final = 8
WANDER_DOWN: Final = 32
"""A larger deviation moves the mean by 1/8, a smaller one by 1/32."""
PULL: Final = 4
"""A deviation that repeats moves the grid by 1/4: jitter is averaged, and a crystal that is 5 % off stays within 0.2 chunks."""
INTERVALS_EARLY_NS: Final = 30 * NS_PER_S
"""Beat intervals follow one another in the order of arrival, however they are stamped: one by one, in batches, at the beginning or the end."""
INTERVALS_LATE_NS: Final = 6 * NS_PER_S
"""A longer hole in beat intervals is one, if it is longer than what the chunk covers; less is a stamp made on arrival, or a beat or two."""
INTERVALS_PULL: Final = 16
"""Stamps of beat intervals that lag pull their time back by at most 1/16 of what they cover: more than a crystal is off, less than a batch.
Those that are ahead take it along: beats that were lost must not add up to a hole."""
STOPPED_LATE_NS: Final = 2 * NS_PER_S
"""Where only arrival tells the time: so much later than expected is a delay."""

RUN_CHUNKS: Final = 5
RUN_CHUNKS_SURE: Final = 3
RUN_NS: Final = 4 * NS_PER_S
RUN_SURE_NS: Final = 30 * NS_PER_S
"""The pace of a run is judged after five chunks and 4 s; after three when they are numbered or span half a minute."""
PACE_NS: Final = NS_PER_S
PACE_SHARE: Final = 8
"""Over a run, arrival and stamps may differ by this much, or by 1/8."""
RUN_AGAIN_NS: Final = 15 * NS_PER_S
RUN_AGAIN_CHUNKS: Final = 8
"""A run without a verdict begins anew after so much: what was stored may have been sent first, and then live data."""
RUN_JUMP_NS: Final = 60 * NS_PER_S
"""Stamps that move on by so much more than the time between arrivals are of a clock that was set again."""

AHEAD_NS: Final = NS_PER_S // 2
LAG_NS: Final = 5 * NS_PER_S
"""An estimated clock is left as it is while chunks arrive between so much before and after their end."""
LAG_WINDOW_NS: Final = 30 * NS_PER_S
EXPECTED_EARLY_NS: Final = 2 * NS_PER_S
EXPECTED_LATE_NS: Final = 10 * NS_PER_S
"""A chunk that arrives between so much before and after the grid expects its end arrives when it is expected."""

SLOW_NS: Final = 10 * NS_PER_S
"""A single reading that is said to come so seldom is not refused until the clock is known: that would take minutes. If the first is stamped
at a time at which it cannot have been measured just now, arrival tells the time, until the pace of the stamps shows what they are worth."""
SLOW_LAG_NS: Final = 600 * NS_PER_S
"""A single reading may be stamped where its interval begins, so it may come an interval later; by so much at most."""

KEEPS: Final = 0
PACED: Final = 1
STANDS: Final = 2

INTERVAL_MIN_NS: Final = NS_PER_S // 10
INTERVAL_MAX_NS: Final = 7200 * NS_PER_S
"""Single readings further apart have no interval."""
DIGEST_VALUES: Final = 16
"""So many values of a chunk, spread over it, tell it from another with the same stamp."""
DIGEST_FACTOR: Final = 0x5851F42D4C957F2D
DIGEST_MASK: Final = (1 << 48) - 1
DIGEST_SHIFT: Final = 29
"""Multiply by an odd number (that of Knuth's MMIX generator) and fold the upper bits down: each step is one to one on 48 bits."""


def initial_clock(size: int) -> Int64:
    """Rows of streams that have sent nothing, (size, COLUMNS)."""
    rows = np.zeros((size, COLUMNS), np.int64)
    rows[:, WANDER] = WANDER_NS
    rows[:, [NEWEST, LAST]] = NEVER_NS
    return rows


@kernel
def digest(samples: Samples, row: int) -> int:
    """A number for what is in one chunk: two chunks of a sensor have the same only if their values are the same."""
    n, c = samples.shape[1], samples.shape[2]
    step = (n * c + DIGEST_VALUES - 1) // DIGEST_VALUES
    result = n
    for at in range(0, n * c, step):
        value = float(samples[row, at // c, at % c])
        part = int(value * 65_536.0) if value == value else 7  # noqa: PLR0124 - NaN is missing
        result = ((result ^ part) * DIGEST_FACTOR) & DIGEST_MASK
        result ^= result >> DIGEST_SHIFT  # a small change of one value must not be undone by a small one of the next
    return int(result)


@kernel
def corrected(
    clock: Int64,
    offset_ns: Int64,
    s: int,
    t0_ns: int,
    duration_ns: int,
    arrival_ns: int,
    before_ns: int,
    next_ns: int,
    ahead_ns: int,
    behind_ns: int,
) -> int:
    """When a chunk began, by a stream whose clock was found wrong; a stamp that is right by itself (at most `ahead_ns` before its arrival and
    `behind_ns` after it) shows that the clock is good again. `before_ns`: when the chunk before it arrived."""
    lag = arrival_ns - duration_ns - t0_ns
    stands = clock[s, STOPPED] != 0
    corrected_ns = t0_ns + offset_ns[s]
    near = next_ns != NEVER_NS and abs(corrected_ns - next_ns) <= max(duration_ns, NS_PER_S)
    goes_on = t0_ns == clock[s, NEWEST] if stands else near
    # stamps that move on twice as fast as time are no clock that stands still: what was stored is being sent, or the clock was set
    moved_on = stands and t0_ns - clock[s, NEWEST] > 2 * (arrival_ns - before_ns) + NS_PER_S
    if moved_on or (-ahead_ns <= lag <= behind_ns and not goes_on):
        offset_ns[s] = 0
        clock[s, STOPPED] = 0
        return t0_ns
    if stands:
        offset_ns[s] = lag
        return arrival_ns - duration_ns
    return int(corrected_ns)


@kernel
def jumped(
    clock: Int64,
    offset_ns: Int64,
    s: int,
    t0_ns: int,
    at_ns: int,
    expected_ns: int,
    duration_ns: int,
    own_ns: int,
    arrival_ns: int,
    ahead_ns: int,
) -> int:
    """When a chunk began whose number goes on, `expected_ns` by the grid and `at_ns` by its stamp: if it arrives just when the grid expects
    it, and so did the one before, the clock was set and nothing is missing. `own_ns`: of a single reading, its interval."""
    lag = arrival_ns - duration_ns - expected_ns
    if clock[s, RUN] == 0 and abs(at_ns - expected_ns) > ahead_ns and -EXPECTED_EARLY_NS <= lag <= EXPECTED_LATE_NS + own_ns:
        offset_ns[s] = expected_ns - t0_ns
        return expected_ns
    return at_ns


@kernel
def follow(clock: Int64, s: int, t0_ns: int, seq: int, duration_ns: int, arrival_ns: int, before_ns: int) -> int:
    """Note a chunk that the clock, as it is known, does not explain. PACED: it and those before come at the pace of their stamps, so they
    are live and the clock was set; STANDS: they come slower, so the clock is none; KEEPS: neither is known. `before_ns`: when the chunk
    before it arrived.
    """
    row = clock[s]
    lag = arrival_ns - duration_ns - t0_ns
    if row[RUN] > 0 and row[RUN_T0] <= t0_ns <= row[RUN_LAST]:
        if t0_ns < row[RUN_LAST] or 0 <= seq <= row[RUN_SEQ]:
            return KEEPS  # a repeat within the run
    elif row[RUN] == 0 or t0_ns < row[RUN_T0] or t0_ns - row[RUN_LAST] > RUN_JUMP_NS + 2 * (arrival_ns - row[RUN_AT]):
        row[RUN] = 0
    if row[RUN] == 0 or (row[RUN] >= RUN_AGAIN_CHUNKS and arrival_ns - row[RUN_ARRIVAL] > RUN_AGAIN_NS):
        row[RUN] = 0
        row[RUN_T0], row[RUN_ARRIVAL], row[RUN_LAG] = t0_ns, arrival_ns, lag
        if t0_ns == row[NEWEST] and before_ns != NEVER_NS:  # the stamp that was good before: it has stood still since then
            row[RUN], row[RUN_ARRIVAL], row[RUN_LAG] = 1, before_ns, before_ns - duration_ns - t0_ns
    row[RUN] += 1
    row[RUN_LAST], row[RUN_AT], row[RUN_SEQ] = t0_ns, arrival_ns, seq
    row[RUN_LAG] = min(row[RUN_LAG], lag)
    device_ns, real_ns = t0_ns - row[RUN_T0], arrival_ns - row[RUN_ARRIVAL]
    sure = seq >= 0 or real_ns >= RUN_SURE_NS
    if row[RUN] < (RUN_CHUNKS_SURE if sure else RUN_CHUNKS) or real_ns < RUN_NS:
        return KEEPS
    if abs(real_ns - device_ns) <= max(PACE_NS, real_ns // PACE_SHARE):
        return PACED
    return STANDS if device_ns == 0 or (device_ns < real_ns and row[RUN] >= RUN_AGAIN_CHUNKS) else KEEPS


@kernel
def settle(clock: Int64, offset_ns: Int64, s: int, lag_ns: int, duration_ns: int, arrival_ns: int) -> None:
    """Let the estimated clock follow: a chunk cannot arrive before its end, and lags that grow and do not shrink are the crystal. Lags that
    shrink are of stored data.
    """
    row = clock[s]
    if lag_ns < -AHEAD_NS:
        offset_ns[s] += max(lag_ns, -(duration_ns // 4)) if duration_ns > 0 else lag_ns
    elif lag_ns > LAG_NS and row[LAG_GROWS] != 0:
        offset_ns[s] += min(lag_ns, duration_ns // 16) if duration_ns > 0 else lag_ns - LAG_NS
    since_ns = arrival_ns - row[LAG_AT]
    if since_ns > LAG_WINDOW_NS:
        whole = row[LAG_AT] != 0 and row[LAG_MIN] > LAG_NS and lag_ns >= row[LAG_FIRST] - NS_PER_S
        row[LAG_GROWS] = 1 if whole else 0
        row[LAG_AT], row[LAG_FIRST], row[LAG_MIN] = arrival_ns, lag_ns, lag_ns
    row[LAG_MIN] = min(row[LAG_MIN], lag_ns)


@kernel
def interval_ns(newest_ns: int, before_ns: int, oldest_ns: int, declared_ns: int) -> int:
    """Time between single readings: the median of the last three intervals (0: not known), so that one lost reading changes nothing; what the
    device declared where that is right within a factor of two; 0 where nothing is known."""
    measured = 0
    if newest_ns > 0 and before_ns > 0 and oldest_ns > 0:
        measured = max(min(newest_ns, before_ns), min(max(newest_ns, before_ns), oldest_ns))
    elif newest_ns > 0 and before_ns > 0:
        measured = min(newest_ns, before_ns)
    else:
        measured = max(newest_ns, before_ns)
    if measured <= 0 or declared_ns <= 2 * measured <= 4 * declared_ns:
        return declared_ns
    step = NS_PER_S if measured >= 5 * NS_PER_S else INTERVAL_MIN_NS
    return int(min(INTERVAL_MAX_NS, max(INTERVAL_MIN_NS, (measured + step // 2) // step * step)))
