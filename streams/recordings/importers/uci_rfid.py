"""UCI 427 (Torres et al. 2016, CC BY 4.0): people aged 66-86 with a batteryless tag on the sternum, in two ward rooms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from streams.recordings.importers.trials import Signal, Trial, snap

SOURCE: Final = (
    "UCI 427, activity recognition with healthy older people using a batteryless wearable sensor, doi:10.24432/C5GG6B, CC BY 4.0"
)
GRID_HZ: Final = 40.0
"""Stamps are rounded to 0.025 s by the authors, so on this grid no sample moves."""


def trials(folder: Path) -> Iterator[Trial]:
    """Every session (`data/raw/S*_Dataset/d*`): t s, frontal, vertical, lateral g, ..., label. No falls.

    The tag answers only when an antenna reaches it: a sample every 0.05 to 1 s, gaps of a minute. All other ticks are NaN.
    The anonymised file names do not tell which sessions are of one person, so `person` is empty.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name:
    ...     room = Path(name) / "data" / "raw" / "S1_Dataset"
    ...     room.mkdir(parents=True)
    ...     _ = (room / "d1p22F").write_text("0,0.1,0.9,0,1,-57,5,925,1\\n0.1,0.2,0.8,0,1,-57,5,925,1\\n")
    ...     (day,) = trials(Path(name))
    >>> day.older, day.signal.site, day.signal.samples.shape
    (True, 'sternum', (5, 3))
    """
    for path in sorted((folder / "data" / "raw").glob("S*_Dataset/d*p*")):
        table = np.loadtxt(path, delimiter=",", usecols=(0, 1, 2, 3), ndmin=2)
        samples = snap(table[:, 0], table[:, 1:4], GRID_HZ)
        yield Trial(
            f"uci-olderpeople-rfid/{path.name}", path.name, "scripted ward day", True, Signal("tag", "sternum", GRID_HZ, samples, "g")
        )
