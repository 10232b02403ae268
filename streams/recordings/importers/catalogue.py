"""What `vigil import` can read, by name. `path` is the unpacked data set (or the record), `record` which part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from schemas.recording import Recording
from streams.recordings.format import Builder
from streams.recordings.importers import (
    ambient_rooms,
    cinc2015,
    fire_rooms,
    nist_smoke_alarms,
    pmatdata,
    popu_preview,
    rr_series,
    sisfall,
    smartfallmm,
    sp_sw_har,
    uci_rfid,
    weda_fall,
    wfdb_records,
)
from streams.recordings.importers import trials as worn

SHOWN_MAX: Final = 12


class Importer(NamedTuple):
    """`load(path, record)` gives a Recording; ValueError or FileNotFoundError says what is missing and what there is."""

    help: str
    load: Callable[[Path, str], Recording]


def _pick(entries: Iterable[Any], record: str, name: Callable[[Any], str]) -> Any:
    """The entry called `record`; ValueError that names some of those there are."""
    names = []
    for entry in entries:
        if record and (name(entry) == record or name(entry).endswith(f"/{record}")):
            return entry
        names.append(name(entry))
    shown = ", ".join(names[:SHOWN_MAX]) + (f" … ({len(names)})" if len(names) > SHOWN_MAX else "")
    raise ValueError(f"say which one with --record; there are {shown}" if names else "there is nothing of this data set here")


def _worn(trials: Callable[[Path], Iterable[worn.Trial]], source: str) -> Callable[[Path, str], Recording]:
    return lambda path, record: worn.recording(_pick(trials(path), record, lambda trial: trial.name), source)


def _pmat(path: Path, record: str) -> Recording:
    """A posture file ("S1-1"), or a night put together from one person's real frames ("S1-night", "S1-overdue")."""
    person, _, what = record.partition("-")
    mine = [trial for trial in pmatdata.experiment_i(path) if trial.person == person]
    if mine and what in {"night", "overdue"}:
        schedule = pmatdata.OVERDUE if what == "overdue" else pmatdata.TURNED_IN_TIME
        return pmatdata.night(mine, schedule, name=record)
    return pmatdata.trial(_pick(pmatdata.experiment_i(path), record, lambda trial: f"{trial.person}-{trial.name}"))


def _alarm(path: Path, record: str) -> Recording:
    return cinc2015.recording(_pick(cinc2015.load(path), record, lambda alarm: alarm.name))


def _nist(path: Path, record: str) -> Recording:
    folder = path / "firemodels-exp" / "NIST_Smoke_Alarms" if (path / "firemodels-exp").is_dir() else path
    return nist_smoke_alarms.fire(folder, _pick(nist_smoke_alarms.tests(folder), record, str))


def _room(path: Path, _: str) -> Recording:
    builder = Builder(f"room/{path.stem}", "UCI Occupancy Detection", start_ns=0, labelled=True)
    ambient_rooms.occupancy(builder, path)
    return builder.build()


IMPORTERS: Final[dict[str, Importer]] = {
    "wfdb": Importer("any WFDB record: PATH without extension, e.g. mitdb/207", lambda path, _: wfdb_records.recording(path)),
    "rr": Importer(
        "RR intervals in seconds or milliseconds, one a line: PATH of the file",
        lambda path, _: rr_series.recording(rr_series.day(path), "RR series"),
    ),
    "sisfall": Importer("SisFall: PATH of the folder, --record F01_SA01_R01", _worn(sisfall.trials, "SisFall")),
    "weda-fall": Importer("WEDA-FALL: PATH of the folder, --record as listed", _worn(weda_fall.trials, "WEDA-FALL")),
    "smartfallmm": Importer("SmartFallMM: PATH of the folder, --record as listed", _worn(smartfallmm.trials, "SmartFallMM")),
    "sp-sw-har": Importer("SP-SW-HAR: PATH of the folder, --record as listed", _worn(sp_sw_har.trials, "SP-SW-HAR")),
    "uci-rfid": Importer("UCI older people RFID: PATH of the folder, --record as listed", _worn(uci_rfid.trials, "UCI RFID")),
    "pmatdata": Importer(
        "PmatData: PATH of the folder, --record S1-1, or S1-night / S1-overdue for a night put together from real frames", _pmat
    ),
    "popu": Importer(
        "PoPu preview: PATH of the folder, --record as listed",
        lambda path, record: popu_preview.trial(_pick(popu_preview.trials(path), record, lambda trial: f"{trial.person}-{trial.name}")),
    ),
    "cinc2015": Importer("CinC 2015 alarms: PATH of the folder, --record a103l", _alarm),
    "nist-fire": Importer("NIST smoke alarm fires: PATH of the fire folder, --record SDC05", _nist),
    "fsri-compartment": Importer("FSRI compartment fire: PATH of one experiment's csv", lambda path, _: fire_rooms.compartment(path)),
    "room": Importer("UCI Occupancy Detection (no fire): PATH of one file", _room),
}
