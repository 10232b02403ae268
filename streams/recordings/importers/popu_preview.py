"""PoPu preview (CC0): 28 postures of one person, mapped above (64 x 27) and below (12 x 6) the mattress at the same time.

As seen from above with the head at row 0, which is the orientation detectors want. The sheet below the mattress has an
offset per cell; it is tared by the recording of the empty bed, as a gateway tares a mattress when it is mounted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.pressure_injury.posture import EMPTY, LEFT, RIGHT, SUPINE
from schemas.recording import Recording
from streams.recordings.format import Builder
from streams.recordings.importers.files import Unreadable, each_file
from streams.recordings.importers.pmatdata import RATE_HZ, Trial

SOURCE: Final = "PoPu preview (pressure over and under), CC0"
OVER: Final = "tactilus"
UNDER: Final = "sensomatt"
POSTURES: Final = {"supine": SUPINE, "right": RIGHT, "left": LEFT, "prone": None}
"""Prone is not one of the detector's postures: it is imported only when asked for."""


def _maps(path: Path, sheet: str) -> tuple[NDArray[np.int64], tuple[int, int]]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    shape = (int(content[f"{sheet}_rows"]), int(content[f"{sheet}_columns"]))
    return np.array([shot[f"{sheet}_readings"] for shot in content["snapshots"].values()], np.int64), shape


def trials(root: Path, sheet: str = OVER, *, prone: bool = False, unreadable: Unreadable | None = None) -> Iterator[Trial]:
    """Every posture file of every volunteer below `root` (the popu-preview folder); the empty bed has posture EMPTY.

    prone: also the prone files, as Trial.name "prone..." with posture SUPINE (the load is symmetric in the same way).

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name:
    ...     person = Path(name) / "preview_data" / "tactilus_data" / "1"
    ...     person.mkdir(parents=True)
    ...     shot = {"tactilus_rows": 2, "tactilus_columns": 3, "snapshots": {"0": {"tactilus_readings": [0, 9, 0, 8, 30, 7]}}}
    ...     _ = (person / "left_2.json").write_text(json.dumps(shot))
    ...     (found,) = trials(Path(name))
    >>> found.name, found.posture == LEFT, found.maps.tolist(), found.shape
    ('left_2', True, [[0, 9, 0, 8, 30, 7]], (2, 3))
    """

    def one(path: Path) -> Iterator[Trial]:
        kind = path.stem.rstrip("0123456789_")
        posture = SUPINE if kind == "prone" and prone else EMPTY if kind == "empty" else POSTURES.get(kind)
        if posture is None:
            return
        empty = path.with_name("empty1.json")
        offset = np.rint(_maps(empty, sheet)[0].mean(0)).astype(np.int64) if sheet == UNDER and empty.exists() else np.int64(0)
        raw, shape = _maps(path, sheet)
        if raw.ndim != 2 or raw.shape[1] != shape[0] * shape[1]:
            raise ValueError(f"{path.name} must have maps of {shape[0]} x {shape[1]} cells, it has {raw.shape}")
        maps = np.clip(raw - offset, 0, np.iinfo(np.uint16).max - 1).astype(np.uint16)
        yield Trial(path.parent.name, path.stem, sheet, posture, maps, shape)

    yield from each_file(sorted((root / "preview_data" / f"{sheet}_data").glob("*/*.json")), one, unreadable)


def trial(source: Trial) -> Recording:
    """One posture file as a recording."""
    builder = Builder(f"popu-preview/{source.person}-{source.surface}-{source.name}", SOURCE, licence="CC0")
    builder.bind("mattress", f"resident/popu-{source.person}", "mattress")
    builder.add("mattress", "pressure_map", builder.start_ns, RATE_HZ, source.maps, unit="count", shape=source.shape)
    return builder.build()
