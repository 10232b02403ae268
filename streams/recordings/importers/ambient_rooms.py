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
from streams.recordings.importers.fire_rooms import Series, add_series, air, bind_room, rising

SOURCES: Final = {
    "uci-occupancy-detection": "UCI Occupancy Detection, doi:10.24432/C5X01N",
    "open-smart-home": "Open Smart Home Data Set, Fraunhofer IBP 2018 (CC BY-SA 4.0)",
    "tug-sgp30-negative": "MOX-Compensation-SGP30, TU Graz 2021",
    "smoke-detection-iot": "Smoke Detection Dataset (IoT), without its duplicate and synthetic rows",
    "kasteren-mit-homes": "van Kasteren et al., UbiComp 2008; Tapia et al., Pervasive 2004",
}
TEMPERATURE: Final = "_Temperature"
IOT_SMOKE_S: Final[dict[str, tuple[tuple[float, float], ...]]] = {"A": (), "M": ((24.0, 350.0),), "C": ((4867.0, 5300.0),)}
"""Blocks that were looked through, and the spans (s on the block's clock) in which their particle counts show smoke; the set's own label
is a session flag. A block that is not here has no truth."""

EXTINCTION_M2_PER_G: Final = 8.7
"""Mass-specific extinction of smoke (Mulholland and Croarkin, Fire Mater 2000;24:227). With it 0.2 dB/m is 5.3 mg/m³."""
DAY_S: Final = 86_400.0
LN_10: Final = float(np.log(10.0))
G_PER_UG: Final = 1e-6
PPM_PER_PPB: Final = 1e-3


def optical_density_per_m(particles_ug_per_m3: Series) -> Series:
    """Smoke optical density (decadic, 1/m) of a mass of fine particles."""
    return particles_ug_per_m3 * G_PER_UG * EXTINCTION_M2_PER_G / LN_10


def _one_room(builder: Builder, room: str, times_s: Series, *, days: float = float("inf"), **channels: Series) -> str:
    """Add the first `days` of `room` with its channels; times start at the builder's start. ValueError without a reading."""
    keep = rising(times_s)
    if not keep.any():
        raise ValueError(f"{room} has no reading with a time")
    keep &= times_s < times_s[keep][0] + days * DAY_S
    device, subject = bind_room(builder, "air", "", room)
    times_s = times_s[keep] - times_s[keep][0]
    add_series(builder, device, "room_air", times_s, air(times_s.size, **{name: values[keep] for name, values in channels.items()}))
    return subject


def _numbers(cells: list[str]) -> list[float]:
    """Cells as numbers, NaN where one is empty."""
    return [float(cell) if cell.strip() else np.nan for cell in cells]


def rooms_with_temperature(folder: Path) -> list[str]:
    """The rooms of Open Smart Home found in `folder`: `Measurements/<room>_Temperature.csv`."""
    return sorted(path.stem.removesuffix(TEMPERATURE) for path in (folder / "Measurements").glob(f"*{TEMPERATURE}.csv"))


def blocks(path: Path) -> list[str]:
    """The blocks of a file of smoke-detection-iot."""
    with path.open(encoding="utf-8", newline="") as file:
        return sorted({row["block"] for row in csv.DictReader(file) if row["block"]})


def occupancy(builder: Builder, path: Path, *, days: float = float("inf")) -> str:
    """The first `days` of one file of UCI Occupancy: an office, one reading a minute. Temperature, humidity.

    Its rows begin with a number that the header does not name; a row that is cut off is left out.

    >>> from tempfile import TemporaryDirectory
    >>> builder = Builder("office", SOURCES["uci-occupancy-detection"])
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "datatest.txt"
    ...     rows = [f'"{n}","2015-02-02 14:{n:02d}:00",23.5,26.2' for n in range(3)]
    ...     _ = path.write_text("\\n".join(['"date","Temperature","Humidity"', *rows]))
    ...     occupancy(builder, path)
    'room/occupancy-datatest'
    >>> len(list(builder.build().records))
    3
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    missing = [name for name in ("date", "Temperature", "Humidity") if name not in header]
    if missing or not rows:
        raise ValueError(f"{path.name} has no {f'column {missing[0]}' if missing else 'reading'}")
    wanted = [header.index(name) - len(header) for name in ("date", "Temperature", "Humidity")]
    cells = [[row[at] for at in wanted] for row in rows if len(row) in {len(header), len(header) + 1}]
    times_s = np.array([datetime.strptime(row[0], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp() for row in cells])
    values = np.array([_numbers(row[1:]) for row in cells]).reshape(-1, 2)
    return _one_room(builder, f"occupancy-{path.stem}", times_s, days=days, temperature_c=values[:, 0], humidity_percent=values[:, 1])


def smart_home(builder: Builder, folder: Path, room: str, *, days: float = float("inf")) -> str:
    """The first `days` of one room of Open Smart Home: a reading when the temperature changed, or every few minutes."""
    lines = (folder / "Measurements" / f"{room}{TEMPERATURE}.csv").read_text(encoding="utf-8-sig").splitlines()
    cells = [line.split("\t") for line in lines]
    table = np.array([_numbers(row) for row in cells if len(row) == 2]).reshape(-1, 2)
    return _one_room(builder, f"smart-home-{room}", table[:, 0], days=days, temperature_c=table[:, 1])


def gas_sensor(builder: Builder, path: Path, *, as_co: bool = False, days: float = float("inf")) -> str:
    """Four days of a living room with an SGP30, every 10 s: temperature, humidity. Each file is a room of its own.

    `as_co` misuses its organic-vapour signal (ppb) as CO: what a cheap metal-oxide sensor sold as a CO sensor would say.
    It is at the end of its range (60,000 ppb) for 2.5 % of a time in which nothing burned.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if len(row) == 8 and row[0] not in {"time", "end"}]
    table = np.array([_numbers(row) for row in rows]).reshape(-1, 8)
    channels = {"temperature_c": table[:, 6], "humidity_percent": table[:, 7]}
    if as_co:
        channels["co_ppm"] = table[:, 2] * PPM_PER_PPB
    return _one_room(builder, f"sgp30{'-as-co' if as_co else ''}-{path.stem}", table[:, 0], days=days, **channels)


def iot(builder: Builder, path: Path, block: str) -> str:
    """One block of smoke-detection-iot, 1 Hz: temperature, humidity, smoke from the mass of fine particles.

    The truth is what is left of the block's smoke spans where it was cut.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["block"] == block]
    table = np.array([_numbers([row[name] or "" for name in ("t", "T", "Humidity", "PM25")]) for row in rows]).reshape(-1, 4)
    times_s = table[:, 0]
    smoke = optical_density_per_m(table[:, 3])
    room = _one_room(builder, f"iot-{block}", times_s, smoke_od_per_m=smoke, temperature_c=table[:, 1], humidity_percent=table[:, 2])
    first_s, last_s = float(np.nanmin(times_s)), float(np.nanmax(times_s))
    for start_s, end_s in IOT_SMOKE_S.get(block, ()):
        if start_s >= first_s and end_s <= last_s:
            start_ns, end_ns = (builder.start_ns + int((second - first_s) * NS_PER_S) for second in (start_s, end_s))
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
