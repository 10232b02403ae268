"""Wrist accelerometer and gyroscope: gravity, gait, hands at work, tremor, breathing, knocks and falls.

Magnitudes follow what wrist recordings of older adults show: about 1 g at rest, daily activity with a standard
deviation of 0.1-0.5 g and peaks of 1.5-5 g (knocks, claps), falls with a dip to 0.1-0.5 g and a peak of 4-7 g
(WEDA-FALL, Marques & Moreno, Data 2024).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from engine.frame import Bool, Float32, Float64
from simulator.routine import Activity, Poses, Posture

RANGE_G: Final = 8.0
"""Full scale of the wristband's accelerometer."""
STEP_G: Final = 1 / 1024
NOISE_G: Final = 0.004
BREATH_G: Final = 0.003
BLEND_S: Final = 0.8
"""How long an arm takes from one resting place to the next."""
SINES: Final = 4

# By Activity: BED, SITTING, STANDING, WALKING, FLOOR, RISING, TOILET.
P_BUSY_START: Final = np.array([0.002, 0.06, 0.10, 0.10, 0.004, 1.0, 0.10])
P_BUSY_STOP: Final = np.array([0.30, 0.15, 0.15, 0.20, 0.60, 0.0, 0.15])
HAND_G: Final = np.array([0.06, 0.18, 0.20, 0.08, 0.015, 0.30, 0.15])
SWAY_RAD: Final = np.array([0.05, 0.35, 0.45, 0.20, 0.02, 0.50, 0.35])
P_KNOCK_BUSY: Final = 1 / 900
KNOCK_G: Final = (1.0, 3.5)
KNOCK_S: Final = 0.025
TREMOR_SHARE: Final = 0.10
TREMOR_HZ: Final = (4.0, 6.0)  # Parkinsonian rest tremor
TREMOR_G: Final = (0.03, 0.10)
CADENCE_HZ: Final = (1.3, 1.8)  # steps/s of frail to fit older adults
GAIT_G: Final = (0.15, 0.40)
SWING_DPS: Final = 70.0
TURN_G: Final = 0.18

HANGING: Final = (-0.97, 0.10, 0.22)
LYING_S: Final = 3.0
RECOVERY_S: Final = 0.15

LAP: Final = (-0.25, 0.10, 0.96)
IN_BED: Final = {
    Posture.SUPINE: (0.05, 0.15, 0.98),
    Posture.LEFT: (0.10, 0.92, 0.38),
    Posture.RIGHT: (0.10, -0.90, 0.42),
    Posture.RAISED: (-0.35, 0.15, 0.92),
}


class Fall(NamedTuple):
    """One fall as the wrist feels it: when the person loses balance, how it goes down, how the arm comes to rest."""

    who: int
    at_s: float
    descent_s: float
    dip_g: float
    peak_g: float
    direction: tuple[float, float, float]
    impact: tuple[float, float, float]
    still_s: float
    """From the loss of balance on, the arm does nothing of its own for so long."""


FALLS: Final = {
    # descent, deepest |a| on the way, peak |a|: a slump is slow and slides down a wall or a bed edge
    "forward": ((0.55, 0.75), (0.20, 0.40), (4.5, 6.8), (-0.35, -0.45, -0.82)),
    "backward": ((0.50, 0.70), (0.20, 0.40), (4.0, 6.5), (0.20, 0.30, 0.93)),
    "slump": ((0.90, 1.40), (0.55, 0.75), (2.6, 3.6), (0.30, -0.85, 0.43)),
}


def _unit(v: Float64) -> Float64:
    return np.asarray(v / np.linalg.norm(v, axis=-1, keepdims=True))


def _smooth(x: Float64) -> Float64:
    x = np.clip(x, 0.0, 1.0)
    return np.asarray(x * x * (3.0 - 2.0 * x))


def _bump(t: Float64, at: float, width: float) -> Float64:
    return np.asarray(np.exp(-((t - at) ** 2) / (2 * width * width)))


