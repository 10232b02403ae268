"""Textbook cases for the conformance suite: a resident on a 64 x 32 mattress, one map a minute, seeded."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.pressure_injury.events import TURN_OVERDUE
from detectors.pressure_injury.posture import LEFT, RIGHT, SUPINE
from engine.frame import GAP_RESTART, NS_PER_S, Frame, frame

START_NS: Final = 1_780_264_800_000_000_000
RATE_HZ: Final = 1 / 60
SHAPE: Final = (64, 32)
INTERVAL_S: Final = 7200
EXPECTED: Final = (TURN_OVERDUE,)
ONSET_NS: Final = START_NS + INTERVAL_S * NS_PER_S

LOAD_COUNT: Final = 300.0
NOISE_COUNT: Final = 4.0

# A body as blobs: row and column of the centre and their spreads, in fractions of the mattress, and the relative load.
_BACK: Final = (
    (0.06, 0.50, 0.020, 0.05, 0.8),  # head
    (0.20, 0.50, 0.050, 0.13, 0.9),  # shoulders
    (0.33, 0.50, 0.060, 0.11, 0.6),  # back
    (0.48, 0.50, 0.045, 0.13, 1.0),  # hips
    (0.60, 0.41, 0.070, 0.035, 0.5),  # thighs
    (0.60, 0.59, 0.070, 0.035, 0.5),
    (0.78, 0.40, 0.060, 0.030, 0.5),  # calves
    (0.78, 0.60, 0.060, 0.030, 0.5),
    (0.92, 0.39, 0.015, 0.025, 0.8),  # heels
    (0.92, 0.61, 0.015, 0.025, 0.8),
)
_RIGHT_SIDE: Final = (
    (0.06, 0.46, 0.020, 0.05, 0.8),  # head
    (0.18, 0.50, 0.040, 0.06, 1.0),  # shoulder
    (0.22, 0.32, 0.020, 0.06, 0.3),  # arm in front
    (0.32, 0.55, 0.060, 0.06, 0.6),  # ribs
    (0.47, 0.58, 0.045, 0.06, 1.2),  # hip
    (0.58, 0.46, 0.040, 0.07, 0.6),  # thighs drawn up to the front
    (0.66, 0.32, 0.030, 0.05, 0.7),  # knees
    (0.76, 0.40, 0.050, 0.04, 0.5),  # lower legs
    (0.88, 0.47, 0.020, 0.04, 0.6),  # feet
)


def body(posture: int, shape: tuple[int, int] = SHAPE) -> NDArray[np.float64]:
    """Relative load (rows, columns) of a body lying SUPINE, RIGHT or LEFT (the mirror image of RIGHT)."""
    y = ((np.arange(shape[0]) + 0.5) / shape[0])[:, None]
    x = ((np.arange(shape[1]) + 0.5) / shape[1])[None, :]
    total = np.zeros(shape)
    for row, column, height, width, load in _BACK if posture == SUPINE else _RIGHT_SIDE:
        centre = 1 - column if posture == LEFT else column
        total += load * np.exp(-0.5 * ((y - row) / height) ** 2 - 0.5 * ((x - centre) / width) ** 2)
    return total


def maps(
    posture: int | None,
    count: int,
    rng: np.random.Generator,
    *,
    shape: tuple[int, int] = SHAPE,
    load_count: float = LOAD_COUNT,
    noise_count: float = NOISE_COUNT,
) -> NDArray[np.uint16]:
    """`count` noisy maps uint16 (count, rows * columns); posture None: an empty bed."""
    load = np.zeros(shape) if posture is None else body(posture, shape)
    noise = rng.normal(0.0, noise_count, (count, *shape))
    return np.clip(load * load_count + noise, 0, None).astype(np.uint16).reshape(count, -1)


def stays(plan: list[tuple[int | None, float]], *, seed: int = 1, rate_hz: float = RATE_HZ, shape: tuple[int, int] = SHAPE) -> list[Frame]:
    """Frames for slot 0, one map each: the postures of `plan` in turn, each for so many seconds."""
    rng = np.random.default_rng(seed)
    frames: list[Frame] = []
    for posture, duration_s in plan:
        for cells in maps(posture, round(duration_s * rate_hz), rng, shape=shape):
            t_ns = START_NS + round(len(frames) / rate_hz) * NS_PER_S
            gap = 0 if frames else GAP_RESTART
            frames.append(frame("pressure_map", 0, t_ns, rate_hz, cells[None, None, :], gap_ns=gap, shape=shape))
    return frames


def positive() -> list[Frame]:
    """On the back for two hours and a quarter: overdue at two hours."""
    return stays([(SUPINE, INTERVAL_S + 900)])


def negative() -> list[Frame]:
    """Turned at an hour and a half, again an hour and a half later; then up."""
    return stays([(SUPINE, 5400), (RIGHT, 5400), (LEFT, 3600), (None, 1200)])
