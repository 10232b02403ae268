"""Fire on recordings: seconds against the real alarms of the same station, room fires caught, and rooms left in peace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from engine.frame import NS_PER_S
from schemas.recording import START_NS, Recording, Truth
from streams.recordings.format import Builder
from streams.recordings.importers import ambient_rooms, fire_rooms, nist_smoke_alarms
from streams.recordings.intervals import Figure, by_person, proportion, rate
from streams.recordings.replay import Replayed, replay

DATA_SETS: Final = ("fire",)
ALARMS: Final = ("fire.smoke", "fire.heat", "fire.rate_of_rise", "fire.co")
PREWARNING: Final = "fire.prewarning"
ARMCHAIR: Final = "RedAccent"
CABLE: Final = "fire.cable_heat"
QUIET_DAYS: Final = 3.0
"""Of every quiet room. The clock ticks once a second in a replay: three days cost seconds, the whole quarter would cost minutes."""
DAY_S: Final = 86_400.0
HOUR_S: Final = 3600.0

Progress = Callable[[str], None]


class Room(NamedTuple):
    """What Vigil said about one room, by code: seconds from the start of the recording to each onset, and the readings then."""

    subject: str
    onsets: tuple[tuple[str, float, dict[str, float]], ...]
    fire_s: float
    """When the fire starts; NaN where nothing burns."""

    def first_s(self, codes: Sequence[str]) -> float:
        """Seconds from the fire's start to the first onset after it; NaN when there was none."""
        return min((at for code, at, _ in self.onsets if code in codes and at >= self.fire_s), default=float("nan")) - self.fire_s

    def count(self, codes: Sequence[str], start_s: float = 0.0, end_s: float = float("inf")) -> int:
        """Onsets within a span."""
        return sum(code in codes and start_s <= at < end_s for code, at, _ in self.onsets)


def _rooms(recording: Recording, result: Replayed) -> list[Room]:
    """Every bound room of a replayed recording; onsets count from the moment they were decided."""
    lit: dict[str, Truth] = {}
    for entry in recording.truth:
        lit.setdefault(entry.subject, entry)
    by_subject: dict[str, list[tuple[str, float, dict[str, float]]]] = {}
    for event in result.events:
        if event.phase == "onset":
            by_subject.setdefault(event.subject, []).append((event.code, (event.decided_ns - START_NS) / NS_PER_S, event.values))
    subjects = dict.fromkeys(binding.subject for binding in recording.registry.bindings)
    return [
        Room(
            subject,
            tuple(by_subject.get(subject, ())),
            (lit[subject].start_ns - START_NS) / NS_PER_S if subject in lit else float("nan"),
        )
        for subject in subjects
    ]


def _median_s(values: Sequence[float], basis: str) -> Figure:
    """Median of the finite ones, resampled by room or station."""
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return Figure(float("nan"), float("nan"), float("nan"), "s", basis)
    return by_person(finite, lambda chosen: float(np.median(chosen)), "s", basis)


def _nist(folder: Path) -> dict[str, Figure]:
    names = nist_smoke_alarms.tests(folder)
    recording = nist_smoke_alarms.fire(folder, *names)
    rooms = _rooms(recording, replay(recording))
    real = nist_smoke_alarms.alarms(folder)
    heard = [room for room in rooms if real.get(room.subject)]
    basis = f"NIST TN 1455: {len(names)} flaming fires, {len(heard)} stations with real alarms; negative = before the real alarm"
    pairs = {
        room.subject: [room.first_s(ALARMS) - at for at in real[room.subject].values()]
        for room in heard
        if np.isfinite(room.first_s(ALARMS))
    }

    def of(kind: str) -> list[list[float]]:
        return [
            [room.first_s(ALARMS) - at for name, at in real[room.subject].items() if name.startswith(kind)]
            for room in heard
            if room.subject in pairs
        ]

    def pooled(stations: Sequence[list[float]]) -> float:
        values = [value for station in stations for value in station]
        return float(np.median(values)) if values else float("nan")

    all_basis = f"{basis}; median over all pairs of station and real alarm, resampled by station"
    quiet = [room for room in rooms if room.count(("fire.co",))]
    return {
        "fire.nist.seconds_vs_real_alarm": by_person(of(""), pooled, "s", all_basis),
        "fire.nist.seconds_vs_photoelectric_alarm": by_person(of("Pho"), pooled, "s", f"{all_basis}; photoelectric alarms only"),
        "fire.nist.seconds_vs_ionisation_alarm": by_person(of("Ion"), pooled, "s", f"{all_basis}; ionisation alarms only"),
        "fire.nist.seconds_vs_first_real_alarm": _median_s([max(pair) for pair in pairs.values()], basis),
        "fire.nist.stations_alarmed": proportion(len(pairs), len(heard), basis),
        "fire.nist.co_alarms_from_offset": proportion(
            len(quiet), len(rooms), f"{basis}; stations with a CO alarm (analysers start with offsets)"
        ),
    }


