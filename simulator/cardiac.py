"""ECG, PPG and RR intervals from one stream of heart beats per resident.

Each beat is a sum of Gaussians, one per wave, at its offset from the R peak (after McSharry, Clifford, Tarassenko &
Smith, IEEE TBME 2003;50:289, section II: P, Q, R, S, T); the limit cycle is replaced by an explicit list of beats, so
that any rhythm can be played. Waves outside the QRS move with the square root of the RR interval (Bazett).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.frame import Bool, Float32, Float64


class Rhythm(IntEnum):
    """What the heart does."""

    SINUS = 0
    ATRIAL_FIBRILLATION = 1
    VENTRICULAR_TACHYCARDIA = 2
    VENTRICULAR_FIBRILLATION = 3
    ASYSTOLE = 4


class Beat(IntEnum):
    """Shape of one beat."""

    NORMAL = 0
    NO_P = 1
    VENTRICULAR = 2


class Pulse(NamedTuple):
    """One second of all residents: ECG in mV and PPG in a.u., float32 (n, 125, 1); heart rate (n,) over the last beats, NaN without pulse.

    `rr_start_s` and `rr_ms`: per resident, the start of the first interval that ended in this second and the intervals.
    """

    ecg: Float32
    ppg: Float32
    heart_rate_bpm: Float64
    rr_start_s: Float64
    rr_ms: list[Float64]


RATE_HZ: Final = 125.0
SAMPLES: Final = 125
BEATS: Final = 16
"""Beats kept per resident: two seconds at the fastest rhythm, with room."""
FAR_PAST_S: Final = -100.0
TABLE_HZ: Final = 500
BEFORE_S: Final = 0.45
AFTER_S: Final = 0.75
QRS_HALF_S: Final = 0.06
WIDE_HALF_S: Final = 0.12
PULSE_DELAY_S: Final = 0.22
"""From R peak to the foot of the pulse at the wrist."""
ECG_STEP_MV: Final = 0.005
# Offset s, width s, height (R = 1) of each wave, by Beat.
WAVES: Final = {
    Beat.NORMAL: ((-0.17, 0.022, 0.13), (-0.028, 0.009, -0.12), (0.0, 0.011, 1.0), (0.03, 0.010, -0.22), (0.27, 0.050, 0.28)),
    Beat.NO_P: ((-0.028, 0.009, -0.12), (0.0, 0.011, 1.0), (0.03, 0.010, -0.22), (0.27, 0.050, 0.28)),
    Beat.VENTRICULAR: ((-0.03, 0.028, 0.75), (0.02, 0.030, 1.15), (0.08, 0.030, -0.35), (0.30, 0.070, -0.40)),
}
PULSE_WAVES: Final = ((0.12, 0.055, 1.0), (0.33, 0.085, 0.38))
P_ECTOPIC_MAX: Final = 0.01
RSA: Final = 0.025
RR_NOISE: Final = 0.012
AF_SPREAD: Final = 0.19
"""Relative standard deviation of RR in AF (0.15-0.25 in afdb)."""
VF_HZ: Final = (3.7, 4.6, 5.3, 6.1, 7.1)
"""Coarse fibrillation: incommensurate waves of 3-8 Hz that swell and fade each on its own."""
VF_MV: Final = 0.22
RATE_TIME_CONSTANT_S: Final = 8.0


def _table(waves: tuple[tuple[float, float, float], ...]) -> Float64:
    tau = np.arange(-BEFORE_S, AFTER_S, 1 / TABLE_HZ)
    return np.asarray(sum(h * np.exp(-((tau - mu) ** 2) / (2 * sd * sd)) for mu, sd, h in waves))


_ECG_TABLE: Final = np.concatenate([_table(WAVES[beat]) for beat in Beat])
_PPG_TABLE: Final = _table(PULSE_WAVES)
_LENGTH: Final = _PPG_TABLE.size


class Hearts:
    """Hearts of n residents; `second` must be called for 0, 1, 2, ..."""

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self._n = n
        self.rest_bpm: Float64 = rng.uniform(58, 82, n)
        self.breath_hz: Float64 = rng.uniform(0.22, 0.32, n)
        self._bpm = self.rest_bpm.copy()
        self._p_ectopic = rng.uniform(0, P_ECTOPIC_MAX, n) * (rng.random(n) < 0.5)
        self._gain = rng.uniform(0.8, 1.6, n)
        self._noise_mv = rng.uniform(0.008, 0.02, n)
        self._phase = rng.uniform(0, 2 * np.pi, (n, 4))
        self._rhythm = np.zeros(n, np.int8)
        self._at = np.full((n, BEATS), FAR_PAST_S)
        self._at[:, -1] = -rng.random(n)
        self._shape: NDArray[np.int64] = np.zeros((n, BEATS), np.int64)
        self._rr = np.full((n, BEATS), 1.0)

    def second(self, second: int, rhythm: NDArray[np.int8], bpm: Float64, abrupt: Bool, movement: Float64, lead_off: Bool) -> Pulse:
        """One second at the wanted rate `bpm` (reached at once where `abrupt`, else over seconds) and `rhythm`.

        `movement` 0..1 adds motion noise; `lead_off` leaves mains hum and noise.
        """
        self._bpm = np.where(abrupt, bpm, self._bpm + (bpm - self._bpm) / RATE_TIME_CONSTANT_S)
        if second == 0:
            self._bpm = bpm.copy()
        self._extend(second, rhythm)
        t = second + np.arange(SAMPLES) / RATE_HZ
        ecg, ppg = self._waves(t)
        ecg = self._dress_ecg(ecg, t, rhythm, movement, lead_off)
        breath = np.sin(2 * np.pi * self.breath_hz[:, None] * t + self._phase[:, :1])
        motion = movement[:, None] * 1.5 * np.sin(2 * np.pi * 1.7 * t + self._phase[:, 3:])
        ppg = ppg * (1 + 0.1 * breath) + 0.15 * breath + motion + 0.01 * self._rng.standard_normal(ppg.shape)
        rate = self._rate(second + 1.0, rhythm)
        start, intervals = self._intervals(second)
        return Pulse(
            (np.round(ecg / ECG_STEP_MV) * ECG_STEP_MV).astype(np.float32)[:, :, None],
            np.round(1000 * ppg).astype(np.float32)[:, :, None],
            rate,
            start,
            intervals,
        )

    def _extend(self, second: int, rhythm: NDArray[np.int8]) -> None:
        """Add beats until one second beyond this one is covered; a changed rhythm takes back what had been planned."""
        rng = self._rng
        silent = (rhythm == Rhythm.ASYSTOLE) | (rhythm == Rhythm.VENTRICULAR_FIBRILLATION)
        planned = (self._at >= second) & (rhythm != self._rhythm)[:, None]
        self._rhythm = rhythm.copy()
        self._at[planned] = FAR_PAST_S
        self._sort(planned.any(axis=1))
        while True:
            last = self._at[:, -1]
            rows = np.flatnonzero((last < second + 1.6) & ~silent)
            if rows.size == 0:
                return
            at = last[rows]
            kind = rhythm[rows]
            rr = 60.0 / self._bpm[rows]
            respiratory = RSA * np.sin(2 * np.pi * self.breath_hz[rows] * at + self._phase[rows, 0])
            slow = 0.02 * np.sin(2 * np.pi * 0.1 * at + self._phase[rows, 1])
            noise = rng.standard_normal(rows.size)
            sinus = 1 + respiratory + slow + RR_NOISE * noise
            factor = np.select(
                [kind == Rhythm.ATRIAL_FIBRILLATION, kind == Rhythm.VENTRICULAR_TACHYCARDIA],
                [np.maximum(1 + AF_SPREAD * noise, 0.5), 1 + 0.01 * noise],
                sinus,
            )
            early = (rng.random(rows.size) < self._p_ectopic[rows]) & (kind == Rhythm.SINUS) & (self._shape[rows, -1] == Beat.NORMAL)
            pause = (self._shape[rows, -1] == Beat.VENTRICULAR) & (kind == Rhythm.SINUS)
            factor = np.where(early, 0.62, np.where(pause, 1.35, factor))
            shape = np.select(
                [early | (kind == Rhythm.VENTRICULAR_TACHYCARDIA), kind == Rhythm.ATRIAL_FIBRILLATION],
                [int(Beat.VENTRICULAR), int(Beat.NO_P)],
                int(Beat.NORMAL),
            )
            lost = at < second - 3.0  # the heart starts again after a standstill
            at = np.where(lost, second, at)
            for ring, new in ((self._at, at + rr * factor), (self._shape, shape), (self._rr, rr * factor)):
                ring[rows] = np.roll(ring[rows], -1, axis=1)
                ring[rows, -1] = new

    def _sort(self, rows: Bool) -> None:
        for i in np.flatnonzero(rows):
            order = np.argsort(self._at[i], kind="stable")
            self._at[i], self._shape[i], self._rr[i] = self._at[i][order], self._shape[i][order], self._rr[i][order]

    def _waves(self, t: Float64) -> tuple[Float64, Float64]:
        """Sum of all beats' waves: ECG (R = 1) and PPG (pulse = 1), each (n, len(t))."""
        ecg = np.zeros((self._n, t.size))
        ppg = np.zeros((self._n, t.size))
        for b in range(BEATS):
            near = (self._at[:, b] > t[0] - AFTER_S - PULSE_DELAY_S) & (self._at[:, b] < t[-1] + BEFORE_S)
            rows = np.flatnonzero(near)
            if rows.size == 0:
                continue
            tau = t - self._at[rows, b : b + 1]
            shape = self._shape[rows, b : b + 1]
            scale = np.sqrt(np.clip(self._rr[rows, b : b + 1], 0.3, 1.4))
            half = np.where(shape == Beat.VENTRICULAR, WIDE_HALF_S, QRS_HALF_S)
            distance = np.abs(tau)
            warped = np.sign(tau) * (np.minimum(distance, half) + np.maximum(distance - half, 0.0) / scale)
            ecg[rows] += _look_up(_ECG_TABLE, warped, shape * _LENGTH)
            # A premature beat finds a half-filled ventricle: the pulse is weak.
            strength = np.clip(1.6 * self._rr[rows, b : b + 1] - 0.35, 0.15, 1.0)
            ppg[rows] += strength * _look_up(_PPG_TABLE, (tau - PULSE_DELAY_S) / np.maximum(scale, 0.7), 0)
        return ecg, ppg

    def _dress_ecg(self, ecg: Float64, t: Float64, rhythm: NDArray[np.int8], movement: Float64, lead_off: Bool) -> Float64:
        rng = self._rng
        phase = self._phase
        ecg *= self._gain[:, None]
        fibrillating = rhythm == Rhythm.ATRIAL_FIBRILLATION
        if fibrillating.any():
            rows = np.flatnonzero(fibrillating)
            ecg[rows] += 0.05 * np.sin(2 * np.pi * 6.1 * t + 0.8 * np.sin(2 * np.pi * 0.7 * t) + phase[rows, :1])
        for i in np.flatnonzero(rhythm == Rhythm.VENTRICULAR_FIBRILLATION):
            for j, hz in enumerate(VF_HZ):
                start = phase[i, j % 4] * (j + 1)
                swell = 1 + 0.8 * np.sin(2 * np.pi * (0.11 + 0.07 * j) * t + 2 * start)
                ecg[i] += VF_MV * swell * np.sin(2 * np.pi * hz * t + start + 1.2 * np.sin((0.9 + 0.4 * j) * t))
        ecg += 0.06 * np.sin(2 * np.pi * self.breath_hz[:, None] * t + phase[:, :1])
        ecg += 0.05 * np.sin(2 * np.pi * 0.05 * t + phase[:, 1:2])
        ecg += rng.standard_normal(ecg.shape) * (self._noise_mv + 0.06 * movement)[:, None]
        if lead_off.any():
            rows = np.flatnonzero(lead_off)
            ecg[rows] = 0.08 * np.sin(2 * np.pi * 50.0 * t + phase[rows, :1]) + 0.03 * rng.standard_normal((rows.size, t.size))
        return ecg

    def _rate(self, now_s: float, rhythm: NDArray[np.int8]) -> Float64:
        """Mean rate over the beats of the last 4 s, as a monitor shows it; NaN when there are fewer than two."""
        recent = (self._at <= now_s) & (self._at > now_s - 4.0)
        count = recent.sum(axis=1)
        mean_rr = np.where(count > 0, (self._rr * recent).sum(axis=1) / np.maximum(count, 1), np.nan)
        silent = (rhythm == Rhythm.ASYSTOLE) | (rhythm == Rhythm.VENTRICULAR_FIBRILLATION)
        return np.where(silent | (count < 2), np.nan, 60.0 / mean_rr)

    def _intervals(self, second: int) -> tuple[Float64, list[Float64]]:
        ended = (self._at >= second) & (self._at < second + 1)
        first = np.where(ended.any(axis=1), ended.argmax(axis=1), 0)
        rows = np.arange(self._n)
        start = self._at[rows, first] - self._rr[rows, first]
        return start, [np.round(1000 * self._rr[i][ended[i]]) for i in range(self._n)]


def _look_up(table: Float64, tau: Float64, offset: NDArray[np.int64] | int) -> Float64:
    index = np.rint((tau + BEFORE_S) * TABLE_HZ).astype(np.int64)
    inside = (index >= 0) & (index < _LENGTH)
    return np.where(inside, table[np.clip(index, 0, _LENGTH - 1) + offset], 0.0)
