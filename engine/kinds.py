"""What a home measures: the kinds of sensor stream, their channels, units and the ranges physics allows.

A value outside `limits` cannot have been measured by a working sensor; the chunk that carries it is quarantined with
`out_of_range`. Clinical limits (what is *dangerous*) live in detector parameters, never here.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

SubjectSpace = Literal["person", "room"]
Timing = Literal["regular", "irregular", "interval"]

MISSING_MAP: Final = 65535
"""The value of a pressure-map cell that was not measured."""

RATE_SINGLE_HZ_MAX: Final = 1.0
"""A kind that may be this slow may send single readings without a rate: how far apart they are is measured."""


class Channel(NamedTuple):
    """One column of a chunk: its name (unit last) and the closed range that physics allows."""

    name: str
    low: float
    high: float


class Kind(NamedTuple):
    """A kind of sensor stream.

    `units` lists the accepted wire units with the factor that turns them into the canonical unit (the first one).
    `timing`: "regular" = n samples at rate_hz from t0; "irregular" = each chunk is one instant, t0, and holds
    one sample (button, door, position, camera_event); "interval" = samples are consecutive durations in ms and t0 is the
    start of the first (rr_interval).
    `channels` empty means any count from 1 to `channels_max` with limits `wide`. `stored`: slow enough that every value is kept as a
    measurement.
    """

    name: str
    space: SubjectSpace
    timing: Timing
    channels: tuple[Channel, ...]
    units: dict[str, float]
    rate_hz_min: float
    rate_hz_max: float
    samples_max: int
    channels_max: int
    wide: tuple[float, float] = (0.0, 0.0)
    dtype: DTypeLike = np.float32
    stored: bool = False


def _axes(low: float, high: float, *names: str) -> tuple[Channel, ...]:
    return tuple(Channel(name, low, high) for name in names)


_ALL: Final = (
    # ±20 g: the widest wearable range in use is ±16 g; beyond it only broken firmware reports.
    Kind("accel", "person", "regular", _axes(-20, 20, "x_g", "y_g", "z_g"), {"g": 1.0, "m/s2": 1 / 9.80665}, 5, 400, 8192, 3),
    Kind(
        "gyro",
        "person",
        "regular",
        _axes(-4000, 4000, "x_dps", "y_dps", "z_dps"),
        {"deg/s": 1.0, "rad/s": 57.29577951308232},
        5,
        400,
        8192,
        3,
    ),
    Kind("ecg", "person", "regular", (), {"mV": 1.0, "uV": 1e-3}, 100, 1000, 16384, 12, (-50, 50)),
    Kind("ppg", "person", "regular", (), {"a.u.": 1.0}, 20, 500, 8192, 4, (-1e7, 1e7)),
    Kind("bcg", "person", "regular", (), {"a.u.": 1.0}, 20, 500, 8192, 4, (-1e7, 1e7)),
    Kind("rr_interval", "person", "interval", _axes(0, 600_000, "rr_ms"), {"ms": 1.0, "s": 1000.0}, 0, 0, 4096, 1),
    Kind(
        "vitals",
        "person",
        "regular",
        (
            Channel("heart_rate_bpm", 0, 350),
            Channel("respiration_per_min", 0, 150),
            Channel("spo2_percent", 0, 100),
            Channel("temperature_c", 15, 46),
            Channel("bp_systolic_mmhg", 0, 350),
            Channel("bp_diastolic_mmhg", 0, 250),
        ),
        {"mixed": 1.0},
        1 / 7200,
        2,
        3600,
        6,
        stored=True,
    ),
    Kind(
        "bed",
        "person",
        "regular",
        (Channel("in_bed", 0, 1), Channel("movement", 0, 1), Channel("moisture", 0, 1)),
        {"fraction": 1.0},
        1 / 600,
        10,
        3600,
        3,
        stored=True,
    ),
    # Cells are unsigned integers: raw counts, or tenths of a mmHg when the mattress is calibrated. channels = rows x columns.
    Kind("pressure_map", "person", "regular", (), {"count": 1.0, "0.1mmHg": 1.0}, 1 / 600, 10, 600, 8192, (0, MISSING_MAP), np.uint16),
    Kind(
        "room_air",
        "room",
        "regular",
        (
            Channel("smoke_od_per_m", -1, 50),
            Channel("co_ppm", -500, 200_000),
            Channel("temperature_c", -60, 1500),
            Channel("humidity_percent", 0, 100),
        ),
        {"mixed": 1.0},
        1 / 600,
        10,
        3600,
        4,
        stored=True,
    ),
    Kind(
        "electrical",
        "room",
        "regular",
        (Channel("residual_current_ma", 0, 100_000), Channel("cable_temperature_c", -60, 1500)),
        {"mixed": 1.0},
        1 / 600,
        10,
        3600,
        2,
        stored=True,
    ),
    Kind("button", "person", "irregular", _axes(0, 1, "pressed"), {"state": 1.0}, 0, 0, 1, 1),
    Kind("door", "room", "irregular", _axes(0, 1, "open"), {"state": 1.0}, 0, 0, 1, 1),
    Kind(
        "position",
        "person",
        "irregular",
        (Channel("x_m", -10_000, 10_000), Channel("y_m", -10_000, 10_000), Channel("floor", -10, 200)),
        {"m": 1.0},
        0,
        0,
        1,
        3,
        stored=True,
    ),
    Kind("camera_event", "person", "irregular", (Channel("code", 0, 255), Channel("confidence", 0, 1)), {"mixed": 1.0}, 0, 0, 1, 2),
)

KINDS: Final[dict[str, Kind]] = {kind.name: kind for kind in _ALL}
"""Every kind on the wire, by name."""

STORED_KINDS: Final = frozenset(kind.name for kind in _ALL if kind.stored)
"""Raw kinds that are stored as they are."""

CAMERA_FALL: Final = 1
"""`camera_event.code`: the camera's own analysis saw a person fall."""


def channel(kind: str, name: str) -> int:
    """Index of channel `name` in `kind`; KeyError when there is none."""
    for index, entry in enumerate(KINDS[kind].channels):
        if entry.name == name:
            return index
    raise KeyError(f"kind {kind} has no channel {name}; it has {[entry.name for entry in KINDS[kind].channels]}")