def _room_fires(key: str, rooms: list[Room], basis: str) -> dict[str, Figure]:
    delays = [room.first_s(ALARMS) for room in rooms]
    waiting_h = sum(room.fire_s for room in rooms) / HOUR_S
    early = sum(room.count(ALARMS, 0.0, room.fire_s) for room in rooms)
    basis = f"{basis}, {len(rooms)} ceiling probes"
    return {
        f"{key}.alarm_s": _median_s(delays, f"{basis}; median seconds from ignition to the first alarm where there was one"),
        f"{key}.rooms_alarmed": proportion(int(np.isfinite(delays).sum()), len(rooms), basis),
        f"{key}.alarms_before_ignition_per_room_hour": rate(
            early, waiting_h, "per room-hour", f"{basis}; {waiting_h:.1f} h before ignition"
        ),
    }


def _compartments(root: Path) -> dict[str, Figure]:
    paths = fire_rooms.compartments(root)
    key = "fire.fsri-compartments-2018"
    recording = fire_rooms.compartment(*paths)
    rooms = _rooms(recording, replay(recording))
    figures = _room_fires(key, rooms, f"FSRI compartments, {len(paths)} experiments")
    chairs = [room.first_s(ALARMS) for room in rooms if ARMCHAIR in room.subject]
    basis = f"FSRI compartments, armchair fires, {len(chairs)} ceiling probes; the only fuel there that grows as slowly as furniture does"
    figures[f"{key}.red_accent_chair_alarm_s"] = _median_s(chairs, basis)
    return figures


def _hvac(root: Path) -> dict[str, Figure]:
    paths = fire_rooms.hvac_experiments(root)
    key = "fire.fsri-hvac-gasburner-2019"
    recording = fire_rooms.hvac_house(*paths)
    basis = f"FSRI HVAC house, {len(paths)} burner fires in bedroom 1, heat only"
    rooms = _rooms(recording, replay(recording))
    figures = _room_fires(key, rooms, f"{basis} (experiments 10 and 14 start in a room still hot from the one before)")
    burning = [room.first_s(ALARMS) for room in rooms if room.subject.endswith(fire_rooms.HVAC_FIRE_ROOM.replace(" ", "-"))]
    figures[f"{key}.fire_room_alarm_s"] = _median_s(burning, f"{basis}; the burning room")
    return figures


def _cables(root: Path) -> dict[str, Figure]:
    paths = fire_rooms.cable_tests(root)
    recording = fire_rooms.cables(*paths)
    rooms = _rooms(recording, replay(recording))
    hot = [values["cable_temperature_c"] for room in rooms for code, _, values in room.onsets[:1] if code == CABLE]
    basis = f"CAROLFIRE: {len(paths)} tests, {len(rooms)} heated cables"
    median = by_person(hot, lambda chosen: float(np.median(chosen)), "°C", f"{basis}; cable temperature when the alarm was decided")
    return {"fire.carolfire.cables_alarmed": proportion(len(hot), len(rooms), basis), "fire.carolfire.cable_c_at_alarm": median}


