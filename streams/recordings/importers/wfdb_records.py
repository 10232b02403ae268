"""Any WFDB record (PhysioNet and many others): its ECG leads, its rhythm annotations as truth, its beats for scoring."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import wfdb
from scipy import signal

from engine.frame import NS_PER_S, Float64, Int64
from engine.kinds import KINDS
from schemas.recording import Recording
from streams.recordings.format import Builder
from streams.recordings.importers.wfdb_units import Signal, is_ecg_name, millivolts, signals

BEATS: Final = frozenset("NLRBAaJSVrFejnE/fQ?")
"""Annotation symbols that mark a beat (PhysioBank annotation codes)."""
RHYTHMS: Final = {
    "(AFIB": "heart.atrial_fibrillation",
    "(AFL": "heart.atrial_fibrillation",
    "(VT": "heart.ventricular_tachycardia",
    "(VFL": "heart.ventricular_fibrillation",
    "(VF": "heart.ventricular_fibrillation",
    "(ASYS": "heart.asystole",
    "(SBR": "heart.bradycardia",
    "(SVTA": "heart.tachycardia",
}
"""Rhythm annotations (aux_note of '+') that Vigil has a code for."""
ECG: Final = KINDS["ecg"]
OUTSIDE_SHARE_MAX: Final = 0.01
"""A lead with a larger share of values that no ECG can have is none, or its unit is not the one that the header names."""


SPAN_MV_MIN: Final = 0.05
"""A QRS complex has 0.1 mV and more, also in the smallest lead: less is no ECG, or not in this unit."""


class Annotated(NamedTuple):
    """The ECG of a record and what its annotators marked.

    `leads` (n, c) mV, NaN missing; `beats` (b,) sample numbers; `flutter` spans of ventricular flutter in samples; `notes`: a sentence on
    each signal that was left out or changed.
    """

    name: str
    rate_hz: float
    leads: Float64
    names: tuple[str, ...]
    beats: Int64
    flutter: tuple[tuple[int, int], ...]
    rhythms: tuple[tuple[str, int, int], ...]
    notes: tuple[str, ...] = ()


def load(path: Path, annotator: str = "atr") -> Annotated:
    """Read the record at `path` (without extension); without an annotation file there is just no truth.

    Leads are the signals in volts, millivolts and so on, as the header's bytes write them, that no name calls something else. Several
    samples a frame are all read; a signal faster than Vigil takes is resampled.

    ValueError when it has no ECG lead or is too slow for one, FileNotFoundError when there is no such record.
    """
    if not path.with_name(path.name + ".hea").is_file():
        raise FileNotFoundError(f"no WFDB record at {path}: give the path of its .hea file without the extension")
    found = signals(path)
    notes: list[str] = []
    chosen = _chosen(path.name, found, notes)
    whole = all(one.frame == 1 for one in found)
    record = wfdb.rdrecord(str(path), smooth_frames=whole)
    columns = [record.p_signal[:, i] if whole else record.e_p_signal[i] for i in chosen]
    columns = [np.asarray(column) * _factor(found[i].unit) for i, column in zip(chosen, columns, strict=True)]
    kept = [n for n, column in enumerate(columns) if _is_lead(found[chosen[n]], column, notes)][: ECG.channels_max]
    if not kept:
        raise ValueError(f"record {path.name} has no ECG lead: {'; '.join(notes)}")
    leads = np.column_stack([columns[n] for n in kept])
    rate_hz = float(record.fs) * found[chosen[0]].frame
    leads, rate_hz = _resampled(path.name, leads, rate_hz, notes)
    beats, flutter, rhythms = _annotations(path, annotator, len(leads), rate_hz, float(record.fs))
    return Annotated(path.name, rate_hz, leads, tuple(found[chosen[n]].name for n in kept), beats, flutter, rhythms, tuple(notes))


def _factor(unit: str) -> float:
    factor = millivolts(unit)
    if factor is None:
        raise ValueError(f"{unit!r} is no voltage")
    return factor


def _chosen(name: str, found: tuple[Signal, ...], notes: list[str]) -> list[int]:
    """Which signals may be ECG leads: voltages that no name calls something else, the fastest of them."""
    chosen = []
    for i, one in enumerate(found):
        if millivolts(one.unit) is None:
            notes.append(f"{one.name or f'signal {i}'} is left out: {one.unit!r} is no unit of voltage")
        elif not is_ecg_name(one.name):
            notes.append(f"{one.name} is left out: its name says that it is no ECG")
        else:
            chosen.append(i)
    if not chosen:
        raise ValueError(f"record {name} has no ECG lead: {'; '.join(notes) or 'it has no signal'}")
    frame = max(found[i].frame for i in chosen)
    notes.extend(f"{found[i].name} is left out: it is sampled less often than other leads" for i in chosen if found[i].frame < frame)
    chosen = [i for i in chosen if found[i].frame == frame]
    notes.extend(f"{found[i].name} is not calibrated: 200 units a mV are assumed" for i in chosen if not found[i].calibrated)
    return chosen


def _is_lead(one: Signal, values: Float64, notes: list[str]) -> bool:
    """Whether these values (mV) can be an ECG lead."""
    known = values[np.isfinite(values)]
    low, high = ECG.wide
    if not known.size:
        notes.append(f"{one.name} is left out: it has no sample")
        return False
    if float(np.mean((known < low) | (known > high))) > OUTSIDE_SHARE_MAX:
        reaches = f"it reaches {np.abs(known).max():g} mV by its unit {one.unit!r}"
        notes.append(f"{one.name} is left out: {reaches}, and no ECG is outside {low:g} to {high:g} mV")
        return False
    span = float(np.percentile(known, 99.9) - np.percentile(known, 0.1))
    if span < SPAN_MV_MIN:
        notes.append(
            f"{one.name} spans {span:g} mV by its unit {one.unit!r}: too little for an ECG, so nothing may be found in it; check the unit"
        )
    return True


def _resampled(name: str, leads: Float64, rate_hz: float, notes: list[str]) -> tuple[Float64, float]:
    """The leads at a rate that Vigil takes, and that rate; a sample that would be made from a missing one is missing."""
    if rate_hz < ECG.rate_hz_min:
        raise ValueError(
            f"record {name} has {rate_hz:g} samples a second, an ECG needs {ECG.rate_hz_min:g}: heart beats cannot be found in it"
        )
    parts = math.ceil(rate_hz / ECG.rate_hz_max)
    if parts == 1:
        return leads, rate_hz
    notes.append(f"resampled from {rate_hz:g} to {rate_hz / parts:g} Hz, Vigil takes at most {ECG.rate_hz_max:g}")
    at = np.arange(len(leads))
    columns = []
    for values in leads.T:
        missing = np.isnan(values)
        filled = np.interp(at, at[~missing], values[~missing]) if missing.any() else values
        column = signal.resample_poly(filled, 1, parts)
        touched = np.add.reduceat(missing, np.arange(0, len(values), parts)) > 0
        columns.append(np.where(touched[: len(column)], np.nan, column))
    return np.column_stack(columns), rate_hz / parts


def _annotations(
    path: Path, annotator: str, size: int, rate_hz: float, frames_hz: float
) -> tuple[Int64, tuple[tuple[int, int], ...], tuple[tuple[str, int, int], ...]]:
    """Beats, flutter and rhythms as sample numbers of a signal at `rate_hz`; the file counts frames, or in a resolution of its own."""
    if not path.with_name(f"{path.name}.{annotator}").is_file():
        return np.zeros(0, np.int64), (), ()
    notes: Any = wfdb.rdann(str(path), annotator)
    samples = np.rint(np.asarray(notes.sample) * (rate_hz / (notes.fs or frames_hz))).astype(np.int64)
    beats = np.array([at for at, symbol in zip(samples, notes.symbol, strict=True) if symbol in BEATS], np.int64)
    starts = [int(at) for at, symbol in zip(samples, notes.symbol, strict=True) if symbol == "["]
    ends = [int(at) for at, symbol in zip(samples, notes.symbol, strict=True) if symbol == "]"]
    changes = [
        (int(at), note.rstrip("\x00"))
        for at, symbol, note in zip(samples, notes.symbol, notes.aux_note, strict=True)
        if symbol == "+" and note.startswith("(")
    ]
    until = [at for at, _ in [*changes, (size, "")][1:]]
    rhythms = tuple((note, at, end) for (at, note), end in zip(changes, until, strict=True))
    return beats, tuple(zip(starts, ends, strict=False)), rhythms


def recording(path: Path, *, annotator: str = "atr", subject: str = "", source: str = "", licence: str = "") -> Recording:
    """The record at `path` as a recording: device "ecg", one resident, rhythm episodes that Vigil has a code for as truth.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     beats = np.sin(np.arange(500) / 20)[:, np.newaxis]
    ...     wfdb.wrsamp("207", fs=250, units=["mV"], sig_name=["MLII"], p_signal=beats, fmt=["16"], write_dir=folder)
    ...     wfdb.wrann("207", "atr", np.array([100, 200]), ["+", "N"], aux_note=["(AFIB", ""], write_dir=folder)
    ...     made = recording(Path(folder) / "207")
    >>> [(truth.subject, truth.code) for truth in made.truth], len(list(made.records))
    ([('resident/207', 'heart.atrial_fibrillation')], 2)
    """
    record = load(path, annotator)
    subject = subject or f"resident/{record.name}"
    builder = Builder(
        record.name,
        source or f"WFDB record {record.name}",
        licence=licence,
        notes="\n".join(record.notes),
        labelled=True if record.rhythms else None,
    )
    builder.bind("ecg", subject, "chest")
    builder.add("ecg", "ecg", builder.start_ns, record.rate_hz, record.leads.astype(np.float32), unit="mV")
    for note, start, end in record.rhythms:
        if note in RHYTHMS:
            begin_ns, end_ns = (builder.start_ns + int(at * NS_PER_S / record.rate_hz) for at in (start, end))
            builder.truth(subject, RHYTHMS[note], begin_ns, end_ns, note)
    return builder.build()
