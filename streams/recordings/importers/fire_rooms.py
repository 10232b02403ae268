"""Room fires and heated cables, as air and wiring of rooms: FSRI compartments 2018, FSRI HVAC house 2019, CAROLFIRE.

Every temperature probe under a ceiling becomes the temperature sensor of one room, so one experiment is several rooms.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.frame import NS_PER_S
from engine.kinds import KINDS
from schemas.recording import Recording
from streams.recordings.format import Builder
from streams.recordings.importers.files import Unreadable, each_file

Series = NDArray[np.float64]

IRREGULAR_SHARE: Final = 0.5
"""A reading further than this share of an interval from its place starts a new run."""
SLOWEST_HZ: Final = KINDS["room_air"].rate_hz_min

COMPARTMENTS: Final = "FSRI Compartment Fires 2018, fsri-compartments-2018"
COMPARTMENT_CEILING: Final = re.compile(r"(?:Quadrant )?(?P<place>.+) Temperature 25 mm Below Ceiling")
HVAC: Final = "FSRI Residential HVAC gas burner experiments 2019, fsri-hvac-gasburner-2019"
HVAC_CEILING: Final = " Temperature 2.41 m Above Floor"
HVAC_PROBE: Final = re.compile(r"(?P<place>.+) Temperature (?P<height_m>[0-9.]+) m Above Floor")
CAROLFIRE: Final = "CAROLFIRE Penlight tests, NUREG/CR-6931, through the FDS validation repository"


class HouseFire(NamedTuple):
    """One burner experiment in the house, and the room it burns in."""

    path: Path
    place: str


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


def read_timed(path: Path, time: str = "Time") -> tuple[Series, dict[str, Series]]:
    """The times (s, rising) and the columns of a csv file; rows without a time or not after their predecessor are left out.

    ValueError when it has no column `time` or no row with one.
    """
    table = read_columns(path)
    if time not in table:
        raise ValueError(f"{path.name} has no column {time}, it has {', '.join(table)[:80]}")
    keep = rising(table[time])
    if not keep.any():
        raise ValueError(f"{path.name} has no row with a time")
    return table[time][keep], {name: values[keep] for name, values in table.items()}


def rising(times_s: Series) -> NDArray[np.bool_]:
    """Which times are finite and later than all before them."""
    latest = np.fmax.accumulate(np.where(np.isfinite(times_s), times_s, -np.inf)) if times_s.size else times_s
    later: NDArray[np.bool_] = np.concatenate([np.ones(min(1, times_s.size), bool), times_s[1:] > latest[:-1]])
    return later & np.isfinite(times_s)


def subject_of(*names: str) -> str:
    """The room that stands for a place called `names` by others: letters and digits of any script, the rest as hyphens."""
    return "room/" + "-".join(re.sub(r"[^\w.]+", "-", name).strip("-") for name in names)


def bind_room(builder: Builder, kind: str, site: str, *names: str) -> tuple[str, str]:
    """Bind a sensor of its own to a room of its own: (device, subject). Two places that differ only in signs get a number."""
    subject = base = subject_of(*names)
    number = 1
    while builder.bound(device := f"{kind}-{subject.removeprefix('room/')}"):
        number += 1
        subject = f"{base}-{number}"
    builder.bind(device, subject, site)
    return device, subject


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


def compartment(*paths: Path, unreadable: Unreadable | None = None) -> Recording:
    """Compartment fires, all lit in one home at a time: rooms "room/<experiment>-<quadrant>"; ignition is at 0 of a file's clock.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "Sofa_1.csv"  # lit at 0, ten seconds after the first row
    ...     rows = [f"{second},{20 + 4 * max(0, second)}" for second in range(-10, 60)]
    ...     _ = path.write_text("\\n".join(["Time,Quadrant A Temperature 25 mm Below Ceiling", *rows]))
    ...     made = compartment(path)
    >>> from schemas.recording import START_NS
    >>> [(truth.subject, truth.code, (truth.start_ns - START_NS) / NS_PER_S) for truth in made.truth]
    [('room/Sofa_1-A', 'fire.heat', 10.0)]
    """
    builder = Builder(f"fsri-compartments-2018/{paths[0].stem if paths else 'none'}", COMPARTMENTS)

    def read(path: Path) -> list[str]:
        times_s, table = read_timed(path)
        probes = {
            match["place"]: values
            for name, values in table.items()
            if (match := COMPARTMENT_CEILING.fullmatch(name)) and np.isfinite(values).any()
        }
        if not probes:
            raise ValueError(f"{path.name} has no temperature 25 mm below a ceiling")
        return [_room(builder, (path.stem, place), times_s, values, 0.0) for place, values in probes.items()]

    list(each_file(paths, read, unreadable))
    return builder.build()


def hvac_experiments(root: Path) -> list[HouseFire]:
    """The experiments of fsri-hvac-gasburner-2019 found in `root`, with the room each burns in by 02_Info/Info_Gas_Burner.csv."""
    with (root / "02_Info" / "Info_Gas_Burner.csv").open(encoding="utf-8-sig", newline="") as file:
        place = {row["Test_Name"]: row["Fire_Location"] for row in csv.DictReader(file)}
    return [HouseFire(path, place[path.stem]) for path in sorted((root / "01_Data").glob("*.csv")) if place.get(path.stem)]


def hvac_house(*fires: HouseFire, unreadable: Unreadable | None = None) -> Recording:
    """Houses with a burner in one room, "room/<experiment>-<room>" for every room with a probe 2.41 m above the floor, which is the
    ceiling of the storey, and for the burning room the highest probe there is (the basement is higher and has several).

    The burner is lit at the event "Ignition" (the events file and the data share one clock).
    """
    builder = Builder(f"fsri-hvac-gasburner-2019/{fires[0].path.stem if fires else 'none'}", HVAC)
    burning = {fire.path: fire.place for fire in fires}

    def read(path: Path) -> list[str]:
        times_s, everything = read_timed(path)
        table = {name: values for name, values in everything.items() if np.isfinite(values).any()}
        with (path.parent / "Events" / f"{path.stem}_Events.csv").open(encoding="utf-8-sig", newline="") as file:
            ignition_s = next((float(row["Time"]) for row in csv.DictReader(file) if row["Event"].strip() == "Ignition"), None)
        if ignition_s is None:
            raise ValueError(f"the events of {path.stem} name no ignition")
        probes = {name.removesuffix(HVAC_CEILING): values for name, values in table.items() if name.endswith(HVAC_CEILING)}
        heights: dict[str, float] = {}
        for name, values in table.items():
            match = HVAC_PROBE.fullmatch(name)
            if match is None or not match["place"].startswith(burning[path]) or name.endswith(HVAC_CEILING):
                continue
            place, height_m = match["place"], float(match["height_m"])
            if height_m > heights.get(place, 0.0) and (place in heights or place not in probes):
                heights[place], probes[place] = height_m, values
        if not probes:
            raise ValueError(f"{path.name} has no temperature below a ceiling")
        return [_room(builder, (path.stem, place), times_s, values, ignition_s) for place, values in probes.items()]

    list(each_file(burning, read, unreadable))
    return builder.build()


def _room(builder: Builder, name: tuple[str, str], times_s: Series, temperature_c: Series, ignition_s: float) -> str:
    """Add the probe of one room; `times_s` and `ignition_s` on the file's clock, the first reading is at the builder's start."""
    device, room = bind_room(builder, "heat", "ceiling", *name)
    add_series(builder, device, "room_air", times_s - times_s[0], air(times_s.size, temperature_c=temperature_c))
    start_ns = builder.start_ns + round(float(ignition_s - times_s[0]) * NS_PER_S)
    end_ns = builder.start_ns + round(float(times_s[-1] - times_s[0]) * NS_PER_S)
    builder.truth(room, "fire.heat", start_ns, max(start_ns, end_ns), "burning in this house")
    return room


def cable_tests(root: Path) -> list[Path]:
    """The CAROLFIRE cable tests found in firemodels-exp/CAROLFIRE."""
    return sorted((root / "CAROLFIRE").glob("*.csv"))


def cables(*paths: Path, unreadable: Unreadable | None = None) -> Recording:
    """Tests of several cables in a radiant shroud: "room/<test>-<n>" with the temperature of cable n."""
    builder = Builder(f"carolfire/{paths[0].stem if paths else 'none'}", CAROLFIRE)

    def read(path: Path) -> list[str]:
        times_s, table = read_timed(path)
        rooms = []
        for name, values in table.items():
            if not name.startswith("Cable") or not np.isfinite(values).any():
                continue
            device, room = bind_room(builder, "cable", "cable", path.stem, name.removeprefix("Cable").strip())
            rooms.append(room)
            samples = _samples("electrical", times_s.size, {"cable_temperature_c": values})
            add_series(builder, device, "electrical", times_s - times_s[0], samples)
        if not rooms:
            raise ValueError(f"{path.name} has no cable with a temperature")
        return rooms

    list(each_file(paths, read, unreadable))
    return builder.build()
