"""The one look at every number of a block."""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from engine.frame import Float32, Int64, UInt8
from engine.jit import kernel

SUSPICIOUS: Final = 1
MISSING: Final = 2


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
    """SUSPICIOUS when anything of a block is outside its range (NaN is not; infinity always is), plus MISSING when it holds NaN.

    `t0_ns`, `seq`, `quality` are (k,), `values` (n, c) floats, `low` and `high` (c,), or (1,) when all channels share a range.
    Says only whether a closer look is needed: almost every block needs none, so nothing is allocated and nothing written.
    """
    found = False
    missing = False
    for row in range(t0_ns.shape[0]):
        found |= (t0_ns[row] < 0) | (t0_ns[row] > t_max_ns) | (seq[row] < seq_min) | (quality[row] > quality_max)
    if low.shape[0] == 1:
        lowest, highest = low[0], high[0]
        for value in values.ravel():
            found |= (value < lowest) | (value > highest)
            missing |= value != value  # noqa: PLR0124 - NaN
    else:
        for i in range(values.shape[0]):
            for j in range(values.shape[1]):
                found |= (values[i, j] < low[j]) | (values[i, j] > high[j])
                missing |= values[i, j] != values[i, j]
    return (SUSPICIOUS if found else 0) + (MISSING if missing else 0)
