"""The bed: pressure map 64 x 32, occupancy, movement and moisture.

A body is a chain of Gaussians per part, placed as in the maps of PmatData (head at row 0; lying on the right side, arms
and knees point to the higher columns) and scaled to a constant load: the mattress weighs the body, however it lies.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.frame import Bool, Float32, Float64
from simulator.routine import Poses, Posture

ROWS: Final = 64
COLUMNS: Final = 32
CELLS: Final = ROWS * COLUMNS
LOAD_COUNTS: Final = (60_000.0, 90_000.0)
"""Sum over the map of light to heavy adults (58,000-105,000 in PmatData)."""
BREATH_SHARE: Final = 0.03
CELL_NOISE: Final = 0.05
CELL_SPREAD: Final = 0.25
"""Cells of one mattress differ this much in sensitivity, and clothing folds add to it (relative, log-normal)."""
EMPTY_COUNTS: Final = 2.0
CELL_COUNTS_MAX: Final = 4095
"""A 12-bit converter reads the cells."""
SETTLE_S: Final = 4.0
"""A turn takes a few seconds."""


class Part(NamedTuple):
    """A body part from (row, column) to (row, column), its width in cells and its share of the load."""

    row0: float
    column0: float
    row1: float
    column1: float
    sigma: float
    share: float
    breathes: bool = False


_SUPINE: Final = (
    Part(3, 16, 3, 16, 1.6, 0.05),
    Part(10, 12, 11, 20, 2.2, 0.16, breathes=True),
    Part(14, 16, 25, 16, 3.6, 0.24, breathes=True),
    Part(30, 13, 31, 19, 2.6, 0.28),
    Part(35, 12.5, 45, 12, 1.6, 0.07),
    Part(35, 19.5, 45, 20, 1.6, 0.07),
    Part(49, 12, 54, 12, 1.3, 0.035),
    Part(49, 20, 54, 20, 1.3, 0.035),
    Part(60, 12, 60, 12, 0.8, 0.015),
    Part(60, 20, 60, 20, 0.8, 0.015),
    Part(14, 6, 28, 5, 1.0, 0.015),
    Part(14, 26, 28, 27, 1.0, 0.015),
)
_RAISED: Final = (
    Part(3, 16, 3, 16, 1.6, 0.02),
    Part(11, 12, 12, 20, 2.4, 0.09, breathes=True),
    Part(16, 16, 26, 16, 3.6, 0.13, breathes=True),
    Part(34, 12.5, 34, 19.5, 3.0, 0.52),
    Part(40, 12, 47, 12, 1.6, 0.075),
    Part(40, 20, 47, 20, 1.6, 0.075),
    Part(52, 12, 60, 12, 1.2, 0.045),
    Part(52, 20, 60, 20, 1.2, 0.045),
)
_RIGHT: Final = (
    Part(2, 15, 3, 15, 1.5, 0.05),
    Part(9, 16.5, 10, 16, 1.6, 0.20),
    Part(10, 19, 15, 24, 1.2, 0.03),
    Part(13, 15, 25, 14, 2.0, 0.20, breathes=True),
    Part(30, 14, 32, 15, 1.9, 0.28),
    Part(33, 16, 44, 22, 1.7, 0.13),
    Part(45, 22, 58, 17, 1.2, 0.09),
    Part(59, 17, 61, 16, 0.9, 0.02),
)
_BODIES: Final = {Posture.SUPINE: _SUPINE, Posture.RAISED: _RAISED, Posture.RIGHT: _RIGHT}


def body_map(posture: Posture, scale: float, shift_columns: float) -> tuple[Float64, Float64]:
    """The load (ROWS * COLUMNS,) of a body, summing to 1, and the share of it that breathing moves, summing to 0.

    `scale` stretches lengths about the hips, `shift_columns` moves the body across the mattress.
    """
    parts = _BODIES[Posture.RIGHT if posture == Posture.LEFT else posture]
    row, column = np.mgrid[0:ROWS, 0:COLUMNS]
    if posture == Posture.LEFT:
        column = COLUMNS - 1 - column
        shift_columns = -shift_columns
    load = np.zeros((ROWS, COLUMNS))
    chest = np.zeros((ROWS, COLUMNS))
    for part in parts:
        beads = 1 + int(max(abs(part.row1 - part.row0), abs(part.column1 - part.column0)) / part.sigma)
        spot = np.zeros((ROWS, COLUMNS))
        for f in np.linspace(0, 1, beads) if beads > 1 else (0.5,):
            r = 31 + scale * (part.row0 + f * (part.row1 - part.row0) - 31)
            c = 15.5 + part.column0 + f * (part.column1 - part.column0) - 15.5 + shift_columns
            spot += np.exp(-((row - r) ** 2 + (column - c) ** 2) / (2 * part.sigma**2))
        spot *= part.share / spot.sum()
        load += spot
        if part.breathes:
            chest += spot
    rest = load - chest
    breath = chest / chest.sum() - rest / rest.sum()
    return (load / load.sum()).ravel(), breath.ravel()


class Beds:
    """Beds of n residents; `second` must be called for 0, 1, 2, ..."""

    def __init__(self, n: int, breath_hz: Float64, rng: np.random.Generator) -> None:
        self._rng = rng
        self._n = n
        self._breath_hz = breath_hz
        self._load = rng.uniform(*LOAD_COUNTS, n)
        self._scale = rng.uniform(0.9, 1.03, n)
        self._body: Float32 = np.zeros((n, CELLS), np.float32)
        self._breath: Float32 = np.zeros((n, CELLS), np.float32)
        self._posture = np.full(n, -1)
        self._turned_s = np.full(n, -1e9)

    def movement(self, second: int, poses: Poses) -> Float64:
        """How much everybody in bed moves, 0..1: turning, small restless movements, breathing."""
        rng = self._rng
        turning = (second - self._turned_s < SETTLE_S) & (second > SETTLE_S)
        restless = rng.random(self._n) < 0.004
        calm = 0.01 + 0.01 * rng.random(self._n)
        moving = np.where(turning, rng.uniform(0.5, 1.0, self._n), np.where(restless, rng.uniform(0.1, 0.4, self._n), calm))
        return np.where(poses.in_bed, moving, 0.0)

    def settle(self, second: int, poses: Poses) -> None:
        """Lay those down who came to bed or turned."""
        for i in np.flatnonzero(poses.in_bed & (poses.changed | (self._posture < 0))):
            shift = float(np.clip(self._rng.normal(0, 1.5), -3, 3))
            scale = float(self._scale[i] * self._rng.uniform(0.98, 1.02))
            load, breath = body_map(Posture(int(poses.posture[i])), scale, shift)
            load *= np.exp(CELL_SPREAD * self._rng.standard_normal(CELLS))
            self._body[i] = load * (self._load[i] / load.sum())
            self._breath[i] = breath * (BREATH_SHARE * self._load[i])
            self._posture[i] = poses.posture[i]
            self._turned_s[i] = second

    def pressure(self, second: int, poses: Poses, movement: Float64) -> NDArray[np.uint16]:
        """Pressure maps at `second`, uint16 (n, 1, CELLS), raw counts; an empty bed reads a few counts of noise."""
        rng = self._rng
        maps = np.abs(rng.standard_normal((self._n, CELLS), np.float32))
        maps *= np.float32(EMPTY_COUNTS / 2)
        rows = np.flatnonzero(poses.in_bed)
        if rows.size:
            breath = np.sin(2 * np.pi * self._breath_hz[rows] * second)
            shake = 1 + (CELL_NOISE + 0.15 * movement[rows, None]).astype(np.float32) * rng.standard_normal((rows.size, CELLS), np.float32)
            body = self._body[rows] + self._breath[rows] * breath.astype(np.float32)[:, None]
            maps[rows] += np.maximum(body * shake, 0)
        return _counts(maps)[:, None, :]

    def stored(self, i: int, seconds: int) -> NDArray[np.uint16]:
        """Maps (seconds, CELLS) of resident i lying as now, still, during the `seconds` before the ward starts."""
        rng = self._rng
        breath = np.sin(2 * np.pi * self._breath_hz[i] * np.arange(-seconds, 0)).astype(np.float32)
        shake = 1 + np.float32(CELL_NOISE) * rng.standard_normal((seconds, CELLS), np.float32)
        floor = np.abs(rng.standard_normal((seconds, CELLS), np.float32)) * np.float32(EMPTY_COUNTS / 2)
        maps = np.maximum((self._body[i] + breath[:, None] * self._breath[i]) * shake, 0) + floor
        return _counts(maps)

    def bed(self, poses: Poses, movement: Float64, moisture: Float64) -> Float32:
        """Channels in_bed, movement, moisture: float32 (n, 1, 3)."""
        wet = np.clip(moisture + 0.01 * self._rng.random(self._n), 0, 1)
        return np.stack([poses.in_bed.astype(float), movement, wet], axis=1).astype(np.float32)[:, None, :]


def _counts(maps: Float32) -> NDArray[np.uint16]:
    counts: NDArray[np.uint16] = np.minimum(np.rint(maps), CELL_COUNTS_MAX).astype(np.uint16)
    return counts


def spot_vitals(n: int) -> Float32:
    """A vitals chunk (n, 1, 6) in which nothing was measured."""
    return np.full((n, 1, 6), np.nan, np.float32)


def round_to(values: Float64, step: float) -> Float64:
    """Values on the grid a device reports."""
    return np.round(values / step) * step


def where_measured(values: Float64, measured: Bool) -> Float64:
    """NaN where nothing was measured."""
    return np.where(measured, values, np.nan)