def _quiet(fire: Path, progress: Progress) -> dict[str, Figure]:
    """Rooms in which nothing burns, all in one home so that the clock ticks once for all of them."""
    builder = Builder("quiet rooms", "several, see streams/recordings/importers/ambient_rooms.py")
    groups: dict[str, list[str]] = {}
    for path in sorted((fire / "uci-occupancy-detection").glob("data*.txt")):
        groups.setdefault("uci-occupancy-detection", []).append(ambient_rooms.occupancy(builder, path, days=QUIET_DAYS))
    if (fire / "open-smart-home").is_dir():
        groups["open-smart-home"] = [
            ambient_rooms.smart_home(builder, fire / "open-smart-home", room, days=QUIET_DAYS) for room in ambient_rooms.SMART_HOME_ROOMS
        ]
    for path in sorted((fire / "tug-sgp30-negative").glob("*.csv")):
        groups.setdefault("tug-sgp30-negative", []).append(ambient_rooms.gas_sensor(builder, path))
        groups.setdefault("tug-sgp30-negative-as-co", []).append(ambient_rooms.gas_sensor(builder, path, as_co=True))
    if not groups:
        progress("fire: no quiet rooms found, skipped")
        return {}
    recording = builder.build()
    result = replay(recording)
    by_subject = {room.subject: room for room in _rooms(recording, result)}
    figures = {}
    for name, subjects in groups.items():
        days = sum(result.exposure_s.get(subject, 0.0) for subject in subjects) / DAY_S
        basis = f"{ambient_rooms.SOURCES.get(name, name)}: {len(subjects)} rooms, {days:.2f} room-days without a fire"
        for metric, codes in (("alarms_per_room_day", ALARMS), ("prewarnings_per_room_day", (PREWARNING,))):
            count = sum(by_subject[subject].count(codes) for subject in subjects)
            if days > 0:
                figures[f"fire.{name}.{metric}"] = rate(count, days, "per room-day", basis)
    return figures


def _iot(path: Path) -> dict[str, Figure]:
    builder = Builder("smoke-detection-iot", ambient_rooms.SOURCES["smoke-detection-iot"])
    blocks = {ambient_rooms.iot(builder, path, block): spans for block, spans in ambient_rooms.IOT_SMOKE_S.items()}
    recording = builder.build()
    result = replay(recording)
    rooms = {room.subject: room for room in _rooms(recording, result)}
    spans = [(rooms[subject], start_s, end_s) for subject, found in blocks.items() for start_s, end_s in found]
    delays = [
        min((at - start_s for code, at, _ in room.onsets if code in ALARMS and start_s <= at < end_s), default=float("nan"))
        for room, start_s, end_s in spans
    ]
    clean = [subject for subject, found in blocks.items() if not found]
    clean_days = sum(result.exposure_s[subject] for subject in clean) / DAY_S
    false = sum(rooms[subject].count(ALARMS) for subject in clean)
    basis = "smoke-detection-iot: smoke and clean air by particle counts (its own label is a session flag); smoke from PM2.5"
    key = "fire.smoke-detection-iot"
    return {
        f"{key}.smoke_spans_caught": proportion(int(np.isfinite(delays).sum()), len(delays), basis),
        f"{key}.alarm_s": _median_s(delays, f"{basis}; seconds from the first particles, NaN rows of the particle sensor included"),
        f"{key}.clean_air_alarms_per_room_day": rate(
            false,
            clean_days,
            "per room-day",
            f"{basis}; block A, {clean_days:.2f} days (C is heated to 46 °C before its smoke, not counted)",
        ),
    }


def evaluate(root: Path, progress: Progress) -> dict[str, Figure]:
    """All figures on what is found below `root` (see DATA_SETS); what is missing is said and left out."""
    fire = root / "fire"
    models = fire / "firemodels-exp"
    parts: tuple[tuple[Path, Callable[[Path], dict[str, Figure]]], ...] = (
        (models / "NIST_Smoke_Alarms", _nist),
        (fire / "fsri-compartments-2018", _compartments),
        (fire / "fsri-hvac-gasburner-2019", _hvac),
        (models, _cables),
        (fire / "smoke-detection-iot" / "unique_merged.csv", _iot),
    )
    figures: dict[str, Figure] = {}
    for path, part in parts:
        if not path.exists():
            progress(f"fire: {path.name} is missing, skipped")
            continue
        progress(f"fire: {path.name}")
        figures |= part(path)
    progress("fire: quiet rooms")
    return figures | _quiet(fire, progress)
