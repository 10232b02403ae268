"""The one shape in which data moves through the core."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
UInt8 = NDArray[np.uint8]
Samples = NDArray[Any]

NS_PER_S: Final = 1_000_000_000

GAP_NONE: Final = 0
GAP_RESTART: Final = -1
"""`Frame.gap_ns` of the first chunk of a stream, and after a device restarted or its clock was set back."""

ARRIVAL_UNKNOWN: Final = -1
"""`Frame.arrival_ns` of a frame that came from no log."""


class Frame(NamedTuple):
    """k chunks of one kind, one per slot.

    What detectors may rely on (the engine guarantees it):
    - `slot` int32 (k,): unique within the frame, each < capacity;
    - `t0_ns` int64 (k,): device time of the first sample, UTC (estimated where the device's clock is wrong); per slot it never goes back
      unless gap_ns is GAP_RESTART;
    - `rate_hz`: common to the frame; 0 for kinds without a rate, and for a single reading whose interval is not known yet;
    - `samples` (k, n, c), C-contiguous: float32 with NaN = missing, never infinite; pressure_map is uint16 with
      65535 = missing; n may differ from frame to frame and is at least 1;
    - `gap_ns` int64 (k,): time missing since the end of this stream's previous chunk (0 contiguous, GAP_RESTART first);
    - `valid` bool (k,): False where the device itself flagged the whole chunk as poor (off-body, lead-off, saturated);
    - `shape`: (rows, columns) of a pressure map, else (1, c);
    - `arrival_ns`: of instants, when the frame reached Vigil; ARRIVAL_UNKNOWN where nobody noted it, then t0_ns counts for it.
    """

    kind: str
    slot: Int32
    t0_ns: Int64
    rate_hz: float
    samples: Samples
    gap_ns: Int64
    valid: Bool
    shape: tuple[int, int]
    arrival_ns: int = ARRIVAL_UNKNOWN


def frame(
    kind: str,
    slot: Any,
    t0_ns: Any,
    rate_hz: float,
    samples: Any,
    *,
    gap_ns: Any = None,
    valid: Any = None,
    shape: tuple[int, int] | None = None,
) -> Frame:
    """Build a Frame from anything array-like; missing gap_ns means contiguous, missing valid means all good."""
    slots = np.atleast_1d(np.asarray(slot, np.int32))
    values = np.ascontiguousarray(samples)
    if values.ndim != 3 or values.shape[0] != slots.shape[0]:
        raise ValueError(f"samples must be (k, n, c) with k = {slots.shape[0]}, got {values.shape}")
    size = slots.shape[0]
    gaps = np.zeros(size, np.int64) if gap_ns is None else np.broadcast_to(np.asarray(gap_ns, np.int64), (size,)).copy()
    good = np.ones(size, np.bool_) if valid is None else np.asarray(valid, np.bool_)
    return Frame(kind, slots, np.atleast_1d(np.asarray(t0_ns, np.int64)), float(rate_hz), values, gaps, good, shape or (1, values.shape[2]))
