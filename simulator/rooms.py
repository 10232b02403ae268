"""Rooms: air and electricity, an ordinary day, a smouldering plug, and steam that only looks like smoke."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from engine.frame import Float32, Float64

AIR_C: Final = (22.0, 26.0)
HUMIDITY_PERCENT: Final = (42.0, 58.0)
RESIDUAL_MA: Final = (12.0, 40.0)  # standing leakage of a room's appliances; GB 50116-2013, 9.2.3 warns from 300 mA
CABLE_OVER_AIR_K: Final = (3.0, 12.0)
OD_NOISE_PER_M: Final = 0.0008


class Course(NamedTuple):
    """Channel values over time: `t` seconds since the start; each is added to the room's ordinary value."""

    smoke_od_per_m: Float64
    co_ppm: Float64
    temperature_k: Float64
    humidity_percent: Float64
    residual_ma: Float64
    cable_k: Float64


def _rise(x: Float64, start: float, end: float) -> Float64:
    """0 until start, a smooth climb, 1 from end on."""
    y = np.clip((x - start) / (end - start), 0.0, 1.0)
    return np.asarray(y * y * (3 - 2 * y))


def smoulder(t: Float64, duration_s: float) -> Course:
    """A plug that overheats: leakage, a hot cable, smoke, CO, heat, in this order, then put out.

    Peaks: 520 mA residual current, cable +115 K, optical density 0.6 1/m (6 dB/m), 320 ppm CO, air +42 K at the ceiling
    once it flames; a smouldering bed or cable fire of the EN 54-7 / UL 217 kind, shortened to `duration_s`.
    """
    x = t / duration_s
    out = np.where(x > 1.0, np.exp(-np.maximum(t - duration_s, 0) / 240.0), 1.0)
    tripped = np.where(x > 1.0, 0.0, 1.0)
    return Course(
        0.6 * _rise(x, 0.30, 0.80) ** 2 * out,
        320 * _rise(x, 0.40, 0.95) ** 1.5 * out,
        42 * _rise(x, 0.60, 1.0) ** 2 * out,
        np.zeros_like(x),
        490 * _rise(x, 0.0, 0.25) * tripped,
        115 * _rise(x, 0.08, 0.50) * out,
    )


def steam(t: Float64, duration_s: float, od_per_m: float) -> Course:
    """A hot shower or a pot boiling: humid, warm, no CO; droplets dim a smoke detector's light by up to od_per_m."""
    x = t / duration_s
    up = _rise(x, 0.0, 0.3)
    away = np.where(x > 1.0, np.exp(-np.maximum(t - duration_s, 0) / 300.0), 1.0)
    zero = np.zeros_like(x)
    return Course(od_per_m * _rise(x, 0.15, 0.5) * away, zero, 4.0 * up * away, 38 * up * away, zero, zero)


class Rooms:
    """Air and electricity of n rooms; `second` must be called for 0, 1, 2, ..."""

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self._n = n
        self._air_c = rng.uniform(*AIR_C, n)
        self._humidity = rng.uniform(*HUMIDITY_PERCENT, n)
        self._residual = rng.uniform(*RESIDUAL_MA, n)
        self._cable_k = rng.uniform(*CABLE_OVER_AIR_K, n)
        self._phase = rng.uniform(0, 2 * np.pi, n)

    def ordinary(self, room: int) -> tuple[float, float, float]:
        """Usual air temperature C, residual current mA and cable temperature C of a room."""
        return float(self._air_c[room]), float(self._residual[room]), float(self._air_c[room] + self._cable_k[room])

    def second(self, second: int, hour: float, courses: dict[int, Course]) -> tuple[Float32, Float32]:
        """room_air float32 (n, 1, 4) and electrical float32 (n, 1, 2); `courses` has length-1 arrays for rooms in trouble."""
        rng, n = self._rng, self._n
        daily = 1.2 * np.sin(2 * np.pi * (hour - 9) / 24)
        smoke = 0.001 + OD_NOISE_PER_M * rng.standard_normal(n)
        co = 1.0 + 0.4 * rng.standard_normal(n)
        temperature = self._air_c + daily + 0.2 * np.sin(2 * np.pi * second / 1700 + self._phase)
        humidity = self._humidity + 2 * np.sin(2 * np.pi * second / 5400 + self._phase)
        residual = self._residual * (1 + 0.02 * rng.standard_normal(n))
        cable = temperature + self._cable_k * (1 + 0.2 * np.sin(2 * np.pi * second / 900 + self._phase))
        for room, course in courses.items():
            smoke[room] += course.smoke_od_per_m[0]
            co[room] += course.co_ppm[0]
            temperature[room] += course.temperature_k[0]
            humidity[room] += course.humidity_percent[0]
            residual[room] += course.residual_ma[0]
            cable[room] += course.cable_k[0]
        temperature = temperature + 0.05 * rng.standard_normal(n)
        air = np.stack(
            [np.round(smoke, 4), np.round(co, 1), np.round(temperature, 1), np.round(np.clip(humidity, 0, 100), 0)],
            axis=1,
        )
        electrical = np.stack([np.round(residual, 1), np.round(cable, 1)], axis=1)
        return air.astype(np.float32)[:, None, :], electrical.astype(np.float32)[:, None, :]
