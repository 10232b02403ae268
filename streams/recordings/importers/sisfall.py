"""SisFall (Sucerquia et al., Sensors 2017;17:198): waist, 200 Hz, falls and daily activity of young and older adults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from streams.recordings.importers.files import Unreadable, each_file
from streams.recordings.importers.trials import Signal, Trial

SOURCE: Final = "SisFall, Sensors 2017;17:198, doi:10.3390/s17010198"
RATE_HZ: Final = 200.0
G_PER_COUNT: Final = 32 / 8192
"""ADXL345, ±16 g in 13 bits."""
DESCENT_S: Final = 1.0
"""From losing balance to the impact, rounded up: a free drop of 1 m takes 0.45 s, a body that topples takes about twice that."""


def trials(folder: Path, unreadable: Unreadable | None = None) -> Iterator[Trial]:
    """Every trial of every person in `folder` (`S[AE]*.npz`, arrays n x 6 named F01_SA01_R01).

    The set has no label of the instant of a fall. The truth window is therefore defined here: from DESCENT_S before
    the highest |a| of a fall trial (taken as the impact) to the end of the trial, where the person still lies.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name:
    ...     counts = np.zeros((600, 6), np.int16)
    ...     counts[400] = 2048  # 8 g on each axis
    ...     np.savez(Path(name) / "SA01.npz", F01_SA01_R01=counts)
    ...     (fall,) = trials(Path(name))
    >>> fall.name, fall.signal.samples[400].tolist(), fall.falls
    ('sisfall/F01_SA01_R01', [8.0, 8.0, 8.0], ((1.0, 3.0, 'window from the highest peak'),))
    """
    yield from each_file(sorted(folder.glob("S[AE]*.npz")), _person, unreadable)


def _person(path: Path) -> Iterator[Trial]:
    with np.load(path) as arrays:
        for name in sorted(arrays.files):
            activity, person, _ = name.split("_")
            samples = (arrays[name][:, :3] * G_PER_COUNT).astype(np.float32)
            if not len(samples):
                raise ValueError(f"trial {name} has no samples")
            falls: tuple[tuple[float, float, str], ...] = ()
            if activity.startswith("F"):
                impact_s = int(np.argmax(np.square(samples).sum(axis=1))) / RATE_HZ
                falls = ((max(0.0, impact_s - DESCENT_S), len(samples) / RATE_HZ, "window from the highest peak"),)
            yield Trial(f"sisfall/{name}", person, activity, person.startswith("SE"), Signal("belt", "waist", RATE_HZ, samples, "g"), falls)
