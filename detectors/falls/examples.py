"""Seeded synthetic cases for the conformance suite: one fall that must be seen, one lively minute that must stay silent."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.frame import GAP_NONE, GAP_RESTART, NS_PER_S, Float32, Float64, Frame, frame

EXPECTED: Final = ("falls.fall",)
RATE_HZ: Final = 50.0
START_NS: Final = 1_767_571_200 * NS_PER_S
IMPACT_S: Final = 20.0
ONSET_NS: Final = START_NS + round(IMPACT_S * NS_PER_S)
LENGTH_S: Final = 45.0
_SEED: Final = 20_170_120
_UPRIGHT: Final = np.array([0.1, -0.99, 0.1])
_LYING: Final = np.array([0.15, -0.1, 0.98])


def _worn(rng: np.random.Generator, seconds: float) -> Float64:
    """A belt sensor on an upright person who walks: gravity, 1.8 steps a second of 0.25 g, sensor noise of 0.01 g."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    steps = 0.25 * np.sin(2 * np.pi * 1.8 * t)
    return np.outer(1.0 + steps, _UPRIGHT) + rng.normal(0.0, 0.01, (t.size, 3))


def _bump(signal: Float64, at_s: float, peak_g: float, width_s: float) -> None:
    """Add a half-sine of `peak_g` along gravity."""
    first, count = round(at_s * RATE_HZ), round(width_s * RATE_HZ)
    here = signal[first : first + count]
    here += np.outer(peak_g * np.sin(np.pi * (np.arange(count) + 0.5) / count), _UPRIGHT)


def _chunks(signal: Float64) -> list[Frame]:
    """One-second frames of slot 0."""
    size = round(RATE_HZ)
    samples: Float32 = signal.astype(np.float32)
    return [
        frame(
            "accel",
            [0],
            [START_NS + round(i / RATE_HZ * NS_PER_S)],
            RATE_HZ,
            samples[np.newaxis, i : i + size],
            gap_ns=[GAP_NONE if i else GAP_RESTART],
        )
        for i in range(0, len(samples), size)
    ]


def positive() -> list[Frame]:
    """Walking, half a second of falling, a 3 g impact at IMPACT_S, then lying still."""
    rng = np.random.default_rng(_SEED)
    signal = _worn(rng, LENGTH_S)
    fall, impact = round((IMPACT_S - 0.5) * RATE_HZ), round(IMPACT_S * RATE_HZ)
    signal[fall:impact] *= np.linspace(1.0, 0.3, impact - fall)[:, np.newaxis]
    rest = len(signal) - impact
    signal[impact:] = _LYING + rng.normal(0.0, 0.01, (rest, 3))
    _bump(signal, IMPACT_S, 3.0, 0.16)
    _bump(signal, IMPACT_S + 0.3, 1.2, 0.1)
    return _chunks(signal)


def negative() -> list[Frame]:
    """Walking, a hard sitting down that leans the trunk by 15 degrees, and a jump: impacts without a turned body."""
    rng = np.random.default_rng(_SEED + 1)
    signal = _worn(rng, LENGTH_S)
    seat = round(15.0 * RATE_HZ)
    lean = np.radians(15.0)
    turned = np.array([[1.0, 0.0, 0.0], [0.0, np.cos(lean), -np.sin(lean)], [0.0, np.sin(lean), np.cos(lean)]]) @ _UPRIGHT
    seated = slice(seat, round(30.0 * RATE_HZ))
    signal[seated] = turned + rng.normal(0.0, 0.01, signal[seated].shape)
    _bump(signal, 15.0, 1.8, 0.12)
    _bump(signal, 35.0, 2.5, 0.14)
    return _chunks(signal)
