"""Which report of a button is a new call."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.frame import Bool, Int32, Int64
from engine.jit import kernel

NEVER: Final = -1
PRESSED: Final = 0.5
"""`pressed` is 0 or 1; anything from here up is a press."""


class SosState(NamedTuple):
    """Per slot: the newest call, the newest report of a pressed button, whether it was released since; the last late press."""

    call_ns: Int64
    pressed_ns: Int64
    released: Bool
    late_ns: Int64


@kernel
def presses(
    slots: Int32, t0_ns: Int64, samples: NDArray[np.float32], state: SosState, rearm_ns: int, unreleased_ns: int
) -> NDArray[np.int64]:
    """Rows (slot, time) of new calls in `samples` (k, n, 1), all n at t0. NaN is no report. Time may run backwards (a late press)."""
    found = np.empty((slots.shape[0], 2), np.int64)
    count = 0
    for k in range(slots.shape[0]):
        s = slots[k]
        t = t0_ns[k]
        called = False
        for i in range(samples.shape[1]):
            x = samples[k, i, 0]
            if x < PRESSED:
                if t >= state.pressed_ns[s]:  # a late release must not free a button that has been pressed since
                    state.released[s] = True
                continue
            if not x >= PRESSED:
                continue
            last = state.call_ns[s]
            new = False
            if last == NEVER:
                new = True
            elif t < state.pressed_ns[s]:
                # Older than what is known: its own call, unless it belongs to that call or to the late press before it.
                late = state.late_ns[s]
                new = abs(t - last) >= rearm_ns and (late == NEVER or abs(t - late) >= rearm_ns)
                state.late_ns[s] = t
            else:
                silent = t - state.pressed_ns[s] >= unreleased_ns
                new = t - last >= rearm_ns and (state.released[s] or silent)
            if t >= state.pressed_ns[s]:
                state.pressed_ns[s] = t
                state.released[s] = False
                if new:
                    state.call_ns[s] = t
            if new and not called:
                found[count, 0] = s
                found[count, 1] = t
                count += 1
                called = True
    return found[:count]