def make_fall(who: int, at_s: float, variant: str, rng: np.random.Generator, *, recovers: bool) -> Fall:
    """Draw one fall of a variant ("forward", "backward", "slump"); who `recovers` moves on right after the impact."""
    descent, dip, peak, direction = FALLS[variant]
    rest = _unit(np.array(direction) + rng.normal(0, 0.12, 3))
    impact = _unit(rest + rng.normal(0, 0.35, 3))
    down_s = float(rng.uniform(*descent))
    still_s = down_s + RECOVERY_S if recovers else LYING_S
    return Fall(who, at_s, down_s, rng.uniform(*dip), rng.uniform(*peak), tuple(rest), tuple(impact), still_s)


def fall_accel(fall: Fall, t_s: Float64, before: Float64) -> tuple[Float64, Float64]:
    """The fall's acceleration (n, 3) in g at ward times t_s, and its weight (n,) against what the arm did otherwise.

    `before` (3,) is the direction of gravity until then. Weightlessness while going down, then an impact of about
    50 ms with its rebound, a bounce 0.3 s later, and the arm settling; at the impact |a| reaches peak_g.
    """
    t = t_s - fall.at_s
    weight = _smooth((t + 0.3) / 0.3) * (1.0 - _smooth((t - fall.still_s) / 0.5))
    turned = _smooth(t / fall.descent_s)[:, None]
    gravity = _unit((1 - turned) * before + turned * np.array(fall.direction) + 1e-9)
    lightness = np.where(t < fall.descent_s, 1.0 - (1.0 - fall.dip_g) * _smooth(1.4 * t / fall.descent_s), 1.0)
    after = t - fall.descent_s
    hit = _bump(after, 0.03, 0.018) - 0.35 * _bump(after, 0.08, 0.025) + 0.3 * _bump(after, 0.31, 0.03)
    shake = np.where(after >= 0, np.exp(-after / 0.5), 0.0) * np.sin(2 * np.pi * 3.1 * after) * 0.25
    impact = np.array(fall.impact)
    extra = (fall.peak_g - 1.0) * hit + shake
    return gravity * lightness[:, None] + extra[:, None] * impact, weight


