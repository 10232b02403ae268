"""Where the dangers come from: the examples of the detectors, the example recordings, and the positive recordings at hand."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from benchmarks.faults.case import Case, of_recording, of_streams
from benchmarks.faults.stream import Chunk
from detectors.pressure_injury.posture import SUPINE
from engine.block import NO_SEQ
from engine.frame import Frame
from engine.kinds import KINDS, MISSING_MAP
from engine.registry import Binding, CareSetting, RegistryData
from schemas.recording import Recording, Truth
from streams.pipeline.assembly import CLASSES, EVENT_BY_CODE
from streams.recordings.format import read
from streams.recordings.importers import cinc2015, fire_rooms, nist_smoke_alarms, pmatdata, rr_series, sisfall, weda_fall, wfdb_records
from streams.recordings.importers import trials as worn
from streams.recordings.importers.pmatdata import Stay

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"
EACH: Final = 10
"""Recordings of each data set, chosen by chance with a seed."""
SEED: Final = 20_260_105
TURN_S: Final = 1800.0
"""Turns are due this often in the nights put together here: two hours of maps would show no more and cost four times as much."""
DEVICE: Final = "d-1"

Source = Callable[[], list[Case]]
"""The cases of one source; made in the process that plays them first."""


def examples() -> dict[str, Source]:
    """The detectors' own positive examples, and the recordings in examples/: always at hand."""
    found: dict[str, Source] = {}
    for cls in CLASSES:
        name = f"detectors.{cls.spec.name}.examples"
        if importlib.util.find_spec(f"detectors.{cls.spec.name}") is not None and importlib.util.find_spec(name) is not None:
            found[f"detectors/{cls.spec.name}"] = partial(of_detector, cls.spec.name)
    for path in sorted(EXAMPLES.glob("*.vigil")):
        found[f"examples/{path.stem}"] = partial(of_example, path)
    return found


def of_detector(name: str) -> list[Case]:
    """The positive example of detector `name`."""
    example: Any = importlib.import_module(f"detectors.{name}.examples")
    streams: dict[tuple[str, str], list[Chunk]] = {}
    for frame in example.positive():
        streams.setdefault((f"{DEVICE}-{frame.kind}", frame.kind), []).append(_chunk(frame))
    end_ns = max(chunk.t0_ns + chunk.lasts_ns for chunks in streams.values() for chunk in chunks)
    found: list[Case] = []
    for code in example.EXPECTED:
        subject = "room/a" if EVENT_BY_CODE[code].subject.value == "room" else "resident/a"
        bindings = tuple(Binding(device, subject, "home/ward") for device, _ in streams)
        truth = Truth(subject, code, example.ONSET_NS, max(end_ns, example.ONSET_NS))
        found += of_streams(streams, RegistryData(bindings=bindings), [truth], f"detectors/{name}:{code}", "detectors")
    return _once(found)


def _chunk(frame: Frame) -> Chunk:
    grid = KINDS[frame.kind].dtype is np.uint16
    samples = frame.samples[0].astype(np.float64)
    if grid:
        samples[samples == MISSING_MAP] = np.nan
    shape = frame.shape if grid else None
    return Chunk(0, f"{DEVICE}-{frame.kind}", frame.kind, int(frame.t0_ns[0]), frame.rate_hz, NO_SEQ, samples.round(5), shape=shape)


def _once(cases: list[Case]) -> list[Case]:
    """Each stream once for each group of codes that answer each other."""
    kept: dict[tuple[str, frozenset[str]], Case] = {}
    for case in cases:
        kept.setdefault((case.device, case.codes), case)
    return list(kept.values())


def of_example(path: Path) -> list[Case]:
    """The dangers of one example recording."""
    return list(of_recording(read(path), "examples"))


