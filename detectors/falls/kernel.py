"""The arithmetic of fall detection: 0.1 s bins in a ring, judged when stillness begins."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from engine.frame import GAP_RESTART, NS_PER_S, Bool, Float32, Float64, Int32, Int64, Samples
from engine.jit import kernel

# Constants of the kernels live in this file: the compiled cache follows changes of this file alone.
BIN_S: Final = 0.1
"""Time resolution of the features: an impact on a hard floor lasts 20-100 ms, on a mattress up to 200 ms."""
RATE_HZ_MIN: Final = 10.0
"""Below one sample a bin an impact is missed more often than seen: such streams are not judged."""
RING: Final = 96
"""Bins kept: 5 s before the impact, the impact, settling (<= 2 s) and stillness (<= 3 s) fit, with a margin."""
_X, _Y, _Z, _SQUARE, _PEAK, _EXCESS = range(6)
BIN_FIELDS: Final = 6
"""Ring columns: mean x, y, z (g), mean |a|^2 (g^2; below 0: nothing measured), peak |a| (g), impulse above 1 g (g·s)."""
_NOTHING: Final = -1.0
_N: Final = 6
SUM_FIELDS: Final = 7
"""Running sums of the open bin: the ring columns (the peak squared) and the count of samples."""

DEAD_BAND_G: Final = 0.1
"""Excess below this is not impulse: the offset of an uncalibrated MEMS sensor and its tilt error (data sheets: 40-80 mg)."""
_DEAD: Final = 1.0 + DEAD_BAND_G
_DEAD_SQUARE: Final = _DEAD * _DEAD
_BINS_PER_S: Final = round(1 / BIN_S)
_IMPACT_HALF_BINS: Final = _BINS_PER_S // 2
_BEFORE_FAR_BINS: Final = 25
_BEFORE_NEAR_BINS: Final = 10
"""Posture before is read 2.5 to 1.0 s before the peak: a body that topples from standing falls for under a second, so it has not begun."""
_BEFORE_BINS_MIN: Final = 5
_HISTORY_BINS: Final = 20
"""Without 2 s of history before the peak there is no posture before to compare with."""
_RHYTHM_BINS: Final = 50
"""Steps, claps and runs are known from the 4 s (5.0 to 1.0 s) before."""
_SETTLE_BINS_MIN: Final = 3
"""An impact itself is over after 0.3 s."""
_VALID_SHARE: Final = 0.7
"""Share of a stillness window that must have been measured."""
_TINY: Final = 1e-9
_ABSURD: Final = 1e6
"""g^2: larger than physics. The comparison is false for NaN; np.isfinite is not safe under the kernels' floating-point flags."""

_MOVE, _STILL, _BINS, _GX, _GY, _GZ, _TOP, _SEEN, _LAST_X, _LAST_Y, _LAST_Z = range(11)
MINUTE_FIELDS: Final = 11
"""Running minute: movement, still bins, bins measured, sum of x, y, z, peak, bins passed, gravity of the previous minute."""
MINUTE_BINS: Final = 60 * _BINS_PER_S
ACTIVITY: Final = ("movement_g", "still_fraction", "posture_change_deg", "peak_g", "measured_fraction")


class FallState(NamedTuple):
    """Per slot: the stream, the open bin, the ring of closed bins, the running minute and the latch."""

    rate_hz: Float64
    phase: Float64
    bins: Int64
    since_impact: Int32
    latched_until_ns: Int64
    sums: Float64
    ring: Float32
    minute: Float64


class FallLimits(NamedTuple):
    """FallParams in kernel units (bins, degrees, g)."""

    rotation_deg_min: float
    still_g: float
    still_g_max: float
    settle_bins: int
    still_bins: int
    contrast_ratio: float
    abrupt_bins: int
    gap_ns_max: int
    refractory_ns: int


class Personal(NamedTuple):
    """Per-slot limits, arrays (capacity,)."""

    impact_g: Float64
    impulse_g_s: Float64
    rotation_deg: Float64


class Found(NamedTuple):
    """Output rows: falls (slot, onset bins back, then figures) and minutes of activity."""

    fall_slot: Int32
    fall_ns: Int64  # (rows, 2) onset, decided
    fall: Float64  # (rows, 5) strength, peak_g, impulse_g_s, rotation_deg, still_g
    minute_slot: Int32
    minute_ns: Int64
    minute: Float32  # (rows, len(ACTIVITY))
    counts: Int64  # falls, minutes


@kernel
def _angle_deg(ax: float, ay: float, az: float, bx: float, by: float, bz: float) -> float:
    """Angle between two vectors in degrees, 0 when one of them is null."""
    norm = np.sqrt((ax * ax + ay * ay + az * az) * (bx * bx + by * by + bz * bz))
    if not norm > _TINY:
        return 0.0
    return float(np.degrees(np.arccos(min(1.0, max(-1.0, (ax * bx + ay * by + az * bz) / norm)))))


