"""Any WFDB record (PhysioNet and many others): its ECG leads, its rhythm annotations as truth, its beats for scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import wfdb

from engine.frame import NS_PER_S, Float64, Int64
from schemas.recording import Recording
from streams.recordings.format import Builder

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
NO_ECG: Final = ("PLETH", "PPG", "ABP", "ART", "CVP", "PAP", "RESP", "CO2", "SPO2")


class Annotated(NamedTuple):
    """The ECG of a record and what its annotators marked.

    `leads` (n, c) mV, NaN missing; `beats` (b,) sample numbers; `flutter` spans of ventricular flutter in samples.
    """

    name: str
    rate_hz: float
    leads: Float64
    names: tuple[str, ...]
    beats: Int64
    flutter: tuple[tuple[int, int], ...]
    rhythms: tuple[tuple[str, int, int], ...]


def load(path: Path, annotator: str = "atr") -> Annotated:
    """Read the record at `path` (without extension); without an annotation file there is just no truth.

    ValueError when it has no ECG lead, FileNotFoundError when there is no such record.
    """
    if not path.with_name(path.name + ".hea").is_file():
        raise FileNotFoundError(f"no WFDB record at {path}: give the path of its .hea file without the extension")
    record = wfdb.rdrecord(str(path))
    chosen = [i for i, name in enumerate(record.sig_name) if not any(word in name.upper() for word in NO_ECG)]
    if not chosen:
        raise ValueError(f"record {path.name} has no ECG lead, only {', '.join(record.sig_name)}")
    scale = np.array([1e-3 if record.units[i].lower() in {"uv", "µv"} else 1.0 for i in chosen])
    leads = np.asarray(record.p_signal)[:, chosen] * scale
    beats, flutter, rhythms = _annotations(path, annotator, len(leads))
    return Annotated(path.name, float(record.fs), leads, tuple(record.sig_name[i] for i in chosen), beats, flutter, rhythms)


def _annotations(path: Path, annotator: str, size: int) -> tuple[Int64, tuple[tuple[int, int], ...], tuple[tuple[str, int, int], ...]]:
    if not path.with_name(f"{path.name}.{annotator}").is_file():
        return np.zeros(0, np.int64), (), ()
    notes: Any = wfdb.rdann(str(path), annotator)
    beats = np.array([at for at, symbol in zip(notes.sample, notes.symbol, strict=True) if symbol in BEATS], np.int64)
    starts = [int(at) for at, symbol in zip(notes.sample, notes.symbol, strict=True) if symbol == "["]
    ends = [int(at) for at, symbol in zip(notes.sample, notes.symbol, strict=True) if symbol == "]"]
    changes = [
        (int(at), note.rstrip("\x00"))
        for at, symbol, note in zip(notes.sample, notes.symbol, notes.aux_note, strict=True)
        if symbol == "+" and note.startswith("(")
    ]
    until = [at for at, _ in changes[1:]] + [size]
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
    builder = Builder(record.name, source or f"WFDB record {record.name}", licence=licence, labelled=True if record.rhythms else None)
    builder.bind("ecg", subject, "chest")
    builder.add("ecg", "ecg", builder.start_ns, record.rate_hz, record.leads.astype(np.float32), unit="mV")
    for note, start, end in record.rhythms:
        if note in RHYTHMS:
            begin_ns, end_ns = (builder.start_ns + int(at * NS_PER_S / record.rate_hz) for at in (start, end))
            builder.truth(subject, RHYTHMS[note], begin_ns, end_ns, note)
    return builder.build()
