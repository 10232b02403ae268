"""Room fires and heated cables, as air and wiring of rooms: FSRI compartments 2018, FSRI HVAC house 2019, CAROLFIRE.

Every temperature probe under a ceiling becomes the temperature sensor of one room, so one experiment is several rooms.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.frame import NS_PER_S
from engine.kinds import KINDS
from schemas.recording import Recording
from streams.recordings.format import Builder

Series = NDArray[np.float64]

IRREGULAR_SHARE: Final = 0.5
"""A reading further than this share of an interval from its place starts a new run."""
SLOWEST_HZ: Final = KINDS["room_air"].rate_hz_min

COMPARTMENTS: Final = "FSRI Compartment Fires 2018, fsri-compartments-2018"
COMPARTMENT_CEILING: Final = "Quadrant {} Temperature 25 mm Below Ceiling"
QUADRANTS: Final = "ABCD"
HVAC: Final = "FSRI Residential HVAC gas burner experiments 2019, fsri-hvac-gasburner-2019"
HVAC_CEILING: Final = " Temperature 2.41 m Above Floor"
HVAC_FIRE_ROOM: Final = "Bedroom 1"
"""Experiments 1–14; the later ones burn in the living room or the basement and say so in 02_Info/Info_Gas_Burner.csv."""
CAROLFIRE: Final = "CAROLFIRE Penlight tests, NUREG/CR-6931, through the FDS validation repository"


def read_columns(path: Path, *, delimiter: str = ",") -> dict[str, Series]:
    """A csv file by column name; what is no number is NaN. ValueError when the file has no header or no rows."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file, delimiter=delimiter))
    if len(rows) < 2:
        raise ValueError(f"{path.name} must have a header and rows, it has {len(rows)} lines")
    width = len(rows[0])
    table = np.array([[_number(cell) for cell in row[:width]] + [np.nan] * (width - len(row)) for row in rows[1:]])
    return {name.strip(): table[:, i] for i, name in enumerate(rows[0])}


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def air(size: int, **channels: Series) -> NDArray[np.float32]:
    """(size, 4) room_air samples from channels by name (e.g. co_ppm=...); channels not given are missing."""
    return _samples("room_air", size, channels)


def _samples(kind: str, size: int, channels: Mapping[str, Series]) -> NDArray[np.float32]:
    names = [channel.name for channel in KINDS[kind].channels]
    result = np.full((size, len(names)), np.nan, np.float32)
    for name, values in channels.items():
        result[:, names.index(name)] = values
    return result


def add_series(builder: Builder, device: str, kind: str, times_s: Series, samples: NDArray[np.float32]) -> None:
    """Add readings of `device` at `times_s` (since the start of the recording, rising): runs at a steady pace stay together."""
    interval_s = float(np.median(np.diff(times_s))) if times_s.size > 1 else 1.0
    rate_hz = max(1.0 / interval_s, SLOWEST_HZ)
    start = 0
    for i in range(1, times_s.size + 1):
        due = times_s[start] + (i - start) * interval_s
        if i < times_s.size and abs(times_s[i] - due) <= IRREGULAR_SHARE * interval_s:
            continue
        builder.add(device, kind, builder.start_ns + round(times_s[start] * NS_PER_S), rate_hz, samples[start:i], chunk_s=interval_s)
        start = i


def compartments(root: Path) -> list[Path]:
    """The experiments of fsri-compartments-2018 found in `root`."""
    return sorted(path for path in (root / "01_Data").glob("*.csv") if not path.stem.endswith("_Events"))