@kernel
def judge(
    ring: Float32, last: int, impact_g: float, impulse_g_s: float, rotation_deg: float, limits: FallLimits
) -> tuple[float, int, float, float, float, float]:
    """Is the stillness that ends with bin `last` the end of a fall?

    `ring` (RING, BIN_FIELDS) of one slot, `last` the index of the newest bin since the stream began. Returns strength
    (>= 1: a fall; 0: no), bin index of the impact, peak g, impulse g·s, rotation degrees, scatter g.
    """
    nothing = (0.0, 0, 0.0, 0.0, 0.0, 0.0)
    first = last - limits.still_bins + 1
    seen, x, y, z, square = 0, 0.0, 0.0, 0.0, 0.0
    for b in range(first, last + 1):
        row = ring[b % RING]
        if row[_SQUARE] >= 0.0:
            seen += 1
            x += row[_X]
            y += row[_Y]
            z += row[_Z]
            square += row[_SQUARE]
    if seen < _VALID_SHARE * limits.still_bins:
        return nothing
    x, y, z, square = x / seen, y / seen, z / seen, square / seen
    scatter = np.sqrt(max(0.0, square - (x * x + y * y + z * z)))
    if scatter > limits.still_g_max:
        return nothing

    impact = -1
    peak = impact_g
    for b in range(max(_HISTORY_BINS, first - limits.settle_bins), first - _SETTLE_BINS_MIN + 1):
        value = ring[b % RING, _PEAK]
        if value >= peak:
            peak = float(value)
            impact = b
    if impact < 0:
        return nothing
    for b in range(max(0, impact - _BINS_PER_S), impact):
        if ring[b % RING, _PEAK] > peak:
            return nothing

    impulse = 0.0
    for b in range(impact - _IMPACT_HALF_BINS, impact + _IMPACT_HALF_BINS + 1):
        impulse += ring[b % RING, _EXCESS]
    rhythm, beats = 0.0, 0
    before, gx, gy, gz = 0, 0.0, 0.0, 0.0
    for b in range(max(0, impact - _RHYTHM_BINS), impact - _BEFORE_NEAR_BINS):
        row = ring[b % RING]
        if row[_SQUARE] >= 0.0:
            rhythm += row[_EXCESS]
            beats += 1
            if b >= impact - _BEFORE_FAR_BINS:
                before += 1
                gx += row[_X]
                gy += row[_Y]
                gz += row[_Z]
    if before < _BEFORE_BINS_MIN:
        return nothing
    rotation = _angle_deg(gx, gy, gz, x, y, z)
    if rotation < limits.rotation_deg_min:
        return nothing
    usual = rhythm / beats * (2 * _IMPACT_HALF_BINS + 1)
    if impulse < limits.contrast_ratio * usual:
        abrupt = first - impact <= limits.abrupt_bins and scatter <= limits.still_g
        if not (abrupt and rotation >= rotation_deg):
            return nothing
    strength = (impulse / impulse_g_s) * (rotation / rotation_deg) * min(1.0, limits.still_g / max(scatter, _TINY))
    return strength, impact, peak, impulse, rotation, scatter


@kernel
def _restart(state: FallState, slot: int, rate_hz: float) -> None:
    """Forget the stream of `slot` but not its latch."""
    state.rate_hz[slot] = rate_hz
    state.phase[slot] = 0.0
    state.bins[slot] = 0
    state.since_impact[slot] = RING
    state.sums[slot] = 0.0
    state.ring[slot] = 0.0
    state.minute[slot] = 0.0


@kernel
def _close_minute(state: FallState, slot: int, end_ns: int, found: Found) -> None:
    """Write the minute of activity that ends at end_ns and begin the next one."""
    m = state.minute[slot]
    bins = m[_BINS]
    if bins > 0:
        row = found.counts[1]
        x, y, z = m[_GX] / bins, m[_GY] / bins, m[_GZ] / bins
        known = m[_LAST_X] != 0.0 or m[_LAST_Y] != 0.0 or m[_LAST_Z] != 0.0
        found.minute_slot[row] = slot
        found.minute_ns[row] = end_ns - MINUTE_BINS * round(BIN_S * NS_PER_S)
        found.minute[row, 0] = m[_MOVE] / bins
        found.minute[row, 1] = m[_STILL] / bins
        found.minute[row, 2] = _angle_deg(m[_LAST_X], m[_LAST_Y], m[_LAST_Z], x, y, z) if known else np.nan
        found.minute[row, 3] = m[_TOP]
        found.minute[row, 4] = bins / MINUTE_BINS
        found.counts[1] = row + 1
        m[_LAST_X], m[_LAST_Y], m[_LAST_Z] = x, y, z
    m[:_LAST_X] = 0.0


