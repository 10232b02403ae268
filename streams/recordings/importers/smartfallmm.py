"""SmartFallMM (Texas State University): daily activity and falls, watch, phone, and sensors on wrist and hip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from streams.recordings.importers.files import Unreadable, each_file
from streams.recordings.importers.trials import Signal, Trial, snap, unburst

SOURCE: Final = "SmartFallMM, github.com/txst-cs-smartfall/SmartFallMM-Dataset"
WATCH_HZ: Final = 32.0
META_HZ: Final = 50.0
FIRST_FALL: Final = 10
"""Activities 10-14 are falls (the set's README)."""
MS_PER_S: Final = 1000.0
NS_PER_S: Final = 1e9
_SITES: Final = {"watch": "wrist", "phone": "hip", "meta_wrist": "wrist", "meta_hip": "hip"}


def _table(path: Path) -> tuple[str, float, np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """Unit, rate and samples of one file; a header line, where there is one, is passed over."""
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines() if line[:1].isdigit()]
    if path.parent.name.startswith("meta"):
        kept = [row for row in rows if len(row) == 6]
        t_s = np.array([float(row[0]) for row in kept]) / MS_PER_S
        return "g", META_HZ, snap(t_s, np.array([row[3:] for row in kept], np.float64), META_HZ)
    kept = [row for row in rows if len(row) == 4]
    t_ns = np.array([row[0].strip() for row in kept], "datetime64[ns]").astype(np.int64)
    rate_hz, samples = unburst((t_ns - t_ns[0]) / NS_PER_S, np.array([row[1:] for row in kept], np.float64), WATCH_HZ)
    return "m/s2", rate_hz, samples


def trials(folder: Path, unreadable: Unreadable | None = None) -> Iterator[Trial]:
    """Every accelerometer file of every person and device (`<old|young>/accelerometer/<device>/SxxAyyTzz.csv`).

    Watches and phones stamp on arrival (`unburst`, nominally 32 Hz); the hip and wrist sensors stamp when they measure
    (`snap`, 50 Hz, clipped at ±2 g). Falls have no labelled instant: their truth window is the trial. Values no sensor
    can have measured (|a| > 20 g in some trials) stay as they are, for Vigil to refuse.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name:
    ...     hip = Path(name) / "young" / "accelerometer" / "meta_hip"
    ...     hip.mkdir(parents=True)
    ...     rows = [f"{1000 + 20 * n},t,0,0.0,1.0,0.0" for n in (0, 1, 3)]
    ...     _ = (hip / "S09A10T01.csv").write_text("\\n".join(["epoch (ms),time,elapsed (s),x,y,z", *rows]))
    ...     (fall,) = trials(Path(name))
    >>> fall.activity, bool(fall.falls), fall.signal.samples[:, 1].tolist()
    ('A10', True, [1.0, 1.0, nan, 1.0])
    """
    yield from each_file(sorted(folder.glob("*/accelerometer/*/S*A*T*.csv")), _one, unreadable)


def _one(path: Path) -> Iterator[Trial]:
    device = path.parent.name
    if device not in _SITES:
        raise ValueError(f"device {device} is none of those whose place on the body is known: {', '.join(_SITES)}")
    person, activity = path.stem[:3], path.stem[3:6]
    unit, rate_hz, samples = _table(path)
    falling = int(activity[1:]) >= FIRST_FALL
    falls = ((0.0, len(samples) / rate_hz, "window is the trial"),) if falling else ()
    older = path.parents[2].name == "old"
    yield Trial(f"smartfallmm/{device}/{path.stem}", person, activity, older, Signal(device, _SITES[device], rate_hz, samples, unit), falls)
