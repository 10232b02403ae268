"""SP-SW-HAR (Matey-Sanz et al., Data in Brief 2023:109809, CC BY 4.0): timed up-and-go with phone and watch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from streams.recordings.importers.files import Unreadable, each_file
from streams.recordings.importers.trials import Signal, Trial, unburst

SOURCE: Final = "SP-SW-HAR, Data in Brief 2023:109809, doi:10.5281/zenodo.8398688, CC BY 4.0"
NOMINAL_HZ: Final = 100.0
MS_PER_S: Final = 1000.0
_DEVICES: Final = {"sp": ("phone", "hip"), "sw": ("watch", "wrist")}
_STAMP: Final = 6


def trials(folder: Path, unreadable: Unreadable | None = None) -> Iterator[Trial]:
    """Every execution of every person and device (`DATA/sXX/sXX_YY_{sp,sw}.csv`, m/s², stamped on arrival): no falls.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name:
    ...     person = Path(name) / "DATA" / "s02"
    ...     person.mkdir(parents=True)
    ...     rows = [f"0,9.8,0,0,0,0,{1657534605376 + 10 * n},SEATED" for n in range(50)]
    ...     _ = (person / "s02_02_sw.csv").write_text("\\n".join(["x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label", *rows]))
    ...     (walk,) = trials(Path(name))
    >>> walk.person, walk.signal.site, walk.signal.rate_hz, walk.seconds, walk.falls
    ('s02', 'wrist', 100.0, 0.5, ())
    """
    yield from each_file(sorted((folder / "DATA").glob("s*/s*_s[pw].csv")), _one, unreadable)


def _one(path: Path) -> Iterator[Trial]:
    person, _, kind = path.stem.split("_")
    device, site = _DEVICES[kind]
    table = np.loadtxt(path, delimiter=",", skiprows=1, usecols=(0, 1, 2, _STAMP), ndmin=2)
    rate_hz, samples = unburst((table[:, 3] - table[0, 3]) / MS_PER_S, table[:, :3], NOMINAL_HZ)
    yield Trial(f"sp-sw-har/{path.stem}", person, "timed up-and-go", False, Signal(device, site, rate_hz, samples, "m/s2"))
