"""Up to when each stream could be judged: for each quantity of its kind, when a value last came that a detector can use, and why not since.

"A chunk arrived" is no measurement: it may hold nothing but missing values, a flat line, or what the device itself calls poor.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from engine.clocks import NEVER_NS
from engine.frame import NS_PER_S, Bool, Float64, Int64, Samples, UInt8
from engine.jit import kernel
from engine.kinds import MISSING_MAP, channel
from engine.watch import SIGNALS_MAX, Line, Signal

AT: Final = 0
"""+ signal: arrival time up to which it could be judged."""
GAP: Final = SIGNALS_MAX
"""+ signal: the usual time between values, as learned; 0: not known."""
SINCE: Final = 2 * SIGNALS_MAX
"""+ signal: since when its value is the same."""
SAME: Final = 3 * SIGNALS_MAX
"""+ signal: readings on end that were it."""
WHY: Final = 4 * SIGNALS_MAX
"""+ signal: why the last chunk could not be judged (0: it could)."""
BAD: Final = 5 * SIGNALS_MAX
"""+ signal: device time of chunks without a usable value, ns."""
BADS: Final = 6 * SIGNALS_MAX
"""+ signal: how many such chunks."""
BAD_WHY: Final = 7 * SIGNALS_MAX
"""+ signal: why the last of them was none (never 0 again)."""
COLUMNS: Final = 8 * SIGNALS_MAX

_ZERO: Final = int(Line.ZERO)
_EVEN: Final = int(Line.EVEN)

NO_VALUE: Final = 1
POOR: Final = 2
NO_SIGNAL: Final = 3


class Judged(NamedTuple):
    """The state; axis 0 = stream."""

    table: Int64  # (s, COLUMNS)
    last: Float64  # (s, SIGNALS_MAX) the last usable value


def initial_judged(size: int) -> Judged:
    """Nothing judged."""
    table = np.zeros((size, COLUMNS), np.int64)
    table[:, :SIGNALS_MAX] = NEVER_NS
    return Judged(table, np.full((size, SIGNALS_MAX), np.nan))


class Columns(NamedTuple):
    """The signals of a kind as the kernel takes them."""

    channel: Int64  # (m,) -1: any
    above: Float64
    line: UInt8
    missing: float


def columns_of(kind: str, signals: tuple[Signal, ...]) -> Columns:
    """The signals of `kind`; KeyError when one names a channel that the kind does not have."""
    return Columns(
        np.array([channel(kind, s.channel) if s.channel else -1 for s in signals], np.int64),
        np.array([s.above for s in signals]),
        np.array([s.line for s in signals], np.uint8),
        float(MISSING_MAP) if kind == "pressure_map" else np.nan,
    )


@kernel
def _unusable(table: Int64, s: int, m: int, why: int, samples: Samples, i: int, step_ns: int) -> None:
    table[s, WHY + m] = table[s, BAD_WHY + m] = why
    table[s, BADS + m] += 1
    if step_ns > 0:
        table[s, BAD + m] += samples.shape[1] * step_ns
    else:  # intervals, in ms
        for j in range(samples.shape[1]):
            if samples[i, j, 0] > 0:
                table[s, BAD + m] += int(samples[i, j, 0] * 1e6)


@kernel
def judge(
    table: Int64,
    last: Float64,
    stream: Int64,
    samples: Samples,
    valid: Bool,
    step_ns: int,
    arrival_ns: int,
    channels: Int64,
    above: Float64,
    line: UInt8,
    missing: float,
) -> None:
    """Take k accepted chunks of one kind, samples (k, n, c): note for each signal its last usable row.

    The last row of a chunk is taken as measured on arrival, rows before it `step_ns` apart. From the end backwards: where all is well the
    first look decides.
    """
    k, n, width = samples.shape
    for i in range(k):
        s = stream[i]
        for m in range(channels.shape[0]):
            if not valid[i]:
                _unusable(table, s, m, POOR, samples, i, step_ns)
                continue
            low = max(channels[m], 0)
            high = channels[m] + 1 if channels[m] >= 0 else width
            row = n - 1
            at = -1
            while row >= 0 and at < 0:
                for c in range(low, high):
                    value = samples[i, row, c]
                    if value > above[m] and value != missing:
                        at = c
                        break
                if at < 0:
                    row -= 1
            if at < 0:
                _unusable(table, s, m, NO_VALUE, samples, i, step_ns)
                continue
            value = samples[i, row, at]
            if line[m] == _EVEN and value != 0 and width > 1:
                even = True
                for c in range(low, high):
                    if samples[i, row, c] != value and samples[i, row, c] != missing:
                        even = False
                        break
                if even:
                    _unusable(table, s, m, NO_SIGNAL, samples, i, step_ns)
                    continue
            if line[m] and (n > 1 or line[m] == _ZERO):
                moves = False
                for c in range(low, high):
                    first = samples[i, 0, c]
                    if line[m] == _ZERO and first != 0:
                        moves = True
                        break
                    for j in range(1, n):
                        if samples[i, j, c] != first:  # also where one is missing: then it is no line of a dead sensor
                            moves = True
                            break
                    if moves:
                        break
                if not moves:
                    _unusable(table, s, m, NO_SIGNAL, samples, i, step_ns)
                    continue
            t_ns = arrival_ns - (n - 1 - row) * step_ns
            before = table[s, AT + m]
            if t_ns > before:
                if before != NEVER_NS:
                    gap, known = t_ns - before, table[s, GAP + m]
                    # One long pause is no habit: what is learned at most doubles.
                    table[s, GAP + m] = gap if known == 0 else min(gap, 2 * known + NS_PER_S)
                table[s, AT + m] = t_ns
            table[s, WHY + m] = 0
            stands = value == last[s, m]
            if stands and n > 1:
                for j in range(n):
                    for c in range(low, high):
                        one = samples[i, j, c]
                        if one == one and one != samples[i, row, c]:  # noqa: PLR0124 - NaN
                            stands = False
                            break
                    if not stands:
                        break
            if not stands:
                last[s, m] = value
                table[s, SINCE + m] = t_ns
                table[s, SAME + m] = 0
            table[s, SAME + m] += n
