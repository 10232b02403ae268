"""Which report of a camera is a new fall."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.frame import ARRIVAL_UNKNOWN, Bool, Int32, Int64
from engine.jit import kernel
from engine.kinds import CAMERA_FALL

NEVER: Final = -1
CODE: Final = 0
CONFIDENCE: Final = 1


class CameraState(NamedTuple):
    """Per slot: the last report that counted, by the camera's clock and by arrival."""

    report_ns: Int64
    arrival_ns: Int64


@kernel
def falls(
    slots: Int32,
    t0_ns: Int64,
    samples: NDArray[np.float32],
    valid: Bool,
    frame_arrival_ns: int,
    state: CameraState,
    confidence_fraction_min: float,
    same_fall_ns: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows (slot, time) of new falls and their confidence, from `samples` (k, n, 2) = code, confidence; NaN counts for nothing."""
    found = np.empty((slots.shape[0], 2), np.int64)
    confidence = np.empty(slots.shape[0], np.float64)
    count = 0
    for k in range(slots.shape[0]):
        if not valid[k]:
            continue
        s = slots[k]
        t = t0_ns[k]
        best = -1.0
        for i in range(samples.shape[1]):
            if samples[k, i, CODE] == CAMERA_FALL and samples[k, i, CONFIDENCE] >= confidence_fraction_min:
                best = max(best, samples[k, i, CONFIDENCE])
        if best < 0.0:
            continue
        arrival = t if frame_arrival_ns == ARRIVAL_UNKNOWN else frame_arrival_ns
        last, last_arrival = state.report_ns[s], state.arrival_ns[s]
        state.report_ns[s] = max(last, t)
        state.arrival_ns[s] = max(last_arrival, arrival)
        # By arrival too: a clock that stands still must not make two falls one. Reports may be delayed against each other by so much again.
        if last == NEVER or abs(t - last) >= same_fall_ns or arrival - last_arrival >= 2 * same_fall_ns:
            found[count, 0] = s
            found[count, 1] = t
            confidence[count] = best
            count += 1
    return found[:count], confidence[:count]
