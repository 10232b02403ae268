"""A room that burns and a room that is only lived in, made from a seed."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.frame import GAP_RESTART, NS_PER_S, Float64, Frame, frame

START_NS: Final = 1_700_000_000 * NS_PER_S
QUIET_S: Final = 120
ONSET_NS: Final = START_NS + QUIET_S * NS_PER_S
EXPECTED: Final = ("fire.smoke", "fire.rate_of_rise", "fire.residual_current", "fire.cable_heat")
SEED: Final = 14


def _frames(air: Float64, wiring: Float64) -> list[Frame]:
    """One frame of each kind a second for slot 0."""
    frames = []
    for second in range(air.shape[0]):
        t0_ns = START_NS + second * NS_PER_S
        gap = GAP_RESTART if second == 0 else 0
        frames.append(frame("room_air", 0, t0_ns, 1.0, air[None, second : second + 1].astype(np.float32), gap_ns=[gap]))
        frames.append(frame("electrical", 0, t0_ns, 1.0, wiring[None, second : second + 1].astype(np.float32), gap_ns=[gap]))
    return frames


def _lived_in(seconds: int, rng: np.random.Generator) -> tuple[Float64, Float64]:
    """Clean air at 22 °C with sensor noise, and sound wiring under an ordinary load."""
    smoke = np.abs(rng.normal(0.0, 0.0005, seconds))
    co = np.abs(rng.normal(1.0, 0.5, seconds))
    temperature = 22.0 + rng.normal(0.0, 0.05, seconds)
    humidity = 45.0 + rng.normal(0.0, 0.2, seconds)
    wiring = np.stack([12.0 + rng.normal(0.0, 1.0, seconds), 31.0 + rng.normal(0.0, 0.1, seconds)], axis=1)
    return np.stack([smoke, co, temperature, humidity], axis=1), wiring


def positive() -> list[Frame]:
    """Two quiet minutes, then a plug burns: smoke and heat grow, insulation fails. Onset is the second of ignition."""
    rng = np.random.default_rng(SEED)
    seconds = QUIET_S + 180
    air, wiring = _lived_in(seconds, rng)
    burning = np.maximum(np.arange(seconds) - QUIET_S, 0.0)
    air[:, 0] += 0.002 * burning
    air[:, 1] += 0.5 * burning
    air[:, 2] += 0.4 * burning
    wiring[:, 0] += 20.0 * burning
    wiring[:, 1] += 1.5 * burning
    return _frames(air, wiring)


def negative() -> list[Frame]:
    """A shower: 26 °C and 90 % within eight minutes (about 0.5 K/min), a little steam, a hair dryer; and a summer room at 34 °C."""
    rng = np.random.default_rng(SEED)
    seconds = 900
    air, wiring = _lived_in(seconds, rng)
    shower = np.clip((np.arange(seconds) - QUIET_S) / 480.0, 0.0, 1.0)
    air[:, 0] += 0.002 * shower
    air[:, 2] += 4.0 * shower
    air[:, 3] += 45.0 * shower
    air[600:, 2] += np.minimum(np.arange(seconds - 600) / 50.0, 8.0)
    wiring[300:420, 0] += 60.0
    wiring[300:420, 1] += np.linspace(0.0, 15.0, 120)
    return _frames(air, wiring)
