"""WEDA-FALL (Marques & Moreno, 2023): wrist, falls of young people, daily activity of young and very old people."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from streams.recordings.importers.files import Unreadable, each_file
from streams.recordings.importers.trials import Signal, Trial, unburst

SOURCE: Final = "WEDA-FALL, wrist elderly daily activity and fall dataset, github.com/joaojtmarques/WEDA-FALL"
NOMINAL_HZ: Final = 50.0
OLDER_FROM: Final = 21
"""Participants U21 and above are 77-95 years old (the set's README, table 4)."""


def trials(folder: Path, unreadable: Unreadable | None = None) -> Iterator[Trial]:
    """Every accelerometer file under `folder`/50Hz.

    The watch stamps samples when its radio delivers them, five within 10 ms every 100 ms; `unburst` restores the even
    grid. The fall trials carry 40, the daily ones 50 samples a second. Truth windows are the set's fall_timestamps.csv: a fall
    that it does not name cannot be judged and is refused (it is no daily activity either).

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name:
    ...     folder = Path(name)
    ...     (folder / "50Hz" / "F01").mkdir(parents=True)
    ...     _ = (folder / "fall_timestamps.csv").write_text("filename,start_time,end_time\\nF01/U01_R02,0.7,1.7\\n")
    ...     rows = [f"{n * 0.02:.3f},0.0,0.0,9.8" for n in range(100)]
    ...     _ = (folder / "50Hz" / "F01" / "U01_R02_accel.csv").write_text("\\n".join(["t,x,y,z", *rows]))
    ...     (fall,) = trials(folder)
    >>> fall.name, fall.older, fall.signal.rate_hz, fall.falls
    ('weda-fall/F01/U01_R02', False, 50.0, ((0.7, 1.7, 'labelled'),))
    """
    stamps, windows = folder / "fall_timestamps.csv", {}
    if stamps.is_file():
        with stamps.open(encoding="utf-8-sig", newline="") as file:
            windows = {
                row["filename"]: (float(row["start_time"]), float(row["end_time"]))
                for row in csv.DictReader(file)
                if row.get("filename") and row.get("end_time")
            }

    def one(path: Path) -> Iterator[Trial]:
        activity = path.parent.name
        label = path.name.removesuffix("_accel.csv")
        person = label.split("_")[0]
        window = windows.get(f"{activity}/{label}")
        if window is None and activity.startswith("F"):
            raise FileNotFoundError(f"{activity}/{label} is a fall whose time is not in {stamps.name}")
        table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
        rate_hz, samples = unburst(table[:, 0], table[:, 1:4], NOMINAL_HZ)
        older = int(person.removeprefix("U")) >= OLDER_FROM
        signal = Signal("watch", "wrist", rate_hz, samples, "m/s2")
        yield Trial(f"weda-fall/{activity}/{label}", person, activity, older, signal, ((*window, "labelled"),) if window else ())

    yield from each_file(sorted((folder / "50Hz").glob("*/*_accel.csv")), one, unreadable)
