"""What the sets of scripted movements have in common: people, trials, and devices that stamp samples badly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from engine.frame import NS_PER_S, Float32, Float64
from schemas.recording import Recording
from streams.recordings.format import Builder

FALL: Final = "falls.fall"
BURST_SLACK_S: Final = 0.3
"""Samples sent in bursts arrive up to this late; a longer silence is a gap in the data."""
RATE_TOLERANCE: Final = 0.25
"""A device's mean rate within this share of its nominal rate is taken as its rate, else stamps are too broken to tell."""
SPAN_S_MAX: Final = 4 * 3600.0
"""No trial is longer: a larger span is a broken stamp."""


class Signal(NamedTuple):
    """One worn accelerometer: `samples` (n, 3) in `unit`, NaN missing, from `offset_s` after the beginning of the trial."""

    device: str
    site: str
    rate_hz: float
    samples: Float32
    unit: str
    offset_s: float = 0.0


class Trial(NamedTuple):
    """One scripted movement of one person ("" where the set does not tell people apart). `falls` are (start_s, end_s, note) after the beginning of the trial."""

    name: str
    person: str
    activity: str
    older: bool
    signal: Signal
    falls: tuple[tuple[float, float, str], ...] = ()

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self.signal.samples) / self.signal.rate_hz


def put(builder: Builder, trial: Trial, subject: str) -> None:
    """Append `trial` to `builder` as the resident `subject`, beginning at the builder's start."""
    signal = trial.signal
    start_ns = builder.start_ns + round(signal.offset_s * NS_PER_S)
    device = f"{signal.device}.{subject.removeprefix('resident/')}"
    builder.bind(device, subject, signal.site)
    builder.add(device, "accel", start_ns, signal.rate_hz, signal.samples, unit=signal.unit)
    for begin_s, end_s, note in trial.falls:
        builder.truth(subject, FALL, builder.start_ns + round(begin_s * NS_PER_S), builder.start_ns + round(end_s * NS_PER_S), note)


def recording(trial: Trial, source: str, licence: str = "") -> Recording:
    """One trial as a recording of its own.

    >>> signal = Signal("belt", "waist", 50.0, np.tile(np.float32([0, 0, 1]), (200, 1)), "g")
    >>> made = recording(Trial("set/F01", "p1", "F01", False, signal, ((1.0, 2.0, "labelled"),)), "a data set")
    >>> [(truth.subject, truth.code) for truth in made.truth], len(list(made.records))
    ([('resident/p1', 'falls.fall')], 4)
    """
    builder = Builder(trial.name, source, licence=licence, labelled=True)
    put(builder, trial, f"resident/{trial.person or trial.name.rpartition('/')[2]}")
    return builder.build()


def cohort(name: str, trials: Iterable[Trial], source: str) -> tuple[Recording, dict[str, Trial]]:
    """Many trials side by side, each a resident of its own, and which resident is which trial (one replay instead of hundreds)."""
    builder = Builder(name, source, labelled=True)
    who = {f"resident/{index:05d}": trial for index, trial in enumerate(trials)}
    for subject, trial in who.items():
        put(builder, trial, subject)
    return builder.build(), who


def _span(t_s: Float64) -> float:
    if not t_s.size:
        raise ValueError("there is no sample in it")
    span = float(t_s.max() - t_s.min())
    if not span <= SPAN_S_MAX:
        raise ValueError(f"time stamps span {span:g} s, at most {SPAN_S_MAX:g} s are plausible: the stamps are broken")
    return span


def unburst(t_s: Float64, values: Float64, nominal_hz: float) -> tuple[float, Float32]:
    """Samples stamped on arrival, in bursts, back on the grid on which the device measured them.

    `t_s` (n,) arrival times, `values` (n, c). Such a device measures evenly and its radio delivers a few samples at a
    time, so the order is the truth and the stamps are not: samples follow one another at the trial's own mean rate
    (whole Hz) until a stamp is more than BURST_SLACK_S ahead, which is a gap and becomes NaN. Returns rate and grid.
    """
    span = _span(t_s)
    steps = np.diff(t_s)
    heard = steps <= BURST_SLACK_S  # silences say nothing about the rate
    heard_s = span - float(steps[~heard].sum())
    mean_hz = int(heard.sum()) / heard_s if heard_s > 0 else nominal_hz
    rate_hz = float(round(mean_hz)) if abs(mean_hz / nominal_hz - 1) <= RATE_TOLERANCE else nominal_hz
    ticks = np.empty(len(t_s), np.int64)
    tick = -1
    slack = BURST_SLACK_S * rate_hz
    for i, due in enumerate(((t_s - t_s[0]) * rate_hz).tolist()):
        tick += 1
        if due - tick > slack:
            tick = max(tick, int(due))
        ticks[i] = tick
    return rate_hz, _grid(ticks, values)


def snap(t_s: Float64, values: Float64, rate_hz: float) -> Float32:
    """Samples with true stamps on an even grid: each goes to the nearest tick (at most half a period away), the rest is NaN.

    Of two samples for one tick the later one stays.
    """
    _span(t_s)
    return _grid(np.rint((t_s - t_s.min()) * rate_hz).astype(np.int64), values)


def _grid(ticks: np.ndarray[tuple[int], np.dtype[np.int64]], values: Float64) -> Float32:
    grid = np.full((int(ticks.max()) + 1, values.shape[1]), np.nan, np.float32)
    grid[ticks] = values
    return grid