class Motion:
    """Wrist movement of n residents at rate_hz; `second` must be called for 0, 1, 2, ..."""

    def __init__(self, n: int, rate_hz: int, rng: np.random.Generator) -> None:
        self.rate_hz = rate_hz
        self._rng = rng
        self._n = n
        self._gravity: Float64 = np.tile(np.array(LAP), (n, 1))
        self._floor: Float64 = np.tile(np.array(LAP), (n, 1))
        self.busy: Bool = np.zeros(n, np.bool_)
        """Whose hands move in the present second."""
        self._level = np.zeros(n)
        self._cadence = rng.uniform(*CADENCE_HZ, n)
        self._gait_g = rng.uniform(*GAIT_G, n)
        self._gait_level = np.zeros(n)
        self._tremor_g = np.where(rng.random(n) < TREMOR_SHARE, rng.uniform(*TREMOR_G, n), 0.0)
        self._tremor_hz = rng.uniform(*TREMOR_HZ, n)
        self._breath_hz = rng.uniform(0.2, 0.3, n)
        self._hz = rng.uniform(0.4, 3.2, (n, 3, SINES))
        self._phase = rng.uniform(0, 2 * np.pi, (n, 3, SINES))

    def second(self, second: int, poses: Poses, falls: list[Fall], off_body: Bool) -> tuple[Float32, Float32]:
        """Acceleration in g and angular velocity in deg/s of [second, second + 1), each float32 (n, rate_hz, 3)."""
        rng, n = self._rng, self._n
        t = second + np.arange(self.rate_hz) / self.rate_hz
        u = t - second
        activity = poses.activity
        for fall in falls:
            self._floor[fall.who] = fall.direction
        target = self._targets(poses)
        start, stop = P_BUSY_START[activity], P_BUSY_STOP[activity]
        draw = rng.random(n)
        self.busy = np.where(self.busy, draw >= stop, draw < start)
        turning = poses.changed & poses.in_bed
        wanted = np.where(self.busy, HAND_G[activity] * rng.uniform(0.5, 1.5, n), 0.0)
        wanted = np.where(turning, TURN_G, np.where(off_body, 0.0, wanted))
        level = self._level[:, None] + (wanted - self._level)[:, None] * u
        self._level = wanted

        sines = np.sin(2 * np.pi * self._hz[:, None] * t[:, None, None] + self._phase[:, None])
        hands = sines.mean(axis=3) * (2.0 * level[:, :, None])
        sway = np.where(self.busy & ~off_body, SWAY_RAD[activity], 0.0)
        tilt = np.sin(2 * np.pi * 0.23 * self._hz[:, None, :, 0] * t[:, None] + self._phase[:, None, :, 1])
        blend = _smooth(u / BLEND_S)[None, :, None]
        gravity = _unit((1 - blend) * self._gravity[:, None] + blend * target[:, None] + (sway * self._ramp(second))[:, None, None] * tilt)
        before, self._gravity = self._gravity, target

        walking = np.where((activity == Activity.WALKING) & ~off_body, self._gait_g, 0.0)
        gait = self._gait_level[:, None] + (walking - self._gait_level)[:, None] * u
        self._gait_level = walking
        step = 2 * np.pi * self._cadence[:, None] * t
        swing = np.stack([np.sin(step) + 0.5 * np.sin(2 * step), 0.8 * np.sin(step / 2), 0.5 * np.sin(step + 0.9)], axis=2)
        resting = ((activity == Activity.SITTING) & ~self.busy & ~off_body) * self._tremor_g
        tremor = resting[:, None] * np.sin(2 * np.pi * self._tremor_hz[:, None] * t)
        breath = np.where(off_body, 0.0, BREATH_G)[:, None] * np.sin(2 * np.pi * self._breath_hz[:, None] * t)

        accel = gravity + hands + gait[:, :, None] * swing
        accel[:, :, 1] += tremor + breath
        accel[:, :, 2] += 0.6 * tremor + breath
        accel += NOISE_G * rng.standard_normal(accel.shape)
        for i in np.flatnonzero((rng.random(n) < P_KNOCK_BUSY) & self.busy & ~off_body):
            at, size = rng.uniform(0.1, 0.8), rng.uniform(*KNOCK_G)
            ring = np.where(u >= at, np.exp(-(u - at) / KNOCK_S), 0.0)
            accel[i] += size * ring[:, None] * _unit(rng.normal(size=3))
        gyro = SWING_DPS * np.cos(step / 2)[:, :, None] * (gait / 0.2)[:, :, None] * np.array([0.3, 1.0, 0.2])
        gyro += 400.0 * hands + rng.standard_normal(gyro.shape) * 0.5
        for fall in falls:
            if fall.at_s - 1.0 < second + 1 and second < fall.at_s + 4.5:
                own, weight = fall_accel(fall, t, before[fall.who])
                accel[fall.who] = (1 - weight[:, None]) * accel[fall.who] + weight[:, None] * own
                spin = 220.0 * np.exp(-((((t - fall.at_s) / fall.descent_s) - 0.6) ** 2) / 0.18)
                gyro[fall.who] += spin[:, None] * np.array([0.2, 0.9, 0.4])
        quantised = np.round(np.clip(accel, -RANGE_G, RANGE_G) / STEP_G) * STEP_G
        return quantised.astype(np.float32), gyro.astype(np.float32)

    @staticmethod
    def _ramp(second: int) -> float:
        """Sway counts in full except in the very first second, in which the wristband is put on."""
        return 1.0 if second else 0.0

    def _targets(self, poses: Poses) -> Float64:
        """Where each arm's gravity points at the end of this second; a new resting place after every change."""
        target = self._gravity.copy()
        for i in np.flatnonzero(poses.changed):
            activity = poses.activity[i]
            if activity == Activity.FLOOR:
                target[i] = self._floor[i]
                continue
            if activity == Activity.BED:
                base = IN_BED[Posture(int(poses.posture[i]))]
            else:
                base = HANGING if activity in {Activity.WALKING, Activity.STANDING, Activity.RISING} else LAP
            target[i] = _unit(np.array(base) + self._rng.normal(0, 0.12, 3))
        return target
