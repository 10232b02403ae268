"""PmatData (PhysioNet PMD 1.0.0; Pouyan et al., IEEE BHI 2017): postures on a pressure mattress, and nights put together from them.

Orientation of every map given here: row 0 at the head, column 0 at the right hand of a person lying supine. Experiment i
was stored mirrored (as seen from below), experiment ii with the feet first; both are put right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.pressure_injury.posture import LEFT, RIGHT, SUPINE
from engine.frame import NS_PER_S
from schemas.recording import Recording
from streams.recordings.format import Builder
from streams.recordings.importers.files import Unreadable, each_file

SOURCE: Final = "PmatData, PhysioNet PMD 1.0.0"
RATE_HZ: Final = 1.0
SHAPE_I: Final = (64, 32)
SHAPE_II: Final = (64, 27)
SETTLING_FRAMES: Final = (3, 2)
"""Frames dropped at the beginning and end of a file of experiment i: the person is still getting on, or already off."""

POSTURE_I: Final = {
    **dict.fromkeys((1, 8, 9, 10, 11, 12, 15, 16, 17), SUPINE),
    **dict.fromkeys((2, 4, 5, 13), RIGHT),
    **dict.fromkeys((3, 6, 7, 14), LEFT),
}
"""File number -> posture; 15, 16 and 17 are supine with the bed raised to 30, 45 and 60 degrees."""
POSTURE_II: Final = {
    "B": SUPINE,
    "F": SUPINE,
    "C": RIGHT,
    "D": LEFT,
    "E1": RIGHT,
    "E2": RIGHT,
    "E5": RIGHT,
    "E3": LEFT,
    "E4": LEFT,
    "E6": LEFT,
}

TURN_OVERDUE: Final = "pressure_injury.turn_overdue"


class Trial(NamedTuple):
    """One posture of one person: maps uint16 (n, rows * columns) in raw counts, `surface` the mattress below."""

    person: str
    name: str
    surface: str
    posture: int
    maps: NDArray[np.uint16]
    shape: tuple[int, int]


class Stay(NamedTuple):
    """So many seconds in one posture (SUPINE, RIGHT, LEFT; None: out of bed)."""

    posture: int | None
    duration_s: float


TURNED_IN_TIME: Final = tuple(Stay(p, 6300) for p in (SUPINE, RIGHT, SUPINE, LEFT))
"""Seven hours, a turn every 1 h 45 min."""
OVERDUE: Final = (Stay(SUPINE, 5400), Stay(RIGHT, 10800), Stay(SUPINE, 5400), Stay(LEFT, 3600))
"""Seven hours with one stay of three hours on the right side."""


def experiment_i(root: Path, unreadable: Unreadable | None = None) -> Iterator[Trial]:
    """Every file of experiment i below `root` (the pmatdata folder), in a stable order.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name:
    ...     person = Path(name) / "experiment-i" / "S1"
    ...     person.mkdir(parents=True)
    ...     np.savetxt(person / "2.txt", np.full((8, 64 * 32), 40), fmt="%d")
    ...     (found,) = experiment_i(Path(name))
    >>> found.person, found.posture == RIGHT, found.maps.shape, found.shape
    ('S1', True, (3, 2048), (64, 32))
    """
    paths = (root / "experiment-i").glob("S*/*.txt")
    yield from each_file(sorted(paths, key=lambda p: (p.parent.name, len(p.stem), p.stem)), _file_i, unreadable)


def _file_i(path: Path) -> Iterator[Trial]:
    posture = POSTURE_I.get(int(path.stem)) if path.stem.isdigit() else None
    if posture is None:
        raise ValueError(f"{path.name} is none of the {len(POSTURE_I)} postures of experiment i")
    raw = np.loadtxt(path, np.uint16, ndmin=2).reshape(-1, *SHAPE_I)
    first, last = SETTLING_FRAMES
    maps = raw[first : len(raw) - last, :, ::-1].reshape(-1, SHAPE_I[0] * SHAPE_I[1])
    if not len(maps):
        raise ValueError(f"{path.name} has no frame after the person has settled")
    yield Trial(path.parent.name, path.stem, "mattress", posture, np.ascontiguousarray(maps), SHAPE_I)


def experiment_ii(root: Path, unreadable: Unreadable | None = None) -> Iterator[Trial]:
    """Every labelled mean map of experiment ii (air and sponge mattress); the unlabelled ones (G) are left out."""
    yield from each_file(sorted((root / "experiment-ii").glob("S*/*_Mat/Matrix_*.txt")), _file_ii, unreadable)


def _file_ii(path: Path) -> Iterator[Trial]:
    name = path.stem.split("_")[-1]
    posture = POSTURE_II.get(name, POSTURE_II.get(name[0]))
    if posture is None:
        return
    cells = np.loadtxt(path).reshape(SHAPE_II)[::-1]
    maps = np.clip(np.rint(cells), 0, np.iinfo(np.uint16).max - 1).astype(np.uint16).reshape(1, -1)
    yield Trial(path.parents[1].name, name, path.parent.name.split("_")[0].lower(), posture, maps, SHAPE_II)


def same_person(root: Path) -> dict[str, str]:
    """Who of experiment ii is who of experiment i: the one of the same age, height and weight in the two subject tables, "" where
    nobody of experiment i is. FileNotFoundError or ValueError when the tables are not there or do not tell two people apart."""
    first, second = (_subjects(root / f"experiment-{which}" / f"subject-info-{which}.csv") for which in ("i", "ii"))
    by_figure = {figure: name for name, figure in first.items()}
    if len(by_figure) < len(first):
        raise ValueError("two people of experiment i have the same age, height and weight: who is who cannot be told")
    return {name: by_figure.get(figure, "") for name, figure in second.items()}


def _subjects(path: Path) -> dict[str, tuple[float, ...]]:
    """Subject -> age (years), height (cm), weight (kg); the tables are UTF-16 as published."""
    raw = path.read_bytes()
    text = raw.decode("utf-16" if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig")
    rows = [line.split(",") for line in text.splitlines()[1:] if line.count(",") == 3]
    return {f"S{int(number)}": tuple(float(cell) for cell in rest) for number, *rest in rows}


def trial(source: Trial) -> Recording:
    """One posture file as a recording."""
    builder = Builder(f"pmatdata/{source.person}-{source.surface}-{source.name}", SOURCE, licence="ODC-By 1.0")
    builder.bind("mattress", f"resident/{source.person}", "mattress")
    builder.add("mattress", "pressure_map", builder.start_ns, RATE_HZ, source.maps, unit="count", shape=source.shape)
    return builder.build()


def night(
    trials: Sequence[Trial],
    schedule: Sequence[Stay],
    *,
    name: str,
    limit_s: float = 7200.0,
    frame_s: float = 10.0,
    shuffle_seed: int | None = None,
) -> Recording:
    """A night **put together from real frames**: nobody lay there for hours, the maps of each posture are repeated.

    trials: the files of one person, of one shape. schedule: the stays in order; out of bed is a map of zeros (the
    mattress without load). One map each `frame_s`. The truth holds a turn_overdue span from the moment a stay exceeds
    `limit_s` to its end. shuffle_seed: pick the file of each stay at random instead of the first one of its posture.
    """
    shape = trials[0].shape
    choice = np.random.default_rng(shuffle_seed) if shuffle_seed is not None else None
    subject = f"resident/{trials[0].person}"
    builder = Builder(
        f"pmatdata/night-{name}",
        SOURCE,
        licence="ODC-By 1.0",
        labelled=True,
        notes="a night concatenated from real frames of minutes; not recorded as a night",
    )
    builder.bind("mattress", subject, "mattress")
    t_ns = builder.start_ns
    step_ns = round(frame_s * NS_PER_S)
    for stay in schedule:
        count = round(stay.duration_s / frame_s)
        if stay.posture is None:
            maps = np.zeros((count, shape[0] * shape[1]), np.uint16)
        else:
            fitting = [t for t in trials if t.posture == stay.posture]
            source = fitting[int(choice.integers(len(fitting)))] if choice is not None else fitting[0]
            maps = np.stack(list(islice(cycle(source.maps), count)))
        builder.add("mattress", "pressure_map", t_ns, 1 / frame_s, maps, unit="count", chunk_s=frame_s, shape=shape)
        end_ns = t_ns + count * step_ns
        if stay.posture is not None and stay.duration_s > limit_s:
            builder.truth(subject, TURN_OVERDUE, t_ns + round(limit_s * NS_PER_S), end_ns, f"{stay.duration_s / 3600:g} h without a turn")
        t_ns = end_ns
    return builder.build()
