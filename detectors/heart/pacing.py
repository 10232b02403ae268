"""Spikes in an ECG: the pulses of a pacemaker are no heartbeat, and the beat that answers one is not hidden by it.

A pacemaker pulse lasts 0.1 to 2 ms and may be 700 times as high as a small QRS complex (IEC 60601-2-27:2011, 201.12.1.101.12: 2 to 700 mV);
what is left of it behind the low-pass of a device is as wide as that low-pass lets it be, 12 ms at 40 Hz: at 125 Hz it is in two
neighbouring samples, and what is in others is at most a sixth of the higher of the two. Of the narrowest QRS complex that a monitor must
expect, 40 ms at its foot in a newborn and 70 ms in an adult (the same standard), it is more than half. Static discharges and loose contacts
make such spikes too, and are no heartbeat either.

A spike is looked for only when a peak of the feature is to be judged, a few times a second: it is taken out of the remembered signal,
and what was found in that stretch is found again without it. So a spike with its answer is the answer's beat, and a spike without one nothing.
"""

from __future__ import annotations

from typing import Final

from detectors.heart.inline import inline_kernel
from detectors.heart.qrs import Grid
from detectors.heart.state import AREA_0, LAST_S, LEADS, PEAK, PEAK_FROM, PEAK_N, RING, SLOPE_0, HeartState
from engine.frame import Float32
from engine.jit import kernel

SPIKE_MV: Final = 0.15
"""Smaller ones do not reach the lowest threshold (a spike of height A has a feature of 0.16 A, FLOOR_MV is 0.02)."""
SPIKE_REST_MAX: Final = 0.25
"""What is left beside the two samples of a spike, in its heights: below 0.17 behind any low-pass from 40 Hz on; above 0.5 in R waves of 7 ms
standard deviation, which are narrower than any."""
EQUAL: Final = 1.001
"""Two samples of one spike may be equal but for rounding."""
NOISE_MV: Final = 0.03
"""So much more by noise alone, over the few samples that are summed (IEC 60601-2-27 allows 0.03 mV peak to peak)."""
SPIKE_REACH_S: Final = 0.028
"""So far on either side the line is looked for on which the spike stands."""
MASK: Final = RING - 1


@inline_kernel
def spike_reach(g: Grid) -> int:
    """SPIKE_REACH_S in internal samples."""
    return max(2, int(SPIKE_REACH_S * g.rate_internal_hz + 0.5))


@inline_kernel
def is_spike(wave: Float32, at: int, reach: int) -> bool:
    """Whether sample `at` of a ring is the top of a deflection of two samples on the line between its neighbours `reach` away."""
    first = float(wave[(at - reach) & MASK])
    last = float(wave[(at + reach) & MASK])
    top = float(wave[at & MASK])
    height = abs(top - 0.5 * (first + last))
    if height < SPIKE_MV or abs(top - float(wave[(at - 2) & MASK])) < 0.5 * height:
        return False
    step = (last - first) / (2 * reach)
    rest_max = SPIKE_REST_MAX * height + NOISE_MV
    rest = 0.0
    second = 0.0
    for k in range(1, 2 * reach):
        value = abs(float(wave[(at - reach + k) & MASK]) - first - k * step) if k != reach else 0.0
        if value > EQUAL * height:
            return False
        rest += value
        if abs(k - reach) == 1:
            second = max(second, value)
        if rest - second > rest_max:  # what is left only grows: most samples of a QRS complex end here, at the first or second look
            return False
    return True


@inline_kernel
def has_spike(state: HeartState, g: Grid, slot: int, leads: int, peak_n: int, now_n: int) -> bool:
    """Whether a spike is in the window whose feature peaked at `peak_n`."""
    reach = spike_reach(g)
    for lead in range(leads):
        wave = state.signal[slot, lead]
        for at in range(peak_n - g.area - 2 * g.slope, min(peak_n, now_n - reach) + 1):
            if is_spike(wave, at, reach):
                return True
    return False


@kernel
def take_out_spikes(state: HeartState, g: Grid, slot: int, leads: int, now_n: int) -> int:
    """Take all spikes out of the last half second; returns the sample from which peaks are to be looked for again."""
    reach = spike_reach(g)
    # a larger spike hides what came up to the refractory time before it
    begin = max(state.tally[slot, PEAK_FROM] + 1, now_n - 2 * g.refractory - g.area - g.slope)
    for lead in range(leads):
        wave = state.signal[slot, lead]
        slope = state.signal[slot, LEADS + lead]
        for at in range(begin - g.slope, now_n - reach + 1):
            if is_spike(wave, at, reach):
                first = wave[(at - reach) & MASK]
                step = (wave[(at + reach) & MASK] - first) / (2 * reach)
                for k in range(1, 2 * reach):
                    wave[(at - reach + k) & MASK] = first + k * step
        rise = 0.0
        for n in range(begin, now_n + 1):
            rise = 0.0
            for k in range(g.slope):
                rise += wave[(n - k) & MASK] - wave[(n - g.slope - k) & MASK]
            slope[n & MASK] = rise / g.slope
        area = 0.0
        for k in range(g.area):
            area += abs(slope[(now_n - k) & MASK])
        state.level[slot, SLOPE_0 + lead] = rise
        state.level[slot, AREA_0 + lead] = area
    return int(begin)


@inline_kernel
def _feature(state: HeartState, g: Grid, slot: int, leads: int, n: int) -> float:
    """The feature at sample `n`, from the remembered slopes."""
    total = 0.0
    for lead in range(leads):
        slope = state.signal[slot, LEADS + lead]
        for k in range(g.area):
            total += abs(slope[(n - k) & MASK])
    return total / g.area


@kernel
def look_again(state: HeartState, g: Grid, slot: int, leads: int, from_n: int, now_n: int) -> int:
    """Look for peaks of the feature from `from_n` on, as they are looked for when samples come.

    Returns the sample at which one has stood for the refractory time, or `now_n` + 1; PEAK and PEAK_N are the peak so far.
    """
    level = state.level[slot]
    last = _feature(state, g, slot, leads, from_n - 1)
    peak = 0.0
    peak_n = from_n
    at = from_n
    while at <= now_n:
        s = _feature(state, g, slot, leads, at)
        if s >= peak and s > last:
            peak = s
            peak_n = at
        elif peak > 0.0 and at - peak_n >= g.refractory:
            break
        last = s
        at += 1
    level[LAST_S] = _feature(state, g, slot, leads, now_n)
    level[PEAK] = peak
    state.tally[slot, PEAK_N] = peak_n
    return at