def compartment(*paths: Path) -> Recording:
    """Compartment fires, all lit in one home at a time: rooms "room/<experiment>-<quadrant>"; ignition is at 0 of a file's clock.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "Sofa_1.csv"  # lit at 0, ten seconds after the first row
    ...     rows = [f"{second},{20 + 4 * max(0, second)}" for second in range(-10, 60)]
    ...     _ = path.write_text("\\n".join([f"Time,{COMPARTMENT_CEILING.format('A')}", *rows]))
    ...     made = compartment(path)
    >>> from schemas.recording import START_NS
    >>> [(truth.subject, truth.code, (truth.start_ns - START_NS) / NS_PER_S) for truth in made.truth]
    [('room/Sofa_1-A', 'fire.heat', 10.0)]
    """
    builder = Builder(f"fsri-compartments-2018/{paths[0].stem}", COMPARTMENTS)
    for path in paths:
        table = read_columns(path)
        times_s = table["Time"] - table["Time"][0]
        for quadrant in QUADRANTS:
            name = COMPARTMENT_CEILING.format(quadrant)
            if name in table:
                _room(builder, f"{path.stem}-{quadrant}", times_s, table[name], -float(table["Time"][0]))
    return builder.build()


def hvac_experiments(root: Path) -> list[Path]:
    """The bedroom experiments of fsri-hvac-gasburner-2019 found in `root`."""
    with (root / "02_Info" / "Info_Gas_Burner.csv").open(encoding="utf-8-sig", newline="") as file:
        bedroom = {row["Test_Name"] for row in csv.DictReader(file) if row["Fire_Location"] == HVAC_FIRE_ROOM}
    return sorted(path for path in (root / "01_Data").glob("*.csv") if path.stem in bedroom)


def hvac_house(*paths: Path) -> Recording:
    """Houses with a burner in bedroom 1, "room/<experiment>-<room>" for every room with a ceiling probe.

    The burner is lit at the event "Ignition" (the events file and the data share one clock).
    """
    builder = Builder(f"fsri-hvac-gasburner-2019/{paths[0].stem}", HVAC)
    for path in paths:
        table = read_columns(path)
        with (path.parent / "Events" / f"{path.stem}_Events.csv").open(encoding="utf-8-sig", newline="") as file:
            events = {row["Event"].strip(): float(row["Time"]) for row in csv.DictReader(file)}
        start_s = float(table["Time"][0])
        for name, values in table.items():
            if name.endswith(HVAC_CEILING):
                room = f"{path.stem}-{name.removesuffix(HVAC_CEILING)}"
                _room(builder, room, table["Time"] - start_s, values, events["Ignition"] - start_s)
    return builder.build()


def _room(builder: Builder, name: str, times_s: Series, temperature_c: Series, ignition_s: float) -> None:
    room = f"room/{name.replace(' ', '-')}"
    device = f"heat-{room.removeprefix('room/')}"
    keep = np.concatenate([[True], np.diff(times_s) > 0])
    builder.bind(device, room, "ceiling")
    add_series(builder, device, "room_air", times_s[keep], air(int(keep.sum()), temperature_c=temperature_c[keep]))
    start_ns = builder.start_ns + round(ignition_s * NS_PER_S)
    builder.truth(room, "fire.heat", start_ns, builder.start_ns + round(float(times_s[-1]) * NS_PER_S), "burning in this house")


def cable_tests(root: Path) -> list[Path]:
    """The CAROLFIRE cable tests found in firemodels-exp/CAROLFIRE."""
    return sorted((root / "CAROLFIRE").glob("*.csv"))


def cables(*paths: Path) -> Recording:
    """Tests of up to five cables in a radiant shroud: "room/<test>-<n>" with the temperature of cable n."""
    builder = Builder(f"carolfire/{paths[0].stem}", CAROLFIRE)
    for path in paths:
        table = read_columns(path)
        times_s = table["Time"] - table["Time"][0]
        keep = np.concatenate([[True], np.diff(times_s) > 0])
        for name, values in table.items():
            if not name.startswith("Cable") or not np.isfinite(values).any():
                continue
            room = f"room/{path.stem}-{name.removeprefix('Cable').strip()}"
            device = f"cable-{room.removeprefix('room/')}"
            builder.bind(device, room, "cable")
            samples = _samples("electrical", int(keep.sum()), {"cable_temperature_c": values[keep]})
            add_series(builder, device, "electrical", times_s[keep], samples)
    return builder.build()
