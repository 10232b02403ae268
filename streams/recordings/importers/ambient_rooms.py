"""Rooms in which nothing burns: UCI Occupancy, Open Smart Home, TUG SGP30, homes with door sensors; and one
set in which something does, beside hours of clean air: smoke-detection-iot.

Each function adds one room (or home) to a builder, starting at the builder's start, and returns its subject: rooms of
several sets can be replayed as one home, which costs the clock's ticks once.
"""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from engine.frame import NS_PER_S
from streams.recordings.format import Builder
from streams.recordings.importers.fire_rooms import Series, add_series, air

SOURCES: Final = {
    "uci-occupancy-detection": "UCI Occupancy Detection, doi:10.24432/C5X01N",
    "open-smart-home": "Open Smart Home Data Set, Fraunhofer IBP 2018 (CC BY-SA 4.0)",
    "tug-sgp30-negative": "MOX-Compensation-SGP30, TU Graz 2021",
    "smoke-detection-iot": "Smoke Detection Dataset (IoT), without its duplicate and synthetic rows",
    "kasteren-mit-homes": "van Kasteren et al., UbiComp 2008; Tapia et al., Pervasive 2004",
}
SMART_HOME_ROOMS: Final = ("Kitchen", "Room1", "Room2", "Toilet")
IOT_SMOKE_S: Final[dict[str, tuple[tuple[float, float], ...]]] = {"A": (), "M": ((24.0, 350.0),), "C": ((4867.0, 5300.0),)}
"""Blocks and the spans in which their particle counts show smoke; the set's own label is a session flag."""

EXTINCTION_M2_PER_G: Final = 8.7
"""Mass-specific extinction of smoke (Mulholland and Croarkin, Fire Mater 2000;24:227). With it 0.2 dB/m is 5.3 mg/m³."""
DAY_S: Final = 86_400.0
LN_10: Final = float(np.log(10.0))
G_PER_UG: Final = 1e-6
PPM_PER_PPB: Final = 1e-3


def optical_density_per_m(particles_ug_per_m3: Series) -> Series:
    """Smoke optical density (decadic, 1/m) of a mass of fine particles."""
    return particles_ug_per_m3 * G_PER_UG * EXTINCTION_M2_PER_G / LN_10


def _one_room(builder: Builder, room: str, times_s: Series, **channels: Series) -> str:
    """Add `room` with its channels; times start at the builder's start."""
    device = f"air-{room}"
    builder.bind(device, f"room/{room}")
    keep = np.concatenate([[True], np.diff(times_s) > 0])
    times_s = times_s - times_s[0]
    add_series(
        builder, device, "room_air", times_s[keep], air(int(keep.sum()), **{name: values[keep] for name, values in channels.items()})
    )
    return f"room/{room}"


def occupancy(builder: Builder, path: Path, *, days: float = float("inf")) -> str:
    """The first `days` of one file of UCI Occupancy: an office, one reading a minute. Temperature, humidity.

    >>> from tempfile import TemporaryDirectory
    >>> builder = Builder("office", SOURCES["uci-occupancy-detection"])
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "datatest.txt"
    ...     rows = [f'"{n}","2015-02-02 14:{n:02d}:00",23.5,26.2,585.2,749.2,0.0047,1' for n in range(3)]
    ...     _ = path.write_text("\\n".join(['"date","Temperature","Humidity"', *rows]))
    ...     occupancy(builder, path)
    'room/occupancy-datatest'
    >>> len(list(builder.build().records))
    3
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    times = [datetime.strptime(row[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp() for row in rows]
    values = np.array([[float(row[2]), float(row[3])] for row in rows])
    times_s = np.array(times)
    keep = times_s < times_s[0] + days * DAY_S
    return _one_room(builder, f"occupancy-{path.stem}", times_s[keep], temperature_c=values[keep, 0], humidity_percent=values[keep, 1])


def smart_home(builder: Builder, folder: Path, room: str, *, days: float = float("inf")) -> str:
    """The first `days` of one room of Open Smart Home: a reading when the temperature changed, or every few minutes."""
    table = np.loadtxt(folder / "Measurements" / f"{room}_Temperature.csv", delimiter="\t")
    table = table[table[:, 0] < table[0, 0] + days * DAY_S]
    return _one_room(builder, f"smart-home-{room}", table[:, 0], temperature_c=table[:, 1])


def gas_sensor(builder: Builder, path: Path, *, as_co: bool = False) -> str:
    """Four days of a living room with an SGP30, every 10 s: temperature, humidity.

    `as_co` misuses its organic-vapour signal (ppb) as CO: what a cheap metal-oxide sensor sold as a CO sensor would say.
    It is at the end of its range (60,000 ppb) for 2.5 % of a time in which nothing burned.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if len(row) == 8 and row[0] not in {"time", "end"}]
    table = np.array([[float(cell) for cell in row] for row in rows])
    channels = {"temperature_c": table[:, 6], "humidity_percent": table[:, 7]}
    if as_co:
        channels["co_ppm"] = table[:, 2] * PPM_PER_PPB
    return _one_room(builder, "sgp30-as-co" if as_co else "sgp30", table[:, 0], **channels)


def iot(builder: Builder, path: Path, block: str) -> str:
    """Block "A", "M" or "C" of smoke-detection-iot, 1 Hz: temperature, humidity, smoke from the mass of fine particles."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["block"] == block]
    names = ("t", "T", "Humidity", "PM25")
    table = np.array([[float(row[name]) if row[name] else np.nan for name in names] for row in rows])
    smoke = optical_density_per_m(table[:, 3])
    room = _one_room(builder, f"iot-{block}", table[:, 0], smoke_od_per_m=smoke, temperature_c=table[:, 1], humidity_percent=table[:, 2])
    for start_s, end_s in IOT_SMOKE_S[block]:
        start_ns, end_ns = (builder.start_ns + int(second * NS_PER_S) for second in (start_s, end_s))
        builder.truth(room, "fire.smoke", start_ns, end_ns, "particle counts of smoke")
    return room


def doors(builder: Builder, folder: Path, house: str, *, days: float = float("inf")) -> list[str]:
    """The first `days` of a home with switches on doors, cupboards, appliances (van Kasteren, MIT): each is one "door"."""
    table = np.loadtxt(folder / f"{house}.sensors", ndmin=2)
    table = table[table[:, 0] < table[0, 0] + days * DAY_S]
    rooms = []
    for sensor in np.unique(table[:, 2]).astype(int):
        device = f"switch-{house}-{sensor}"
        rooms.append(f"room/{house}-{sensor}")
        builder.bind(device, rooms[-1], "door")
        for start_s, length_s, _ in table[table[:, 2] == sensor]:
            since_s = start_s - table[:, 0].min()
            builder.add(device, "door", builder.start_ns + round(since_s * NS_PER_S), 0.0, [1.0])
            builder.add(device, "door", builder.start_ns + round((since_s + max(length_s, 1.0)) * NS_PER_S), 0.0, [0.0])
    return rooms
