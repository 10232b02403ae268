"""Beat times and RR intervals as text: MIT-BIH atrial fibrillation (afdb-rr), whole days (nsr2db-rr, chf2db-rr)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from engine.frame import NS_PER_S, Float64
from schemas.recording import Recording
from streams.recordings.format import Builder

AFDB_RATE_HZ: Final = 250.0
AF: Final = ("(AFIB", "(AFL")
DROPOUT_S: Final = 3.0
"""Longer intervals in these files are holes in the recording, not pauses."""
CHUNK_S: Final = 10.0
MS_PER_S: Final = 1000.0
MS_MIN: Final = 200.0
MS_MAX: Final = 3000.0
"""The median of a person's RR intervals is between these: 300 and 20 beats a minute."""
SHOWN_MAX: Final = 40


class Series(NamedTuple):
    """RR intervals of one person: `start_s` (b,) from the beginning, `rr_s` (b,), `af` (b,) 1 in atrial fibrillation, NaN unknown."""

    name: str
    start_s: Float64
    rr_s: Float64
    af: Float64


def day(path: Path) -> Series:
    """One file of RR intervals, in seconds or milliseconds, one a line; the first line (offset to the first beat) is dropped.

    The unit is told by the median: no heart beats for long at intervals above 3 s or below 0.2 s. ValueError when it is neither, or a
    line is no interval.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "nsr001_rr_secs.txt"
    ...     _ = path.write_text("0.4\\n0.8\\n0.8\\n5.0\\n0.9\\n")
    ...     series = day(path)
    >>> series.name, series.rr_s.tolist()
    ('nsr001', [0.8, 0.8, 5.0, 0.9])
    >>> len(list(recording(series, "RR series").records))  # 5 s are a hole in the recording
    2
    """
    rr = np.array(list(_intervals(path))[1:])
    if not rr.size:
        raise ValueError(
            f"{path.name} has no interval: it needs an offset to the first beat in the first line and an interval in each other line"
        )
    middle = float(np.median(rr))
    if MS_MIN <= middle <= MS_MAX:
        rr = rr / MS_PER_S
    elif not MS_MIN <= middle * MS_PER_S <= MS_MAX:
        raise ValueError(
            f"the median of {path.name} is {middle:g}: RR intervals have one of {MS_MIN / MS_PER_S:g} to {MS_MAX / MS_PER_S:g} (seconds) or "
            f"{MS_MIN:g} to {MS_MAX:g} (milliseconds); heart rates or sample numbers have to be converted"
        )
    start = np.concatenate([[0.0], np.cumsum(rr)[:-1]])
    return Series(path.stem.removesuffix("_rr_secs"), start, rr, np.full(rr.size, np.nan))


def _intervals(path: Path) -> Iterator[float]:
    """The numbers of a text file, one a line; ValueError for a line that is none, or is not above 0."""
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not 0 < value < np.inf and number > 1:  # the offset to the first beat may be 0
            raise ValueError(f"{path.name} line {number} is {text[:SHOWN_MAX]!r}: one interval a line, a number above 0")
        yield value


def afdb(folder: Path, name: str) -> Series:
    """One person of afdb-rr: intervals with the rhythm that its annotators marked."""
    table = np.loadtxt(folder / f"qrs{name}.txt", ndmin=2)
    start, rr = table[:, 0] / AFDB_RATE_HZ, table[:, 1]
    onsets, flags = [], []
    for line in (folder / f"atr{name}.txt").read_text(encoding="utf-8").splitlines()[1:]:
        fields = line.split()
        if len(fields) < 3:  # cut off
            continue
        onsets.append(float(fields[1]) / AFDB_RATE_HZ)
        flags.append(1.0 if fields[-1] in AF else 0.0)
    if not onsets or not table.size:
        raise ValueError(f"{name} has no {'rhythm' if table.size else 'beat'}")
    index = np.searchsorted(onsets, start, side="right") - 1
    return Series(name, start, rr, np.where(index >= 0, np.array(flags)[index], 0.0))


def recording(series: Series, source: str, licence: str = "") -> Recording:
    """A series as a recording: device "strap", RR intervals in ms, a hole where an interval is a dropout."""
    subject = f"resident/{series.name}"
    builder = Builder(series.name, source, licence=licence, labelled=True if np.isfinite(series.af).any() else None)
    builder.bind("strap", subject, "chest")
    edges = np.flatnonzero(series.rr_s > DROPOUT_S)
    for part in np.split(np.arange(series.rr_s.size), np.unique(np.concatenate([edges, edges + 1]))):
        if part.size and series.rr_s[part[0]] <= DROPOUT_S:
            t0_ns = builder.start_ns + int(series.start_s[part[0]] * NS_PER_S)
            builder.add("strap", "rr_interval", t0_ns, 0.0, series.rr_s[part] * 1000.0, unit="ms", chunk_s=CHUNK_S)
    change = np.flatnonzero(np.diff(np.nan_to_num(series.af), prepend=0.0, append=0.0))
    ends = np.append(series.start_s, series.start_s[-1] + series.rr_s[-1])
    for first, last in zip(change[::2], change[1::2], strict=False):
        begin_ns, end_ns = (builder.start_ns + int(ends[at] * NS_PER_S) for at in (first, last))
        builder.truth(subject, "heart.atrial_fibrillation", begin_ns, end_ns)
    return builder.build()
