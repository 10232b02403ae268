"""What a home measures: the kinds of sensor stream, their channels, units and the ranges physics allows.

A value outside its range cannot have been measured by a working sensor: it is taken out with `out_of_range`, or its chunk is quarantined
(`schemas.values` says when). What stands for "no value" in a device's protocol (NO_VALUES, `Channel.no_value`) becomes a missing value.
Clinical limits (what is *dangerous*) live in detector parameters, never here.
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


NO_VALUES: Final[dict[str, tuple[float, ...]]] = {
    "customary in serial protocols and vendors' JSON": (-1, 999, -999, 9999, -9999),
    "patient monitors with a parameter off or a lead off": (-100,),
    "7 and 8 bits all set: BCI oximeters (SpO2 127, pulse 255), ANT+, breathing by radar": (127, 255),
    "9 bits all set: Nonin oximeters, pulse": (511,),
    "the ends of 16 bits": (32767, -32768, 32768, 65535),
    "the ends of 16 bits with one or two decimals: Zigbee temperature -327.68 (ZCL 4.4.2.2.1)": (
        3276.7, -3276.8, 6553.5, -327.68, 655.35,
    ),
    "the ends of 24 and 32 bits": (8388607, -8388608, 8388608, 16777215, 2147483647, -2147483648, 4294967295),
    "IEEE 11073-20601 SFLOAT: NaN 0x07FF, NRes 0x0800, +INF 0x07FE, -INF 0x0802, reserved 0x0801, read as a number": (
        2047, 2048, -2048, 2046, 2050, -2046, 2049, -2047,
    ),
    "IEEE 11073-20601 FLOAT: NRes, +INF, -INF and reserved (NaN is 2^23 - 1)": (8388606, 8388610, -8388606, 8388609, -8388607),
    "DS18B20, sensor gone": (-127,),
}  # fmt: skip
"""Numbers that stand for "no value", with where they come from. Each counts in every kind that is `coded`, where it lies outside the range
of its channel: what lies inside may be a measurement (a pulse of 127 is one) unless the channel names it itself."""

NO_VALUE: Final = -2147483648.0
"""The one of them that Vigil writes itself: outside the range of every channel, and exact in float32."""


class Scale(NamedTuple):
    """Values above `low`, up to `high`, that look like another unit; inside the range of the channel they are refused for it."""

    low: float
    high: float
    looks_like: str


class Channel(NamedTuple):
    """One column of a chunk: its name (unit last) and the closed range that physics allows.

    `no_value`: numbers that nobody measures, inside the range or not, but devices send for "no value" on this channel. `zero_beside`: 0 is a measurement after
    all where that channel of the same sample has a value. `scales`: what looks like another unit.
    """

    name: str
    low: float
    high: float
    no_value: tuple[float, ...] = ()
    zero_beside: str = ""
    scales: tuple[Scale, ...] = ()


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

    @property
    def coded(self) -> bool:
        """Whether NO_VALUES count: a moment's fact (a press) is never half taken, and a map has one code of its own, MISSING_MAP."""
        return self.timing != "irregular" and self.dtype is not np.uint16


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
    Kind(
        "rr_interval",
        "person",
        "interval",
        # 0xFFFF and 0x7FFF as ms are pauses of 65.535 and 32.767 s to the millisecond; 0.2 to 3 ms are 20 to 300 bpm in seconds.
        (Channel("rr_ms", 0, 600_000, no_value=(0, 32767, 65535), scales=(Scale(0.2, 3, "seconds: say unit s"),)),),
        {"ms": 1.0, "s": 1000.0},
        0,
        0,
        4096,
        1,
    ),
    Kind(
        "vitals",
        "person",
        "regular",
        (
            # 0: no pulse found, no finger (Bluetooth Heart Rate and Pulse Oximeter services, ANT+); asystole is for the ECG to find. 255 is
            # what an oximeter of 8 bits says without a finger: 254 and 256 stay measurements, and no heart beats at 255 for seconds.
            # The slowest heart rate that a monitor counts is 10 bpm or more.
            Channel(
                "heart_rate_bpm", 0, 350, no_value=(0, 255), scales=(Scale(0, 5, "beats a second, or a fraction: send beats a minute"),)
            ),
            # 0 breaths of somebody whose heart is measured is apnoea, and rings; alone it is an empty bed or an idle radar.
            # 0.1 to 0.6 breaths a second are 6 to 36 a minute.
            Channel(
                "respiration_per_min",
                0,
                150,
                no_value=(0, 127),
                zero_beside="heart_rate_bpm",
                scales=(Scale(0, 0.6, "breaths a second, or a fraction: send breaths a minute"),),
            ),
            Channel(
                "spo2_percent",
                0,
                100,
                no_value=(0,),
                scales=(Scale(0, 1, "a fraction: send percent"), Scale(400, 1000, "tenths of a percent: send percent")),
            ),
            Channel(
                "temperature_c",
                15,
                46,
                no_value=(0,),
                scales=(
                    Scale(59, 115, "degrees Fahrenheit: send °C"),
                    Scale(288, 320, "kelvin: send °C"),
                    Scale(320, 460, "tenths of a degree: send °C"),
                    Scale(3200, 4600, "hundredths of a degree: send °C"),
                ),
            ),
            # 0: the measurement failed. 127 and 255 mmHg are pressures.
            Channel("bp_systolic_mmhg", 0, 350, no_value=(0,)),
            Channel("bp_diastolic_mmhg", 0, 250, no_value=(0,)),
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
        tuple(Channel(name, 0, 1, scales=(Scale(1, 100, "percent: send a fraction"),)) for name in ("in_bed", "movement", "moisture")),
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
            Channel("smoke_od_per_m", -1, 50, no_value=(-1,)),
            # 999 ppm is carbon monoxide. 16 bits all set are no gas: electrochemical cells end at 10,000 ppm.
            Channel("co_ppm", -500, 200_000, no_value=(-100, 32767, 65535)),
            # 127 and 255 °C are a fire, and on the way to 999 it has rung.
            Channel("temperature_c", -60, 1500, no_value=(999,)),
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
        (Channel("residual_current_ma", 0, 100_000, no_value=(32767, 65535)), Channel("cable_temperature_c", -60, 1500, no_value=(999,))),
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


SOURCES: Final = frozenset(KINDS) | {f"{kind.name}.{entry.name}" for kind in _ALL for entry in kind.channels}
"""What an alert may rest on: a kind, or one channel of it as "<kind>.<channel>"."""