def at_hand(root: Path, each: int) -> dict[str, Source]:
    """What is found in a folder of unpacked data sets; `each` recordings of each set at most."""
    found: dict[str, Source] = {}
    for name, trials in (("sisfall", sisfall.trials), ("weda-fall", weda_fall.trials)):
        if (root / name).is_dir():
            found[name] = partial(_falls, name, trials, root / name, each)
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if any(header.with_suffix(".atr").is_file() for header in folder.glob("*.hea")):
            found[folder.name] = partial(_rhythms, folder, each)
    if (root / "cinc2015" / "ALARMS.csv").is_file():
        found["cinc2015"] = partial(_alarms, root / "cinc2015", each)
    if any((root / "afdb-rr").glob("qrs*.txt")):
        found["afdb-rr"] = partial(_fibrillation, root / "afdb-rr", each)
    if (root / "pmatdata").is_dir():
        found["pmatdata"] = partial(_nights, root / "pmatdata", each)
    nist = root / "fire" / "firemodels-exp" / "NIST_Smoke_Alarms"
    if nist.is_dir():
        found["nist"] = partial(_nist, nist, each)
    if (root / "fire" / "fsri-compartments-2018").is_dir():
        found["fsri-compartments"] = partial(_compartments, root / "fire" / "fsri-compartments-2018", each)
    return found


def _some(entries: list[Any], each: int) -> list[Any]:
    """`each` of them by chance, in their own order."""
    if len(entries) <= each:
        return entries
    chosen = np.random.default_rng(SEED).choice(len(entries), each, replace=False)
    return [entries[i] for i in sorted(chosen.tolist())]


def _all(recordings: Iterator[Recording], source: str, each: int, most: int | None = None) -> list[Case]:
    found: list[Case] = []
    for recording in recordings:
        found += of_recording(recording, source, most=most)
        if len(found) >= each:
            break
    return found[:each]


def _falls(name: str, trials: Callable[[Path], Iterator[worn.Trial]], folder: Path, each: int) -> list[Case]:
    falls = [trial for trial in trials(folder) if trial.falls]
    return _all((worn.recording(trial, name) for trial in _some(falls, 3 * each)), name, each)


def _rhythms(folder: Path, each: int) -> list[Case]:
    """Of each record, its first episode of each rhythm that has a code."""
    paths = [header.with_suffix("") for header in sorted(folder.glob("*.hea")) if header.with_suffix(".atr").is_file()]

    def readable() -> Iterator[Recording]:
        for path in paths:
            try:
                made = wfdb_records.recording(path)
            except (OSError, ValueError):  # beats without a signal
                continue
            if made.truth:
                yield made

    return _all(readable(), folder.name, each)


def _alarms(folder: Path, each: int) -> list[Case]:
    true = [entry for entry in cinc2015.entries(folder) if entry.true]
    return _all((cinc2015.recording(cinc2015.alarm(folder, entry)) for entry in _some(true, 3 * each)), "cinc2015", each)


def _fibrillation(folder: Path, each: int) -> list[Case]:
    names = [path.stem.removeprefix("qrs") for path in sorted(folder.glob("qrs*.txt"))]
    return _all((rr_series.recording(rr_series.afdb(folder, name), "afdb-rr") for name in names), "afdb-rr", min(each, 4))


def _nights(folder: Path, each: int) -> list[Case]:
    """One too long stay of each person, put together from real frames."""
    people: dict[str, list[pmatdata.Trial]] = {}
    for trial in pmatdata.experiment_i(folder):
        people.setdefault(trial.person, []).append(trial)

    def nights() -> Iterator[Recording]:
        for person, trials in people.items():
            made = pmatdata.night(trials, [Stay(SUPINE, TURN_S + 300.0)], name=person, limit_s=TURN_S, frame_s=30.0)
            care = CareSetting(made.registry.bindings[0].subject, "pressure_injury", "turn_interval_s", TURN_S)
            yield made._replace(registry=msgspec.structs.replace(made.registry, care=(care,)))

    return _all(nights(), "pmatdata", min(each, 3))


def _nist(folder: Path, each: int) -> list[Case]:
    return _all((nist_smoke_alarms.fire(folder, name) for name in nist_smoke_alarms.tests(folder)), "nist", each, most=2)


def _compartments(folder: Path, each: int) -> list[Case]:
    paths = _some(list(fire_rooms.compartments(folder)), each)
    return _all((fire_rooms.compartment(path) for path in paths), "fsri", min(each, 5), most=1)