@kernel
def _weigh(state: FallState, slot: int, end_ns: int, personal: Personal, limits: FallLimits, found: Found) -> None:
    """Judge the stillness that may end with the newest bin, and write a fall down."""
    last = state.bins[slot] - 1
    strength, impact, peak, impulse, rotation, scatter = judge(
        state.ring[slot], last, personal.impact_g[slot], personal.impulse_g_s[slot], personal.rotation_deg[slot], limits
    )
    if strength < 1.0:
        return
    at = found.counts[0]
    found.fall_slot[at] = slot
    found.fall_ns[at, 0] = end_ns - (last + 1 - impact) * round(BIN_S * NS_PER_S)
    found.fall_ns[at, 1] = end_ns
    found.fall[at, 0] = strength
    found.fall[at, 1] = peak
    found.fall[at, 2] = impulse
    found.fall[at, 3] = rotation
    found.fall[at, 4] = scatter
    found.counts[0] = at + 1
    state.latched_until_ns[slot] = end_ns + limits.refractory_ns


@kernel
def run(
    state: FallState,
    slots: Int32,
    t0_ns: Int64,
    rate_hz: float,
    samples: Samples,
    gap_ns: Int64,
    valid: Bool,
    personal: Personal,
    limits: FallLimits,
    found: Found,
) -> None:
    """Take one frame: samples float32 (k, n, 3) in g; writes `found` and changes `state`, sample by sample.

    Closing a bin is written out here: a call with these arrays costs more (reference counts) than the bin's arithmetic.
    """
    if rate_hz < RATE_HZ_MIN:
        return
    rates, phases, bins, recent = state.rate_hz, state.phase, state.bins, state.since_impact
    latched, sums, ring, minute = state.latched_until_ns, state.sums, state.ring, state.minute
    period_ns = NS_PER_S / rate_hz
    step = 1.0 / (BIN_S * rate_hz)
    judged_bins = limits.settle_bins + limits.still_bins
    known_bins = _HISTORY_BINS + limits.still_bins
    for k in range(slots.shape[0]):
        slot = slots[k]
        gap = gap_ns[k]
        missing = 0
        if gap == GAP_RESTART and t0_ns[k] < latched[slot] - limits.refractory_ns:
            latched[slot] = 0
        if gap == GAP_RESTART or gap > limits.gap_ns_max or rates[slot] != rate_hz:
            _restart(state, slot, rate_hz)
        elif gap > 0:
            missing = round(gap / period_ns)
        impact_g = personal.impact_g[slot]
        good = valid[k]
        phase = phases[slot]
        # the open bin lives in registers; array elements would be stored and reloaded at every sample
        sx, sy, sz = sums[slot, _X], sums[slot, _Y], sums[slot, _Z]
        squares, top, excess, count = sums[slot, _SQUARE], sums[slot, _PEAK], sums[slot, _EXCESS], sums[slot, _N]
        for i in range(-missing, samples.shape[1]):
            if good and i >= 0:
                x, y, z = float(samples[k, i, 0]), float(samples[k, i, 1]), float(samples[k, i, 2])
                square = x * x + y * y + z * z
                if square < _ABSURD:
                    sx += x
                    sy += y
                    sz += z
                    squares += square
                    count += 1.0
                    top = max(top, square)
                    if square > _DEAD_SQUARE:
                        excess += np.sqrt(square) - _DEAD
            phase += step
            if phase < 1.0 - _TINY:
                continue
            phase -= 1.0
            end_ns = t0_ns[k] + np.int64(np.rint((i + 1) * period_ns))
            b = bins[slot] % RING
            recent[slot] = min(recent[slot] + 1, RING)
            minute[slot, _SEEN] += 1.0
            if count > 0.0:
                sx, sy, sz, squares = sx / count, sy / count, sz / count, squares / count
                peak = np.sqrt(top)
                scatter = np.sqrt(max(0.0, squares - (sx * sx + sy * sy + sz * sz)))
                ring[slot, b, _X] = sx
                ring[slot, b, _Y] = sy
                ring[slot, b, _Z] = sz
                ring[slot, b, _SQUARE] = squares
                ring[slot, b, _PEAK] = peak
                ring[slot, b, _EXCESS] = excess / rate_hz
                if peak >= impact_g:
                    recent[slot] = 0
                minute[slot, _MOVE] += scatter
                minute[slot, _STILL] += 1.0 if scatter < limits.still_g else 0.0
                minute[slot, _BINS] += 1.0
                minute[slot, _GX] += sx
                minute[slot, _GY] += sy
                minute[slot, _GZ] += sz
                minute[slot, _TOP] = max(minute[slot, _TOP], peak)
            else:
                ring[slot, b, _SQUARE] = _NOTHING
                ring[slot, b, _PEAK] = 0.0
                ring[slot, b, _EXCESS] = 0.0
            sx, sy, sz, squares, top, excess, count = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            bins[slot] += 1
            if minute[slot, _SEEN] >= MINUTE_BINS:
                _close_minute(state, slot, end_ns, found)
            if recent[slot] <= judged_bins and bins[slot] >= known_bins and end_ns >= latched[slot]:
                _weigh(state, slot, end_ns, personal, limits, found)
        phases[slot] = phase
        sums[slot, _X] = sx
        sums[slot, _Y] = sy
        sums[slot, _Z] = sz
        sums[slot, _SQUARE] = squares
        sums[slot, _PEAK] = top
        sums[slot, _EXCESS] = excess
        sums[slot, _N] = count
