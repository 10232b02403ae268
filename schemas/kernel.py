"""The one look at every number of a block."""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from engine.frame import Float32, Int64, UInt8
from engine.jit import kernel

SUSPICIOUS: Final = 1
EMPTY: Final = 2


@kernel
def suspicious(
    t0_ns: Int64,
    seq: Int64,
    quality: UInt8,
    values: NDArray[Any],
    low: Float32,
    high: Float32,
    t_max_ns: int,
    seq_min: int,
    quality_max: int,
) -> int:
    """SUSPICIOUS when anything of a block is outside its range, or may be: infinity always is. NaN is not where each channel has a range
    of its own: there it adds EMPTY when a sample has nothing else. Where all channels share a range, a NaN is reason enough to look.

    `t0_ns`, `seq`, `quality` are (k,), `values` (n, c) floats, `low` and `high` (c,), or (1,) when all channels share a range.
    Says only whether a closer look is needed: almost every block needs none, so nothing is allocated and nothing written.
    """
    found = False
    empty = False
    for row in range(t0_ns.shape[0]):
        found |= (t0_ns[row] < 0) | (t0_ns[row] > t_max_ns) | (seq[row] < seq_min) | (quality[row] > quality_max)
    if low.shape[0] == 1:
        lowest, highest = low[0], high[0]
        inside = True
        for value in values.ravel():
            inside &= (value >= lowest) & (value <= highest)
        found |= not inside
    else:
        for i in range(values.shape[0]):
            nothing = True
            for j in range(values.shape[1]):
                value = values[i, j]
                found |= (value < low[j]) | (value > high[j])
                nothing &= value != value  # noqa: PLR0124 - NaN
            empty |= nothing
    return (SUSPICIOUS if found else 0) + (EMPTY if empty else 0)
