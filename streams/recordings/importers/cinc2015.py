"""PhysioNet/CinC Challenge 2015: bedside alarms of intensive care, each true or false (Clifford et al., Physiol Meas 2016;37:E5)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from scipy.io import loadmat

from engine.frame import NS_PER_S, Float32
from schemas.recording import Recording
from streams.recordings.format import Builder

RATE_HZ: Final = 250.0
ALARM_S: Final = 300.0
"""Every alarm sounded here; what comes later must not be used."""
MISSING: Final = -32768
ECG_LEADS: Final = ("I", "II", "III", "V", "AVR", "AVL", "AVF", "MCL", "MCL1", "V1", "V2", "V3", "V4", "V5", "V6")
CODES: Final = {
    "Asystole": "heart.asystole",
    "Bradycardia": "heart.bradycardia",
    "Tachycardia": "heart.tachycardia",
    "Ventricular_Tachycardia": "heart.ventricular_tachycardia",
    "Ventricular_Flutter_Fib": "heart.ventricular_fibrillation",
}


class Alarm(NamedTuple):
    """One bedside alarm: `leads` (n, c) mV up to the alarm, NaN missing."""

    name: str
    code: str
    true: bool
    leads: Float32


class Entry(NamedTuple):
    """A line of ALARMS.csv: the record, what the monitor said, whether it was true."""

    name: str
    kind: str
    true: bool


def entries(folder: Path) -> list[Entry]:
    """The lines of ALARMS.csv in `folder`, whether their records are there or not."""
    with (folder / "ALARMS.csv").open(encoding="utf-8-sig", newline="") as file:
        return [Entry(name, kind.strip(), true.strip() == "1") for name, kind, true in (row for row in csv.reader(file) if len(row) == 3)]


def alarm(folder: Path, entry: Entry) -> Alarm:
    """One alarm. FileNotFoundError without its record, ValueError for a kind without a code or a record without an ECG lead."""
    if entry.kind not in CODES:
        raise ValueError(f"kind {entry.kind!r} is none of {', '.join(CODES)}")
    return Alarm(entry.name, CODES[entry.kind], entry.true, _leads(folder, entry.name))


def load(folder: Path) -> list[Alarm]:
    """Every alarm in `folder`, in the order of ALARMS.csv.

    >>> from tempfile import TemporaryDirectory
    >>> from scipy.io import savemat
    >>> with TemporaryDirectory() as name:
    ...     folder = Path(name)
    ...     _ = (folder / "ALARMS.csv").write_text("a103l,Asystole,0\\n")
    ...     _ = (folder / "a103l.hea").write_text("a103l 2 250 4\\na103l.mat 16+24 100/mV 16 0 0 0 0 II\\na103l.mat 16+24 1/NU 16 0 0 0 0 PLETH\\n")
    ...     savemat(folder / "a103l.mat", {"val": np.array([[0, 50, MISSING, 100], [1, 2, 3, 4]])})
    ...     (alarm,) = load(folder)
    >>> alarm.code, alarm.true, alarm.leads[:, 0].tolist()
    ('heart.asystole', False, [0.0, 0.5, nan, 1.0])
    """
    return [alarm(folder, entry) for entry in entries(folder)]


def _leads(folder: Path, name: str) -> Float32:
    lines = (folder / f"{name}.hea").read_text(encoding="utf-8").splitlines()[1:]
    raw = loadmat(str(folder / f"{name}.mat"), appendmat=False)["val"]
    columns = []
    for line, values in zip(lines, raw, strict=False):
        fields = line.split()
        gain, unit = fields[2].split("/")
        if unit == "mV" and fields[-1].upper() in ECG_LEADS:
            lead = values[: int(ALARM_S * RATE_HZ)] / float(gain)
            columns.append(np.where(values[: int(ALARM_S * RATE_HZ)] == MISSING, np.nan, lead))
    if not columns:
        raise ValueError(f"{name} has no ECG lead")
    return np.column_stack(columns).astype(np.float32)


def recording(alarm: Alarm) -> Recording:
    """One alarm as a recording; a true alarm is a truth over its last ten seconds."""
    subject = f"resident/{alarm.name}"
    builder = Builder(alarm.name, "PhysioNet/CinC Challenge 2015", licence="ODC-By-1.0", labelled=True)
    builder.bind("ecg", subject, "chest")
    builder.add("ecg", "ecg", builder.start_ns, RATE_HZ, alarm.leads, unit="mV")
    if alarm.true:
        end_ns = builder.start_ns + int(ALARM_S * NS_PER_S)
        builder.truth(subject, alarm.code, end_ns - 10 * NS_PER_S, end_ns)
    return builder.build()
