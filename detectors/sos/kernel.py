"""Which report of a button is a new call."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.frame import ARRIVAL_UNKNOWN, GAP_RESTART, NS_PER_S, Bool, Int32, Int64
from engine.jit import inline_kernel, kernel

NEVER: Final = -1
PRESSED: Final = 0.5
"""`pressed` is 0 or 1; anything from here up is a press."""
DELAY_NS: Final = 10 * NS_PER_S
"""Reports may be delayed by so much against each other (a radio that tries again, a gateway that asks round): only when they arrive further
apart than that does a clock which says "at the same time" count for nothing."""


class Limits(NamedTuple):
    """The times of `SosParams`, ns."""

    rearm_ns: int
    held_ns: int
    unreleased_ns: int


class SosState(NamedTuple):
    """Per slot: the newest call, the newest report of a pressed button, the last late press, each by device time and by arrival; whether
    the button was released since, and whether it has ever reported a release."""

    call_ns: Int64
    call_arrival_ns: Int64
    pressed_ns: Int64
    pressed_arrival_ns: Int64
    late_ns: Int64
    late_arrival_ns: Int64
    released: Bool
    releases: Bool


@inline_kernel
def _apart(t_ns: int, arrival_ns: int, other_ns: int, other_arrival_ns: int, least_ns: int) -> bool:
    """Whether two reports are `least_ns` apart, by the device's clock or, for that may stand still or be set back, by their arrival."""
    return abs(t_ns - other_ns) >= least_ns or arrival_ns - other_arrival_ns >= least_ns + DELAY_NS


@kernel
def presses(
    slots: Int32, t0_ns: Int64, gap_ns: Int64, samples: NDArray[np.float32], frame_arrival_ns: int, state: SosState, limits: Limits
) -> NDArray[np.int64]:
    """Rows (slot, time) of new calls in `samples` (k, n, 1), all n at t0. NaN is no report. Time may run backwards (a late press)."""
    found = np.empty((slots.shape[0], 2), np.int64)
    count = 0
    for k in range(slots.shape[0]):
        s = slots[k]
        t = t0_ns[k]
        arrival = t if frame_arrival_ns == ARRIVAL_UNKNOWN else frame_arrival_ns
        called = False
        if gap_ns[k] == GAP_RESTART:
            state.releases[s] = False  # perhaps another device
        for i in range(samples.shape[1]):
            x = samples[k, i, 0]
            if x < PRESSED:
                state.releases[s] = True
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
                new = _apart(t, arrival, last, state.call_arrival_ns[s], limits.rearm_ns)
                if late != NEVER:
                    new = new and _apart(t, arrival, late, state.late_arrival_ns[s], limits.rearm_ns)
                state.late_ns[s] = t
                state.late_arrival_ns[s] = arrival
            elif _apart(t, arrival, last, state.call_arrival_ns[s], limits.rearm_ns):
                held_ns = limits.unreleased_ns if state.releases[s] else limits.held_ns
                new = state.released[s] or _apart(t, arrival, state.pressed_ns[s], state.pressed_arrival_ns[s], held_ns)
            if t >= state.pressed_ns[s]:
                state.pressed_ns[s] = t
                state.pressed_arrival_ns[s] = arrival
                state.released[s] = False
                if new:
                    state.call_ns[s] = t
                    state.call_arrival_ns[s] = arrival
            if new and not called:
                found[count, 0] = s
                found[count, 1] = t
                count += 1
                called = True
    return found[:count]
